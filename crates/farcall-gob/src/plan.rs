//! Which parts of the sender's types go into which parts of ours. Worked out once per pair of types and stream,
//! before any value of them is read, so that types that do not fit are refused there.

use std::collections::HashMap;

use crate::describe::{Describer, IdHash};
use crate::error::{Error, ErrorKind};
use crate::schema::{Kind, Node, NodeId};
use crate::table::Table;

/// All plans of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    plans: Vec<Plan>,
    by_pair: HashMap<(NodeId, NodeId), u32, IdHash>,
}

/// How to read values of one of the sender's types into one of ours.
#[derive(Clone, Debug)]
enum Plan {
    /// There is only one way to read it.
    Plain,
    /// Over it.
    Skip(NodeId),
    /// The plan of the elements.
    List(u32),
    /// Those of the keys and of the elements.
    Map(u32, u32),
    /// What to do with each of the sender's fields. `same`: they are ours, all of them, in our order.
    Struct {
        fields: Box<[FieldPlan]>,
        same: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct FieldPlan {
    /// Our field's number, or `SKIP`.
    ours: u32,
    plan: u32,
}

/// The number of a field that we do not have.
pub(crate) const SKIP: u32 = u32::MAX;

/// A plan and where to find the others that it refers to.
#[derive(Clone, Copy, Debug)]
pub struct At<'p> {
    plans: &'p Plans,
    plan: u32,
}

impl<'p> At<'p> {
    pub(crate) fn new(plans: &'p Plans, plan: u32) -> Self {
        Self { plans, plan }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn plan(self) -> &'p Plan {
        self.plans
            .plans
            .get(self.plan as usize)
            .unwrap_or(&Plan::Plain)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn go(self, plan: u32) -> Self {
        Self { plan, ..self }
    }

    /// The plan of a list's elements.
    #[inline]
    pub fn elem(self) -> Self {
        match *self.plan() {
            Plan::List(plan) => self.go(plan),
            _ => self,
        }
    }

    /// The plans of a map's keys and elements.
    #[inline]
    pub fn pair(self) -> (Self, Self) {
        match *self.plan() {
            Plan::Map(key, elem) => (self.go(key), self.go(elem)),
            _ => (self, self),
        }
    }

    /// The steps over a struct's fields.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn fields(self) -> FieldPlans<'p> {
        match self.plan() {
            Plan::Struct { fields, .. } => FieldPlans {
                plans: self.plans,
                fields,
            },
            _ => FieldPlans {
                plans: self.plans,
                fields: &[],
            },
        }
    }

    /// Is the sender's struct the same as ours?
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn is_same(self) -> bool {
        matches!(self.plan(), Plan::Struct { same: true, .. })
    }

    /// The plan of one of the sender's fields.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn field(self, theirs: u32) -> Self {
        match self.plan() {
            Plan::Struct { fields, .. } => fields
                .get(theirs as usize)
                .map_or(self, |field| self.go(field.plan)),
            _ => self,
        }
    }

    /// Does the sender's struct have our field of that number?
    pub fn has(self, ours: u32) -> bool {
        match self.plan() {
            Plan::Struct { fields, .. } => fields.iter().any(|f| f.ours == ours),
            _ => false,
        }
    }

    /// The sender's type, where values are skipped.
    pub(crate) fn skipped(self) -> Option<NodeId> {
        match *self.plan() {
            Plan::Skip(slot) => Some(slot),
            _ => None,
        }
    }
}

/// The plans of a struct's fields, in the sender's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldPlans<'p> {
    plans: &'p Plans,
    fields: &'p [FieldPlan],
}

