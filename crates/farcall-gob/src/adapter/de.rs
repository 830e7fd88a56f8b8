//! Reads values through `Deserialize`, guided by what the type is made of; and makes the zero of a type.

use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};

use super::{Shape, Traced};
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::{Fields, Reader};
use crate::wire;

/// A bit for each tells which were sent.
pub(super) const FIELDS_MAX: usize = 128;

pub(super) fn get<T: DeserializeOwned>(
    r: &mut Reader<'_>,
    at: At<'_>,
    traced: &Traced,
) -> Result<T, Error> {
    T::deserialize(De {
        r,
        at,
        traced,
        shape: traced.root,
    })
}

/// The value of a field that was not sent.
pub(super) fn zero<T: DeserializeOwned>(traced: &Traced, shape: usize) -> Result<T, Error> {
    T::deserialize(Zero { traced, shape })
}

struct De<'s, 'a, 'p> {
    r: &'s mut Reader<'a>,
    at: At<'p>,
    traced: &'p Traced,
    shape: usize,
}

/// Methods that read a value if it is of the shape that is asked for, and else whatever it is.
macro_rules! ask {
    ($($method:ident: $shape:ident => |$r:ident| $visit:ident($value:expr);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.traced.shapes[self.shape] {
                Shape::$shape => {
                    let $r = self.r;
                    visitor.$visit($value)
                }
                _ => self.other_than_asked(visitor),
            }
        }
    )*};
}

impl<'p> De<'_, '_, 'p> {
    #[inline]
    fn structure<'de, V: Visitor<'de>>(
        self,
        fields: &'p [(&'static str, usize)],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Self { r, at, traced, .. } = self;
        // It may be in a box of its own, which serde does not tell.
        r.charge(size_of::<V::Value>())?;
        r.enter()?;
        // Nearly always, both sides have the same struct: then its fields come in their order, or not at all.
        let value = if at.is_same() {
            let step = r.uint()?;
            visitor.visit_map(SameFields {
                r,
                at,
                traced,
                fields,
                next: 0,
                step,
            })
        } else {
            let steps = r.fields(at);
            visitor.visit_map(StructFields {
                r,
                steps,
                traced,
                fields,
                now: Now::Nothing,
                ended: false,
                seen: 0,
                zero: 0,
            })
        };
        r.leave();
        value
    }

    /// Reads a value that is not what was asked for.
    #[cold]
    #[inline(never)]
    fn other_than_asked<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}

