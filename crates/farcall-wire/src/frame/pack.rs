//! Bodies made smaller on their way. Which messages they belong to, and how they stand in a framing, is told there.

use crate::Violation;

/// Bodies shorter than this are left as they are: there is nothing to gain.
const LEN_MIN: usize = 1 << 10;
/// A buffer that grew larger is not kept.
const KEPT_MAX: usize = 256 << 10;

/// How long bodies are compressed, when both sides agreed to it in the handshake.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 blocks: quick, and good where members' names or texts repeat.
    Lz4,
    /// Zstandard: smaller, for more work.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// What became of a body.
pub(super) enum Packed {
    /// It is too short to try, or would not become smaller.
    AsItWas,
    /// It is these bytes now.
    Smaller(Vec<u8>),
}

impl Compression {
    /// Compresses a body if that is of use. The length before stands in front, as a u32 in little endian.
    pub(super) fn pack(self, body: &[u8]) -> Packed {
        let Ok(len) = u32::try_from(body.len()) else {
            return Packed::AsItWas;
        };
        if body.len() < LEN_MIN {
            return Packed::AsItWas;
        }
        let mut packed = len.to_le_bytes().to_vec();
        match self {
            Compression::Lz4 => packed.extend(lz4_flex::block::compress(body)),
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                match zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL) {
                    Ok(bytes) => packed.extend(bytes),
                    Err(_) => return Packed::AsItWas,
                }
            }
        }
        match packed.len() < body.len() {
            true => Packed::Smaller(packed),
            false => Packed::AsItWas,
        }
    }

    /// Puts into `room` what a body was before it was packed.
    pub(super) fn expand(
        self,
        packed: &[u8],
        len_max: usize,
        room: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let broken = |why: &dyn std::fmt::Display| {
            Violation::new(format!("a compressed body cannot be expanded: {why}"))
        };
        let (len, rest) = packed
            .split_first_chunk()
            .ok_or_else(|| broken(&"it has no length"))?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > len_max {
            return Err(broken(&format!("it has {len} bytes, more than {len_max}")));
        }
        release(room);
        match self {
            Compression::Lz4 => {
                // No LZ4 block holds more than this; so what is announced takes no memory that did not arrive.
                if len / 255 > rest.len() {
                    return Err(broken(&"it announces more than it can hold"));
                }
                room.resize(len, 0);
                let count =
                    lz4_flex::block::decompress_into(rest, room).map_err(|error| broken(&error))?;
                room.truncate(count);
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                use std::io::Read;
                let mut decoder =
                    zstd::Decoder::with_buffer(rest).map_err(|error| broken(&error))?;
                // A few bytes could ask for a window of 128 MiB. None is of use that is larger than any body.
                let window = len_max.max(1 << 10).next_power_of_two().ilog2();
                decoder
                    .window_log_max(window.min(27))
                    .map_err(|error| broken(&error))?;
                let limit = len as u64 + 1;
                decoder
                    .take(limit)
                    .read_to_end(room)
                    .map_err(|error| broken(&error))?;
            }
        }
        match room.len() == len {
            true => Ok(()),
            false => Err(broken(&"its length is another than announced")),
        }
    }
}

/// Empties a buffer, and keeps its memory if that is not much.
pub(super) fn release(room: &mut Vec<u8>) {
    room.clear();
    if room.capacity() > KEPT_MAX {
        *room = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &[Compression] = &[
        Compression::Lz4,
        #[cfg(feature = "zstd")]
        Compression::Zstd,
    ];

    fn expanded(
        compression: Compression,
        packed: &[u8],
        len_max: usize,
    ) -> Result<Vec<u8>, Violation> {
        let mut room = Vec::new();
        compression.expand(packed, len_max, &mut room)?;
        Ok(room)
    }

    /// A frame of no bytes whose header asks for a window of 128 MiB.
    #[cfg(feature = "zstd")]
    #[test]
    fn a_small_zstandard_frame_buys_no_large_window() {
        let frame = b"\0\0\0\0\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00";
        let refused = expanded(Compression::Zstd, frame, 4 << 20).unwrap_err();
        assert!(
            refused.to_string().contains("cannot be expanded"),
            "{refused}"
        );
        // One of 4 MiB is what the limit is for.
        let frame = b"\0\0\0\0\x28\xb5\x2f\xfd\x00\x60\x01\x00\x00";
        assert_eq!(expanded(Compression::Zstd, frame, 4 << 20).unwrap(), b"");
    }

    #[test]
    fn a_small_packet_that_announces_much_is_refused_before_memory_is_taken() {
        for compression in ALL {
            let mut bomb = (4_u32 << 20).to_le_bytes().to_vec();
            bomb.extend([0; 16]);
            assert!(expanded(*compression, &bomb, 4 << 20).is_err());
            let Packed::Smaller(packed) = compression.pack(&[7; 5000]) else {
                panic!("{compression:?} does not pack");
            };
            let refused = expanded(*compression, &packed, 4999).unwrap_err();
            assert!(
                refused.to_string().contains("5000 bytes, more than 4999"),
                "{refused}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_expands_to_itself(pattern in proptest::collection::vec(any::<u8>(), 1..300), times in 1_usize..60) {
            let body = pattern.repeat(times);
            for compression in ALL {
                if let Packed::Smaller(packed) = compression.pack(&body) {
                    prop_assert!(packed.len() < body.len());
                    prop_assert_eq!(&expanded(*compression, &packed, body.len()).unwrap(), &body);
                    prop_assert!(expanded(*compression, &packed, body.len() - 1).is_err());
                }
            }
        }

        #[test]
        fn damage_is_an_error_or_other_bytes_and_never_more_than_the_limit(mut packed in proptest::collection::vec(any::<u8>(), 0..400), len in 0_u32..2000) {
            if let Some(place) = packed.get_mut(..4) {
                place.copy_from_slice(&len.to_le_bytes());
            }
            for compression in ALL {
                if let Ok(bytes) = expanded(*compression, &packed, 1000) {
                    prop_assert!(bytes.len() <= 1000);
                }
            }
        }
    }
}
