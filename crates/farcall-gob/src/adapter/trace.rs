//! What a type is made of, as its `Deserialize` tells by what it asks for.
//!
//! The type is made to read a value in which every number is 0 and every list has one element. Where it asks for itself
//! again, the round is given up, and in the next round the list or option around that place is left empty, since what
//! is in it is known by then. Where a name turns out to be another name of a field that was there, it is left out in the next.
//! Enums show one more variant in each round.

use std::any::type_name;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Failure, Shape, Traced};

/// No type needs so many.
const ROUNDS_MAX: usize = 1_000;
/// As deep as structs in structs can be, without lists or options between.
const DEPTH_MAX: usize = 100;

pub(super) fn trace<T: DeserializeOwned>() -> Traced {
    let mut state = State::default();
    for _ in 0..ROUNDS_MAX {
        let mut root = None;
        match T::deserialize(Tracer {
            state: &mut state,
            found: &mut root,
        }) {
            Err(Stop::Known) => {}
            Err(Stop::Failed(what)) => return state.failed(what),
            Ok(_) if state.variants_left > 0 => {}
            Ok(_) => match root {
                Some(root) => return state.finish(root),
                None => return state.failed("it asks for nothing".into()),
            },
        }
        state.structs_open.clear();
        state.path.clear();
    }
    state.failed("what it is made of has no end".into())
}

#[derive(Default)]
struct State {
    shapes: Vec<Option<Shape>>,
    /// Types that may contain themselves, by the type of the visitor, which is theirs alone.
    by_visitor: HashMap<&'static str, usize>,
    structs_open: Vec<usize>,
    /// Names that are other names of a field.
    aliases: HashSet<(usize, &'static str)>,
    /// How many variants of an enum have been shown.
    variants_seen: HashMap<usize, usize>,
    path: Vec<String>,
    /// How many variants of enums have not been shown yet.
    variants_left: usize,
}

impl State {
    fn slot(&mut self, visitor: &'static str) -> usize {
        let next = self.shapes.len();
        let slot = *self.by_visitor.entry(visitor).or_insert(next);
        if slot == next {
            self.shapes.push(None);
        }
        slot
    }

    /// True if it need not be looked into any more: the types in it are known, or are being looked into.
    fn is_known(&self, slot: usize) -> bool {
        let part = |ix: usize| {
            self.shapes.get(ix).is_some_and(Option::is_some) || self.structs_open.contains(&ix)
        };
        if self.variants_left > 0 && !self.structs_open.iter().any(|open| self.holds(slot, *open)) {
            return false;
        }
        match self.shapes.get(slot) {
            Some(Some(Shape::Option(inner) | Shape::Seq(inner))) => part(*inner),
            Some(Some(Shape::Map(key, elem))) => part(*key) && part(*elem),
            _ => false,
        }
    }

    fn holds(&self, slot: usize, inner: usize) -> bool {
        match self.shapes.get(slot) {
            Some(Some(Shape::Option(ix) | Shape::Seq(ix))) => *ix == inner,
            Some(Some(Shape::Map(key, elem))) => *key == inner || *elem == inner,
            _ => false,
        }
    }

    fn simple(&mut self, shape: Shape) -> usize {
        match self
            .shapes
            .iter()
            .position(|known| known.as_ref() == Some(&shape))
        {
            Some(known) => known,
            None => {
                self.shapes.push(Some(shape));
                self.shapes.len() - 1
            }
        }
    }

    fn failed(&mut self, what: String) -> Traced {
        let failure = Failure {
            path: std::mem::take(&mut self.path),
            what: format!("the type cannot be sent: {what}"),
        };
        Traced {
            shapes: vec![],
            root: 0,
            failure: Some(failure),
        }
    }

