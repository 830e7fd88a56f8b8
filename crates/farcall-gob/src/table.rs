//! The types that the peer has defined on one stream: filed as they come, looked up by id.
//! Which of them fit which Rust types is in `plan`.

use std::sync::{Arc, LazyLock};

use crate::cursor::Cursor;
use crate::error::Error;
use crate::limits::Limits;
use crate::schema::{self, Field, Kind, Node, NodeId, Opaque, Schema};
use crate::wire::id;

/// A graph of types like a [`Schema`](crate::Schema), in which some may be named already but not yet defined.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    /// Which slot an id has, sorted by id: ids are the peer's choice, so no hash.
    by_id: Vec<(i32, NodeId)>,
    /// The slots that changed since [`catch_up`](Self::catch_up) last copied them elsewhere.
    changed: Vec<NodeId>,
    /// How many bytes all definitions had together.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    node: Option<Arc<Node>>,
    checked: Checked,
}

/// What is known about all that a type is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    No,
    Now,
    /// All of it is defined. `splits`: there may be interfaces in it, so a value may take several messages.
    Whole {
        splits: bool,
    },
}

/// What every stream knows from the start. (The ids 16 to 24, of the types of definitions themselves, are no types that
/// a value can have: Go's decoder takes them for undefined too.)
fn known_from_the_start() -> Table {
    let ids = [
        id::BOOL,
        id::INT,
        id::UINT,
        id::FLOAT,
        id::COMPLEX,
        id::BYTES,
        id::STRING,
        id::INTERFACE,
    ];
    let mut by_id: Vec<_> = ids.into_iter().zip((0..).map(NodeId)).collect();
    by_id.sort_unstable();
    let slot = |node: Node| {
        let checked = Checked::Whole {
            splits: node.kind == Kind::Interface,
        };
        Slot {
            node: Some(Arc::new(node)),
            checked,
        }
    };
    Table {
        slots: schema::basic_nodes().into_iter().map(slot).collect(),
        by_id,
        changed: vec![],
        bytes: 0,
    }
}

impl Default for Table {
    fn default() -> Self {
        static KNOWN: LazyLock<Table> = LazyLock::new(known_from_the_start);
        KNOWN.clone()
    }
}

impl Table {
    pub(crate) fn node(&self, slot: NodeId) -> Option<&Arc<Node>> {
        self.slots.get(slot.ix())?.node.as_ref()
    }

    #[inline]
    pub(crate) fn find(&self, id: i32) -> Option<NodeId> {
        let ix = self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        self.by_id.get(ix).map(|&(_, slot)| slot)
    }

    /// True if values of a type that passed [`check`](Self::check) may take several messages.
    pub(crate) fn splits(&self, slot: NodeId) -> bool {
        self.slots
            .get(slot.ix())
            .is_none_or(|s| s.checked != Checked::Whole { splits: false })
    }

    /// The type of a value that is about to be read: it, and all that it is made of, must be defined.
    #[inline]
    pub(crate) fn check(&mut self, id: i32) -> Result<NodeId, Error> {
        let Some(slot) = self.find(id) else {
            return Err(undefined(id));
        };
        match self.slots.get(slot.ix()).map(|s| s.checked) {
            Some(Checked::Whole { .. }) => {}
            _ => self.check_parts(slot)?,
        }
        Ok(slot)
    }

    fn check_parts(&mut self, root: NodeId) -> Result<(), Error> {
        let mut fresh = vec![];
        let mut uses = vec![]; // (part, the type it is a part of)
        let mut splitting = vec![];
        let mut todo = vec![root];
        while let Some(slot) = todo.pop() {
            match self.slots[slot.ix()].checked {
                Checked::No => {}
                _ => continue,
            }
            self.slots[slot.ix()].checked = Checked::Now;
            fresh.push(slot);
            let Some(node) = self.slots[slot.ix()].node.clone() else {
                fresh
                    .iter()
                    .for_each(|s| self.slots[s.ix()].checked = Checked::No);
                return Err(undefined(self.id_of(slot)));
            };
            for part in node.kind.parts() {
                uses.push((part, slot));
                match self.slots[part.ix()].checked {
                    Checked::Whole { splits: true } => splitting.push(slot),
                    Checked::Whole { splits: false } | Checked::Now => {}
                    Checked::No => todo.push(part),
                }
            }
        }
        for slot in &fresh {
            self.slots[slot.ix()].checked = Checked::Whole { splits: false };
        }
        self.changed.extend_from_slice(&fresh);
        // What uses a type that splits, splits.
        uses.sort_unstable();
        while let Some(slot) = splitting.pop() {
            let state = &mut self.slots[slot.ix()].checked;
            if *state == (Checked::Whole { splits: true }) {
                continue;
            }
            *state = Checked::Whole { splits: true };
            let first = uses.partition_point(|&(part, _)| part < slot);
            splitting.extend(
                uses[first..]
                    .iter()
                    .take_while(|&&(part, _)| part == slot)
                    .map(|&(_, user)| user),
            );
        }
        Ok(())
    }

