//! One direction of a stream, receiving: finds values in the bytes, files definitions, and hands out values.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::cursor::{Cursor, Front, usual_front};
use crate::describe::{Describer, IdHash};
use crate::error::Error;
use crate::gob::Gob;
use crate::limits::Limits;
use crate::plan::{At, Plans};
use crate::read::Reader;
use crate::schema::{Kind, NodeId, Schema};
use crate::table::Table;
use crate::value::{Value, ValueReader};
use crate::walk::Walk;

/// Finds the values in one stream, and decodes them.
///
/// It does no reading: it is given what has arrived, in whatever pieces.
///
/// ```
/// use farcall_gob::{Decoder, Limits, Next};
///
/// let mut decoder = Decoder::new(Limits::default());
/// let stream = b"\x08\x0c\x00\x05hello";
/// assert!(matches!(decoder.next(&stream[..3])?, Next::More { consumed: 0, at_least: 6 }));
/// let Next::Value { consumed, raw } = decoder.next(stream)? else { panic!("it is all there") };
/// assert_eq!(decoder.decode::<String>(raw)?, "hello");
/// assert_eq!(consumed, stream.len());
/// # Ok::<(), farcall_gob::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    view: View,
    /// The walk over a value that is split over messages of which not all have arrived.
    walk: Option<Paused>,
    shared: OnceLock<Arc<Shared>>,
    /// Type ids of values found last, none of which can be split: headers and bodies alternate.
    plain_ids: [i32; 2],
    /// The tops used last: headers and bodies alternate.
    recent: [Option<(TypeId, i32, Top)>; 2],
}

/// What [`Decoder::next`] found at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole value.
    Value {
        /// How many bytes of the input are done with.
        consumed: usize,
        /// The value's messages, which are the last of those bytes.
        raw: &'a [u8],
    },
    /// No whole value yet. Call again with what follows those bytes that are done with.
    More {
        /// How many bytes of the input are done with.
        consumed: usize,
        /// How many bytes are missing at least.
        at_least: usize,
    },
}

/// Decodes values of one stream, away from its [`Decoder`]: in another task, or later.
///
/// Cheap to clone. It knows all definitions that its decoder has seen.
#[derive(Clone, Debug)]
pub struct Types(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    view: RwLock<View>,
}

/// What is known of the peer's types, of ours, and how they go together.
#[derive(Clone, Debug)]
struct View {
    limits: Limits,
    table: Table,
    local: Describer,
    plans: Plans,
    tops: HashMap<(TypeId, i32), Top, IdHash>,
}

/// How a message's value is read.
#[derive(Clone, Copy, Debug)]
struct Top {
    plan: u32,
    is_struct: bool,
}

#[derive(Debug)]
struct Paused {
    walk: Walk,
    /// Where in the value's bytes the walk goes on.
    offset: usize,
    /// How many bytes of a message are left there.
    left: usize,
}

impl Decoder {
    /// The start of a stream.
    pub fn new(limits: Limits) -> Self {
        let view = View {
            limits,
            table: Table::default(),
            local: Describer::default(),
            plans: Plans::default(),
            tops: HashMap::default(),
        };
        Self {
            view,
            walk: None,
            shared: OnceLock::new(),
            plain_ids: [-1; 2],
            recent: [None; 2],
        }
    }