impl<'de, 'p> Deserializer<'de> for De<'_, '_, 'p> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self {
            r,
            at,
            traced,
            shape,
        } = self;
        match &traced.shapes[shape] {
            Shape::Bool => visitor.visit_bool(r.uint()? != 0),
            Shape::Int => visitor.visit_i64(r.int()?),
            Shape::Uint | Shape::Byte | Shape::Raw => visitor.visit_u64(r.uint()?),
            Shape::Float { single: true } => visitor.visit_f32(f32::get(r, at)?),
            Shape::Float { single: false } => visitor.visit_f64(r.float()?),
            Shape::Char => visitor.visit_char(char::get(r, at)?),
            Shape::Str => visitor.visit_str(text(r)?),
            Shape::Bytes => {
                let bytes = r.bytes()?;
                visitor.visit_seq(Bytes(bytes.iter()))
            }
            &Shape::Option(inner) => visitor.visit_some(Self {
                r,
                at,
                traced,
                shape: inner,
            }),
            Shape::Unit => {
                let mut fields = r.fields(at);
                while fields.step(r)?.is_some() {}
                visitor.visit_unit()
            }
            &Shape::Seq(elem) => {
                let left = r.elements(1)?;
                if let Shape::Int | Shape::Uint = traced.shapes[elem] {
                    let signed = traced.shapes[elem] == Shape::Int;
                    return visitor.visit_seq(Numbers::new(r, signed, left));
                }
                r.enter()?;
                let value = visitor.visit_seq(Items {
                    r,
                    at: at.elem(),
                    traced,
                    shape: elem,
                    left,
                    is_first: true,
                })?;
                r.leave();
                Ok(value)
            }
            &Shape::Array(elem, len) => {
                let left = r.elements(1)?;
                if left != len {
                    return Err(r
                        .cur
                        .corrupt(format!("an array of {len} elements comes with {left}")));
                }
                r.enter()?;
                let value = visitor.visit_seq(Items {
                    r,
                    at: at.elem(),
                    traced,
                    shape: elem,
                    left,
                    is_first: true,
                })?;
                r.leave();
                Ok(value)
            }
            &Shape::Map(key, elem) => {
                let left = r.elements(2)?;
                r.enter()?;
                let (key_at, elem_at) = at.pair();
                let value = visitor.visit_map(Pairs {
                    r,
                    key_at,
                    elem_at,
                    traced,
                    shapes: (key, elem),
                    left,
                })?;
                r.leave();
                Ok(value)
            }
            Shape::Struct { fields, .. } => Self {
                r,
                at,
                traced,
                shape,
            }
            .structure(fields, visitor),
            Shape::Enum(_) => {
                let name = text(r)?;
                visitor.visit_enum(StrDeserializer::new(name))
            }
        }
    }

    // What a type asks for is nearly always what it asked for when it was traced. To look at nothing else keeps the code
    // of each type small and quick.
    ask! {
        deserialize_bool: Bool => |r| visit_bool(r.uint()? != 0);
        deserialize_i8: Int => |r| visit_i64(r.int()?);
        deserialize_i16: Int => |r| visit_i64(r.int()?);
        deserialize_i32: Int => |r| visit_i64(r.int()?);
        deserialize_i64: Int => |r| visit_i64(r.int()?);
        deserialize_u8: Byte => |r| visit_u64(r.uint()?);
        deserialize_u16: Uint => |r| visit_u64(r.uint()?);
        deserialize_u32: Uint => |r| visit_u64(r.uint()?);
        deserialize_u64: Uint => |r| visit_u64(r.uint()?);
        deserialize_str: Str => |r| visit_str(text(r)?);
        deserialize_string: Str => |r| visit_str(text(r)?);
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.traced.shapes[self.shape] {
            Shape::Struct { fields, .. } => self.structure(fields, visitor),
            _ => self.other_than_asked(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.r.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.r.bytes()?.to_vec())
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char option unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn text<'a>(r: &mut Reader<'a>) -> Result<&'a str, Error> {
    let bytes = r.bytes()?;
    std::str::from_utf8(bytes)
        .map_err(|_| r.out_of_range("a string is not UTF-8, as Go's need not be"))
}

/// A number that was read, as an element of a list.
struct Number {
    bits: u64,
    signed: bool,
}

impl<'de> Deserializer<'de> for Number {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.signed {
            visitor.visit_i64(wire::unzigzag(self.bits))
        } else {
            visitor.visit_u64(self.bits)
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl<'de> SeqAccess<'de> for Bytes<'_> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(&byte) = self.0.next() else {
            return Ok(None);
        };
        let (bits, signed) = (byte.into(), false);
        seed.deserialize(Number { bits, signed }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// How many numbers of a list are read in one go.
const NUMBERS_AT_ONCE: usize = 32;

/// A list of numbers, which are read many at a time.
struct Numbers<'s, 'a> {
    r: &'s mut Reader<'a>,
    signed: bool,
    /// How many are still to be read.
    left: usize,
    ready: [u64; NUMBERS_AT_ONCE],
    /// Those of them that are still to be given out.
    turn: Range<usize>,
}

impl<'s, 'a> Numbers<'s, 'a> {
    fn new(r: &'s mut Reader<'a>, signed: bool, left: usize) -> Self {
        Self {
            r,
            signed,
            left,
            ready: [0; NUMBERS_AT_ONCE],
            turn: 0..0,
        }
    }

    /// Reads as many as there is room for, each of which will take so much memory.
    #[inline(never)]
    fn read_more(&mut self, memory: usize) -> Result<(), Error> {
        let count = self.left.min(NUMBERS_AT_ONCE);
        self.r.charge(count * memory)?;
        self.r.cur.uints(&mut self.ready[..count], Ok)?;
        self.left -= count;
        self.turn = 0..count;
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for Numbers<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.turn.is_empty() {
            self.read_more(GROWTH * size_of::<T::Value>())?;
        }
        let Some(&bits) = self.turn.next().and_then(|turn| self.ready.get(turn)) else {
            return Ok(None);
        };
        let signed = self.signed;
        let number = seed.deserialize(Number { bits, signed });
        number.map(Some).map_err(Error::in_element)
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.left + self.turn.len()).min(HINT_MAX))
    }
}

