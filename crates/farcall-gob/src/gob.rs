//! The trait of all types that go over the wire, and the one of those that stand in fields.
//! The types themselves are in `impls`.

use crate::describe::Describer;
use crate::error::Error;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::write::Writer;

/// A type that gob can send and receive.
///
/// Derive it: `#[derive(Gob)]`. The methods are what the derive writes, and may change.
#[diagnostic::on_unimplemented(
    message = "gob cannot send `{Self}`",
    label = "no gob form for this type",
    note = "give your own type `#[derive(Gob)]`",
    note = "128-bit integers have no Go counterpart: use an i64, a u64 or a string",
    note = "`Option` is Go's pointer, and can only stand in a field of a struct: Go has no `nil` elements, map values, or top-level values",
    note = "types of other crates are behind features: see the table on farcall_gob's page"
)]
pub trait Gob: Sized + 'static {
    /// Is there a value that stands for "not sent"? All fields of structs need one.
    #[doc(hidden)]
    const HAS_ZERO: bool = true;

    /// May values nest without end? Then their depth is counted.
    #[doc(hidden)]
    const NESTS: bool = true;

    /// Files the type's description.
    #[doc(hidden)]
    fn describe(d: &mut Describer) -> NodeId;

    /// The value that stands for "not sent": 0, "", empty.
    #[doc(hidden)]
    fn zero() -> Option<Self>;

    /// True if a struct's field of this value is left out.
    #[doc(hidden)]
    fn is_left_out(&self) -> bool {
        false
    }

    /// Writes the value.
    #[doc(hidden)]
    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error>;

    /// Reads a value.
    #[doc(hidden)]
    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error>;

    /// Writes the value as the field that is `delta` after the last one.
    #[doc(hidden)]
    #[inline]
    fn put_after(&self, delta: u32, w: &mut Writer<'_>) -> Result<(), Error> {
        w.uint(delta.into());
        self.put(w)
    }

    /// Writes the value as an element of a list.
    #[doc(hidden)]
    #[inline]
    fn put_in_list(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        self.put(w)
    }

    /// Describes a list of this type. Overridden for `u8`, whose lists are Go's []byte.
    #[doc(hidden)]
    fn describe_list<L: 'static>(d: &mut Describer) -> NodeId {
        d.slice::<L, Self>()
    }

    /// Writes a list.
    #[doc(hidden)]
    #[inline]
    fn put_list(list: &[Self], w: &mut Writer<'_>) -> Result<(), Error> {
        w.uint(list.len() as u64);
        Self::put_all(list, w)
    }

    /// Reads a list.
    #[doc(hidden)]
    #[inline]
    fn get_list(r: &mut Reader<'_>, at: At<'_>) -> Result<Vec<Self>, Error> {
        let count = r.count::<Self>()?;
        Self::get_all(count, r, at)
    }

    /// Writes the elements of a list or an array.
    #[doc(hidden)]
    fn put_all(list: &[Self], w: &mut Writer<'_>) -> Result<(), Error> {
        if Self::NESTS {
            w.enter()?;
        }
        for item in list {
            item.put(w)?;
        }
        if Self::NESTS {
            w.leave();
        }
        Ok(())
    }

    /// Reads the elements of a list or an array. The room for them has been counted.
    #[doc(hidden)]
    fn get_all(count: usize, r: &mut Reader<'_>, at: At<'_>) -> Result<Vec<Self>, Error> {
        if Self::NESTS {
            r.enter()?;
        }
        let elem = at.elem();
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(Self::get(r, elem).map_err(Error::in_element)?);
        }
        if Self::NESTS {
            r.leave();
        }
        Ok(list)
    }
}

/// What may stand in a struct's field: everything that is [`Gob`], and an `Option` of it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "gob cannot send a field of type `{Self}`",
    label = "no gob form for this type",
    note = "give your own type `#[derive(Gob)]`",
    note = "128-bit integers have no Go counterpart: use an i64, a u64 or a string",
    note = "`Option` is Go's pointer: it cannot be nested, nor stand in lists and maps, where Go has no `nil`",
    note = "types of other crates are behind features: see the table on farcall_gob's page"
)]
pub trait GobField: Sized + 'static {
    const HAS_ZERO: bool;
    const NESTS: bool;
    fn describe(d: &mut Describer) -> NodeId;
    fn zero() -> Option<Self>;
    /// Writes the field, unless it is left out. `last` is one more than the number of the field that was written last;
    /// what it is now is returned.
    fn put_field(&self, number: u32, last: u32, w: &mut Writer<'_>) -> Result<u32, Error>;
    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error>;
}

impl<T: Gob> GobField for T {
    const HAS_ZERO: bool = T::HAS_ZERO;
    const NESTS: bool = T::NESTS;

    fn describe(d: &mut Describer) -> NodeId {
        T::describe(d)
    }

    #[inline]
    fn zero() -> Option<Self> {
        T::zero()
    }

    #[inline]
    fn put_field(&self, number: u32, last: u32, w: &mut Writer<'_>) -> Result<u32, Error> {
        if self.is_left_out() {
            return Ok(last);
        }
        self.put_after(number + 1 - last, w)?;
        Ok(number + 1)
    }

    #[inline]
    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        T::get(r, at)
    }
}

impl<T: Gob> GobField for Option<T> {
    const HAS_ZERO: bool = true;
    const NESTS: bool = T::NESTS;

    fn describe(d: &mut Describer) -> NodeId {
        T::describe(d)
    }

    #[inline]
    fn zero() -> Option<Self> {
        Some(None)
    }

    // Go leaves out pointers to zeros, and its receivers then hold nil. Written, they hold a pointer to zero.
    #[inline]
    fn put_field(&self, number: u32, last: u32, w: &mut Writer<'_>) -> Result<u32, Error> {
        let Some(value) = self else { return Ok(last) };
        value.put_after(number + 1 - last, w)?;
        Ok(number + 1)
    }

    #[inline]
    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        T::get(r, at).map(Some)
    }
}
