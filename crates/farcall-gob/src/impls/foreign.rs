//! Types of other crates, one file each, each behind the feature of its crate's name. All `time.Time`s share what is here.
//! The bytes of a `time.Time` themselves are in `std_types`.

#[cfg(feature = "bytes")]
mod bytes;
#[cfg(feature = "chrono")]
mod chrono;
#[cfg(feature = "jiff")]
mod jiff;
#[cfg(feature = "num-bigint")]
mod num_bigint;
#[cfg(feature = "num-complex")]
mod num_complex;
#[cfg(feature = "time")]
mod time;
#[cfg(feature = "url")]
mod url;
#[cfg(feature = "uuid")]
mod uuid;

#[cfg(feature = "uuid")]
pub use uuid::BinaryUuid;

#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
mod times {
    use crate::error::Error;
    use crate::impls::std_types::GoTime;

    /// A type that travels as `time.Time`.
    pub(super) trait Time: Sized + 'static {
        fn to_go(&self) -> Result<GoTime, Error>;
        fn from_go(time: GoTime) -> Result<Self, Error>;
    }

    #[cold]
    pub(super) fn too_far_for(ty: &str) -> Error {
        Error::refused(format!("the time is too far away for a {ty}"))
    }

    #[cold]
    pub(super) fn no_zone_for(offset: i32, ty: &str) -> Error {
        Error::refused(format!("a zone of {offset} seconds is none for a {ty}"))
    }

    macro_rules! times {
        ($($ty:ty),*) => {$(
            impl $crate::SelfEncoded for $ty {
                const HOW: $crate::Opaque = $crate::Opaque::Gob;
                const NAME: &'static str = "Time";

                fn encode(&self, out: &mut Vec<u8>) -> Result<(), $crate::Error> {
                    self.to_go()?.encode(out)
                }

                fn decode(bytes: &[u8]) -> Result<Self, $crate::Error> {
                    Self::from_go(GoTime::decode(bytes)?)
                }

                /// January 1 of the year 1, as in Go.
                fn zero() -> Option<Self> {
                    Self::from_go(GoTime::ZERO).ok()
                }

                // Not by comparing the types' values: those are equal in all zones, and Go sends the zone.
                fn is_left_out(&self) -> bool {
                    self.to_go().is_ok_and(|time| time == GoTime::ZERO)
                }
            }

            $crate::self_encoded!($ty);
        )*};
    }
    pub(super) use times;
}

#[cfg(test)]
mod tests {
    #[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
    pub(super) mod times {
        use crate::error::ErrorKind;
        use crate::impls::SelfEncoded;
        use crate::impls::std_types::{GoTime, UNIX_EPOCH_SECONDS};

        pub(in super::super) fn bytes(time: &impl SelfEncoded) -> Vec<u8> {
            let mut out = vec![];
            time.encode(&mut out).unwrap();
            out
        }

        /// What must hold of every type of times, whatever its range.
        pub(in super::super) fn check<T: SelfEncoded + PartialEq + std::fmt::Debug>(
            has_zones: bool,
        ) {
            let zero = T::zero().unwrap();
            assert!(zero.is_left_out());
            assert_eq!(
                bytes(&zero),
                [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]
            );
            let go = |seconds, nanos, offset| {
                let mut out = vec![];
                GoTime {
                    seconds,
                    nanos,
                    offset,
                }
                .encode(&mut out)
                .unwrap();
                out
            };
            // Before 1970 and after, with a part of a second.
            for seconds in [
                1,
                UNIX_EPOCH_SECONDS - 1,
                UNIX_EPOCH_SECONDS,
                2 * UNIX_EPOCH_SECONDS,
            ] {
                for nanos in [0, 1, 999_999_999] {
                    let sent = go(seconds, nanos, None);
                    assert_eq!(bytes(&T::decode(&sent).unwrap()), sent);
                    for offset in [-3601, 3600, 86_399] {
                        let sent = go(UNIX_EPOCH_SECONDS, nanos, Some(offset));
                        let again = bytes(&T::decode(&sent).unwrap());
                        let kept = has_zones.then_some(offset);
                        assert_eq!(again, go(UNIX_EPOCH_SECONDS, nanos, kept));
                    }
                }
            }
            // UTC, and a zone that is not it but is as far from it.
            assert_eq!(
                bytes(&T::decode(&go(5, 6, Some(0))).unwrap()),
                go(5, 6, None)
            );
            // More nanoseconds than a second has.
            let carried = T::decode(&go(5, 0x3FFF_FFFF, None)).unwrap();
            assert_eq!(bytes(&carried), go(6, 0x3FFF_FFFF - 1_000_000_000, None));
            for seconds in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
                let error = T::decode(&go(seconds, 0x3FFF_FFFF, None)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutOfRange, "{seconds}");
            }
            for offset in [i32::from(i16::MIN) * 60, i32::from(i16::MAX) * 60] {
                let decoded = T::decode(&go(0, 0, Some(offset)));
                assert_eq!(decoded.is_err(), has_zones, "{offset}");
            }
            assert!(T::decode(&[]).is_err());
        }
    }
}
