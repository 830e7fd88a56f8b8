//! The crate `jiff`: its `Timestamp` and `Zoned` are Go's `time.Time`.
//!
//! A `Zoned` keeps the zone's offset at that moment and loses the zone's name and rules: it comes back in a zone that
//! is always so far from UTC. A `Timestamp` is the same moment in UTC. An offset of zero is sent as UTC.
//! Refused: times outside of the years -9999 to 9999, and offsets of 26 hours and more, from a sender; offsets one
//! minute (60 to 119 seconds) west of UTC, which a `time.Time` cannot tell from UTC, to a receiver.
//! Civil dates and times are not here: Go has none. Nor is `SignedDuration`, whose range is not a `time.Duration`'s.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::times::{Time, no_zone_for, times, too_far_for};
use crate::error::Error;
use crate::impls::std_types::GoTime;

fn with_offset(time: Timestamp, offset: i32) -> Result<GoTime, Error> {
    // Before 1970, jiff's nanoseconds count down, and Go's always up.
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    GoTime::from_unix(seconds, nanos.unsigned_abs(), offset)
}

impl Time for Timestamp {
    fn to_go(&self) -> Result<GoTime, Error> {
        with_offset(*self, 0)
    }

    fn from_go(time: GoTime) -> Result<Self, Error> {
        let too_far = || too_far_for("Timestamp");
        let (seconds, nanos) = time.unix().ok_or_else(too_far)?;
        let nanos = i32::try_from(nanos).map_err(|_| too_far())?;
        Self::new(seconds, nanos).map_err(|_| too_far())
    }
}

impl Time for Zoned {
    fn to_go(&self) -> Result<GoTime, Error> {
        with_offset(self.timestamp(), self.offset().seconds())
    }

    fn from_go(time: GoTime) -> Result<Self, Error> {
        let zone = match time.offset_seconds() {
            0 => TimeZone::UTC,
            seconds => Offset::from_seconds(seconds)
                .map(TimeZone::fixed)
                .map_err(|_| no_zone_for(seconds, "Zoned"))?,
        };
        Ok(Timestamp::from_go(time)?.to_zoned(zone))
    }
}

times!(Timestamp, Zoned);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SelfEncoded;
    use crate::impls::foreign::tests::times::{bytes, check};

    #[test]
    fn timestamps_and_zoned_times_are_the_bytes_that_go_writes() {
        check::<Timestamp>(false);
        check::<Zoned>(true);
        let time = Timestamp::from_second(1_700_000_000)
            .unwrap()
            .to_zoned(TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(
            bytes(&time),
            [1, 0, 0, 0, 0x0e, 0xdc, 0xe5, 0xe8, 0, 0, 0, 0, 0, 0, 60]
        );
    }

    #[test]
    fn the_ends_of_time_are_reached_and_not_passed() {
        for (end, beyond) in [(Timestamp::MIN, -1), (Timestamp::MAX, 1)] {
            assert_eq!(Timestamp::decode(&bytes(&end)).unwrap(), end);
            let mut go = end.to_go().unwrap();
            // The widest offsets, with which the local time is at the end of jiff's too.
            for offset in [-93_599, 93_599] {
                go.offset = Some(offset);
                let zoned = Zoned::from_go(go).unwrap();
                assert_eq!(zoned.timestamp(), end);
                assert!(!zoned.to_string().is_empty());
            }
            go.seconds += beyond;
            assert!(Timestamp::from_go(go).is_err());
            assert!(Zoned::from_go(go).is_err());
        }
    }

    proptest! {
        #[test]
        fn every_time_survives(
            nanos in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
            offset in -93_599..=93_599,
        ) {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            prop_assert_eq!(Timestamp::decode(&bytes(&time)).unwrap(), time);
            if offset / 60 != -1 {
                let zoned = time.to_zoned(TimeZone::fixed(Offset::from_seconds(offset).unwrap()));
                let again = Zoned::decode(&bytes(&zoned)).unwrap();
                prop_assert_eq!((again.timestamp(), again.offset()), (time, zoned.offset()));
            }
        }
    }
}
