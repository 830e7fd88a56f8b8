//! Passes over values without looking at them, guided by their sender's types alone.
//! This is how the end of a value is found, and how unknown fields are skipped.
//!
//! It keeps its own stack: it can stop where a message ends and go on when the next has arrived, and deep values
//! cost no calls.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::limits::Limits;
use crate::schema::{Kind, Node, NodeId};
use crate::table::Table;

/// The types of the stream, and what to do with a definition that stands inside a value.
pub(crate) trait Definitions {
    fn table(&self) -> &Table;
    fn define(&mut self, id: i32, cur: &mut Cursor<'_>, limits: &Limits) -> Result<(), Error>;
    fn check(&mut self, id: i32) -> Result<NodeId, Error>;
}

/// The first time over a value, its definitions are new.
impl Definitions for Table {
    fn table(&self) -> &Table {
        self
    }

    fn define(&mut self, id: i32, cur: &mut Cursor<'_>, limits: &Limits) -> Result<(), Error> {
        Table::define(self, id, cur, limits)
    }

    fn check(&mut self, id: i32) -> Result<NodeId, Error> {
        Table::check(self, id)
    }
}

/// Later they are known.
impl Definitions for &Table {
    fn table(&self) -> &Table {
        self
    }

    fn define(&mut self, id: i32, cur: &mut Cursor<'_>, limits: &Limits) -> Result<(), Error> {
        self.pass_definition(id, cur, limits)
    }

    fn check(&mut self, id: i32) -> Result<NodeId, Error> {
        self.find_checked(id)
    }
}

/// A walk over one value.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    stack: Vec<Step>,
}

/// What remains to be done with a value that has parts. Small, since deep values have one for each byte or two.
#[derive(Clone, Copy, Debug)]
struct Step {
    of: NodeId,
    /// Of a struct: the number of the last field, counted from 1. Of a list or a map: how many parts are left, keys and
    /// elements counted together. Of an interface, nothing: its type id and contents follow.
    count: u32,
}

impl Walk {
    /// Begins with the value of a message or an interface.
    pub(crate) fn enter_top(
        &mut self,
        slot: NodeId,
        cur: &mut Cursor<'_>,
        types: &Table,
    ) -> Result<(), Error> {
        match node(types, slot)?.kind {
            Kind::Struct { .. } => {}
            _ => cur.not_a_struct()?,
        }
        self.enter(slot, cur, types)
    }

    /// Begins with a value that stands inside another.
    pub(crate) fn enter(
        &mut self,
        of: NodeId,
        cur: &mut Cursor<'_>,
        types: &Table,
    ) -> Result<(), Error> {
        let count = match &node(types, of)?.kind {
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Float => return cur.uint().map(drop),
            Kind::Complex => return cur.uint().and_then(|_| cur.uint()).map(drop),
            Kind::Bytes | Kind::String | Kind::Opaque(_) => return cur.bytes().map(drop),
            Kind::Interface => match cur.interface_name()? {
                b"" => return Ok(()),
                _ => 0,
            },
            Kind::Struct { .. } => 0,
            &Kind::Array { elem, len } => {
                let count = count(cur, types.splits(elem))?;
                if usize::try_from(count) != Ok(len) {
                    return Err(
                        cur.corrupt(format!("an array of {len} elements comes with {count}"))
                    );
                }
                count
            }
            &Kind::Slice { elem } => count(cur, types.splits(elem))?,
            &Kind::Map { key, elem } => {
                let count = count(cur, types.splits(key) || types.splits(elem))?;
                count
                    .checked_mul(2)
                    .ok_or_else(|| cur.corrupt("a map of too many elements"))?
            }
        };
        if let &Kind::Array { elem, .. } | &Kind::Slice { elem } = &node(types, of)?.kind {
            // Numbers need no stack.
            if let Kind::Bool | Kind::Int | Kind::Uint | Kind::Float = node(types, elem)?.kind {
                for _ in 0..count {
                    cur.uint()?;
                }
                return Ok(());
            }
        }
        self.stack.push(Step { of, count });
        Ok(())
    }

    /// Goes on until the value ends, or until the message does and the next one is not there: then `Some(n)`, if at
    /// least `n` bytes are missing.
    pub(crate) fn run(
        &mut self,
        cur: &mut Cursor<'_>,
        types: &mut impl Definitions,
        limits: &Limits,
    ) -> Result<Option<usize>, Error> {
        while let Some(Step { of, count }) = self.stack.last_mut() {
            let next = match &node(types.table(), *of)?.kind {
                Kind::Struct { fields } => match cur.uint()? {
                    0 => None,
                    delta => {
                        let number = u64::from(*count).saturating_add(delta);
                        let field = usize::try_from(number - 1)
                            .ok()
                            .and_then(|ix| fields.get(ix));
                        let Some(field) = field else {
                            return Err(cur.no_such_field(fields.len()));
                        };
                        *count = u32::try_from(number).unwrap_or(u32::MAX);
                        Some(field.ty)
                    }
                },
                Kind::Interface => {
                    if cur.msg.is_empty() {
                        if let Some(missing) = cur.next_message(limits.message)? {
                            return Ok(Some(missing));
                        }
                    }
                    let id = cur.id()?;
                    if id < 0 {
                        types.define(-id, cur, limits)?;
                        // What is left of this message after a definition begins with a count that tells nothing.
                        if !cur.msg.is_empty() {
                            cur.uint()?;
                        }
                        continue;
                    }
                    let slot = types.check(id)?;
                    // Go counts the bytes up to the first definition in the contents only, so the count is of no use.
                    cur.uint()?;
                    self.stack.pop();
                    self.enter_top(slot, cur, types.table())?;
                    continue;
                }
                _ if *count == 0 => None,
                &Kind::Map { key, elem } => {
                    *count -= 1;
                    Some(if *count % 2 == 1 { key } else { elem })
                }
                &Kind::Array { elem, .. } | &Kind::Slice { elem } => {
                    *count -= 1;
                    Some(elem)
                }
                _ => None,
            };
            match next {
                Some(slot) => {
                    if self.stack.len() >= limits.depth {
                        let what = format!(
                            "the value nests deeper than {}: raise Limits::depth",
                            limits.depth
                        );
                        return Err(Error::limit(what).at_offset(cur.offset()));
                    }
                    self.enter(slot, cur, types.table())?;
                }
                None => drop(self.stack.pop()),
            }
        }
        Ok(None)
    }
}

fn node(types: &Table, slot: NodeId) -> Result<&Node, Error> {
    types
        .node(slot)
        .map(|n| &**n)
        .ok_or_else(|| Error::corrupt("a type is used but not defined"))
}

/// A count of elements. Each takes a byte at least, in this message unless there are interfaces in it.
fn count(cur: &mut Cursor<'_>, splits: bool) -> Result<u32, Error> {
    let at = *cur;
    let count = cur.uint()?;
    match u32::try_from(count) {
        Ok(small) if splits || count <= cur.msg.len() as u64 => Ok(small),
        _ => Err(at.corrupt(format!(
            "{count} elements should follow, but the message has {} bytes",
            cur.msg.len()
        ))),
    }
}
