//! Rust types as data: asks each type once for its description and keeps the answers.
//! Knows no stream.

use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::error::Error;
use crate::gob::Gob;
use crate::schema::{self, Field, Kind, Node, NodeId, Opaque, Schema};

/// A set of Rust types as gob sees them. [`Gob::describe`] adds to it.
#[derive(Clone, Debug)]
pub struct Describer {
    nodes: Vec<Node>,
    by_type: HashMap<(TypeId, u32), NodeId, IdHash>,
    /// Slices, arrays and maps without a name of their own. Equal ones are one type, as in Go: its receivers refuse two
    /// definitions for what is one type to them.
    by_kind: HashMap<Kind, NodeId>,
    /// Other names under which a field may arrive: (struct, name) to number.
    aliases: HashMap<(NodeId, &'static str), u32>,
    /// `()`, which takes whatever comes.
    unit: Option<NodeId>,
    /// Why a type among them cannot be sent after all: the first that said so.
    refusal: Option<Error>,
}

impl Default for Describer {
    fn default() -> Self {
        Self {
            nodes: schema::basic_nodes(),
            by_type: HashMap::default(),
            by_kind: HashMap::default(),
            aliases: HashMap::default(),
            unit: None,
            refusal: None,
        }
    }
}

impl Describer {
    /// `bool`.
    pub const BOOL: NodeId = NodeId::BOOL;
    /// Any signed integer.
    pub const INT: NodeId = NodeId::INT;
    /// Any unsigned integer.
    pub const UINT: NodeId = NodeId::UINT;
    /// Any float.
    pub const FLOAT: NodeId = NodeId::FLOAT;
    /// Any complex number.
    pub const COMPLEX: NodeId = NodeId::COMPLEX;
    /// Bytes.
    pub const BYTES: NodeId = NodeId::BYTES;
    /// Text.
    pub const STRING: NodeId = NodeId::STRING;
    /// Any interface.
    pub const INTERFACE: NodeId = NodeId::INTERFACE;

    /// A slice type; `L` is the Rust type that stands for it.
    pub fn slice<L: 'static, T: Gob>(&mut self) -> NodeId {
        self.node(whole::<L>(), "", |d| Kind::Slice {
            elem: T::describe(d),
        })
    }

