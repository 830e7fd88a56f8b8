//! What one client knows of the keys in etcd: the list, and every change after it, exactly once and in order. No
//! clock, no network.

use std::collections::{BTreeMap, BTreeSet};

use super::Layout;
use super::api::{Event, KeyValue};
use crate::address::Address;
use crate::discover::record::{Record, read_address};
use crate::discover::{Endpoint, State};

/// The keys of the range as they were at a revision.
#[derive(Debug)]
pub(super) struct Mirror {
    layout: Layout,
    revision: i64,
    keys: BTreeMap<Vec<u8>, Kept>,
}

/// What stands under a key.
#[derive(Debug)]
enum Kept {
    /// A server, under the name that its key ends with.
    Plain(String),
    /// What is known of a server.
    Rich(Box<Record>),
    /// Nothing that says anything about servers.
    Other,
}

/// What a batch of events did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Something is different now.
    pub(super) is_news: bool,
    /// Servers that said that they were going, and went.
    pub(super) withdrawn: Vec<Address>,
}

impl Mirror {
    pub(super) fn new(layout: Layout) -> Mirror {
        Mirror {
            layout,
            revision: 0,
            keys: BTreeMap::new(),
        }
    }

    /// The last revision that is in here.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// Takes over a whole list, whatever was known before.
    pub(super) fn list(&mut self, revision: i64, kvs: Vec<KeyValue>) {
        self.revision = revision;
        let kept = kvs.into_iter().map(|kv| {
            let kept = self.layout.read(&kv);
            (kv.key, kept)
        });
        self.keys = kept.collect();
    }

    /// Takes in the changes of some revisions, whole revisions each. What is not newer than what is known is passed
    /// over: a list or an earlier event told it.
    pub(super) fn apply(&mut self, events: Vec<Event>) -> Change {
        let mut change = Change::default();
        let mut newest = self.revision;
        // The two keys of a server go together, in this order or that.
        let mut leaving: BTreeSet<Vec<u8>> = BTreeSet::new();
        for event in events {
            let kv = event.kv.mod_revision;
            if kv <= self.revision {
                continue;
            }
            newest = newest.max(kv);
            change.is_news = true;
            if event.is_delete() {
                if self.is_draining(&event.kv.key) {
                    leaving.insert(event.kv.key.clone());
                }
                let gone = self.keys.remove(&event.kv.key);
                if let Some(Kept::Plain(name)) = gone {
                    let rich = self.layout.rich(&name).into_bytes();
                    if leaving.contains(&rich) || self.is_draining(&rich) {
                        change.withdrawn.extend(read_address(&name).ok());
                    }
                }
            } else {
                leaving.remove(&event.kv.key);
                let kept = self.layout.read(&event.kv);
                self.keys.insert(event.kv.key, kept);
            }
        }
        self.revision = newest;
        change
    }

    /// Compares with what etcd says about the range: at this revision so many keys, of which the latest changed then.
    /// True when nothing is missing here; then all up to that revision is known.
    pub(super) fn agrees(&mut self, revision: i64, count: i64, latest: i64) -> bool {
        let is_whole = revision >= self.revision
            && latest <= self.revision
            && usize::try_from(count) == Ok(self.keys.len());
        if is_whole {
            self.revision = revision;
        }
        is_whole
    }

    /// The servers; and, of those that are none, the first few and why.
    pub(super) fn endpoints(&self) -> (Vec<Endpoint>, Vec<String>) {
        let (mut endpoints, mut bad) = (Vec::new(), Vec::new());
        let mut note = |name: &str, why: String| {
            if bad.len() < 3 {
                bad.push(format!("{name:?}: {why}"));
            }
        };
        for kept in self.keys.values() {
            let Kept::Plain(name) = kept else { continue };
            let address = match read_address(name) {
                Ok(address) => address,
                Err(why) => {
                    note(name, why);
                    continue;
                }
            };
            let rich = self.keys.get(self.layout.rich(name).as_bytes());
            let described = match rich {
                Some(Kept::Rich(record)) => record.as_ref().clone().describe(address.clone()),
                _ => Ok(Endpoint::new(address.clone())),
            };
            endpoints.push(described.unwrap_or_else(|why| {
                note(name, why);
                Endpoint::new(address)
            }));
        }
        (endpoints, bad)
    }

    fn is_draining(&self, key: &[u8]) -> bool {
        match self.keys.get(key) {
            Some(Kept::Rich(record)) => record.state() == State::Draining,
            _ => false,
        }
    }
}

