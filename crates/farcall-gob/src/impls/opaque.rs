//! Types that encode themselves: how to be one, and those that only keep the bytes.

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::{NodeId, Opaque};
use crate::write::Writer;

/// A type that turns itself into bytes, as Go's `GobEncoder` and `BinaryMarshaler` do.
///
/// ```
/// use farcall_gob::{Error, Opaque, SelfEncoded, self_encoded};
///
/// #[derive(Default)]
/// struct Celsius(i16);
///
/// impl SelfEncoded for Celsius {
///     const HOW: Opaque = Opaque::Gob;
///     const NAME: &'static str = "Celsius";
///
///     fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
///         out.extend_from_slice(&self.0.to_be_bytes());
///         Ok(())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<Self, Error> {
///         let bytes = bytes.try_into().map_err(|_| Error::refused("a temperature takes two bytes"))?;
///         Ok(Self(i16::from_be_bytes(bytes)))
///     }
///
///     fn zero() -> Option<Self> {
///         Some(Self::default())
///     }
/// }
///
/// self_encoded!(Celsius);
/// # let mut out = vec![];
/// # farcall_gob::Encoder::new().encode(&Celsius(3), &mut out).unwrap();
/// ```
pub trait SelfEncoded: Sized + 'static {
    /// By which methods the Go type does it. Only the same kind fits.
    const HOW: Opaque;
    /// The Go type's own name, which only informs.
    const NAME: &'static str;

    /// Appends the bytes.
    ///
    /// # Errors
    /// If the value has no such form.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Makes a value of bytes that came from outside.
    ///
    /// # Errors
    /// If they are not of this type: [`Error::refused`].
    fn decode(bytes: &[u8]) -> Result<Self, Error>;

    /// The value of a field that was not sent; `None` if there is no such value, and fields must be an `Option`.
    fn zero() -> Option<Self>;

    /// True if [`zero`](Self::zero) gives a value.
    const HAS_ZERO: bool = true;

    /// True if a field of this value is not sent. Go does so with types whose encoding method is that of the value,
    /// not of a pointer to it, if all of their memory is zero.
    fn is_left_out(&self) -> bool {
        false
    }
}

/// Makes a [`SelfEncoded`] type one that gob can send and receive.
#[macro_export]
macro_rules! self_encoded {
    ($($ty:ty),* $(,)?) => {$(
        impl $crate::Gob for $ty {
            const HAS_ZERO: bool = <$ty as $crate::SelfEncoded>::HAS_ZERO;

            fn describe(d: &mut $crate::__private::Describer) -> $crate::NodeId {
                d.opaque::<$ty>(<$ty as $crate::SelfEncoded>::NAME, <$ty as $crate::SelfEncoded>::HOW)
            }

            fn zero() -> ::core::option::Option<Self> {
                <$ty as $crate::SelfEncoded>::zero()
            }

            fn is_left_out(&self) -> bool {
                <$ty as $crate::SelfEncoded>::is_left_out(self)
            }

            fn put(&self, w: &mut $crate::__private::Writer<'_>) -> ::core::result::Result<(), $crate::Error> {
                w.self_encoded(self)
            }

            fn get(
                r: &mut $crate::__private::Reader<'_>,
                _: $crate::__private::At<'_>,
            ) -> ::core::result::Result<Self, $crate::Error> {
                r.self_encoded()
            }
        }
    )*};
}

/// Types that keep the bytes of a type which encodes itself, for receivers that do not know it.
macro_rules! kept {
    ($($(#[$doc:meta])* $name:ident: $how:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub Vec<u8>);

        impl Gob for $name {
            fn describe(d: &mut Describer) -> NodeId {
                d.opaque::<Self>("", Opaque::$how)
            }

            fn zero() -> Option<Self> {
                Some(Self::default())
            }

            // Empty bytes are what most types make of nothing, and Go leaves out most of those.
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
    )*};
}

kept! {
    /// The bytes of any type with Go's `GobEncode`.
    GobEncoded: Gob;
    /// The bytes of any type with Go's `MarshalBinary`.
    BinaryEncoded: Binary;
    /// The bytes of any type with Go's `MarshalText`; Go itself never sends this.
    TextEncoded: Text;
}