    /// An array type; `L` is the Rust type that stands for it.
    pub fn array<L: 'static, T: Gob>(&mut self, len: usize) -> NodeId {
        self.node(whole::<L>(), "", |d| Kind::Array {
            elem: T::describe(d),
            len,
        })
    }

    /// A map type; `M` is the Rust type that stands for it.
    pub fn map<M: 'static, K: Gob, V: Gob>(&mut self) -> NodeId {
        self.node(whole::<M>(), "", |d| Kind::Map {
            key: K::describe(d),
            elem: V::describe(d),
        })
    }

    /// A type that turns itself into bytes.
    pub fn opaque<T: 'static>(&mut self, name: &str, how: Opaque) -> NodeId {
        self.node(whole::<T>(), name, |_| Kind::Opaque(how))
    }

    /// A struct type; `fields` gives names and types in the order of their numbers.
    pub fn structure<T: 'static>(
        &mut self,
        name: &str,
        fields: impl FnOnce(&mut Self) -> Vec<(&'static str, NodeId)>,
    ) -> NodeId {
        self.node(whole::<T>(), name, |d| Kind::Struct {
            fields: fields(d)
                .into_iter()
                .map(|(name, ty)| Field {
                    name: name.into(),
                    ty,
                })
                .collect(),
        })
    }

    /// Lets a field arrive under another name too.
    pub fn alias(&mut self, of: NodeId, name: &'static str, field: u32) {
        self.aliases.insert((of, name), field);
    }

    /// A type that is made up at run time: the `part`-th of those that belong to the Rust type `T`.
    pub fn made_up<T: 'static>(
        &mut self,
        part: u32,
        name: &str,
        kind: impl FnOnce(&mut Self) -> Kind,
    ) -> NodeId {
        self.node((TypeId::of::<T>(), part), name, kind)
    }

    pub(crate) fn unit(&mut self) -> NodeId {
        let node = self.node(whole::<()>(), "", |_| Kind::Struct { fields: vec![] });
        self.unit = Some(node);
        node
    }

    /// The node of a key, made by `kind` if it is new. The node stands before its parts are asked for, so that a type may
    /// contain itself.
    fn node(
        &mut self,
        key: (TypeId, u32),
        name: &str,
        kind: impl FnOnce(&mut Self) -> Kind,
    ) -> NodeId {
        if let Some(&id) = self.by_type.get(&key) {
            return id;
        }
        let id =
            NodeId(u32::try_from(self.nodes.len()).expect("a program has fewer types than that"));
        self.by_type.insert(key, id);
        self.nodes.push(Node {
            name: Arc::from(name),
            kind: Kind::Struct { fields: vec![] },
        });
        let kind = kind(self);
        if let (true, Kind::Slice { .. } | Kind::Array { .. } | Kind::Map { .. }) =
            (name.is_empty(), &kind)
        {
            if let Some(&equal) = self.by_kind.get(&kind) {
                self.by_type.insert(key, equal);
                return equal;
            }
            self.by_kind.insert(kind.clone(), id);
        }
        self.nodes[id.ix()].kind = kind;
        id
    }

    /// Adds a type that is given as data.
    pub(crate) fn import(&mut self, ty: &Schema) -> NodeId {
        let base = self.nodes.len();
        let place = |id: NodeId| match id.is_basic() {
            true => id,
            false => NodeId((base + id.ix() - schema::BASIC_NODES) as u32),
        };
        for node in ty.nodes().iter().skip(schema::BASIC_NODES) {
            let mut node = node.clone();
            node.kind.parts_mut().for_each(|part| *part = place(*part));
            self.nodes.push(node);
        }
        place(ty.root())
    }

    pub(crate) fn get(&self, id: NodeId) -> &Node {
        &self.nodes[id.ix()]
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn takes_anything(&self, id: NodeId) -> bool {
        self.unit == Some(id)
    }

    /// The number of the field of `of` that is called `name`, by its first or another name.
    pub(crate) fn field(&self, of: NodeId, fields: &[Field], name: &str) -> Option<u32> {
        match fields.iter().position(|f| *f.name == *name) {
            Some(ix) => u32::try_from(ix).ok(),
            // The key's lifetime is that of the names in the program, so look for it by hand.
            None => self
                .aliases
                .iter()
                .find(|((s, n), _)| *s == of && *n == name)
                .map(|(_, &ix)| ix),
        }
    }
}

fn whole<T: 'static>() -> (TypeId, u32) {
    (TypeId::of::<T>(), 0)
}

impl Describer {
    /// For types that find out what they are only now: this one, or a part of it, cannot be sent.
    #[cfg(feature = "serde")]
    pub(crate) fn refuse(&mut self, why: Error) {
        self.refusal.get_or_insert(why);
    }
}

impl Schema {
    /// The type of `T`.
    pub fn of<T: Gob>() -> Self {
        Self::described::<T>().0
    }

    /// The type of `T`, if its values can be sent. All types that derive [`Gob`] can; a `Serde` may
    /// hold one that cannot, which is found out here rather than with the first value.
    ///
    /// # Errors
    /// If it cannot be sent, with the path of the field and the reason.
    pub fn try_of<T: Gob>() -> Result<Self, Error> {
        match Self::described::<T>() {
            (schema, None) => Ok(schema),
            (_, Some(refusal)) => Err(refusal),
        }
    }

    fn described<T: Gob>() -> (Self, Option<Error>) {
        let mut describer = Describer::default();
        let root = T::describe(&mut describer);
        let schema = Self::extract(root, |id| describer.nodes.get(id.ix()));
        (schema.expect("all nodes are there"), describer.refusal)
    }
}

/// For keys that are good hashes already, and not the peer's choice.
pub(crate) type IdHash = BuildHasherDefault<IdHasher>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    #[inline]
    fn write_i32(&mut self, value: i32) {
        self.write_u64(value as u64);
    }
}
