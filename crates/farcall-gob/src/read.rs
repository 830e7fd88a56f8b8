//! Bytes to values: what a type's `get` reads from. Which message is read, and by which plan, is the decoder's
//! business (`decode`).

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use crate::cursor::Cursor;
use crate::describe::{Describer, IdHash};
use crate::error::{Error, ErrorKind};
use crate::gob::{Gob, GobField};
use crate::impls::SelfEncoded;
use crate::limits::{Depth, Limits};
use crate::plan::{At, FieldPlans, Plans, SKIP};
use crate::schema::{Kind, Node, NodeId, Schema};
use crate::table::Table;
use crate::value::{Value, ValueReader};
use crate::walk::Walk;
use crate::wire;

/// What was made for the types that interfaces in the value hold. A type that is met for the first time cannot be
/// prepared for in advance.
#[derive(Debug, Default)]
struct Inner {
    plans: HashMap<(TypeId, NodeId), (Rc<Plans>, u32), IdHash>,
    schemas: HashMap<NodeId, Schema, IdHash>,
}

/// Where a value is read from.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(crate) cur: Cursor<'a>,
    table: &'a Table,
    limits: &'a Limits,
    depth: Depth,
    /// Bytes of memory that the value may still take.
    memory: usize,
    inner: Option<Box<Inner>>,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(cur: Cursor<'a>, table: &'a Table, limits: &'a Limits) -> Self {
        Self {
            table,
            limits,
            depth: Depth::new(limits),
            memory: limits.memory_for(cur.left()),
            inner: None,
            cur,
        }
    }

    /// Goes into a value that has parts.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn enter(&mut self) -> Result<(), Error> {
        if self.depth.enter() {
            Ok(())
        } else {
            Err(self.too_deep())
        }
    }

    /// Comes out of it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn leave(&mut self) {
        self.depth.leave();
    }

    /// A number without sign.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn uint(&mut self) -> Result<u64, Error> {
        self.cur.uint()
    }

    /// A number with a sign.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn int(&mut self) -> Result<i64, Error> {
        self.uint().map(wire::unzigzag)
    }

    /// A float.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn float(&mut self) -> Result<f64, Error> {
        self.uint().map(wire::float_of)
    }

    /// Text or bytes. The memory for a copy of them is counted.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let bytes = self.cur.bytes()?;
        self.charge(bytes.len())?;
        Ok(bytes)
    }

    /// How many elements of type `T` follow. The memory for them is counted.
    #[inline]
    pub fn count<T>(&mut self) -> Result<usize, Error> {
        let count = self.elements(1)?;
        self.charge(count.saturating_mul(size_of::<T>()))?;
        Ok(count)
    }

    /// How many elements follow, of which each takes `min_len` bytes or more.
    #[inline]
    pub(crate) fn elements(&mut self, min_len: usize) -> Result<usize, Error> {
        let at = self.cur;
        let count = self.uint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.cur.left() / min_len => Ok(count),
            _ => Err(at.corrupt(format!(
                "{count} elements should follow, but only {} bytes do",
                self.cur.left()
            ))),
        }
    }

    /// Counts memory that is about to be taken.
    #[inline]
    pub fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        match self.memory.checked_sub(bytes) {
            Some(left) => {
                self.memory = left;
                Ok(())
            }
            None => Err(self.too_large()),
        }
    }

    /// Reads a field, if `step` says that it is the next one, and then the step to the one after it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn next_field<T: GobField>(
        &mut self,
        step: u64,
        place: &mut T,
        at: At<'_>,
        name: &'static str,
    ) -> Result<u64, Error> {
        if step == 1 {
            self.field(place, at, name)?;
            self.uint()
        } else {
            Ok(step.saturating_sub(1))
        }
    }

    /// Reads a field.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn field<T: GobField>(
        &mut self,
        place: &mut T,
        at: At<'_>,
        name: &'static str,
    ) -> Result<(), Error> {
        match T::get(self, at) {
            Ok(value) => {
                *place = value;
                Ok(())
            }
            Err(error) => Err(error.in_field(name)),
        }
    }

    /// Sees to it that the last step was the end.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn no_more_fields(&self, step: u64, fields: usize) -> Result<(), Error> {
        if step == 0 {
            Ok(())
        } else {
            Err(self.cur.no_such_field(fields))
        }
    }

    /// Begins with a struct's fields.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn fields<'p>(&mut self, at: At<'p>) -> Fields<'p> {
        Fields {
            plans: at.fields(),
            next: 0,
        }
    }

    /// What an interface holds: the name and the type, with the contents to be read next. `None` for nil.
    pub(crate) fn interface(&mut self) -> Result<Option<(&'a str, NodeId)>, Error> {
        let at = self.cur;
        let name = self.cur.interface_name()?;
        if name.is_empty() {
            return Ok(None);
        }
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(at.corrupt("the name of a type in an interface is not UTF-8"));
        };
        // See `walk`, which has passed here before.
        loop {
            if self.cur.msg.is_empty() && self.cur.next_message(usize::MAX)?.is_some() {
                return Err(self.cur.corrupt("the value is cut off"));
            }
            let id = self.cur.id()?;
            if id > 0 {
                let slot = self.table.find_checked(id)?;
                self.uint()?;
                return Ok(Some((name, slot)));
            }
            self.table
                .pass_definition(-id, &mut self.cur, self.limits)?;
            if !self.cur.msg.is_empty() {
                self.uint()?;
            }
        }
    }

    /// What an interface holds, to be read next by one of the two that follow. `None` for nil. For derived code.
    pub fn contents_type(&mut self) -> Result<Option<Contents<'a>>, Error> {
        Ok(self
            .interface()?
            .map(|(name, slot)| Contents { name, slot }))
    }

    /// The contents of an interface as a `T`.
    pub fn contents<T: Gob>(&mut self, contents: &Contents<'_>) -> Result<T, Error> {
        let key = (TypeId::of::<T>(), contents.slot);
        let (plans, plan) = match self.inner.as_ref().and_then(|inner| inner.plans.get(&key)) {
            Some(known) => known.clone(),
            None => {
                let (mut local, mut plans) = (Describer::default(), Plans::default());
                let ours = T::describe(&mut local);
                let plan = plans.compile(&local, self.table, ours, contents.slot)?;
                self.charge(plans.memory())?;
                let made = (Rc::new(plans), plan);
                self.inner
                    .get_or_insert_default()
                    .plans
                    .insert(key, made.clone());
                made
            }
        };
        if !self.is_struct(contents.slot) {
            self.cur.not_a_struct()?;
        }
        self.enter()?;
        let value = T::get(self, At::new(&plans, plan))
            .map_err(|e| e.in_field(&format!("({})", contents.name)))?;
        self.leave();
        Ok(value)
    }

    /// The contents of an interface as they are.
    pub fn unknown_contents(&mut self, contents: &Contents<'_>) -> Result<Value, Error> {
        ValueReader::new(self).dynamic(contents.name, contents.slot)
    }

    /// An interface holds a type that is not known here.
    #[cold]
    pub fn unregistered(&self, contents: &Contents<'_>) -> Error {
        Error::new(
            ErrorKind::Unregistered,
            format!(
                "the interface holds a {:?}, which is not known here",
                contents.name
            ),
        )
        .at_offset(self.cur.offset())
    }

    /// Nothing came where the type needs something.
    #[cold]
    pub fn unexpected_nil(&self) -> Error {
        self.out_of_range("nothing came for an enum that has no variant for it")
    }

    /// The sender's type in a slot.
    pub(crate) fn node(&self, slot: NodeId) -> Result<&'a Node, Error> {
        self.table
            .node(slot)
            .map(|node| &**node)
            .ok_or_else(|| Error::corrupt("a type is used but not defined"))
    }

    pub(crate) fn is_struct(&self, slot: NodeId) -> bool {
        matches!(
            self.table.node(slot).map(|node| &node.kind),
            Some(Kind::Struct { .. })
        )
    }

    /// The sender's type in a slot, and all that it is made of, as a graph of their own. Its memory is counted.
    pub(crate) fn schema(&mut self, slot: NodeId) -> Result<Schema, Error> {
        if let Some(schema) = self
            .inner
            .as_ref()
            .and_then(|inner| inner.schemas.get(&slot))
        {
            return Ok(schema.clone());
        }
        if slot.is_basic() {
            return Ok(Schema::basic(slot));
        }
        let schema = self
            .table
            .schema(slot, &mut self.memory)
            .ok_or_else(|| self.too_large())?;
        self.inner
            .get_or_insert_default()
            .schemas
            .insert(slot, schema.clone());
        Ok(schema)
    }

    /// A value that encodes itself.
    #[doc(hidden)]
    pub fn self_encoded<T: SelfEncoded>(&mut self) -> Result<T, Error> {
        let bytes = self.bytes()?;
        T::decode(bytes).map_err(|e| e.at_offset(self.cur.offset()))
    }

    /// Passes over a value.
    pub fn skip(&mut self, at: At<'_>) -> Result<(), Error> {
        let Some(slot) = at.skipped() else {
            return Err(Error::corrupt("a plan does not fit its type"));
        };
        let mut walk = Walk::default();
        walk.enter(slot, &mut self.cur, self.table)?;
        match walk.run(&mut self.cur, &mut self.table, self.limits)? {
            None => Ok(()),
            Some(_) => Err(self.cur.corrupt("the value is cut off")),
        }
    }

    /// A value that does not fit our type.
    #[cold]
    pub fn out_of_range(&self, what: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::OutOfRange, what).at_offset(self.cur.offset())
    }

    /// A field that was not sent, of a type without a zero.
    #[cold]
    pub fn no_zero(&self) -> Error {
        Error::new(ErrorKind::Mismatch, "a field without a zero was not sent")
    }

    #[cold]
    fn too_deep(&self) -> Error {
        Error::limit("the value nests too deep: raise Limits::depth, or Limits::stack on a thread with a larger stack")
            .at_offset(self.cur.offset())
    }

    #[cold]
    fn too_large(&self) -> Error {
        Error::limit(format!(
            "the value would take more memory than {} bytes and {} for each byte received: raise Limits::memory_base",
            self.limits.memory_base, self.limits.memory_factor
        ))
        .at_offset(self.cur.offset())
    }
}

