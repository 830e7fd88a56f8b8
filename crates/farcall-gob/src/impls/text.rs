//! Text.

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

fn get_str<'a>(r: &mut Reader<'a>) -> Result<&'a str, Error> {
    let bytes = r.bytes()?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => {
            Err(r
                .out_of_range("a string is not UTF-8, as Go's need not be: receive it as GoString"))
        }
    }
}

/// Types that own text.
macro_rules! text {
    ($($ty:ty),*) => {$(
        impl Gob for $ty {
            const NESTS: bool = false;

            fn describe(_: &mut Describer) -> NodeId {
                NodeId::STRING
            }

            #[inline]
            fn zero() -> Option<Self> {
                Some(Self::default())
            }

            #[inline]
            fn is_left_out(&self) -> bool {
                self.is_empty()
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                w.bytes(self.as_bytes());
                Ok(())
            }

            #[inline]
            fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
                get_str(r).map(Self::from)
            }
        }
    )*};
}

text!(String, Box<str>, Arc<str>, Rc<str>);

impl Gob for Cow<'static, str> {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::STRING
    }

    fn zero() -> Option<Self> {
        Some(Self::default())
    }

    fn is_left_out(&self) -> bool {
        self.is_empty()
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.bytes(self.as_bytes());
        Ok(())
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        get_str(r).map(|text| Self::Owned(text.into()))
    }
}

/// Text as Go has it: usually UTF-8, but any bytes will do.
///
/// A `String` refuses what is not UTF-8; this takes it and gives it back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GoString(pub Vec<u8>);

impl GoString {
    /// The text, with U+FFFD for what is not UTF-8.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for GoString {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Gob for GoString {
    const NESTS: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::STRING
    }

    fn zero() -> Option<Self> {
        Some(Self::default())
    }

    fn is_left_out(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.bytes(&self.0);
        Ok(())
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        r.bytes().map(|bytes| Self(bytes.into()))
    }
}
