//! Numbers, `bool`, `char`, and the unit type.

use std::num;

use crate::describe::Describer;
use crate::error::{Error, ErrorKind};
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::wire;
use crate::write::Writer;

impl Gob for bool {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::BOOL
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some(false)
    }

    #[inline]
    fn is_left_out(&self) -> bool {
        !self
    }

    #[inline]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.uint((*self).into());
        Ok(())
    }

    #[inline]
    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        Ok(r.uint()? != 0)
    }
}

/// Integers that travel as Go's `int` or `uint`, of any width.
macro_rules! integers {
    ($node:ident, $wide:ty, $bits:expr, $from_bits:expr, $read:ident: $($ty:ty)*) => {$(
        impl Gob for $ty {
            const NESTS: bool = false;

            fn describe(_: &mut Describer) -> NodeId {
                NodeId::$node
            }

            #[inline]
            fn zero() -> Option<Self> {
                Some(0)
            }

            #[inline]
            fn is_left_out(&self) -> bool {
                *self == 0
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                w.uint($bits(*self as $wide));
                Ok(())
            }

            #[inline]
            fn put_after(&self, delta: u32, w: &mut Writer<'_>) -> Result<(), Error> {
                w.uint_after(delta, $bits(*self as $wide));
                Ok(())
            }

            fn put_all(list: &[Self], w: &mut Writer<'_>) -> Result<(), Error> {
                w.uints(list.iter().map(|&item| $bits(item as $wide)));
                Ok(())
            }

            #[inline]
            fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
                let value = r.$read()?;
                Self::try_from(value).map_err(|_| out_of_range(r, value, stringify!($ty)))
            }

            fn get_all(count: usize, r: &mut Reader<'_>, _: At<'_>) -> Result<Vec<Self>, Error> {
                let mut list = vec![0; count];
                r.cur.uints(&mut list, |bits| {
                    let value = $from_bits(bits);
                    Self::try_from(value).map_err(|_| not_in_range(value, stringify!($ty)))
                }).map_err(|e| e.at_offset(r.cur.offset()))?;
                Ok(list)
            }
        }
    )*};
}

integers!(INT, i64, wire::zigzag, wire::unzigzag, int: i8 i16 i32 i64 isize);
integers!(UINT, u64, std::convert::identity, std::convert::identity, uint: u16 u32 u64 usize);

// Like the other integers, but lists of bytes are a kind of their own.
impl Gob for u8 {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::UINT
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some(0)
    }

    #[inline]
    fn is_left_out(&self) -> bool {
        *self == 0
    }

    #[inline]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.uint((*self).into());
        Ok(())
    }

    #[inline]
    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        let value = r.uint()?;
        Self::try_from(value).map_err(|_| out_of_range(r, value, "u8"))
    }

    #[inline]
    fn put_in_list(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.byte(*self);
        Ok(())
    }

    fn describe_list<L: 'static>(_: &mut Describer) -> NodeId {
        NodeId::BYTES
    }

    #[inline]
    fn put_list(list: &[Self], w: &mut Writer<'_>) -> Result<(), Error> {
        w.bytes(list);
        Ok(())
    }

    #[inline]
    fn get_list(r: &mut Reader<'_>, _: At<'_>) -> Result<Vec<Self>, Error> {
        r.bytes().map(<[u8]>::to_vec)
    }
}

#[cold]
fn out_of_range(r: &Reader<'_>, value: impl std::fmt::Display, ty: &str) -> Error {
    not_in_range(value, ty).at_offset(r.cur.offset())
}

#[cold]
fn not_in_range(value: impl std::fmt::Display, ty: &str) -> Error {
    Error::new(
        ErrorKind::OutOfRange,
        format!("{value} is out of range for {ty}"),
    )
}

impl Gob for f64 {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::FLOAT
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some(0.0)
    }

    // As in Go, where -0.0 is zero too and NaN is not.
    #[inline]
    fn is_left_out(&self) -> bool {
        *self == 0.0
    }

    #[inline]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.float(*self);
        Ok(())
    }

    #[inline]
    fn put_after(&self, delta: u32, w: &mut Writer<'_>) -> Result<(), Error> {
        w.uint_after(delta, wire::float_bits(*self));
        Ok(())
    }

    #[inline]
    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        r.float()
    }
}

impl Gob for f32 {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::FLOAT
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some(0.0)
    }

    #[inline]
    fn is_left_out(&self) -> bool {
        *self == 0.0
    }

    #[inline]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.float((*self).into());
        Ok(())
    }

    #[inline]
    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        let value = r.float()?;
        // Compared before it is rounded, as Go does. Infinity passes.
        if value.is_finite() && value.abs() > f32::MAX.into() {
            return Err(out_of_range(r, value, "f32"));
        }
        Ok(value as f32)
    }
}

/// Go's `rune`, which is an `int32`.
impl Gob for char {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::INT
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some('\0')
    }

    #[inline]
    fn is_left_out(&self) -> bool {
        *self == '\0'
    }

    #[inline]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.int(u32::from(*self).into());
        Ok(())
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        let value = r.int()?;
        let point = u32::try_from(value).ok().and_then(char::from_u32);
        point.ok_or_else(|| out_of_range(r, value, "char"))
    }
}

/// Integers that are never 0: a field of them is written as `Option<NonZero...>`.
macro_rules! nonzero {
    ($($ty:ty)*) => {$(
        impl Gob for num::NonZero<$ty> {
            const HAS_ZERO: bool = false;
            const NESTS: bool = false;

            fn describe(d: &mut Describer) -> NodeId {
                <$ty>::describe(d)
            }

            fn zero() -> Option<Self> {
                None
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                self.get().put(w)
            }

            #[inline]
            fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
                let value = <$ty as Gob>::get(r, at)?;
                Self::new(value).ok_or_else(|| r.out_of_range("0 came for an integer that is never 0"))
            }
        }
    )*};
}

nonzero!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

/// A struct without fields, which takes whatever comes: this is how values are passed over.
impl Gob for () {
    const NESTS: bool = false;

    fn describe(d: &mut Describer) -> NodeId {
        d.unit()
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some(())
    }

    #[inline]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.end();
        Ok(())
    }

    #[inline]
    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        r.skip(at)
    }
}

/// A complex number, as gob knows it: no arithmetic, only the two parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Complex {
    /// The real part.
    pub re: f64,
    /// The imaginary part.
    pub im: f64,
}

impl Gob for Complex {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::COMPLEX
    }

    fn zero() -> Option<Self> {
        Some(Self::default())
    }

    fn is_left_out(&self) -> bool {
        self.re == 0.0 && self.im == 0.0
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.float(self.re);
        w.float(self.im);
        Ok(())
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        Ok(Self {
            re: r.float()?,
            im: r.float()?,
        })
    }
}