// How many elements are coming is not told to collections, but for numbers: they would make room for all of them at
// once, before it is counted, and at each level of those that nest.

/// Collections begin with room for four elements.
const FIRST_ROOM: usize = 4;

/// They grow by doubling, with the old place and the new one there together.
const GROWTH: usize = 3;

/// How many numbers may be reserved before they have been read and counted.
const HINT_MAX: usize = 64;

struct Items<'s, 'a, 'p> {
    r: &'s mut Reader<'a>,
    at: At<'p>,
    traced: &'p Traced,
    shape: usize,
    left: usize,
    is_first: bool,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, '_> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let room_for = if self.is_first { FIRST_ROOM } else { GROWTH };
        self.is_first = false;
        self.r.charge(room_for * size_of::<T::Value>())?;
        let item = De {
            r: self.r,
            at: self.at,
            traced: self.traced,
            shape: self.shape,
        };
        seed.deserialize(item).map(Some).map_err(Error::in_element)
    }
}

struct Pairs<'s, 'a, 'p> {
    r: &'s mut Reader<'a>,
    key_at: At<'p>,
    elem_at: At<'p>,
    traced: &'p Traced,
    shapes: (usize, usize),
    left: usize,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        // Tables begin with room for four and keep a byte for each, and some.
        self.r.charge(FIRST_ROOM * size_of::<K::Value>() + 32)?;
        let key = De {
            r: self.r,
            at: self.key_at,
            traced: self.traced,
            shape: self.shapes.0,
        };
        seed.deserialize(key).map(Some).map_err(Error::in_element)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.r.charge(FIRST_ROOM * size_of::<V::Value>())?;
        let value = De {
            r: self.r,
            at: self.elem_at,
            traced: self.traced,
            shape: self.shapes.1,
        };
        seed.deserialize(value).map_err(Error::in_element)
    }
}

/// The fields of a struct that both sides have alike: each is the next one that was sent, or zero.
struct SameFields<'s, 'a, 'p> {
    r: &'s mut Reader<'a>,
    at: At<'p>,
    traced: &'p Traced,
    fields: &'p [(&'static str, usize)],
    /// The number of the field whose turn it is.
    next: usize,
    /// How far on the next field is that was sent, counted from the one before this; 0 if there is none.
    step: u64,
}

impl<'de> MapAccess<'de> for SameFields<'_, '_, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        match self.fields.get(self.next) {
            Some(&(name, _)) => seed.deserialize(key(name)).map(Some),
            None => {
                self.r.no_more_fields(self.step, self.fields.len())?;
                Ok(None)
            }
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let number = self.next;
        let Some(&(name, shape)) = self.fields.get(number) else {
            return Err(Error::custom("a value is asked for before its name"));
        };
        self.next += 1;
        let traced = self.traced;
        let value = if self.step == 1 {
            let field = De {
                r: self.r,
                at: self.at.field(number as u32),
                traced,
                shape,
            };
            let value = seed.deserialize(field).map_err(|e| e.in_field(name))?;
            self.step = self.r.uint()?;
            value
        } else {
            self.step = self.step.saturating_sub(1);
            let zero = Zero { traced, shape };
            seed.deserialize(zero).map_err(|e| e.in_field(name))?
        };
        Ok(value)
    }
}

/// The fields that were sent, in the sender's order, and then zeros for the others.
struct StructFields<'s, 'a, 'p> {
    r: &'s mut Reader<'a>,
    steps: Fields<'p>,
    traced: &'p Traced,
    fields: &'p [(&'static str, usize)],
    now: Now<'p>,
    ended: bool,
    /// A bit for each field that was sent.
    seen: u128,
    /// The field whose turn it is to be zero.
    zero: usize,
}

