//! Writes values through `Serialize`, guided by what the type is made of.
//! What it returns tells whether the value is one that a struct's field leaves out.

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
    value
        .serialize(Ser {
            w,
            traced,
            shape: traced.root,
        })
        .map(drop)
}

/// True if a struct's field of this value is left out.
type LeftOut = bool;

struct Ser<'s, 'w> {
    w: &'s mut Writer<'w>,
    traced: &'s Traced,
    shape: usize,
}

impl<'s, 'w> Ser<'s, 'w> {
    /// The shape, which is not that of an Option.
    fn shape(&self) -> &'s Shape {
        match &self.traced.shapes[self.shape] {
            &Shape::Option(inner) => &self.traced.shapes[inner],
            shape => shape,
        }
    }

    #[cold]
    fn differs<T>(&self, what: &str) -> Result<T, Error> {
        Err(Error::custom(format!(
            "it serializes as {what}, but deserializes as {:?}",
            self.shape()
        )))
    }

    fn int(self, value: i64) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Int => {
                self.w.int(value);
                Ok(value == 0)
            }
            _ => self.differs("a signed integer"),
        }
    }

    fn uint(self, value: u64) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Uint | Shape::Byte => {
                self.w.uint(value);
                Ok(value == 0)
            }
            _ => self.differs("an unsigned integer"),
        }
    }

    fn float(self, value: f64) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Float { .. } => {
                self.w.float(value);
                Ok(value == 0.0)
            }
            _ => self.differs("a float"),
        }
    }

    fn empty_struct(self) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Unit => {
                self.w.end();
                Ok(false)
            }
            _ => self.differs("nothing"),
        }
    }
}

