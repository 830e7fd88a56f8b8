//! The crate `chrono`: its `DateTime`s are Go's `time.Time`.
//!
//! A `DateTime<FixedOffset>` keeps the zone's offset and loses its name; a `DateTime<Utc>` is the same moment in UTC. An
//! offset of zero is sent as UTC. A leap second, which Go does not have, is the first second of the next minute.
//! Refused: times beyond chrono's 262,000 years, and offsets of a day and more, from a sender; offsets one minute
//! (60 to 119 seconds) west of UTC, which a `time.Time` cannot tell from UTC, to a receiver.
//! `DateTime<Local>` is not here: what it is differs from machine to machine. Nor are dates without a zone: Go has none.

use chrono::{DateTime, FixedOffset, Utc};

use super::times::{Time, no_zone_for, times, too_far_for};
use crate::error::Error;
use crate::impls::std_types::GoTime;

impl Time for DateTime<Utc> {
    fn to_go(&self) -> Result<GoTime, Error> {
        GoTime::from_unix(self.timestamp(), self.timestamp_subsec_nanos(), 0)
    }

    fn from_go(time: GoTime) -> Result<Self, Error> {
        time.unix()
            .and_then(|(seconds, nanos)| Self::from_timestamp(seconds, nanos))
            .ok_or_else(|| too_far_for("DateTime"))
    }
}

impl Time for DateTime<FixedOffset> {
    fn to_go(&self) -> Result<GoTime, Error> {
        GoTime::from_unix(
            self.timestamp(),
            self.timestamp_subsec_nanos(),
            self.offset().local_minus_utc(),
        )
    }

    fn from_go(time: GoTime) -> Result<Self, Error> {
        let utc = DateTime::<Utc>::from_go(time)?;
        let seconds = time.offset_seconds();
        let offset =
            FixedOffset::east_opt(seconds).ok_or_else(|| no_zone_for(seconds, "DateTime"))?;
        // In the first and the last day of chrono's time, the offset can lead out of it, and later uses would panic.
        match utc.naive_utc().checked_add_offset(offset) {
            Some(_) => Ok(utc.with_timezone(&offset)),
            None => Err(too_far_for("DateTime")),
        }
    }
}

times!(DateTime<Utc>, DateTime<FixedOffset>);

#[cfg(test)]
mod tests {
    use chrono::{NaiveDateTime, TimeZone};
    use proptest::prelude::*;

    use super::*;
    use crate::SelfEncoded;
    use crate::impls::foreign::tests::times::{bytes, check};

    #[test]
    fn date_times_are_the_bytes_that_go_writes() {
        check::<DateTime<Utc>>(false);
        check::<DateTime<FixedOffset>>(true);
        let zone = FixedOffset::east_opt(3600).unwrap();
        let time = zone.with_ymd_and_hms(2023, 11, 14, 23, 13, 20).unwrap();
        assert_eq!(
            bytes(&time),
            [1, 0, 0, 0, 0x0e, 0xdc, 0xe5, 0xe8, 0, 0, 0, 0, 0, 0, 60]
        );
    }

    #[test]
    fn the_zero_of_another_zone_is_sent() {
        let zone = FixedOffset::east_opt(3600).unwrap();
        let zero = <DateTime<FixedOffset> as SelfEncoded>::zero().unwrap();
        assert!(!SelfEncoded::is_left_out(&zero.with_timezone(&zone)));
    }

    #[test]
    fn a_leap_second_is_the_first_second_of_the_next_minute() {
        let leap = DateTime::from_timestamp(1_483_228_799, 1_500_000_000).unwrap();
        let next = DateTime::from_timestamp(1_483_228_800, 500_000_000).unwrap();
        assert_eq!(<DateTime<Utc>>::decode(&bytes(&leap)).unwrap(), next);
    }

    #[test]
    fn the_ends_of_time_are_reached_and_not_passed() {
        for end in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            assert_eq!(<DateTime<Utc>>::decode(&bytes(&end)).unwrap(), end);
            let end = end.fixed_offset();
            let mut east = end.to_go().unwrap();
            for offset in [-86_399, 86_399] {
                east.offset = Some(offset);
                // Either it is refused, or it can be used.
                if let Ok(time) = <DateTime<FixedOffset>>::from_go(east) {
                    assert_eq!(time, end);
                    assert_ne!(time.naive_local(), NaiveDateTime::default());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_date_time_survives(
            seconds in DateTime::<Utc>::MIN_UTC.timestamp() + 86_400..DateTime::<Utc>::MAX_UTC.timestamp() - 86_400,
            nanos in 0_u32..1_000_000_000,
            offset in -86_399..86_400,
        ) {
            let utc = DateTime::from_timestamp(seconds, nanos).unwrap();
            prop_assert_eq!(<DateTime<Utc>>::decode(&bytes(&utc)).unwrap(), utc);
            if offset / 60 != -1 {
                let time = utc.with_timezone(&FixedOffset::east_opt(offset).unwrap());
                let again = <DateTime<FixedOffset>>::decode(&bytes(&time)).unwrap();
                prop_assert_eq!((again, again.offset()), (time, time.offset()));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..18), version in 1_u8..3) {
            let mut bytes = bytes;
            bytes.insert(0, version);
            if let Ok(time) = <DateTime<FixedOffset>>::decode(&bytes) {
                prop_assert!(!time.to_string().is_empty());
            }
        }
    }
}