/// What an interface holds: the name of a type, and the type.
#[derive(Debug)]
pub struct Contents<'a> {
    name: &'a str,
    slot: NodeId,
}

impl<'a> Contents<'a> {
    /// The name under which the sender has registered the type.
    pub fn name(&self) -> &'a str {
        self.name
    }
}

/// The steps over a struct's fields.
#[derive(Debug)]
pub struct Fields<'p> {
    plans: FieldPlans<'p>,
    next: usize,
}

impl<'p> Fields<'p> {
    /// The number of our field that comes next, and how to read it. Fields that we do not have are passed over.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn step(&mut self, r: &mut Reader<'_>) -> Result<Option<(u32, At<'p>)>, Error> {
        loop {
            let delta = r.uint()?;
            if delta == 0 {
                return Ok(None);
            }
            let next = usize::try_from(delta)
                .ok()
                .and_then(|delta| self.next.checked_add(delta));
            let Some((next, (ours, at))) =
                next.and_then(|next| Some((next, self.plans.get(next - 1)?)))
            else {
                return Err(self.out_of_bounds(r));
            };
            self.next = next;
            if ours != SKIP {
                return Ok(Some((ours, at)));
            }
            r.skip(at)?;
        }
    }

    #[cold]
    fn out_of_bounds(&self, r: &Reader<'_>) -> Error {
        r.cur.no_such_field(self.plans.len())
    }
}
