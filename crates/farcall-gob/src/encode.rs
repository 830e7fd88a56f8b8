//! One direction of a stream, sending: which types the peer knows, and messages.

use std::any::TypeId;
use std::collections::HashMap;

use crate::describe::{Describer, IdHash};
use crate::error::Error;
use crate::gob::Gob;
use crate::limits::Limits;
use crate::schema::{Kind, Node, NodeId, Opaque};
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
    local: Describer,
    /// The wire ids of `local`'s nodes; 0 for those that the peer has not been told of.
    ids: Vec<i32>,
    /// Those that it has been told of, in order: the n-th has id `FIRST + n`.
    sent: Vec<NodeId>,
    /// What stands before a value of a type, once its definition is out.
    tops: HashMap<TypeId, Top, IdHash>,
    /// The two types used last: headers and bodies alternate.
    recent: [Option<(TypeId, Top)>; 2],
}

/// How values of a type begin: its id, and 0 if it is not a struct.
#[derive(Clone, Copy, Debug)]
struct Top {
    bytes: [u8; 8],
    len: u8,
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
        let start = wire::open(out);
        let end = start + usize::from(top.len);
        out.extend_from_slice(&top.bytes);
        out.truncate(end);
        let done = value
            .put(&mut Writer::new(out, &self.limits))
            .and_then(|()| self.check_len(out.len() - start));
        match done {
            Ok(()) => wire::close(out, start),
            Err(_) => self.rollback(mark, out),
        }
        done
    }

    /// Remembers this point, to write several values as one unit: [`rollback`](Self::rollback) undoes everything since.
    /// `out_len` is the length of the buffer that the values are appended to.
    pub fn mark(&self, out_len: usize) -> Mark {
        Mark {
            out_len,
            sent: self.sent.len(),
        }
    }

    /// Goes back to a mark: cuts the buffer, and forgets the definitions that were written since.
    pub fn rollback(&mut self, mark: Mark, out: &mut Vec<u8>) {
        out.truncate(mark.out_len);
        if self.sent.len() > mark.sent {
            for node in self.sent.drain(mark.sent..) {
                self.ids[node.ix()] = 0;
            }
            self.tops.clear();
            self.recent = [None, None];
        }
    }

    fn check_len(&self, len: usize) -> Result<(), Error> {
        if len <= self.limits.message {
            return Ok(());
        }
        Err(Error::limit(format!(
            "a value of {len} bytes is longer than {} bytes: raise Limits::message on both sides",
            self.limits.message
        )))
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
                let node = T::describe(&mut self.local);
                let top = self.define(node, out);
                self.tops.insert(ty, top);
                top
            }
        };
        self.recent = [Some((ty, top)), self.recent[0]];
        top
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
        let mut top = Top {
            bytes: [0; 8],
            len: len as u8,
        };
        top.bytes.copy_from_slice(&number[..8]);
        if !matches!(self.local.get(node).kind, Kind::Struct { .. }) {
            top.len += 1;
        }
        top
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
