//! The crate `time`: its `OffsetDateTime` is Go's `time.Time`.
//!
//! The zone's offset is kept, and the zone's name is lost. An offset of zero is sent as UTC.
//! Refused: times outside of the years -9999 to 9999 (-999,999 to 999,999 with time's feature `large-dates`), and offsets
//! of 26 hours and more, from a sender; offsets one minute (60 to 119 seconds) west of UTC, which a `time.Time` cannot
//! tell from UTC, to a receiver.
//! Dates and times without an offset are not here: Go has none. Nor is `Duration`, whose range is not a `time.Duration`'s.

use time::{OffsetDateTime, UtcOffset};

use super::times::{Time, no_zone_for, times, too_far_for};
use crate::error::Error;
use crate::impls::std_types::GoTime;

impl Time for OffsetDateTime {
    fn to_go(&self) -> Result<GoTime, Error> {
        GoTime::from_unix(
            self.unix_timestamp(),
            self.nanosecond(),
            self.offset().whole_seconds(),
        )
    }

    fn from_go(time: GoTime) -> Result<Self, Error> {
        let too_far = || too_far_for("OffsetDateTime");
        let (seconds, nanos) = time.unix().ok_or_else(too_far)?;
        let offset = time.offset_seconds();
        let zone = UtcOffset::from_whole_seconds(offset)
            .map_err(|_| no_zone_for(offset, "OffsetDateTime"))?;
        Self::from_unix_timestamp(seconds)
            .and_then(|utc| utc.replace_nanosecond(nanos))
            .ok()
            .and_then(|utc| utc.checked_to_offset(zone))
            .ok_or_else(too_far)
    }
}

times!(OffsetDateTime);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{PrimitiveDateTime, UtcDateTime};

    use super::*;
    use crate::SelfEncoded;
    use crate::impls::foreign::tests::times::{bytes, check};

    #[test]
    fn date_times_are_the_bytes_that_go_writes() {
        check::<OffsetDateTime>(true);
        let time = OffsetDateTime::from_unix_timestamp(1_700_000_000)
            .unwrap()
            .to_offset(UtcOffset::from_hms(1, 0, 0).unwrap());
        assert_eq!(
            bytes(&time),
            [1, 0, 0, 0, 0x0e, 0xdc, 0xe5, 0xe8, 0, 0, 0, 0, 0, 0, 60]
        );
    }

    #[test]
    fn the_ends_of_time_are_reached_and_not_passed() {
        for (end, beyond) in [(PrimitiveDateTime::MIN, -1), (PrimitiveDateTime::MAX, 1)] {
            let end = end.assume_utc();
            assert_eq!(OffsetDateTime::decode(&bytes(&end)).unwrap(), end);
            let mut go = end.to_go().unwrap();
            // Over the edge by the zone alone, or by the second.
            go.offset = Some(beyond * 3600);
            assert!(OffsetDateTime::from_go(go).is_err());
            go.offset = None;
            go.seconds += i64::from(beyond);
            assert!(OffsetDateTime::from_go(go).is_err());
        }
    }

    proptest! {
        #[test]
        fn every_date_time_survives(
            seconds in UtcDateTime::MIN.unix_timestamp() + 100_000..UtcDateTime::MAX.unix_timestamp() - 100_000,
            nanos in 0_u32..1_000_000_000,
            offset in -93_599..=93_599,
        ) {
            prop_assume!(offset / 60 != -1);
            let time = OffsetDateTime::from_unix_timestamp(seconds)
                .unwrap()
                .replace_nanosecond(nanos)
                .unwrap()
                .to_offset(UtcOffset::from_whole_seconds(offset).unwrap());
            let again = OffsetDateTime::decode(&bytes(&time)).unwrap();
            prop_assert_eq!((again, again.offset()), (time, time.offset()));
        }
    }
}
