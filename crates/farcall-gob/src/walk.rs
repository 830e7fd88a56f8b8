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

/// What remains to be done with a value that has parts.
#[derive(Debug)]
enum Step {
    /// The fields after `last`, which is counted from 1.
    Fields {
        of: NodeId,
        last: u32,
    },
    Items {
        elem: NodeId,
        left: u64,
    },
    /// Keys and elements, counted together.
    Pairs {
        of: NodeId,
        left: u64,
    },
    /// An interface's type id, or definitions before it, and its contents.
    Contents,
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
        slot: NodeId,
        cur: &mut Cursor<'_>,
        types: &Table,
    ) -> Result<(), Error> {
        let node = node(types, slot)?;
        let step = match &node.kind {
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Float => return cur.uint().map(drop),
            Kind::Complex => return cur.uint().and_then(|_| cur.uint()).map(drop),
            Kind::Bytes | Kind::String | Kind::Opaque(_) => return cur.bytes().map(drop),
            Kind::Interface => match cur.interface_name()? {
                b"" => return Ok(()),
                _ => Step::Contents,
            },
            Kind::Struct { .. } => Step::Fields { of: slot, last: 0 },
            &Kind::Array { elem, len } => {
                let left = count(cur, types, elem)?;
                if left != len as u64 {
                    return Err(
                        cur.corrupt(format!("an array of {len} elements comes with {left}"))
                    );
                }
                Step::Items { elem, left }
            }
            &Kind::Slice { elem } => Step::Items {
                elem,
                left: count(cur, types, elem)?,
            },
            &Kind::Map { key, elem } => {
                let pairs = count(cur, types, if types.splits(key) { key } else { elem })?;
                Step::Pairs {
                    of: slot,
                    left: pairs.saturating_mul(2),
                }
            }
        };
        if let Step::Items { elem, left } = step {
            // Numbers need no stack.
            if let Kind::Bool | Kind::Int | Kind::Uint | Kind::Float = self::node(types, elem)?.kind
            {
                for _ in 0..left {
                    cur.uint()?;
                }
                return Ok(());
            }
        }
        self.stack.push(step);
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
        while let Some(step) = self.stack.last_mut() {
            let next = match step {
                Step::Fields { of, last } => {
                    let of = *of;
                    match cur.uint()? {
                        0 => None,
                        delta => {
                            let number = u64::from(*last).saturating_add(delta);
                            let Kind::Struct { fields } = &node(types.table(), of)?.kind else {
                                break;
                            };
                            let ix = usize::try_from(number - 1).ok();
                            let Some(field) = ix.and_then(|ix| fields.get(ix)) else {
                                return Err(cur.corrupt(format!(
                                    "a struct of {} fields has no field {number}",
                                    fields.len()
                                )));
                            };
                            *last = u32::try_from(number).unwrap_or(u32::MAX);
                            Some(field.ty)
                        }
                    }
                }
                Step::Items { left: 0, .. } | Step::Pairs { left: 0, .. } => None,
                Step::Items { elem, left } => {
                    *left -= 1;
                    Some(*elem)
                }
                Step::Pairs { of, left } => {
                    *left -= 1;
                    let &Kind::Map { key, elem } = &node(types.table(), *of)?.kind else {
                        break;
                    };
                    Some(if *left % 2 == 1 { key } else { elem })
                }
                Step::Contents => {
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
            };
            match next {
                Some(slot) => {
                    if self.stack.len() >= limits.depth {
                        return Err(Error::limit(format!(
                            "the value nests deeper than {}: raise Limits::depth",
                            limits.depth
                        ))
                        .at_offset(cur.offset()));
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
fn count(cur: &mut Cursor<'_>, types: &Table, elem: NodeId) -> Result<u64, Error> {
    let at = *cur;
    let count = cur.uint()?;
    if count > cur.msg.len() as u64 && !types.splits(elem) {
        return Err(at.corrupt(format!(
            "{count} elements should follow, but the message has {} bytes",
            cur.msg.len()
        )));
    }
    Ok(count)
}