    /// Looks for a value at the front of `input`. Definitions before it are filed; they are done with.
    ///
    /// # Errors
    /// If the bytes are no gob, or go beyond the limits. The stream cannot be read any further.
    #[inline]
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Next<'a>, Error> {
        // Most values are of a type that came before.
        if let Some((body, rest)) = usual_front(input) {
            if let Some((id, _)) = short_id(body) {
                if self.plain_ids.contains(&id) && body.len() <= self.view.limits.message {
                    let consumed = input.len() - rest.len();
                    return Ok(Next::Value {
                        consumed,
                        raw: &input[..consumed],
                    });
                }
            }
        }
        self.find(input)
    }

    fn find<'a>(&mut self, input: &'a [u8]) -> Result<Next<'a>, Error> {
        let mut consumed = 0;
        loop {
            let value = input.get(consumed..).unwrap_or_default();
            let front = Front::of(value, self.view.limits.message)
                .map_err(|e| e.at_offset(0).beyond(consumed))?;
            let (body, rest) = match front {
                Front::Cut(at_least) => return Ok(Next::More { consumed, at_least }),
                Front::Whole { body, rest } => (body, rest),
            };
            let len = value.len() - rest.len();
            let mut cur =
                Cursor::resume(value, len - body.len(), body.len()).ok_or_else(misused)?;
            let in_input = |e: Error| e.beyond(consumed);
            let id = cur.id().map_err(in_input)?;
            if id > 0 {
                let slot = self.view.table.check(id).map_err(in_input)?;
                if !self.view.table.splits(slot) {
                    self.plain_ids = [id, self.plain_ids[0]];
                    self.publish();
                    return Ok(Next::Value {
                        consumed: consumed + len,
                        raw: &value[..len],
                    });
                }
                return self.walk_over(value, consumed, cur, slot).map_err(in_input);
            }
            self.view
                .table
                .define(-id, &mut cur, &self.view.limits)
                .map_err(in_input)?;
            if !cur.msg.is_empty() {
                return Err(in_input(
                    cur.corrupt("bytes follow a definition in its message"),
                ));
            }
            consumed += len;
        }
    }

    /// Finds the end of a value that may be split over several messages.
    #[inline(never)]
    fn walk_over<'a>(
        &mut self,
        value: &'a [u8],
        consumed: usize,
        cur: Cursor<'_>,
        slot: NodeId,
    ) -> Result<Next<'a>, Error> {
        let (mut walk, mut cur) = match self.walk.take() {
            Some(paused) => (
                paused.walk,
                Cursor::resume(value, paused.offset, paused.left).ok_or_else(misused)?,
            ),
            None => {
                let mut cur = cur;
                let mut walk = Walk::default();
                walk.enter_top(slot, &mut cur, &self.view.table)?;
                (walk, cur)
            }
        };
        let starved = walk.run(&mut cur, &mut self.view.table, &self.view.limits)?;
        let offset = cur.offset();
        if offset > self.view.limits.message {
            return Err(Error::limit(format!(
                "a value of more than {} bytes: raise Limits::message if that is no attack",
                self.view.limits.message
            )));
        }
        match starved {
            Some(at_least) => {
                self.walk = Some(Paused {
                    walk,
                    offset,
                    left: cur.msg.len(),
                });
                Ok(Next::More { consumed, at_least })
            }
            None => {
                self.publish();
                // What follows the value in its last message belongs to nothing.
                let len = offset + cur.msg.len();
                Ok(Next::Value {
                    consumed: consumed + len,
                    raw: value.get(..len).unwrap_or_default(),
                })
            }
        }
    }

    /// Decodes a value that [`next`](Self::next) found.
    ///
    /// # Errors
    /// If the value does not fit `T`, or takes more than the limits allow. The next value is not affected.
    #[inline]
    pub fn decode<T: Gob>(&mut self, raw: &[u8]) -> Result<T, Error> {
        let (id, cur) = first_message(raw)?;
        let ty = TypeId::of::<T>();
        let mut recent = self.recent.iter().flatten();
        let top = match recent.find(|(t, i, _)| *t == ty && *i == id) {
            Some(&(_, _, top)) => top,
            None => {
                let top = self.view.top::<T>(id)?;
                self.recent = [Some((ty, id, top)), self.recent[0]];
                top
            }
        };
        self.view.decode(top, cur)
    }

    /// Decodes a value that [`next`](Self::next) found, whatever its type.
    ///
    /// # Errors
    /// If the bytes are no gob, or the value takes more than the limits allow. The next value is not affected.
    pub fn decode_value(&mut self, raw: &[u8]) -> Result<Value, Error> {
        self.view.decode_value(raw)
    }

    /// The type of a value that [`next`](Self::next) found.
    ///
    /// # Errors
    /// If the bytes are no gob, or the type takes more memory than the limits allow.
    pub fn schema_of_value(&mut self, raw: &[u8]) -> Result<Schema, Error> {
        self.view.schema_of_value(raw)
    }

    /// The limits of the stream.
    pub fn limits(&self) -> &Limits {
        &self.view.limits
    }

    /// Which type of [`graph`](Self::graph) a value that [`next`](Self::next) found has.
    ///
    /// # Errors
    /// If the bytes are no gob.
    pub fn type_of_value(&self, raw: &[u8]) -> Result<NodeId, Error> {
        let (id, _) = first_message(raw)?;
        self.view.table.find_checked(id)
    }

    /// All types that the stream has named so far, as one graph, in the order in which they were named. One that is not
    /// defined yet is an interface there.
    pub fn graph(&self) -> Schema {
        self.view.table.graph()
    }

    /// A handle that can decode this stream's values elsewhere.
    pub fn types(&self) -> Types {
        let shared = self.shared.get_or_init(|| {
            Arc::new(Shared {
                view: RwLock::new(self.view.clone()),
            })
        });
        Types(shared.clone())
    }

    /// Tells the handles of definitions that came since.
    #[inline]
    fn publish(&mut self) {
        if let Some(shared) = self.shared.get() {
            if self.view.table.has_changed() {
                let mut view = shared.view.write().unwrap_or_else(PoisonError::into_inner);
                view.table.catch_up(&mut self.view.table);
            }
        }
    }
}