impl Layout {
    fn read(&self, kv: &KeyValue) -> Kept {
        let under = |kind: &str| {
            let rest = kv.key.strip_prefix(self.prefix.as_bytes())?;
            std::str::from_utf8(rest.strip_prefix(kind.as_bytes())?).ok()
        };
        if let Some(name) = under("/registr/") {
            return Kept::Plain(name.to_owned());
        }
        let record = under("/farcall/").and_then(|_| serde_json::from_slice(&kv.value).ok());
        record.map_or(Kept::Other, Kept::Rich)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout() -> Layout {
        Layout {
            prefix: "/_tinyrpc_".into(),
        }
    }

    /// etcd as far as a watcher can tell: every change has its revision, and the oldest may be forgotten.
    #[derive(Default)]
    struct Model {
        revision: i64,
        compacted: i64,
        now: BTreeMap<String, (String, i64)>,
        history: Vec<(i64, String, Option<String>)>,
    }

    impl Model {
        fn put(&mut self, key: String, value: String) {
            self.revision += 1;
            self.now.insert(key.clone(), (value.clone(), self.revision));
            self.history.push((self.revision, key, Some(value)));
        }

        fn delete(&mut self, keys: &[String]) {
            self.revision += 1;
            for key in keys {
                if self.now.remove(key).is_some() {
                    self.history.push((self.revision, key.clone(), None));
                }
            }
        }

        fn list(&self) -> (i64, Vec<KeyValue>) {
            let kv = |(key, (value, revision)): (&String, &(String, i64))| KeyValue {
                key: key.clone().into(),
                value: value.clone().into(),
                mod_revision: *revision,
            };
            (self.revision, self.now.iter().map(kv).collect())
        }

        /// What a watch from this revision on brings; `None` when it is compacted away.
        fn since(&self, from: i64) -> Option<Vec<Event>> {
            if from <= self.compacted {
                return None;
            }
            let news = self
                .history
                .iter()
                .filter(|(revision, ..)| *revision >= from);
            let event = |(revision, key, value): &(i64, String, Option<String>)| {
                let kv = KeyValue {
                    key: key.clone().into(),
                    value: value.clone().unwrap_or_default().into(),
                    mod_revision: *revision,
                };
                Event::new(kv, value.is_none())
            };
            Some(news.map(event).collect())
        }

        fn latest(&self) -> i64 {
            self.now
                .values()
                .map(|(_, revision)| *revision)
                .max()
                .unwrap_or(0)
        }
    }

    fn name(server: u8) -> String {
        format!("tcp@h:{server}")
    }

    fn state(state: &str) -> String {
        format!(r#"{{"state":"{state}"}}"#)
    }

    fn enter(model: &mut Model, server: u8) {
        model.put(layout().plain(&name(server)), name(server));
        model.put(layout().rich(&name(server)), state("up"));
    }

    fn keys(server: u8) -> [String; 2] {
        [layout().rich(&name(server)), layout().plain(&name(server))]
    }

    fn listed(model: &Model) -> Mirror {
        let mut mirror = Mirror::new(layout());
        let (revision, kvs) = model.list();
        mirror.list(revision, kvs);
        mirror
    }

    #[test]
    fn a_farewell_is_told_from_a_loss() {
        let mut model = Model::default();
        for server in [1, 2, 3] {
            enter(&mut model, server);
        }
        let mut mirror = listed(&model);
        model.put(layout().rich(&name(1)), state("draining"));
        model.delete(&keys(1));
        model.delete(&keys(2));
        let change = mirror.apply(model.since(mirror.revision() + 1).unwrap());
        assert!(change.is_news);
        assert_eq!(change.withdrawn, [Address::tcp("h:1")]);
        assert_eq!(mirror.endpoints().0, [Endpoint::new(Address::tcp("h:3"))]);
    }

    #[test]
    fn keys_as_tinyrpc_writes_them_are_servers_and_descriptions_alone_are_none() {
        let mut model = Model::default();
        model.put("/_tinyrpc_/registr/tcp@[::]:7".into(), "tcp@[::]:7".into());
        model.put(layout().rich("tcp@h:1"), state("up"));
        model.put("/_tinyrpc_/other".into(), "x".into());
        let mut mirror = listed(&model);
        assert_eq!(
            mirror.endpoints(),
            (vec![Endpoint::new(Address::tcp("[::]:7"))], vec![])
        );
        assert!(mirror.agrees(model.revision, 3, model.latest()));
    }

    #[test]
    fn nonsense_is_named_and_hides_nobody() {
        let mut model = Model::default();
        enter(&mut model, 1);
        model.put(layout().rich(&name(1)), "{".into());
        enter(&mut model, 2);
        model.put(layout().rich(&name(2)), r#"{"zone":"a\nb"}"#.into());
        model.put(layout().plain("nobody"), "nobody".into());
        let (endpoints, bad) = listed(&model).endpoints();
        assert_eq!(endpoints.len(), 2);
        assert!(
            bad.len() == 2 && bad.iter().any(|b| b.contains("nobody")),
            "{bad:?}"
        );
    }

    #[test]
    fn a_watch_that_lost_something_is_found_out() {
        let mut model = Model::default();
        for server in [1, 2] {
            enter(&mut model, server);
        }
        let mut mirror = listed(&model);
        model.delete(&[layout().plain(&name(1))]);
        assert!(
            !mirror.agrees(model.revision, 3, model.latest()),
            "a deletion"
        );
        let mut mirror = listed(&model);
        model.put(layout().plain(&name(3)), name(3));
        model.delete(&[layout().plain(&name(2))]);
        assert!(
            !mirror.agrees(model.revision, 3, model.latest()),
            "one came, one went"
        );
        let mut mirror = listed(&model);
        model.revision += 5;
        assert!(
            mirror.agrees(model.revision, 3, model.latest()),
            "changes elsewhere"
        );
        assert_eq!(mirror.revision(), model.revision);
    }

    /// What happens, in etcd and on the way to the client.
    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8),
        Drain(u8),
        Lose(u8),
        Forget(u8),
        Compact,
        /// The watch brings this many events at most, beginning so many revisions before what is known.
        Deliver(usize, i64),
        Check,
        List,
    }

    fn step() -> impl Strategy<Value = Step> {
        let server = || 0..6u8;
        prop_oneof![
            3 => server().prop_map(Step::Enter),
            1 => server().prop_map(Step::Drain),
            2 => server().prop_map(Step::Lose),
            1 => server().prop_map(Step::Forget),
            1 => Just(Step::Compact),
            4 => (0..6usize, 0..3i64).prop_map(|(n, back)| Step::Deliver(n, back)),
            1 => Just(Step::Check),
            1 => Just(Step::List),
        ]
    }

    /// Cuts at the end of a revision, as etcd does.
    fn whole(mut events: Vec<Event>, count: usize) -> Vec<Event> {
        let mut end = count.min(events.len());
        let revision = |at: usize| events.get(at).map(|event| event.kv.mod_revision);
        while end > 0 && end < events.len() && revision(end) == revision(end - 1) {
            end += 1;
        }
        events.truncate(end);
        events
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
        #[test]
        fn any_interleaving_of_lists_deltas_losses_and_restarts_ends_as_the_source_of_truth(
            steps in prop::collection::vec(step(), 1..60)
        ) {
            let mut model = Model::default();
            let mut mirror = Mirror::new(layout());
            let resume = |mirror: &mut Mirror, model: &Model, count, back: i64| {
                // A stream that was cut may bring again what came already.
                let from = (mirror.revision() + 1 - back).max(1);
                match model.since(from) {
                    Some(events) => drop(mirror.apply(whole(events, count))),
                    None => {
                        let (revision, kvs) = model.list();
                        mirror.list(revision, kvs);
                    }
                }
            };
            for step in steps {
                let before = mirror.revision();
                match step {
                    Step::Enter(server) => enter(&mut model, server),
                    Step::Drain(server) => model.put(layout().rich(&name(server)), state("draining")),
                    Step::Lose(server) => model.delete(&keys(server)),
                    Step::Forget(server) => model.delete(&[layout().rich(&name(server))]),
                    Step::Compact => model.compacted = model.revision,
                    Step::Deliver(count, back) => resume(&mut mirror, &model, count, back),
                    Step::Check => {
                        let count = i64::try_from(model.now.len()).unwrap();
                        if mirror.agrees(model.revision, count, model.latest()) {
                            prop_assert_eq!(mirror.endpoints(), listed(&model).endpoints());
                        }
                    }
                    Step::List => {
                        let (revision, kvs) = model.list();
                        mirror.list(revision, kvs);
                    }
                }
                prop_assert!(mirror.revision() >= before, "it never goes back");
            }
            resume(&mut mirror, &model, usize::MAX, 0);
            prop_assert_eq!(mirror.endpoints(), listed(&model).endpoints());
        }
    }
}