    fn finish(mut self, root: usize) -> Traced {
        let mut shapes = vec![];
        for ix in 0..self.shapes.len() {
            // What is empty was given up in an early round and is no part of the type.
            shapes.push(match &self.shapes[ix] {
                Some(Shape::Seq(elem)) if self.shapes[*elem] == Some(Shape::Byte) => Shape::Bytes,
                shape => shape.clone().unwrap_or(Shape::Unit),
            });
        }
        let nil = |ix: usize| matches!(shapes.get(ix), Some(Shape::Option(_)));
        let is_wrong = |shape: &Shape| match shape {
            Shape::Seq(elem) | Shape::Array(elem, _) | Shape::Option(elem) => nil(*elem),
            Shape::Map(key, elem) => nil(*key) || nil(*elem),
            _ => false,
        };
        let wrong = shapes.iter().position(is_wrong);
        if wrong.is_some() || nil(root) {
            self.path = wrong
                .and_then(|ix| field_of(&shapes, ix))
                .into_iter()
                .collect();
            return self.failed(
                "an Option can only stand in a field of a struct: Go has no nil in lists and maps, nor at the top".into(),
            );
        }
        Traced {
            shapes,
            root,
            failure: None,
        }
    }
}

/// The field that holds a type, be it in lists and maps.
fn field_of(shapes: &[Shape], mut ix: usize) -> Option<String> {
    // Lists may hold each other in a circle that no field leads to.
    for _ in 0..shapes.len() {
        for shape in shapes {
            if let Shape::Struct { fields, .. } = shape {
                if let Some((name, _)) = fields.iter().find(|(_, ty)| *ty == ix) {
                    return Some((*name).to_owned());
                }
            }
        }
        ix = shapes.iter().position(|shape| match shape {
            Shape::Seq(elem) | Shape::Array(elem, _) | Shape::Option(elem) => *elem == ix,
            Shape::Map(key, elem) => [*key, *elem].contains(&ix),
            _ => false,
        })?;
    }
    None
}

/// Why a round ends early.
#[derive(Debug)]
enum Stop {
    /// Something was learned that makes the next round go further.
    Known,
    Failed(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known => f.write_str("known"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::Failed(message.to_string())
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Failed(format!("{DUPLICATE}{field}"))
    }
}

const DUPLICATE: &str = "duplicate field ";

/// Notes what is asked for, and answers with something made up.
struct Tracer<'s> {
    state: &'s mut State,
    /// The shape that is found.
    found: &'s mut Option<usize>,
}

macro_rules! simple {
    ($($method:ident $shape:expr => $visit:ident($value:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            *self.found = Some(self.state.simple($shape));
            visitor.$visit($value)
        }
    )*};
}

macro_rules! unsupported {
    ($($method:ident $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(Stop::custom($what))
        }
    )*};
}

impl Tracer<'_> {
    /// What is in a list or an option, unless that is known already.
    fn inside<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        shape: impl Fn(usize) -> Shape,
        open: impl FnOnce(V, &mut State, &mut Option<usize>) -> Result<V::Value, Stop>,
        empty: impl FnOnce(V) -> Result<V::Value, Stop>,
    ) -> Result<V::Value, Stop> {
        let slot = self.state.slot(type_name::<V>());
        *self.found = Some(slot);
        if self.state.is_known(slot) {
            return empty(visitor);
        }
        let mut inner = None;
        let value = open(visitor, self.state, &mut inner);
        if let Some(inner) = inner {
            self.state.shapes[slot] = Some(shape(inner));
        }
        value
    }
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    fn is_human_readable(&self) -> bool {
        false
    }

    simple! {
        deserialize_bool Shape::Bool => visit_bool(false);
        deserialize_i8 Shape::Int => visit_i8(0);
        deserialize_i16 Shape::Int => visit_i16(0);
        deserialize_i32 Shape::Int => visit_i32(0);
        deserialize_i64 Shape::Int => visit_i64(0);
        deserialize_u8 Shape::Byte => visit_u8(0);
        deserialize_u16 Shape::Uint => visit_u16(0);
        deserialize_u32 Shape::Uint => visit_u32(0);
        deserialize_u64 Shape::Uint => visit_u64(0);
        deserialize_f32 Shape::Float { single: true } => visit_f32(0.0);
        deserialize_f64 Shape::Float { single: false } => visit_f64(0.0);
        deserialize_char Shape::Char => visit_char('\0');
        deserialize_str Shape::Str => visit_str("");
        deserialize_string Shape::Str => visit_str("");
        deserialize_bytes Shape::Bytes => visit_bytes(&[]);
        deserialize_byte_buf Shape::Bytes => visit_bytes(&[]);
    }

    unsupported! {
        deserialize_any "it asks for whatever comes, as untagged enums and flattened fields do";
        deserialize_ignored_any "it asks for something to ignore";
        deserialize_identifier "it asks for a name by itself";
        deserialize_i128 "Go has no 128-bit integers";
        deserialize_u128 "Go has no 128-bit integers";
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.found = Some(self.state.simple(Shape::Unit));
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.inside(
            visitor,
            Shape::Option,
            |visitor, state, inner| {
                visitor.visit_some(Tracer {
                    state,
                    found: inner,
                })
            },
            Visitor::visit_none,
        )
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.inside(
            visitor,
            Shape::Seq,
            |visitor, state, inner| {
                visitor.visit_seq(Elements {
                    state,
                    found: inner,
                    left: 1,
                    differ: false,
                })
            },
            |visitor| visitor.visit_seq(SeqDeserializer::<_, Stop>::new(std::iter::empty::<u8>())),
        )
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        let mut elem = None;
        let mut elements = Elements {
            state: self.state,
            found: &mut elem,
            left: len,
            differ: false,
        };
        let value = visitor.visit_seq(&mut elements)?;
        if elements.differ {
            return Err(Stop::custom(
                "a tuple of different types has no counterpart in Go: make it a struct",
            ));
        }
        let Elements { state, found, .. } = elements;
        let elem = match *found {
            Some(elem) => elem,
            // An array of no elements says nothing of their type; Go will see an array of no bools.
            None => state.simple(Shape::Bool),
        };
        *self.found = Some(state.simple(Shape::Array(elem, len)));
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let slot = self.state.slot(type_name::<V>());
        *self.found = Some(slot);
        if self.state.is_known(slot) {
            return visitor.visit_map(Pairs {
                state: self.state,
                key: &mut None,
                elem: &mut None,
                left: 0,
            });
        }
        let (mut key, mut elem) = (None, None);
        let value = visitor.visit_map(Pairs {
            state: self.state,
            key: &mut key,
            elem: &mut elem,
            left: 1,
        });
        if let (Some(key), Some(elem)) = (key, elem) {
            self.state.shapes[slot] = Some(Shape::Map(key, elem));
        }
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let slot = self.state.slot(type_name::<V>());
        *self.found = Some(slot);
        if self.state.structs_open.contains(&slot) {
            return Err(Stop::Known);
        }
        if self.state.structs_open.len() > DEPTH_MAX {
            return Err(Stop::custom("its structs nest without end"));
        }
        self.state.structs_open.push(slot);
        let mut found: Vec<(&'static str, usize)> = vec![];
        let access = StructFields {
            state: self.state,
            slot,
            names: fields.iter(),
            name: "",
            found: &mut found,
        };
        let value = match visitor.visit_map(access) {
            Err(Stop::Failed(what)) => {
                let alias = what
                    .strip_prefix(DUPLICATE)
                    .and_then(|_| self.state.path.last().cloned());
                let alias =
                    alias.and_then(|alias| fields.iter().copied().find(|field| *field == alias));
                return match alias {
                    Some(alias) if self.state.aliases.insert((slot, alias)) => Err(Stop::Known),
                    _ => Err(Stop::Failed(what)),
                };
            }
            other => other?,
        };
        self.state.structs_open.pop();
        if found.len() > super::de::FIELDS_MAX {
            return Err(Stop::custom(format!(
                "it has more than {} fields",
                super::de::FIELDS_MAX
            )));
        }
        self.state.shapes[slot] = Some(Shape::Struct {
            name,
            fields: found,
        });
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let slot = self.state.simple(Shape::Enum(variants));
        *self.found = Some(slot);
        let seen = match self.state.variants_seen.get_mut(&slot) {
            Some(seen) => seen,
            None => {
                self.state.variants_left += variants.len();
                self.state.variants_seen.entry(slot).or_default()
            }
        };
        let variant = variants.get(*seen).or(variants.first()).copied();
        if *seen < variants.len() {
            *seen += 1;
            self.state.variants_left -= 1;
        }
        match variant {
            Some(variant) => visitor.visit_enum(Variant(variant)),
            None => Err(Stop::custom("an enum without variants has no values")),
        }
    }
}

