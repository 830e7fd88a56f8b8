//! Types as data: a graph of nodes that can be looked at, compared and passed around.
//! How Rust types get theirs is in `describe`, how a stream's definitions get theirs is in `table`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

mod parse;
mod print;

pub use parse::TypeSyntaxError;
#[cfg(feature = "serde")]
pub(crate) use print::go_name;

/// The index of a [`Node`] in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// The types that need no definition have the same index in each schema.
impl NodeId {
    /// [`Kind::Bool`].
    pub const BOOL: Self = Self(0);
    /// [`Kind::Int`].
    pub const INT: Self = Self(1);
    /// [`Kind::Uint`].
    pub const UINT: Self = Self(2);
    /// [`Kind::Float`].
    pub const FLOAT: Self = Self(3);
    /// [`Kind::Complex`].
    pub const COMPLEX: Self = Self(4);
    /// [`Kind::Bytes`].
    pub const BYTES: Self = Self(5);
    /// [`Kind::String`].
    pub const STRING: Self = Self(6);
    /// [`Kind::Interface`].
    pub const INTERFACE: Self = Self(7);

    pub(crate) fn ix(self) -> usize {
        self.0 as usize
    }

    /// True for the types that need no definition.
    pub(crate) fn is_basic(self) -> bool {
        self.ix() < BASIC_NODES
    }
}

/// One type of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The type's own name, or nothing for types that have none in Go either, as `[]int`.
    /// It only informs: gob matches types by their structure and fields by their names.
    pub name: Arc<str>,
    /// What it is made of.
    pub kind: Kind,
}

/// The kinds of type that gob knows. All widths of integers and floats are one kind each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Go's `bool`.
    Bool,
    /// Go's `int`, `int8` to `int64`.
    Int,
    /// Go's `uint`, `uint8` to `uint64`, `uintptr`.
    Uint,
    /// Go's `float32`, `float64`.
    Float,
    /// Go's `complex64`, `complex128`.
    Complex,
    /// Go's `[]byte`.
    Bytes,
    /// Go's `string`.
    String,
    /// Any Go interface.
    Interface,
    /// Go's `[len]elem`.
    Array {
        /// The type of the elements.
        elem: NodeId,
        /// How many there are.
        len: usize,
    },
    /// Go's `[]elem`, except `[]byte`.
    Slice {
        /// The type of the elements.
        elem: NodeId,
    },
    /// Go's `map[key]elem`.
    Map {
        /// The type of the keys.
        key: NodeId,
        /// The type of the values.
        elem: NodeId,
    },
    /// A struct, with the fields that are sent, in the order of their numbers.
    Struct {
        /// Those fields.
        fields: Vec<Field>,
    },
    /// A type that turns itself into bytes.
    Opaque(Opaque),
}

impl Kind {
    /// The types that this one is made of.
    pub fn parts(&self) -> impl Iterator<Item = NodeId> + '_ {
        let (one, two, fields) = match self {
            Self::Array { elem, .. } | Self::Slice { elem } => (Some(*elem), None, &[][..]),
            Self::Map { key, elem } => (Some(*key), Some(*elem), &[][..]),
            Self::Struct { fields } => (None, None, &fields[..]),
            _ => (None, None, &[][..]),
        };
        one.into_iter()
            .chain(two)
            .chain(fields.iter().map(|f| f.ty))
    }

    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut NodeId> {
        let (one, two, fields) = match self {
            Self::Array { elem, .. } | Self::Slice { elem } => (Some(elem), None, &mut [][..]),
            Self::Map { key, elem } => (Some(key), Some(elem), &mut [][..]),
            Self::Struct { fields } => (None, None, &mut fields[..]),
            _ => (None, None, &mut [][..]),
        };
        one.into_iter()
            .chain(two)
            .chain(fields.iter_mut().map(|f| &mut f.ty))
    }
}

/// The ways in which a type can turn itself into bytes. A receiver takes only its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opaque {
    /// By Go's `GobEncoder` and `GobDecoder`, as `time.Time` and `big.Int` do.
    Gob,
    /// By Go's `BinaryMarshaler` and `BinaryUnmarshaler`, as `url.URL` and `netip.Addr` do.
    Binary,
    /// By Go's `TextMarshaler`: in the format, but Go itself never sends it.
    Text,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The name by which sender and receiver find each other's fields.
    pub name: Arc<str>,
    /// Its type.
    pub ty: NodeId,
}

/// A type as data: a graph of [`Node`]s, since types may refer to themselves, seen from one of them.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Schema {
    nodes: Arc<[Node]>,
    root: NodeId,
}

impl Schema {
    pub(crate) fn new(nodes: Vec<Node>, root: NodeId) -> Self {
        Self {
            nodes: nodes.into(),
            root,
        }
    }

