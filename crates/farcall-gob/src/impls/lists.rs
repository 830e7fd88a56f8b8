//! Slices and arrays: everything that is elements in an order.

use std::borrow::Cow;
use std::collections::{BTreeSet, BinaryHeap, HashSet, LinkedList, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::rc::Rc;
use std::sync::Arc;

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::write::Writer;

/// Types that lend their elements as one slice.
macro_rules! slices {
    ($($ty:ty),*) => {$(
        impl<T: Gob> Gob for $ty {
            // All of them are the same type on the wire, so they share a definition.
            fn describe(d: &mut Describer) -> NodeId {
                T::describe_list::<Vec<T>>(d)
            }

            #[inline]
            fn zero() -> Option<Self> {
                Some(Vec::new().into())
            }

            #[inline]
            fn is_left_out(&self) -> bool {
                self.is_empty()
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                T::put_list(self, w)
            }

            #[inline]
            fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
                T::get_list(r, at).map(Self::from)
            }
        }
    )*};
}

slices!(Vec<T>, Box<[T]>, Arc<[T]>, Rc<[T]>);

impl<T: Gob + Clone> Gob for Cow<'static, [T]> {
    fn describe(d: &mut Describer) -> NodeId {
        T::describe_list::<Vec<T>>(d)
    }

    fn zero() -> Option<Self> {
        Some(Cow::Owned(vec![]))
    }

    fn is_left_out(&self) -> bool {
        self.is_empty()
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        T::put_list(self, w)
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        T::get_list(r, at).map(Cow::Owned)
    }
}

/// Other collections, with what their elements must be.
macro_rules! collections {
    ($($name:ident $(: $bound:ident $(+ $more:ident)*)? $(, $hasher:ident)?;)*) => {$(
        impl<T: Gob $(+ $bound $(+ $more)*)? $(, $hasher: BuildHasher + Default + 'static)?> Gob for $name<T $(, $hasher)?> {
            fn describe(d: &mut Describer) -> NodeId {
                T::describe_list::<Vec<T>>(d)
            }

            fn zero() -> Option<Self> {
                Some(Self::default())
            }

            fn is_left_out(&self) -> bool {
                self.is_empty()
            }

            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                w.uint(self.len() as u64);
                w.enter()?;
                for item in self {
                    item.put_in_list(w)?;
                }
                w.leave();
                Ok(())
            }

            fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
                let list = T::get_list(r, at)?;
                // The list is there twice for a moment, and these have some words more for each element.
                r.charge(list.len().saturating_mul(2 * size_of::<T>() + 2 * size_of::<usize>()))?;
                Ok(list.into_iter().collect())
            }
        }
    )*};
}

collections! {
    VecDeque;
    LinkedList;
    BinaryHeap: Ord;
    BTreeSet: Ord;
    HashSet: Eq + Hash, S;
}

impl<T: Gob, const N: usize> Gob for [T; N] {
    const HAS_ZERO: bool = N == 0 || T::HAS_ZERO;
    const NESTS: bool = T::NESTS;

    fn describe(d: &mut Describer) -> NodeId {
        d.array::<Self, T>(N)
    }

    #[inline]
    fn zero() -> Option<Self> {
        unwrap_all(std::array::from_fn(|_| T::zero()))
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.uint(N as u64);
        T::put_all(self, w)
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        let count = r.count::<T>()?;
        if count != N {
            return Err(r
                .cur
                .corrupt(format!("an array of {N} elements comes with {count}")));
        }
        if T::NESTS {
            r.enter()?;
        }
        let elem = at.elem();
        let mut items = [const { None }; N];
        for place in &mut items {
            *place = Some(T::get(r, elem).map_err(Error::in_element)?);
        }
        if T::NESTS {
            r.leave();
        }
        unwrap_all(items).ok_or_else(|| r.cur.corrupt("an array with too few elements"))
    }
}

fn unwrap_all<T, const N: usize>(items: [Option<T>; N]) -> Option<[T; N]> {
    if items.iter().any(Option::is_none) {
        return None;
    }
    Some(items.map(|item| item.expect("all were looked at")))
}