/// The elements of a list or a tuple.
struct Elements<'s> {
    state: &'s mut State,
    found: &'s mut Option<usize>,
    left: usize,
    differ: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut found = None;
        let value = seed.deserialize(Tracer {
            state: self.state,
            found: &mut found,
        });
        self.differ |= self.found.is_some() && *self.found != found;
        if found.is_some() {
            *self.found = found;
        }
        value.map(Some)
    }
}

struct Pairs<'s> {
    state: &'s mut State,
    key: &'s mut Option<usize>,
    elem: &'s mut Option<usize>,
    left: usize,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Tracer {
            state: self.state,
            found: self.key,
        })
        .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(Tracer {
            state: self.state,
            found: self.elem,
        })
    }
}

struct StructFields<'s> {
    state: &'s mut State,
    slot: usize,
    names: std::slice::Iter<'static, &'static str>,
    name: &'static str,
    found: &'s mut Vec<(&'static str, usize)>,
}

impl<'de> MapAccess<'de> for StructFields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        loop {
            let Some(&name) = self.names.next() else {
                return Ok(None);
            };
            if self.state.aliases.contains(&(self.slot, name)) {
                continue;
            }
            self.name = name;
            self.state.path.push(name.to_owned());
            let key = seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(name))?;
            return Ok(Some(key));
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let mut found = None;
        let value = seed.deserialize(Tracer {
            state: self.state,
            found: &mut found,
        })?;
        self.state.path.pop();
        if let Some(found) = found {
            self.found.push((self.name, found));
        }
        Ok(value)
    }
}

struct Variant(&'static str);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Stop> {
        Ok((
            seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(self.0))?,
            self,
        ))
    }
}

const HOLDS: &str =
    "an enum whose variants hold something: derive Gob for it, which has forms for this";

impl<'de> VariantAccess<'de> for Variant {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Stop> {
        Err(Stop::custom(HOLDS))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Stop> {
        Err(Stop::custom(HOLDS))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        Err(Stop::custom(HOLDS))
    }
}