impl<'s, 'w> Serializer for Ser<'s, 'w> {
    type Ok = LeftOut;
    type Error = Error;
    type SerializeSeq = Items<'s, 'w>;
    type SerializeTuple = Items<'s, 'w>;
    type SerializeTupleStruct = Items<'s, 'w>;
    type SerializeTupleVariant = serde::ser::Impossible<LeftOut, Error>;
    type SerializeMap = Items<'s, 'w>;
    type SerializeStruct = Fields<'s, 'w>;
    type SerializeStructVariant = serde::ser::Impossible<LeftOut, Error>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Bool => {
                self.w.uint(value.into());
                Ok(!value)
            }
            _ => self.differs("a bool"),
        }
    }

    fn serialize_i8(self, value: i8) -> Result<LeftOut, Error> {
        self.int(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<LeftOut, Error> {
        self.int(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<LeftOut, Error> {
        self.int(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<LeftOut, Error> {
        self.int(value)
    }

    fn serialize_u8(self, value: u8) -> Result<LeftOut, Error> {
        self.uint(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<LeftOut, Error> {
        self.uint(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<LeftOut, Error> {
        self.uint(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<LeftOut, Error> {
        self.uint(value)
    }

    fn serialize_f32(self, value: f32) -> Result<LeftOut, Error> {
        self.float(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<LeftOut, Error> {
        self.float(value)
    }

    fn serialize_char(self, value: char) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Char => {
                self.w.int(u32::from(value).into());
                Ok(value == '\0')
            }
            _ => self.differs("a char"),
        }
    }

    fn serialize_str(self, value: &str) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Str => {
                self.w.bytes(value.as_bytes());
                Ok(value.is_empty())
            }
            _ => self.differs("a string"),
        }
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Bytes => {
                self.w.bytes(value);
                Ok(value.is_empty())
            }
            _ => self.differs("bytes"),
        }
    }

    fn serialize_none(self) -> Result<LeftOut, Error> {
        match &self.traced.shapes[self.shape] {
            Shape::Option(_) => Ok(true),
            _ => self.differs("None"),
        }
    }

    // Some(0) is written, unlike 0.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<LeftOut, Error> {
        match self.traced.shapes[self.shape] {
            Shape::Option(inner) => value
                .serialize(Ser {
                    shape: inner,
                    ..self
                })
                .map(|_| false),
            _ => self.differs("Some"),
        }
    }

    fn serialize_unit(self) -> Result<LeftOut, Error> {
        self.empty_struct()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<LeftOut, Error> {
        self.empty_struct()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<LeftOut, Error> {
        match self.shape() {
            Shape::Enum(_) => {
                self.w.bytes(variant.as_bytes());
                Ok(variant.is_empty())
            }
            _ => self.differs("a variant of an enum"),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<LeftOut, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<LeftOut, Error> {
        self.differs("a variant that holds something")
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'s, 'w>, Error> {
        match *self.shape() {
            Shape::Seq(elem) => Items::begin(self, [elem; 2], false, len),
            Shape::Bytes => Items::begin(self, [RAW; 2], false, len),
            _ => self.differs("a list"),
        }
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'s, 'w>, Error> {
        match *self.shape() {
            Shape::Array(elem, expected) if expected == len => {
                let mut items = Items::begin(self, [elem; 2], false, Some(len))?;
                items.never_left_out = true;
                Ok(items)
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
                let mut items = Items::begin(self, [key, elem], true, len)?;
                items.never_left_out = true;
                Ok(items)
            }
            _ => self.differs("a map"),
        }
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'s, 'w>, Error> {
        match self.shape() {
            Shape::Struct { fields, .. } => {
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

/// Stands for the shape of a byte in a list of bytes.
const RAW: usize = usize::MAX;

/// The elements of a list, a tuple or a map.
struct Items<'s, 'w> {
    w: &'s mut Writer<'w>,
    traced: &'s Traced,
    /// Of the keys and of the elements.
    shapes: [usize; 2],
    /// How many elements were announced, and where the count belongs if none were.
    announced: Option<usize>,
    start: usize,
    count: usize,
    never_left_out: bool,
}

impl<'s, 'w> Items<'s, 'w> {
    fn begin(
        ser: Ser<'s, 'w>,
        shapes: [usize; 2],
        never_left_out: bool,
        len: Option<usize>,
    ) -> Result<Self, Error> {
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
            never_left_out,
        })
    }

    fn item<T: Serialize + ?Sized>(&mut self, shape: usize, value: &T) -> Result<(), Error> {
        if shape == RAW {
            // A byte as a number, and then the byte itself.
            let start = self.w.out.len();
            let byte = self
                .traced
                .shapes
                .iter()
                .position(|shape| *shape == Shape::Byte)
                .unwrap_or(0);
            value.serialize(Ser {
                w: self.w,
                traced: self.traced,
                shape: byte,
            })?;
            let byte = self.w.out.last().copied().unwrap_or(0);
            self.w.out.truncate(start);
            self.w.out.push(byte);
            return Ok(());
        }
        value
            .serialize(Ser {
                w: self.w,
                traced: self.traced,
                shape,
            })
            .map(drop)
            .map_err(Error::in_element)
    }

    fn finish(self) -> Result<LeftOut, Error> {
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
        Ok(self.count == 0 && !self.never_left_out)
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = LeftOut;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.count += 1;
        self.item(self.shapes[0], value)
    }

    fn end(self) -> Result<LeftOut, Error> {
        self.finish()
    }
}

impl SerializeTuple for Items<'_, '_> {
    type Ok = LeftOut;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<LeftOut, Error> {
        self.finish()
    }
}

impl SerializeTupleStruct for Items<'_, '_> {
    type Ok = LeftOut;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<LeftOut, Error> {
        self.finish()
    }
}

impl SerializeMap for Items<'_, '_> {
    type Ok = LeftOut;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.count += 1;
        self.item(self.shapes[0], key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.item(self.shapes[1], value)
    }

    fn end(self) -> Result<LeftOut, Error> {
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

impl SerializeStruct for Fields<'_, '_> {
    type Ok = LeftOut;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let later = self.fields.iter().enumerate().skip(self.next);
        let found = later.clone().find(|(_, field)| field.0 == name);
        let Some((number, &(_, shape))) = found else {
            return Err(Error::custom(
                "it serializes a field that it does not deserialize, or does so too late",
            )
            .in_field(name));
        };
        self.next = number + 1;
        let start = self.w.out.len();
        self.w.uint((number + 1 - self.last) as u64);
        match value.serialize(Ser {
            w: self.w,
            traced: self.traced,
            shape,
        }) {
            Ok(true) => self.w.out.truncate(start),
            Ok(false) => self.last = number + 1,
            Err(error) => return Err(error.in_field(name)),
        }
        Ok(())
    }

    fn end(self) -> Result<LeftOut, Error> {
        self.w.end();
        self.w.leave();
        Ok(false)
    }
}
