//! One direction of a stream, sending: which types the peer knows, and messages.

use std::any::TypeId;
use std::collections::HashMap;

use crate::describe::{Describer, IdHash};
use crate::error::Error;
use crate::gob::Gob;
use crate::limits::Limits;
use crate::schema::{Kind, Node, NodeId, Opaque, Schema};
use crate::value::{Value, put_value};
use crate::wire::{self, id};
use crate::write::Writer;

/// Turns values into the messages of one stream: each type's definition once, before its first value.
///
/// ```
/// use farcall_gob::Encoder;
///
/// let mut stream = vec![];
/// let mut encoder = Encoder::new();
/// encoder.encode(&"hello".to_owned(), &mut stream)?;
/// assert_eq!(stream, *b"\x08\x0c\x00\x05hello"); // length, string, not a struct, length, text
/// # Ok::<(), farcall_gob::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Encoder {
    limits: Limits,
    types: SentTypes,
    /// What stands before a value of a type, once its definition is out.
    tops: HashMap<TypeId, Top, IdHash>,
    /// The two types used last: headers and bodies alternate.
    recent: [Option<(TypeId, Top)>; 2],
}

/// How the message of a value of some type begins: room for its length, the type's id, and 0 if it is not a struct.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Top {
    /// As many of these bytes as `len`, the lowest first. A number, since those are copied in one piece: bytes were
    /// copied in pieces, and the processor waited for them.
    bytes: u64,
    len: u8,
    is_struct: bool,
}

impl Top {
    /// Opens the message: [`wire::close`] takes what this returns.
    #[inline]
    fn open(self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.truncate(start + usize::from(self.len));
        start + 1
    }

    /// The id alone.
    pub(crate) fn put_id(self, out: &mut Vec<u8>) {
        let end = usize::from(self.len - u8::from(!self.is_struct));
        out.extend_from_slice(&self.bytes.to_le_bytes()[1..end]);
    }

    /// The 0 alone, if there is one.
    pub(crate) fn put_mark(self, out: &mut Vec<u8>) {
        if !self.is_struct {
            out.push(0);
        }
    }
}

/// A point in a stream to go back to; see [`Encoder::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Mark {
    out_len: usize,
    sent: usize,
}

impl Encoder {
    /// The start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// The start of a stream, with other limits than the default ones.
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Appends the definitions that are new to this stream, then the value's message.
    ///
    /// # Errors
    /// If the value cannot be sent: it nests too deep, or is larger than the limits allow. `out` and the stream are
    /// then as before.
    pub fn encode<T: Gob>(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
        let mark = self.mark(out.len());
        let top = self.top::<T>(out);
        self.message(mark, top, out, |w| value.put(w))
    }

    /// Appends the definitions that are new to this stream, then the message of a value without a Rust type.
    ///
    /// ```
    /// use farcall_gob::{Encoder, Schema, Value};
    ///
    /// let mut stream = vec![];
    /// let list = Value::List([1, 2].into_iter().map(Value::Int).collect());
    /// Encoder::new().encode_value(&list, &Schema::of::<Vec<i64>>(), &mut stream)?;
    /// # Ok::<(), farcall_gob::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the value is not of the type, or cannot be sent: see [`encode`](Self::encode).
    pub fn encode_value(
        &mut self,
        value: &Value,
        ty: &Schema,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mark = self.mark(out.len());
        let top = self.types.define_schema(ty, out);
        self.message(mark, top, out, |w| put_value(value, ty, ty.root(), w))
    }

    #[inline]
    fn message(
        &mut self,
        mark: Mark,
        top: Top,
        out: &mut Vec<u8>,
        put: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = top.open(out);
        let done = put(&mut Writer::new(out, &mut self.types, &self.limits));
        let done = done.and_then(|()| self.check(out.len() - start));
        match done {
            Ok(()) => wire::close(out, start),
            Err(_) => self.rollback(mark, out),
        }
        if !self.types.inner.is_empty() {
            self.types.insert_inner(out, start - 1);
        }
        done
    }

