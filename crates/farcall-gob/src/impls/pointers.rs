//! Boxes and the like, which are not there on the wire.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::write::Writer;

macro_rules! pointers {
    ($($ty:ident)*) => {$(
        impl<T: Gob> Gob for $ty<T> {
            const HAS_ZERO: bool = T::HAS_ZERO;

            fn describe(d: &mut Describer) -> NodeId {
                T::describe(d)
            }

            fn zero() -> Option<Self> {
                T::zero().map(Self::new)
            }

            #[inline]
            fn is_left_out(&self) -> bool {
                T::is_left_out(self)
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                T::put(self, w)
            }

            #[inline]
            fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
                r.charge(size_of::<T>() + 2 * size_of::<usize>())?;
                T::get(r, at).map(Self::new)
            }
        }
    )*};
}

pointers!(Box Rc Arc);

impl<T: Gob + Clone> Gob for Cow<'static, T> {
    const HAS_ZERO: bool = T::HAS_ZERO;

    fn describe(d: &mut Describer) -> NodeId {
        T::describe(d)
    }

    fn zero() -> Option<Self> {
        T::zero().map(Self::Owned)
    }

    fn is_left_out(&self) -> bool {
        T::is_left_out(self)
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        T::put(self, w)
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        T::get(r, at).map(Self::Owned)
    }
}