impl Types {
    /// Decodes a value that the stream's [`Decoder::next`] found.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode<T: Gob>(&self, raw: &[u8]) -> Result<T, Error> {
        let (id, cur) = first_message(raw)?;
        let view = self.0.view.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(&top) = view.tops.get(&(TypeId::of::<T>(), id)) {
            return view.decode(top, cur);
        }
        drop(view);
        let top = self
            .0
            .view
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .top::<T>(id)?;
        self.0
            .view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .decode(top, cur)
    }

    /// Decodes a value that the stream's [`Decoder::next`] found, whatever its type.
    ///
    /// # Errors
    /// As [`Decoder::decode_value`].
    pub fn decode_value(&self, raw: &[u8]) -> Result<Value, Error> {
        self.0
            .view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .decode_value(raw)
    }

    /// The type of a value that the stream's [`Decoder::next`] found.
    ///
    /// # Errors
    /// As [`Decoder::schema_of_value`].
    pub fn schema_of_value(&self, raw: &[u8]) -> Result<Schema, Error> {
        self.0
            .view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .schema_of_value(raw)
    }

    /// The limits of the stream.
    pub fn limits(&self) -> Limits {
        let view = self.0.view.read().unwrap_or_else(PoisonError::into_inner);
        view.limits.clone()
    }
}

impl View {
    /// How values of type `id` are read as `T`; worked out if this is the first.
    fn top<T: Gob>(&mut self, id: i32) -> Result<Top, Error> {
        let key = (TypeId::of::<T>(), id);
        if let Some(&top) = self.tops.get(&key) {
            return Ok(top);
        }
        let theirs = self.table.check(id)?;
        let ours = T::describe(&mut self.local);
        let plan = self.plans.compile(&self.local, &self.table, ours, theirs)?;
        let is_struct = matches!(
            self.table.node(theirs).map(|n| &n.kind),
            Some(Kind::Struct { .. })
        );
        let top = Top { plan, is_struct };
        self.tops.insert(key, top);
        Ok(top)
    }

    #[inline(always)]
    fn decode<T: Gob>(&self, top: Top, mut cur: Cursor<'_>) -> Result<T, Error> {
        if !top.is_struct {
            cur.not_a_struct()?;
        }
        T::get(
            &mut Reader::new(cur, &self.table, &self.limits),
            At::new(&self.plans, top.plan),
        )
    }

    fn decode_value(&self, raw: &[u8]) -> Result<Value, Error> {
        let (id, cur) = first_message(raw)?;
        let slot = self.table.find_checked(id)?;
        ValueReader::new(&mut Reader::new(cur, &self.table, &self.limits)).top(slot)
    }

    fn schema_of_value(&self, raw: &[u8]) -> Result<Schema, Error> {
        let (id, cur) = first_message(raw)?;
        let slot = self.table.find_checked(id)?;
        Reader::new(cur, &self.table, &self.limits).schema(slot)
    }
}

/// The type id that a message begins with, if it is one of the first few, and what follows.
#[cfg_attr(not(debug_assertions), inline(always))]
fn short_id(message: &[u8]) -> Option<(i32, &[u8])> {
    match message {
        [id, rest @ ..] if *id < 0x80 && id % 2 == 0 => Some((i32::from(id / 2), rest)),
        [0xFF, id, rest @ ..] if id % 2 == 0 => Some((i32::from(id / 2), rest)),
        _ => None,
    }
}

/// The type id of a value's first message, and the place after it.
// Inlined, since returning it through memory takes longer than finding it: it is written in other pieces than it is read.
#[inline(always)]
fn first_message(raw: &[u8]) -> Result<(i32, Cursor<'_>), Error> {
    if let Some((body, [])) = usual_front(raw) {
        if let Some((id, rest)) = short_id(body) {
            return Ok((id, Cursor::last(rest, raw.len())));
        }
    }
    let mut cur = Cursor::new(raw);
    if cur.next_message(usize::MAX)?.is_some() {
        return Err(Error::corrupt("the value is cut off"));
    }
    let id = cur.id()?;
    Ok((id, cur))
}

#[cold]
fn misused() -> Error {
    Error::corrupt("the input does not go on where it stopped")
}