    /// One type out of a larger graph, with all that it is made of. `None` if `node` does not have one of them.
    pub(crate) fn extract<'n>(
        root: NodeId,
        mut node: impl FnMut(NodeId) -> Option<&'n Node>,
    ) -> Option<Self> {
        let mut nodes = basic_nodes();
        let mut order = vec![];
        let mut places: HashMap<NodeId, NodeId> = HashMap::new();
        let mut place = |id: NodeId, order: &mut Vec<NodeId>| {
            if id.is_basic() {
                return id;
            }
            *places.entry(id).or_insert_with(|| {
                order.push(id);
                NodeId((BASIC_NODES + order.len() - 1) as u32)
            })
        };
        let root = place(root, &mut order);
        while let Some(&id) = order.get(nodes.len() - BASIC_NODES) {
            let mut node = node(id)?.clone();
            node.kind
                .parts_mut()
                .for_each(|part| *part = place(*part, &mut order));
            nodes.push(node);
        }
        Some(Self::new(nodes, root))
    }

    /// A type that needs no definition.
    pub(crate) fn basic(id: NodeId) -> Self {
        static NODES: OnceLock<Arc<[Node]>> = OnceLock::new();
        Self {
            nodes: NODES.get_or_init(|| basic_nodes().into()).clone(),
            root: id,
        }
    }

    /// True if both are the same by sharing memory, which is quick to see.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.root == other.root && Arc::ptr_eq(&self.nodes, &other.nodes)
    }

    /// The index of the type that this schema is about.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The type that this schema is about.
    pub fn root_node(&self) -> &Node {
        self.node(self.root)
    }

    /// One of its types.
    ///
    /// # Panics
    /// If `id` is of another schema.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.ix()]
    }

    /// All of its types: the ones without a definition first, then the others in no particular order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The indexes of its types, without those that need no definition.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (BASIC_NODES..self.nodes.len()).map(|ix| NodeId(ix as u32))
    }

    /// The same graph, seen from another of its types.
    ///
    /// # Panics
    /// If `root` is of another schema.
    pub fn seen_from(&self, root: NodeId) -> Self {
        assert!(
            root.ix() < self.nodes.len(),
            "the node is of another schema"
        );
        Self {
            nodes: self.nodes.clone(),
            root,
        }
    }
}

/// Makes a [`Schema`] by hand, for values whose types are known only at run time.
///
/// ```
/// use farcall_gob::{Field, Kind, NodeId, SchemaBuilder};
///
/// // type Tree struct { Name string; Kids []Tree }
/// let mut builder = SchemaBuilder::new();
/// let tree = builder.declare();
/// let kids = builder.add("", Kind::Slice { elem: tree });
/// let field = |name: &str, ty| Field { name: name.into(), ty };
/// builder.define(tree, "Tree", Kind::Struct { fields: vec![field("Name", NodeId::STRING), field("Kids", kids)] });
/// assert_eq!(builder.finish(tree).to_string(), "Tree{Name string; Kids []Tree}");
/// ```
#[derive(Clone, Debug)]
pub struct SchemaBuilder {
    nodes: Vec<Option<Node>>,
    known: HashMap<Node, NodeId>,
}

impl Default for SchemaBuilder {
    fn default() -> Self {
        Self {
            nodes: basic_nodes().into_iter().map(Some).collect(),
            known: HashMap::new(),
        }
    }
}

impl SchemaBuilder {
    /// Without any types but those that need no definition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type. The same type added twice is one.
    pub fn add(&mut self, name: &str, kind: Kind) -> NodeId {
        if let Some(basic) = self.nodes[..BASIC_NODES]
            .iter()
            .flatten()
            .position(|node| node.kind == kind)
        {
            return NodeId(basic as u32);
        }
        let node = Node {
            name: name.into(),
            kind,
        };
        if let Some(&id) = self.known.get(&node) {
            return id;
        }
        let id = self.declare();
        self.nodes[id.ix()] = Some(node.clone());
        self.known.insert(node, id);
        id
    }

    /// Adds a type that is [defined](Self::define) later, so that types can be made of themselves.
    pub fn declare(&mut self) -> NodeId {
        self.nodes.push(None);
        NodeId((self.nodes.len() - 1) as u32)
    }

    /// Says what a declared type is.
    ///
    /// # Panics
    /// If `id` is not of this builder.
    pub fn define(&mut self, id: NodeId, name: &str, kind: Kind) {
        self.nodes[id.ix()] = Some(Node {
            name: name.into(),
            kind,
        });
    }

    /// The schema of one of the types.
    ///
    /// # Panics
    /// If it is made of types that are not of this builder, or not defined.
    pub fn finish(self, root: NodeId) -> Schema {
        Schema::extract(root, |id| self.nodes.get(id.ix())?.as_ref())
            .expect("every type is of this builder and defined")
    }
}

/// How many types need no definition.
pub(crate) const BASIC_NODES: usize = 8;

/// The types that need no definition, in the order of their [`NodeId`]s.
pub(crate) fn basic_nodes() -> Vec<Node> {
    let name: Arc<str> = "".into();
    [
        Kind::Bool,
        Kind::Int,
        Kind::Uint,
        Kind::Float,
        Kind::Complex,
        Kind::Bytes,
        Kind::String,
        Kind::Interface,
    ]
    .into_iter()
    .map(|kind| Node {
        name: name.clone(),
        kind,
    })
    .collect()
}

/// A type of Go's library that encodes itself: how, its name on the wire, its name in Go, its name in Rust if it has one.
pub(crate) type WellKnown = (Opaque, &'static str, &'static str, &'static str);

/// Those of them that are known by name.
pub(crate) fn well_known() -> &'static [WellKnown] {
    &[
        (Opaque::Gob, "Time", "time.Time", "std::time::SystemTime"),
        (Opaque::Gob, "Int", "big.Int", ""),
        (Opaque::Gob, "Rat", "big.Rat", ""),
        (Opaque::Gob, "Float", "big.Float", ""),
        (Opaque::Binary, "URL", "url.URL", ""),
        (Opaque::Binary, "Addr", "netip.Addr", "std::net::IpAddr"),
        (
            Opaque::Binary,
            "AddrPort",
            "netip.AddrPort",
            "std::net::SocketAddr",
        ),
        (Opaque::Binary, "Prefix", "netip.Prefix", ""),
    ]
}