    fn id_of(&self, slot: NodeId) -> i32 {
        self.by_id
            .iter()
            .find(|&&(_, s)| s == slot)
            .map_or(0, |&(id, _)| id)
    }

    /// The slot of an id that a definition names, be it defined or not.
    fn slot(&mut self, id: i32, limits: &Limits) -> Result<NodeId, Error> {
        let at = match self.by_id.binary_search_by_key(&id, |&(id, _)| id) {
            Ok(at) => return Ok(self.by_id[at].1),
            Err(at) => at,
        };
        if id < id::FIRST {
            return Err(Error::corrupt(format!(
                "there is no predefined type with id {id}"
            )));
        }
        if self.slots.len() >= limits.types.saturating_add(schema::BASIC_NODES) {
            return Err(Error::limit(format!(
                "the stream defines more than {} types: raise Limits::types if that is no attack",
                limits.types
            )));
        }
        let slot =
            NodeId(u32::try_from(self.slots.len()).map_err(|_| Error::limit("too many types"))?);
        self.slots.push(Slot {
            node: None,
            checked: Checked::No,
        });
        self.by_id.insert(at, (id, slot));
        Ok(slot)
    }

    /// Files the definition of `id` that stands at the cursor.
    pub(crate) fn define(
        &mut self,
        id: i32,
        cur: &mut Cursor<'_>,
        limits: &Limits,
    ) -> Result<(), Error> {
        if id < id::FIRST {
            return Err(cur.corrupt(format!("id {id} is reserved and cannot be defined")));
        }
        let at = *cur;
        let slot = self
            .slot(id, limits)
            .map_err(|e| e.at_offset(at.offset()))?;
        if self.slots[slot.ix()].node.is_some() {
            return Err(at.corrupt(format!("type {id} is defined twice")));
        }
        let node = read_definition(cur, limits, |id| self.slot(id, limits))?;
        self.bytes += cur.offset().saturating_sub(at.offset());
        if self.bytes > limits.definitions {
            return Err(Error::limit(format!(
                "the definitions of the stream's types have more than {} bytes: raise Limits::definitions if that is no \
                 attack",
                limits.definitions
            ))
            .at_offset(at.offset()));
        }
        self.slots[slot.ix()].node = Some(Arc::new(node));
        self.changed.push(slot);
        Ok(())
    }

    /// Passes over a definition that was filed when its value was first walked over.
    pub(crate) fn pass_definition(
        &self,
        id: i32,
        cur: &mut Cursor<'_>,
        limits: &Limits,
    ) -> Result<(), Error> {
        if self.find(id).and_then(|slot| self.node(slot)).is_none() {
            return Err(undefined(id).at_offset(cur.offset()));
        }
        read_definition(cur, limits, |_| Ok(NodeId::BOOL)).map(drop)
    }

    /// The slot of a type that passed [`check`](Self::check).
    pub(crate) fn find_checked(&self, id: i32) -> Result<NodeId, Error> {
        match self.find(id) {
            Some(slot) if matches!(self.slots[slot.ix()].checked, Checked::Whole { .. }) => {
                Ok(slot)
            }
            _ => Err(undefined(id)),
        }
    }

    /// A type and all that it is made of, as a graph of their own. `memory` is what it may take, and pays for it;
    /// `None` if that is too little.
    pub(crate) fn schema(&self, root: NodeId, memory: &mut usize) -> Option<Schema> {
        // The basic types are in each graph, once in a list that grows and once for good.
        *memory = memory.checked_sub(3 * schema::BASIC_NODES * size_of::<Node>())?;
        Schema::extract(root, |slot| {
            let node = self.node(slot)?;
            let fields = match &node.kind {
                Kind::Struct { fields } => size_of_val(&**fields),
                _ => 0,
            };
            // For the node, its fields, and the lists of nodes while they grow.
            *memory = memory.checked_sub(4 * size_of::<Node>() + fields)?;
            Some(&**node)
        })
    }

    /// All types that were named, in that order.
    pub(crate) fn graph(&self) -> Schema {
        let undefined = || Node {
            name: Arc::default(),
            kind: Kind::Interface,
        };
        let node = |slot: &Slot| slot.node.as_deref().map_or_else(undefined, Node::clone);
        Schema::new(self.slots.iter().map(node).collect(), NodeId::INTERFACE)
    }

    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes over what `newer`, the table of the same stream, has learned since the last time.
    pub(crate) fn catch_up(&mut self, newer: &mut Self) {
        if newer.changed.is_empty() {
            return;
        }
        self.slots
            .extend_from_slice(newer.slots.get(self.slots.len()..).unwrap_or_default());
        for slot in newer.changed.drain(..) {
            self.slots[slot.ix()] = newer.slots[slot.ix()].clone();
        }
        self.by_id.clone_from(&newer.by_id);
    }
}