    /// Remembers this point, to write several values as one unit: [`rollback`](Self::rollback) undoes everything since.
    /// `out_len` is the length of the buffer that the values are appended to.
    pub fn mark(&self, out_len: usize) -> Mark {
        Mark {
            out_len,
            sent: self.types.sent.len(),
        }
    }

    /// Goes back to a mark: cuts the buffer, and forgets the definitions that were written since.
    pub fn rollback(&mut self, mark: Mark, out: &mut Vec<u8>) {
        out.truncate(mark.out_len);
        self.types.inner.clear();
        if self.types.sent.len() > mark.sent {
            self.types.forget(mark.sent);
            self.tops.clear();
            self.recent = [None, None];
        }
    }

    #[inline]
    fn check(&self, len: usize) -> Result<(), Error> {
        if len <= self.limits.message && self.types.sent.len() <= self.limits.types {
            return Ok(());
        }
        Err(self.beyond_limits(len))
    }

    #[cold]
    fn beyond_limits(&self, len: usize) -> Error {
        let limits = &self.limits;
        Error::limit(if len > limits.message {
            format!(
                "a value of {len} bytes is longer than {}: raise Limits::message on both sides",
                limits.message
            )
        } else {
            format!(
                "the stream defines more than {} types: raise Limits::types on both sides",
                limits.types
            )
        })
    }

    #[inline]
    fn top<T: Gob>(&mut self, out: &mut Vec<u8>) -> Top {
        let ty = TypeId::of::<T>();
        for recent in self.recent.iter().flatten() {
            if recent.0 == ty {
                return recent.1;
            }
        }
        self.find_top::<T>(ty, out)
    }

    #[inline(never)]
    fn find_top<T: Gob>(&mut self, ty: TypeId, out: &mut Vec<u8>) -> Top {
        let top = match self.tops.get(&ty) {
            Some(&top) => top,
            None => {
                let top = self.types.define_type::<T>(out);
                self.tops.insert(ty, top);
                top
            }
        };
        self.recent = [Some((ty, top)), self.recent[0]];
        top
    }
}

/// The types that the peer of one stream has been told of.
#[derive(Debug, Default)]
pub(crate) struct SentTypes {
    local: Describer,
    /// The nodes of types that were given as data.
    schemas: HashMap<Schema, NodeId>,
    /// The one used last, which is quick to find.
    recent: Option<(Schema, NodeId)>,
    /// The wire ids of `local`'s nodes; 0 for those that the peer has not been told of.
    ids: Vec<i32>,
    /// Those that it has been told of, in order: the n-th has id `FIRST + n`.
    sent: Vec<NodeId>,
    /// The definitions of types that interfaces in the current value have brought along. They go before the value:
    /// then it stays one message, and receivers that skip by count, as Go does, cannot lose them.
    inner: Vec<u8>,
}

impl SentTypes {
    fn define_type<T: Gob>(&mut self, out: &mut Vec<u8>) -> Top {
        let node = T::describe(&mut self.local);
        self.define(node, out)
    }

    fn define_schema(&mut self, ty: &Schema, out: &mut Vec<u8>) -> Top {
        let node = match &self.recent {
            Some((recent, node)) if recent.is_same(ty) => *node,
            _ => {
                let node = match self.schemas.get(ty) {
                    Some(&node) => node,
                    None => {
                        let node = self.local.import(ty);
                        self.schemas.insert(ty.clone(), node);
                        node
                    }
                };
                self.recent = Some((ty.clone(), node));
                node
            }
        };
        self.define(node, out)
    }

    /// The type of what an interface holds.
    pub(crate) fn inner_type<T: Gob>(&mut self) -> Top {
        let mut inner = std::mem::take(&mut self.inner);
        let top = self.define_type::<T>(&mut inner);
        self.inner = inner;
        top
    }

    /// The same for a type that is given as data.
    pub(crate) fn inner_schema(&mut self, ty: &Schema) -> Top {
        let mut inner = std::mem::take(&mut self.inner);
        let top = self.define_schema(ty, &mut inner);
        self.inner = inner;
        top
    }

    fn insert_inner(&mut self, out: &mut Vec<u8>, at: usize) {
        out.splice(at..at, self.inner.drain(..));
    }

