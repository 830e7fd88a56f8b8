//! Values to bytes: what a type's `put` writes into. Messages and definitions are the encoder's (`encode`).

use crate::cursor::INTERFACE_NAME_LEN_MAX;
use crate::encode::{SentTypes, Top};
use crate::error::{Error, ErrorKind};
use crate::gob::{Gob, GobField};
use crate::impls::SelfEncoded;
use crate::limits::{Depth, Limits};
use crate::schema::Schema;
use crate::wire::{self, NUMBER_LEN_MAX};

/// Where a value is written.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    types: &'a mut SentTypes,
    depth: Depth,
}

impl<'a> Writer<'a> {
    #[inline]
    pub(crate) fn new(out: &'a mut Vec<u8>, types: &'a mut SentTypes, limits: &Limits) -> Self {
        Self {
            out,
            types,
            depth: Depth::new(limits),
        }
    }

    /// How an interface's contents begin if they are of this type, which is defined if it is new to the stream.
    pub(crate) fn schema_type(&mut self, ty: &Schema) -> Top {
        self.types.inner_schema(ty)
    }

    /// What an interface holds, for derived code.
    pub fn contents<T: Gob>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let ty = self.types.inner_type::<T>();
        self.enter()?;
        self.interface(name, ty, |w| value.put(w))
            .map_err(|e| e.in_field(&format!("({name})")))?;
        self.leave();
        Ok(())
    }

    /// What an interface holds: the type's registered name, and the value.
    pub(crate) fn interface(
        &mut self,
        name: &str,
        ty: Top,
        put: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if name.is_empty() || name.len() > INTERFACE_NAME_LEN_MAX {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "a type is registered under a name of {} bytes, which Go does not take",
                    name.len()
                ),
            ));
        }
        self.bytes(name.as_bytes());
        ty.put_id(self.out);
        let start = wire::open(self.out);
        ty.put_mark(self.out);
        put(self)?;
        wire::close(self.out, start);
        Ok(())
    }

    /// A struct's field, unless it is left out. `last` is one more than the number of the field that was written last;
    /// what it is now is returned.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn field<T: GobField>(
        &mut self,
        value: &T,
        number: u32,
        last: u32,
        name: &'static str,
    ) -> Result<u32, Error> {
        value
            .put_field(number, last, self)
            .map_err(|error| error.in_field(name))
    }

    /// Goes into a value that has parts.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn enter(&mut self) -> Result<(), Error> {
        if self.depth.enter() {
            Ok(())
        } else {
            Err(too_deep())
        }
    }

    /// Comes out of it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn leave(&mut self) {
        self.depth.leave();
    }

    /// The mark that ends a struct.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn end(&mut self) {
        self.out.push(0);
    }

    /// One byte of many, whose length was written.
    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// Many numbers.
    #[inline]
    pub(crate) fn uints(&mut self, values: impl ExactSizeIterator<Item = u64>) {
        self.out.reserve(values.len());
        for value in values {
            self.uint(value);
        }
    }

    /// A number without sign; also a count, and the step to the next field.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn uint(&mut self, value: u64) {
        wire::put_uint(self.out, value);
    }

    /// A number with a sign.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn int(&mut self, value: i64) {
        self.uint(wire::zigzag(value));
    }

    /// A float.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn float(&mut self, value: f64) {
        self.uint(wire::float_bits(value));
    }

    /// A value that encodes itself.
    #[doc(hidden)]
    pub fn self_encoded<T: SelfEncoded>(&mut self, value: &T) -> Result<(), Error> {
        let start = wire::open(self.out);
        value.encode(self.out)?;
        wire::close(self.out, start);
        Ok(())
    }

    /// Text or bytes, with their length before them.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// The step to a field and its number in one go.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn uint_after(&mut self, delta: u32, value: u64) {
        if delta >= 128 {
            return self.uint_far_after(delta, value);
        }
        if value < 128 {
            return self.out.extend_from_slice(&[delta as u8, value as u8]);
        }
        let (number, len) = wire::uint_bytes(value);
        let mut bytes = [delta as u8; 1 + NUMBER_LEN_MAX];
        bytes[1..].copy_from_slice(&number);
        let end = self.out.len() + 1 + len;
        self.out.extend_from_slice(&bytes);
        self.out.truncate(end);
    }

    #[cold]
    fn uint_far_after(&mut self, delta: u32, value: u64) {
        self.uint(delta.into());
        self.uint(value);
    }
}

#[cold]
fn too_deep() -> Error {
    Error::limit(
        "the value nests too deep: raise Limits::depth, or Limits::stack on a thread with a larger stack",
    )
}
