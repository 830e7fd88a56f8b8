//! What is written comes back, however it is split.

use farcall_wire::{Compression, Flags, Limits};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::traffic::{cut, faithful, read, read_packed, write, write_packed};

proptest! {
    #[test]
    fn messages_come_back_as_they_were_however_the_bytes_are_split(
        (framing, sent) in faithful(),
        at in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let bytes = write(framing, &sent);
        let pieces = [cut(&bytes, &at), bytes.chunks(1).map(<[u8]>::to_vec).collect()];
        for pieces in pieces {
            let back = read(framing, &Limits::default(), pieces, |number, body| {
                sent[number].1.like(body).unwrap()
            });
            prop_assert_eq!(back.refused, None);
            prop_assert_eq!(&back.messages, &sent);
        }
    }

    #[test]
    fn long_bodies_become_shorter_and_come_back_as_they_were(
        (framing, sent) in faithful(),
        at in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let compression = Some(Compression::Lz4);
        let bytes = write_packed(framing, compression, &sent);
        prop_assert!(bytes.len() <= write(framing, &sent).len() + 2 * sent.len());
        let limits = Limits::default();
        let back = read_packed(framing, compression, &limits, cut(&bytes, &at), |number, body| {
            sent[number].1.like(body).unwrap()
        });
        prop_assert_eq!(back.refused, None);
        for ((header, body), (sent_header, sent_body)) in back.messages.iter().zip(&sent) {
            let mut expected = sent_header.clone();
            if header.flags.has(Flags::COMPRESSED) {
                expected.flags |= Flags::COMPRESSED;
            }
            prop_assert_eq!((header, body), (&expected, sent_body));
        }
        prop_assert_eq!(back.messages.len(), sent.len());
    }

    #[test]
    fn what_follows_a_value_that_cannot_be_encoded_comes_back_unharmed(
        (framing, sent) in faithful(),
        before in any::<Index>(),
    ) {
        let mut writer = farcall_wire::FrameWriter::new(framing.0, framing.1);
        let mut bytes = Vec::new();
        for (number, (header, body)) in sent.iter().enumerate() {
            if number == before.index(sent.len()) {
                let len = bytes.len();
                *writer.header() = header.clone();
                let refused = Refused { text: "first".into(), ..Refused::default() };
                writer.write(farcall_wire::Body::from(&refused), &mut bytes).unwrap_err();
                prop_assert_eq!(bytes.len(), len);
            }
            *writer.header() = header.clone();
            writer.write(body.body(), &mut bytes).unwrap();
        }
        let back = read(framing, &Limits::default(), [bytes], |number, body| {
            sent[number].1.like(body).unwrap()
        });
        prop_assert_eq!(back.refused, None);
        prop_assert_eq!(&back.messages, &sent);
    }
}

/// A value with a good beginning and a type of its own that cannot be encoded.
#[derive(Default, serde::Serialize, serde::Deserialize, farcall_gob::Gob)]
struct Refused {
    text: String,
    never: Never,
}

#[derive(Default, serde::Deserialize)]
struct Never;

impl serde::Serialize for Never {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not this one"))
    }
}

impl farcall_gob::Gob for Never {
    fn describe(d: &mut farcall_gob::__private::Describer) -> farcall_gob::NodeId {
        Vec::<Vec<i64>>::describe(d)
    }

    fn zero() -> Option<Never> {
        Some(Never)
    }

    fn put(&self, _: &mut farcall_gob::__private::Writer<'_>) -> Result<(), farcall_gob::Error> {
        Err(farcall_gob::Error::refused("not this one"))
    }

    fn get(
        _: &mut farcall_gob::__private::Reader<'_>,
        _: farcall_gob::__private::At<'_>,
    ) -> Result<Never, farcall_gob::Error> {
        Err(farcall_gob::Error::refused("not this one"))
    }
}
