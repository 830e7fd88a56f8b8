//! The crate `bytes`: its buffers are Go's []byte. Copied out of the message, like all that is received.

use bytes::{Bytes, BytesMut};

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::write::Writer;

macro_rules! buffers {
    ($($ty:ty)*) => {$(
        impl Gob for $ty {
            fn describe(_: &mut Describer) -> NodeId {
                NodeId::BYTES
            }

            #[inline]
            fn zero() -> Option<Self> {
                Some(Self::new())
            }

            #[inline]
            fn is_left_out(&self) -> bool {
                self.is_empty()
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                w.bytes(self);
                Ok(())
            }

            #[inline]
            fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
                r.bytes().map(|bytes| Bytes::copy_from_slice(bytes).into())
            }
        }
    )*};
}

buffers!(Bytes BytesMut);