#[cold]
fn undefined(id: i32) -> Error {
    Error::corrupt(format!("type {id} is used but not defined"))
}

/// A type as a value of Go's `wireType`: a struct with one field set, which is a struct whose first field holds a name
/// that only informs and the id once more, which Go ignores too.
fn read_definition(
    cur: &mut Cursor<'_>,
    limits: &Limits,
    mut slot: impl FnMut(i32) -> Result<NodeId, Error>,
) -> Result<Node, Error> {
    let start = *cur;
    let mut name: Arc<str> = Arc::default();
    let mut kind = None;
    each_field(cur, |cur, arm| {
        if arm > 6 {
            return Err(cur.corrupt("a definition of an unknown kind of type"));
        }
        if kind.is_some() {
            return Err(cur.corrupt("a definition of two kinds at once"));
        }
        let (mut ids, mut len, mut fields) = ([None; 2], 0, vec![]);
        each_field(cur, |cur, field| match (arm, field) {
            (_, 0) => {
                name = read_name_and_id(cur)?.0;
                Ok(())
            }
            (0 | 1, 1) | (3, 1 | 2) => {
                let at = *cur;
                let id = cur.id()?;
                ids[field as usize - 1] = Some(slot(id).map_err(|e| e.at_offset(at.offset()))?);
                Ok(())
            }
            (0, 2) => {
                let at = *cur;
                let n = cur.int()?;
                len = usize::try_from(n)
                    .map_err(|_| at.corrupt(format!("an array of length {n}")))?;
                Ok(())
            }
            (2, 1) => {
                let at = *cur;
                let count = cur.uint()?;
                // A field has a type, so it takes three bytes at least. Room is made for no more than the message may hold.
                let fit = cur.msg.len() / 3;
                let Some(count) = usize::try_from(count).ok().filter(|&n| n <= fit) else {
                    return Err(at.corrupt(format!(
                        "{count} fields should follow, but the message is shorter"
                    )));
                };
                if count > limits.fields {
                    return Err(Error::limit(format!(
                        "a struct of {count} fields, more than {}: raise Limits::fields if that is no attack",
                        limits.fields
                    ))
                    .at_offset(at.offset()));
                }
                fields = Vec::with_capacity(count);
                for _ in 0..count {
                    let at = *cur;
                    let (name, id) = read_name_and_id(cur)?;
                    let id =
                        i32::try_from(id).map_err(|_| at.corrupt(format!("{id} is no type id")))?;
                    let ty = slot(id).map_err(|e| e.at_offset(at.offset()))?;
                    fields.push(Field { name, ty });
                }
                Ok(())
            }
            _ => Err(cur.corrupt("a definition with an unknown part")),
        })?;
        let missing = || start.corrupt("a definition without the type of its elements");
        kind = Some(match (arm, ids) {
            (0, [elem, _]) => Kind::Array {
                elem: elem.ok_or_else(missing)?,
                len,
            },
            (1, [elem, _]) => Kind::Slice {
                elem: elem.ok_or_else(missing)?,
            },
            (2, _) => Kind::Struct { fields },
            (3, [key, elem]) => Kind::Map {
                key: key.ok_or_else(missing)?,
                elem: elem.ok_or_else(missing)?,
            },
            (4, _) => Kind::Opaque(Opaque::Gob),
            (5, _) => Kind::Opaque(Opaque::Binary),
            _ => Kind::Opaque(Opaque::Text),
        });
        Ok(())
    })?;
    match kind {
        Some(kind) => Ok(Node { name, kind }),
        None => Err(start.corrupt("a definition of nothing")),
    }
}

/// Walks over a struct's fields, numbered from 0.
fn each_field<'a>(
    cur: &mut Cursor<'a>,
    mut field: impl FnMut(&mut Cursor<'a>, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut next = 0u64;
    loop {
        let at = *cur;
        let step = cur.uint()?;
        if step == 0 {
            return Ok(());
        }
        next = next
            .checked_add(step)
            .ok_or_else(|| at.corrupt("a field number beyond all bounds"))?;
        field(cur, next - 1)?;
    }
}

/// The type's own name and id are a struct of two, as is a field's name and the id of its type.
fn read_name_and_id(cur: &mut Cursor<'_>) -> Result<(Arc<str>, i64), Error> {
    let mut name: Arc<str> = Arc::default();
    let mut id = 0;
    each_field(cur, |cur, field| {
        match field {
            // Names only have to be compared, so one that is no UTF-8 may stay without a match.
            0 => name = String::from_utf8_lossy(cur.bytes()?).into(),
            1 => id = cur.int()?,
            _ => return Err(cur.corrupt("a name with an unknown part")),
        }
        Ok(())
    })?;
    Ok((name, id))
}