/// The field whose name was given out, and whose value will be asked for.
enum Now<'p> {
    Nothing,
    Sent(usize, At<'p>),
    Zero(usize),
}

impl<'de> MapAccess<'de> for StructFields<'_, '_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        while !self.ended {
            match self.steps.step(self.r)? {
                None => self.ended = true,
                Some((number, at)) => {
                    let number = number as usize;
                    let Some(&(name, _)) = self.fields.get(number) else {
                        continue;
                    };
                    self.seen |= 1 << number;
                    self.now = Now::Sent(number, at);
                    return seed.deserialize(key(name)).map(Some);
                }
            }
        }
        while let Some(&(name, _)) = self.fields.get(self.zero) {
            let number = self.zero;
            self.zero += 1;
            if self.seen & (1 << number) == 0 {
                self.now = Now::Zero(number);
                return seed.deserialize(key(name)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (number, value) = match std::mem::replace(&mut self.now, Now::Nothing) {
            Now::Sent(number, at) => {
                let shape = self.fields[number].1;
                (
                    number,
                    seed.deserialize(De {
                        r: self.r,
                        at,
                        traced: self.traced,
                        shape,
                    }),
                )
            }
            Now::Zero(number) => {
                let shape = self.fields[number].1;
                (
                    number,
                    seed.deserialize(Zero {
                        traced: self.traced,
                        shape,
                    }),
                )
            }
            Now::Nothing => return Err(Error::custom("a value is asked for before its name")),
        };
        value.map_err(|error| error.in_field(self.fields[number].0))
    }
}

fn key(name: &'static str) -> StrDeserializer<'static, Error> {
    name.into_deserializer()
}

/// What was not sent.
#[derive(Clone, Copy)]
struct Zero<'p> {
    traced: &'p Traced,
    shape: usize,
}

impl<'de> Deserializer<'de> for Zero<'_> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.traced.shapes[self.shape] {
            Shape::Bool => visitor.visit_bool(false),
            Shape::Int => visitor.visit_i64(0),
            Shape::Uint | Shape::Byte | Shape::Raw => visitor.visit_u64(0),
            Shape::Float { single: true } => visitor.visit_f32(0.0),
            Shape::Float { single: false } => visitor.visit_f64(0.0),
            Shape::Char => visitor.visit_char('\0'),
            Shape::Str => visitor.visit_str(""),
            Shape::Bytes => visitor.visit_seq(Bytes([].iter())),
            Shape::Option(_) => visitor.visit_none(),
            Shape::Unit => visitor.visit_unit(),
            &Shape::Seq(elem) => visitor.visit_seq(Zeros {
                zero: Zero {
                    shape: elem,
                    ..self
                },
                left: 0,
            }),
            &Shape::Array(elem, len) => visitor.visit_seq(Zeros {
                zero: Zero {
                    shape: elem,
                    ..self
                },
                left: len,
            }),
            Shape::Map(..) => visitor.visit_map(ZeroFields {
                traced: self.traced,
                fields: [].iter(),
                now: None,
            }),
            Shape::Struct { fields, .. } => visitor.visit_map(ZeroFields {
                traced: self.traced,
                fields: fields.iter(),
                now: None,
            }),
            Shape::Enum(_) => visitor.visit_enum(StrDeserializer::new("")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(&[])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(&[])
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

struct Zeros<'p> {
    zero: Zero<'p>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Zeros<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                seed.deserialize(self.zero).map(Some)
            }
            None => Ok(None),
        }
    }
}

struct ZeroFields<'p> {
    traced: &'p Traced,
    fields: std::slice::Iter<'p, (&'static str, usize)>,
    now: Option<usize>,
}

impl<'de> MapAccess<'de> for ZeroFields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        match self.fields.next() {
            Some(&(name, shape)) => {
                self.now = Some(shape);
                seed.deserialize(key(name)).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.now.take() {
            Some(shape) => seed.deserialize(Zero {
                traced: self.traced,
                shape,
            }),
            None => Err(Error::custom("a value is asked for before its name")),
        }
    }
}