impl<'p> FieldPlans<'p> {
    /// Our number of the sender's field, and how to read it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn get(&self, theirs: usize) -> Option<(u32, At<'p>)> {
        self.fields.get(theirs).map(|f| {
            (
                f.ours,
                At {
                    plans: self.plans,
                    plan: f.plan,
                },
            )
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }
}

/// A pair of types whose plan is to be made.
struct Todo {
    ours: NodeId,
    theirs: NodeId,
    plan: u32,
    /// The pair that this one is a part of, and by which field.
    part_of: Option<(usize, Part)>,
}

#[derive(Clone, Copy)]
enum Part {
    Field(u32),
    Elem,
}

impl Plans {
    /// The plan for reading `theirs` as `ours`, made if it is new. `top`: it is a message's value, or an interface's.
    pub(crate) fn compile(
        &mut self,
        local: &Describer,
        table: &Table,
        ours: NodeId,
        theirs: NodeId,
    ) -> Result<u32, Error> {
        let before = self.plans.len();
        let made = self.make(local, table, ours, theirs);
        if made.is_err() {
            self.plans.truncate(before);
            self.by_pair.retain(|_, plan| (*plan as usize) < before);
        }
        made
    }

    // A queue, not recursion: the sender's types may nest deep.
    fn make(
        &mut self,
        local: &Describer,
        table: &Table,
        ours: NodeId,
        theirs: NodeId,
    ) -> Result<u32, Error> {
        let mut todo = vec![];
        let root = self.plan_of(ours, theirs, None, &mut todo);
        let mut next = 0;
        while let Some(&Todo {
            ours, theirs, plan, ..
        }) = todo.get(next)
        {
            let made = self.make_one(local, table, ours, theirs, next, &mut todo);
            let made = made.map_err(|e| in_parts(e, local, &todo, next))?;
            self.plans[plan as usize] = made;
            next += 1;
        }
        Ok(root)
    }

    fn plan_of(
        &mut self,
        ours: NodeId,
        theirs: NodeId,
        part_of: Option<(usize, Part)>,
        todo: &mut Vec<Todo>,
    ) -> u32 {
        let new = self.plans.len() as u32;
        let plan = *self.by_pair.entry((ours, theirs)).or_insert(new);
        if plan == new {
            self.plans.push(Plan::Plain);
            todo.push(Todo {
                ours,
                theirs,
                plan,
                part_of,
            });
        }
        plan
    }

    fn make_one(
        &mut self,
        local: &Describer,
        table: &Table,
        ours: NodeId,
        theirs: NodeId,
        me: usize,
        todo: &mut Vec<Todo>,
    ) -> Result<Plan, Error> {
        if local.takes_anything(ours) {
            return Ok(Plan::Skip(theirs));
        }
        let Some(their_node) = table.node(theirs) else {
            return Err(Error::corrupt("a type is used but not defined"));
        };
        let our_node = local.get(ours);
        Ok(match (&our_node.kind, &their_node.kind) {
            (Kind::Slice { elem: ours }, Kind::Slice { elem: theirs }) => {
                Plan::List(self.plan_of(*ours, *theirs, Some((me, Part::Elem)), todo))
            }
            (
                Kind::Array {
                    elem: ours,
                    len: our_len,
                },
                Kind::Array { elem: theirs, len },
            ) if our_len == len => {
                Plan::List(self.plan_of(*ours, *theirs, Some((me, Part::Elem)), todo))
            }
            (
                Kind::Map {
                    key: our_key,
                    elem: our_elem,
                },
                Kind::Map { key, elem },
            ) => Plan::Map(
                self.plan_of(*our_key, *key, Some((me, Part::Elem)), todo),
                self.plan_of(*our_elem, *elem, Some((me, Part::Elem)), todo),
            ),
            (Kind::Struct { fields: our_fields }, Kind::Struct { fields }) => {
                let mut plans = Vec::with_capacity(fields.len());
                let mut matched = false;
                for field in fields {
                    plans.push(match local.field(ours, our_fields, &field.name) {
                        Some(number) => {
                            matched = true;
                            let our_type = our_fields[number as usize].ty;
                            let plan = self.plan_of(
                                our_type,
                                field.ty,
                                Some((me, Part::Field(number))),
                                todo,
                            );
                            FieldPlan { ours: number, plan }
                        }
                        None => FieldPlan {
                            ours: SKIP,
                            plan: self.skip(field.ty),
                        },
                    });
                }
                // As in Go: at the top this can only be a mistake.
                if !matched
                    && todo[me].part_of.is_none()
                    && !our_fields.is_empty()
                    && !fields.is_empty()
                {
                    return Err(no_fields_match(our_node, their_node));
                }
                let same = plans.len() == our_fields.len()
                    && (0..).zip(&plans).all(|(ix, plan)| plan.ours == ix);
                Plan::Struct {
                    fields: plans.into(),
                    same,
                }
            }
            (ours, theirs) if ours == theirs => Plan::Plain,
            _ => {
                return Err(Error::new(
                    ErrorKind::Mismatch,
                    format!(
                        "type mismatch: {} was sent where {} is expected",
                        their_node.in_short(),
                        our_node.in_short()
                    ),
                ));
            }
        })
    }

