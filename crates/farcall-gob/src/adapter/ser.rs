//! Writes values through `Serialize`, guided by what the type is made of.
//! A struct's field that writes nothing is one that is left out.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};

use super::{Shape, Traced};
use crate::error::Error;
use crate::wire;
use crate::write::Writer;

pub(super) fn put<T: Serialize>(
    value: &T,
    traced: &Traced,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    value.serialize(Ser {
        w,
        traced,
        shape: &traced.shapes[traced.root],
        step: 0,
    })
}

struct Ser<'s, 'w> {
    w: &'s mut Writer<'w>,
    traced: &'s Traced,
    shape: &'s Shape,
    /// If it is a struct's field, the step to it, which is written before it; else 0.
    step: u32,
}

impl<'s, 'w> Ser<'s, 'w> {
    /// The shape, which is not that of an Option.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn shape(&self) -> &'s Shape {
        match self.shape {
            &Shape::Option(inner) => &self.traced.shapes[inner],
            shape => shape,
        }
    }

    #[cold]
    #[inline(never)]
    fn differs<T>(&self, what: &str) -> Result<T, Error> {
        Err(Error::custom(format!(
            "it serializes as {what}, but deserializes as {:?}",
            self.shape()
        )))
    }

    /// A number that is left out if it is zero.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn number(self, bits: u64, is_zero: bool) {
        if self.step == 0 {
            self.w.uint(bits);
        } else if !is_zero {
            self.w.uint_after(self.step, bits);
        }
    }

    /// Text or bytes, which are left out if they are empty.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn text(self, bytes: &[u8]) {
        if self.step == 0 {
            self.w.bytes(bytes);
        } else if !bytes.is_empty() {
            self.w.uint(self.step.into());
            self.w.bytes(bytes);
        }
    }

    /// Begins a value that has parts, or none.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn begin(&mut self) {
        if self.step != 0 {
            self.w.uint(self.step.into());
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn int(self, value: i64) -> Result<(), Error> {
        match self.shape() {
            Shape::Int => {
                self.number(wire::zigzag(value), value == 0);
                Ok(())
            }
            _ => self.differs("a signed integer"),
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn uint(self, value: u64) -> Result<(), Error> {
        match self.shape() {
            Shape::Uint | Shape::Byte => {
                self.number(value, value == 0);
                Ok(())
            }
            _ => self.differs("an unsigned integer"),
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn float(self, value: f64) -> Result<(), Error> {
        match self.shape() {
            Shape::Float { .. } => {
                self.number(wire::float_bits(value), value == 0.0);
                Ok(())
            }
            _ => self.differs("a float"),
        }
    }

    fn empty_struct(mut self) -> Result<(), Error> {
        match self.shape() {
            Shape::Unit => {
                self.begin();
                self.w.end();
                Ok(())
            }
            _ => self.differs("nothing"),
        }
    }
}

impl<'s, 'w> Serializer for Ser<'s, 'w> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'s, 'w>;
    type SerializeTuple = Items<'s, 'w>;
    type SerializeTupleStruct = Items<'s, 'w>;
    type SerializeTupleVariant = serde::ser::Impossible<(), Error>;
    type SerializeMap = Items<'s, 'w>;
    type SerializeStruct = Fields<'s, 'w>;
    type SerializeStructVariant = serde::ser::Impossible<(), Error>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        match self.shape() {
            Shape::Bool => {
                self.number(value.into(), !value);
                Ok(())
            }
            _ => self.differs("a bool"),
        }
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.int(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.int(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.int(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.int(value)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        match self.shape() {
            Shape::Raw => {
                self.w.byte(value);
                Ok(())
            }
            _ => self.uint(value.into()),
        }
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.uint(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.uint(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.uint(value)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.float(value.into())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.float(value)
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Error> {
        match self.shape() {
            Shape::Char => {
                let number = i64::from(u32::from(value));
                self.number(wire::zigzag(number), value == '\0');
                Ok(())
            }
            _ => self.differs("a char"),
        }
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        match self.shape() {
            Shape::Str => {
                self.text(value.as_bytes());
                Ok(())
            }
            _ => self.differs("a string"),
        }
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        match self.shape() {
            Shape::Bytes => {
                self.text(value);
                Ok(())
            }
            _ => self.differs("bytes"),
        }
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        match self.shape {
            Shape::Option(_) => Ok(()),
            _ => self.differs("None"),
        }
    }

    // Some(0) is written, unlike 0.
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), Error> {
        match self.shape {
            &Shape::Option(inner) => {
                self.begin();
                let shape = &self.traced.shapes[inner];
                value.serialize(Ser {
                    shape,
                    step: 0,
                    ..self
                })
            }
            _ => self.differs("Some"),
        }
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.empty_struct()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.empty_struct()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        match self.shape() {
            Shape::Enum(_) => {
                self.text(variant.as_bytes());
                Ok(())
            }
            _ => self.differs("a variant of an enum"),
        }
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        self.differs("a variant that holds something")
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'s, 'w>, Error> {
        match *self.shape() {
            Shape::Seq(elem) => {
                let elem = &self.traced.shapes[elem];
                Items::begin(self, [elem; 2], true, len)
            }
            Shape::Bytes => Items::begin(self, [&Shape::Raw; 2], true, len),
            _ => self.differs("a list"),
        }
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'s, 'w>, Error> {
        match *self.shape() {
            Shape::Array(elem, expected) if expected == len => {
                let elem = &self.traced.shapes[elem];
                Items::begin(self, [elem; 2], false, Some(len))
            }
            _ => self.differs("a tuple"),
        }
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'s, 'w>, Error> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.differs("a variant that holds something")
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Items<'s, 'w>, Error> {
        match *self.shape() {
            Shape::Map(key, elem) => {
                let shapes = [key, elem].map(|part| &self.traced.shapes[part]);
                Items::begin(self, shapes, false, len)
            }
            _ => self.differs("a map"),
        }
    }

    #[inline]
    fn serialize_struct(mut self, _: &'static str, _: usize) -> Result<Fields<'s, 'w>, Error> {
        match self.shape() {
            Shape::Struct { fields, .. } => {
                self.begin();
                self.w.enter()?;
                Ok(Fields {
                    w: self.w,
                    traced: self.traced,
                    fields,
                    next: 0,
                    last: 0,
                })
            }
            _ => self.differs("a struct"),
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        self.differs("a variant that holds something")
    }
}

/// The elements of a list, a tuple or a map.
struct Items<'s, 'w> {
    w: &'s mut Writer<'w>,
    traced: &'s Traced,
    /// Of the keys and of the elements.
    shapes: [&'s Shape; 2],
    /// How many elements were announced, and where the count belongs if none were.
    announced: Option<usize>,
    start: usize,
    count: usize,
    /// What to go back to if there are no elements and it is a field that is then left out.
    if_empty: Option<usize>,
}

impl<'s, 'w> Items<'s, 'w> {
    fn begin(
        mut ser: Ser<'s, 'w>,
        shapes: [&'s Shape; 2],
        left_out_if_empty: bool,
        len: Option<usize>,
    ) -> Result<Self, Error> {
        let field_start = ser.w.out.len();
        ser.begin();
        ser.w.enter()?;
        let start = ser.w.out.len();
        if let Some(len) = len {
            ser.w.uint(len as u64);
        }
        Ok(Self {
            w: ser.w,
            traced: ser.traced,
            shapes,
            announced: len,
            start,
            count: 0,
            if_empty: (left_out_if_empty && ser.step != 0).then_some(field_start),
        })
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item<T: Serialize + ?Sized>(&mut self, shape: &'s Shape, value: &T) -> Result<(), Error> {
        let item = Ser {
            w: self.w,
            traced: self.traced,
            shape,
            step: 0,
        };
        value.serialize(item).map_err(Error::in_element)
    }

    fn finish(self) -> Result<(), Error> {
        match self.announced {
            Some(len) if len == self.count => {}
            Some(len) => {
                return Err(Error::custom(format!(
                    "it announces {len} elements and serializes {}",
                    self.count
                )));
            }
            None => {
                let (bytes, len) = wire::uint_bytes(self.count as u64);
                self.w
                    .out
                    .splice(self.start..self.start, bytes.into_iter().take(len));
            }
        }
        self.w.leave();
        if let (0, Some(field_start)) = (self.count, self.if_empty) {
            self.w.out.truncate(field_start);
        }
        Ok(())
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.count += 1;
        self.item(self.shapes[0], value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeTuple for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeTupleStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.count += 1;
        self.item(self.shapes[0], key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(self.shapes[1], value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

/// The fields of a struct.
struct Fields<'s, 'w> {
    w: &'s mut Writer<'w>,
    traced: &'s Traced,
    fields: &'s [(&'static str, usize)],
    /// The field that is expected next.
    next: usize,
    /// One more than the number of the field that was written last.
    last: usize,
}

impl Fields<'_, '_> {
    /// The number and the shape of a field: nearly always it is the one that is expected.
    #[inline]
    fn find(&self, name: &'static str) -> Result<(usize, usize), Error> {
        match self.fields.get(self.next) {
            // The names are mostly the same piece of the program, which need not be looked at.
            Some(&(next, shape)) if std::ptr::eq(next, name) || next == name => {
                Ok((self.next, shape))
            }
            _ => self.find_later(name),
        }
    }

    #[cold]
    fn find_later(&self, name: &'static str) -> Result<(usize, usize), Error> {
        let mut later = self.fields.iter().enumerate().skip(self.next);
        match later.find(|(_, field)| field.0 == name) {
            Some((number, &(_, shape))) => Ok((number, shape)),
            None => Err(Error::custom(
                "it serializes a field that it does not deserialize, or does so too late",
            )
            .in_field(name)),
        }
    }
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let (number, shape) = self.find(name)?;
        self.next = number + 1;
        let start = self.w.out.len();
        let field = Ser {
            w: self.w,
            traced: self.traced,
            shape: &self.traced.shapes[shape],
            step: (number + 1 - self.last) as u32,
        };
        value.serialize(field).map_err(|e| e.in_field(name))?;
        if self.w.out.len() > start {
            self.last = number + 1;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.w.end();
        self.w.leave();
        Ok(())
    }
}
