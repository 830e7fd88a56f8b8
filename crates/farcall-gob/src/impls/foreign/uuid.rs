//! The crate `uuid`. In Go there are two types of that name, which differ on the wire; nothing is lost with either.
//! `Uuid` is the one of Go's library (since 1.27), an array of 16 numbers. `BinaryUuid` is that of github.com/google/uuid,
//! which encodes itself. Uuids that travel as text are a `String`.

use uuid::Uuid;

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::impls::SelfEncoded;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::{NodeId, Opaque};
use crate::write::Writer;

/// `uuid.UUID` of Go's library: `[16]byte`. One of google/uuid does not fit; receive it as `BinaryUuid`.
impl Gob for Uuid {
    fn describe(d: &mut Describer) -> NodeId {
        <[u8; 16]>::describe(d)
    }

    fn zero() -> Option<Self> {
        Some(Self::nil())
    }

    fn is_left_out(&self) -> bool {
        self.as_bytes().is_left_out()
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        self.as_bytes().put(w)
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        Gob::get(r, at).map(Self::from_bytes)
    }
}

/// `uuid.UUID` of github.com/google/uuid, which encodes itself as 16 bytes. Other numbers of bytes are refused.
///
/// For the one of Go's library, use [`Uuid`] as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BinaryUuid(pub Uuid);

impl From<Uuid> for BinaryUuid {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<BinaryUuid> for Uuid {
    fn from(uuid: BinaryUuid) -> Self {
        uuid.0
    }
}

impl SelfEncoded for BinaryUuid {
    const HOW: Opaque = Opaque::Binary;
    const NAME: &'static str = "UUID";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.try_into() {
            Ok(bytes) => Ok(Self(Uuid::from_bytes(bytes))),
            Err(_) => Err(Error::refused(format!(
                "a uuid of {} bytes instead of 16",
                bytes.len()
            ))),
        }
    }

    fn zero() -> Option<Self> {
        Some(Self::default())
    }

    fn is_left_out(&self) -> bool {
        self.0.is_nil()
    }
}

crate::self_encoded!(BinaryUuid);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;
    use crate::impls::{BinaryEncoded, sent_as};

    proptest! {
        #[test]
        fn uuids_are_arrays_or_bytes(bytes: [u8; 16]) {
            let uuid = Uuid::from_bytes(bytes);
            prop_assert_eq!(sent_as::<[u8; 16]>(&uuid).unwrap(), bytes);
            prop_assert_eq!(sent_as::<Uuid>(&bytes).unwrap(), uuid);
            let binary = BinaryUuid(uuid);
            let encoded = BinaryEncoded(bytes.to_vec());
            prop_assert_eq!(sent_as::<BinaryEncoded>(&binary).unwrap(), encoded.clone());
            prop_assert_eq!(sent_as::<BinaryUuid>(&encoded).unwrap(), binary);
            prop_assert_eq!(sent_as::<Vec<Uuid>>(&vec![uuid, Uuid::nil()]).unwrap(), [uuid, Uuid::nil()]);
        }
    }

    #[test]
    fn the_two_uuids_do_not_fit_each_other() {
        let uuid = Uuid::max();
        let error = sent_as::<Uuid>(&BinaryUuid(uuid)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        let error = sent_as::<BinaryUuid>(&uuid).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
    }

    #[test]
    fn uuids_of_other_lengths_are_refused() {
        for len in [0, 15, 17] {
            let error = sent_as::<BinaryUuid>(&BinaryEncoded(vec![1; len])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
        }
        assert!(sent_as::<Uuid>(&[1_u8; 15]).is_err());
    }
}