    /// Roughly how much memory the plans take.
    pub(crate) fn memory(&self) -> usize {
        let fields = |plan: &Plan| match plan {
            Plan::Struct { fields, .. } => size_of_val(&**fields),
            _ => 0,
        };
        let plans: usize = self.plans.iter().map(fields).sum();
        plans + self.plans.len() * 4 * size_of::<Plan>()
    }

    /// The plan for passing over a type. Keyed as if the type were read into nothing.
    fn skip(&mut self, theirs: NodeId) -> u32 {
        let new = self.plans.len() as u32;
        let plan = *self
            .by_pair
            .entry((NodeId(u32::MAX), theirs))
            .or_insert(new);
        if plan == new {
            self.plans.push(Plan::Skip(theirs));
        }
        plan
    }
}

#[cold]
fn no_fields_match(ours: &Node, theirs: &Node) -> Error {
    Error::new(
        ErrorKind::Mismatch,
        format!(
            "type mismatch: no field of {} is in {}",
            theirs.in_short(),
            ours.in_short()
        ),
    )
}

/// Adds the way from the outermost type to the part that failed.
#[cold]
fn in_parts(mut error: Error, local: &Describer, todo: &[Todo], mut at: usize) -> Error {
    while let Some((outer, part)) = todo[at].part_of {
        at = outer;
        error = match (part, &local.get(todo[at].ours).kind) {
            (Part::Field(number), Kind::Struct { fields }) => match fields.get(number as usize) {
                Some(field) => error.in_field(&field.name),
                None => error,
            },
            _ => error.in_element(),
        };
    }
    error
}

impl Node {
    /// For error texts: the kind, and the name or the fields.
    pub(crate) fn in_short(&self) -> String {
        let named = |what: &str| {
            if self.name.is_empty() {
                format!("a {what}")
            } else {
                format!("the {what} {}", self.name)
            }
        };
        match &self.kind {
            Kind::Bool => "a bool".into(),
            Kind::Int => "an int".into(),
            Kind::Uint => "a uint".into(),
            Kind::Float => "a float".into(),
            Kind::Complex => "a complex".into(),
            Kind::Bytes => "a []byte".into(),
            Kind::String => "a string".into(),
            Kind::Interface => "an interface".into(),
            Kind::Array { len, .. } => format!("an array of {len}"),
            Kind::Slice { .. } => "a slice".into(),
            Kind::Map { .. } => "a map".into(),
            Kind::Struct { fields } => {
                let names: Vec<_> = fields.iter().take(8).map(|f| &*f.name).collect();
                let more = if fields.len() > names.len() {
                    ", ..."
                } else {
                    ""
                };
                format!("{} {{{}{more}}}", named("struct"), names.join(", "))
            }
            Kind::Opaque(_) => named("type that encodes itself"),
        }
    }
}