    fn forget(&mut self, sent: usize) {
        for node in self.sent.drain(sent..) {
            self.ids[node.ix()] = 0;
        }
    }

    /// Writes the definitions of a type and of all that it is made of, where they are new to the stream.
    fn define(&mut self, node: NodeId, out: &mut Vec<u8>) -> Top {
        self.ids.resize(self.local.len(), 0);
        let mut next = self.sent.len();
        let id = self.id(node);
        // Naming the id of a part queues the part's own definition.
        while let Some(&node) = self.sent.get(next) {
            self.write_definition(node, id::FIRST + next as i32, out);
            next += 1;
        }
        let (number, len) = wire::uint_bytes(wire::zigzag(id.into()));
        let is_struct = matches!(self.local.get(node).kind, Kind::Struct { .. });
        // An id has four bytes at most, and one that tells so.
        let mut bytes = [0; 8];
        bytes[1..].copy_from_slice(&number[..7]);
        Top {
            bytes: u64::from_le_bytes(bytes),
            len: 1 + len as u8 + u8::from(!is_struct),
            is_struct,
        }
    }

    fn id(&mut self, node: NodeId) -> i32 {
        let known = match self.local.get(node).kind {
            Kind::Bool => id::BOOL,
            Kind::Int => id::INT,
            Kind::Uint => id::UINT,
            Kind::Float => id::FLOAT,
            Kind::Complex => id::COMPLEX,
            Kind::Bytes => id::BYTES,
            Kind::String => id::STRING,
            Kind::Interface => id::INTERFACE,
            _ => self.ids[node.ix()],
        };
        if known != 0 {
            return known;
        }
        let new = id::FIRST
            + i32::try_from(self.sent.len()).expect("a program has fewer types than that");
        self.ids[node.ix()] = new;
        self.sent.push(node);
        new
    }

    /// One message: the negated id, and the type as a value of Go's `wireType`.
    fn write_definition(&mut self, node: NodeId, id: i32, out: &mut Vec<u8>) {
        let start = wire::open(out);
        let int = |out: &mut Vec<u8>, v: i32| wire::put_uint(out, wire::zigzag(v.into()));
        int(out, -id);
        let Node { name, kind } = self.local.get(node).clone();
        // The arm of wireType that is set, counted from 1 since fields are told by steps from -1.
        let arm = match &kind {
            Kind::Array { .. } => 1,
            Kind::Slice { .. } => 2,
            Kind::Struct { .. } => 3,
            Kind::Map { .. } => 4,
            Kind::Opaque(Opaque::Gob) => 5,
            Kind::Opaque(Opaque::Binary) => 6,
            Kind::Opaque(Opaque::Text) => 7,
            _ => unreachable!("basic kinds have ids of their own"),
        };
        out.extend_from_slice(&[arm, 1]);
        put_common(&name, id, out);
        match kind {
            Kind::Array { elem, len } => {
                out.push(1);
                int(out, self.id(elem));
                if len != 0 {
                    out.push(1);
                    wire::put_uint(out, wire::zigzag(len as i64));
                }
            }
            Kind::Slice { elem } => {
                out.push(1);
                int(out, self.id(elem));
            }
            Kind::Map { key, elem } => {
                out.push(1);
                int(out, self.id(key));
                out.push(1);
                int(out, self.id(elem));
            }
            Kind::Struct { fields } if !fields.is_empty() => {
                out.push(1);
                wire::put_uint(out, fields.len() as u64);
                for field in fields {
                    let id = self.id(field.ty);
                    put_common(&field.name, id, out);
                }
            }
            _ => {}
        }
        out.extend_from_slice(&[0, 0]);
        wire::close(out, start);
    }
}

/// A struct of a name and an id, as Go's `CommonType` and `fieldType` both are.
fn put_common(name: &str, id: i32, out: &mut Vec<u8>) {
    let mut step = 2;
    if !name.is_empty() {
        out.push(1);
        wire::put_uint(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        step = 1;
    }
    out.push(step);
    wire::put_uint(out, wire::zigzag(id.into()));
    out.push(0);
}
