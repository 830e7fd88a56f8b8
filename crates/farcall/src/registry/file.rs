//! A file as the list of servers, read again when it changes. The rule by which servers leave the list is
//! `discover`'s, also for files: one that is cut short while it is written empties nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::discover::poll::poll;
use crate::discover::record::{check_zone, read_address};
use crate::discover::{Discover, Endpoint, Snapshot, State};

const FILE_LEN_MAX: usize = 4 * 1024 * 1024;

/// The servers that a file names, one a line:
///
/// ```text
/// # address, then what else is known of it
/// tcp@10.0.0.1:9999
/// tcp@10.0.0.2:9999  weight=3 zone=eu-1
/// tcp@10.0.0.3:9999  state=draining rack=7
/// ```
///
/// It is read every second. A line that cannot be read keeps the list as it was, and the log says which line. Write
/// a new file beside it and rename it: then nobody sees half of it.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    refresh: Duration,
}

impl File {
    /// The servers in the file at this path. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> File {
        File {
            path: path.into(),
            refresh: Duration::from_secs(1),
        }
    }

    /// How often the file is read, with a fifth of jitter; every second unless set.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh.max(Duration::from_millis(10));
        self
    }
}

impl Discover for File {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let path = self.path.clone();
        poll(
            format!("file:{}", path.display()),
            self.refresh,
            move || {
                let path = path.clone();
                async move {
                    let read = spawn_blocking(move || look(&path)).await;
                    read.unwrap_or_else(|error| Err(error.to_string()))
                }
            },
        )
    }
}

fn look(path: &Path) -> Result<Vec<Endpoint>, String> {
    let place = path.display();
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_LEN_MAX as u64 + 1).read_to_string(&mut text));
    read.map_err(|error| format!("{place}: {error}"))?;
    if text.len() > FILE_LEN_MAX {
        return Err(format!("{place}: it is longer than {FILE_LEN_MAX} bytes"));
    }
    parse(&text).map_err(|(line, why)| format!("{place}, line {line}: {why}"))
}

/// The servers in the text; or the number of the first line that is wrong, and why.
fn parse(text: &str) -> Result<Vec<Endpoint>, (usize, String)> {
    let mut endpoints: BTreeMap<String, (usize, Endpoint)> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else {
            continue;
        };
        let endpoint = read_line(address, words).map_err(|why| (number, why))?;
        let name = endpoint.address.to_string();
        if let Some((first, _)) = endpoints.insert(name.clone(), (number, endpoint)) {
            return Err((number, format!("{name} stands in line {first} already")));
        }
    }
    Ok(endpoints
        .into_values()
        .map(|(_, endpoint)| endpoint)
        .collect())
}

fn read_line<'a>(address: &str, words: impl Iterator<Item = &'a str>) -> Result<Endpoint, String> {
    let mut endpoint = Endpoint::new(read_address(address)?);
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("{word:?} is not name=value, as in weight=2"));
        };
        match name {
            "weight" => {
                let wrong = |_| format!("the weight {value:?} is no number from 0 to 4294967295");
                endpoint.weight = value.parse().map_err(wrong)?;
            }
            "priority" => {
                let wrong = |_| format!("the priority {value:?} is no number from 0 to 4294967295");
                endpoint.priority = value.parse().map_err(wrong)?;
            }
            "zone" => {
                check_zone(name, value)?;
                value.clone_into(&mut endpoint.zone);
            }
            "state" => {
                endpoint.state = match value {
                    "up" => State::Up,
                    "draining" => State::Draining,
                    _ => return Err(format!("the state {value:?} is not one of up, draining")),
                }
            }
            "services" => {
                endpoint.services = value.split(',').map(str::to_owned).collect();
                endpoint.services.sort_unstable();
            }
            _ => drop(endpoint.metadata.insert(name.to_owned(), value.to_owned())),
        }
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_that_is_known_of_a_server() {
        let text = "# two\n\n tcp@b:2 weight=3 priority=2 zone=eu-1 state=draining services=B,A rack=7 # heavy\r\nunix@/run/a@b\n";
        let [b, unix] = parse(text).unwrap().try_into().unwrap();
        assert_eq!(unix, Endpoint::new("unix@/run/a@b".parse().unwrap()));
        assert_eq!((b.weight, b.priority), (3, 2));
        assert_eq!((&*b.zone, b.state), ("eu-1", State::Draining));
        assert_eq!(b.services, ["A", "B"]);
        assert_eq!(b.metadata, BTreeMap::from([("rack".into(), "7".into())]));
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        for (text, number, says) in [
            ("tcp@a:1\nnonsense\n", 2, "port is missing"),
            ("tcp@a:1 heavy\n", 1, "name=value"),
            ("\n\ntcp@a:1 weight=-1", 3, "weight"),
            ("tcp@a:1 priority=x", 1, "priority"),
            ("tcp@a:1 state=dead", 1, "up, draining"),
            ("tcp@a:1\n#\ntcp@a:1", 3, "line 1 already"),
            ("tcp@a:1,tcp@b:1", 1, "comma"),
        ] {
            let (line, why) = parse(text).unwrap_err();
            assert!(
                line == number && why.contains(says),
                "{text:?}: line {line}: {why}"
            );
        }
    }
}
