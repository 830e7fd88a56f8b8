//! What Go makes of types of other crates, and what they make of Go's. Each module needs its crate's feature.
//! Ranges and refusals are tested beside the types.

use farcall_gob::{Encoder, Gob, NetIp};

use crate::judge::Judge;

/// What a Go program holds of a value, when it is received as the type of this schema.
fn in_go(schema: &str, value: &impl Gob) -> String {
    let mut stream = vec![];
    Encoder::new().encode(value, &mut stream).unwrap();
    let verdict = Judge::start().judge(schema, &[0], &stream);
    assert!(verdict.ok, "{schema}: {}", verdict.error);
    verdict.values().concat()
}

#[test]
fn old_addresses_are_what_go_programs_hold() {
    let v4 = NetIp([1, 2, 3, 4].into());
    let v6 = NetIp([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into());
    assert_eq!(
        in_go(r#"[{"slice":"bytes"}]"#, &vec![v4, v6]),
        concat!(
            r#"[{"$bytes":"00000000000000000000ffff01020304"},"#,
            r#"{"$bytes":"20010db8000000000000000000000001"}]"#
        )
    );
}

/// The recorded values of Go, received as types of other crates and sent to Go again.
#[cfg(any(
    feature = "chrono",
    feature = "jiff",
    feature = "time",
    feature = "num-bigint"
))]
mod recorded {
    use farcall_gob::Limits;

    use super::*;
    use crate::vectors::{each_value, question, records};

    /// `T` is what the first types of the record are, and `S` the struct that is its last.
    pub(super) fn survives<T: Gob, S: Gob>(name: &str) {
        let record = records("hand.jsonl")
            .into_iter()
            .find(|record| record.name == name)
            .expect("it is recorded");
        let (mut encoder, mut stream) = (Encoder::new(), vec![]);
        let types: Vec<String> = record.part("go_type");
        let mut order = record.value_types().into_iter();
        each_value(&record.stream(), Limits::default(), |decoder, raw| {
            let ty = order.next().unwrap();
            let sent = if ty + 1 == types.len() {
                encoder.encode(&decoder.decode::<S>(raw).unwrap(), &mut stream)
            } else {
                encoder.encode(&decoder.decode::<T>(raw).unwrap(), &mut stream)
            };
            sent.unwrap();
        })
        .unwrap();
        let (schema, value_types) = question(&record);
        let verdict = Judge::start().judge(&schema, &value_types, &stream);
        assert!(verdict.ok, "{name}: {}", verdict.error);
        assert_eq!(verdict.values(), record.texts("values"), "{name}");
    }
}

/// For types that keep the zone.
#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
macro_rules! zoned {
    ($zoned:ty, $at:expr) => {
        #[derive(Gob)]
        struct Times {
            t: $zoned,
            #[gob(rename = "PT")]
            pt: Option<$zoned>,
            l: Vec<$zoned>,
            m: std::collections::HashMap<String, $zoned>,
            d: i64,
        }

        #[test]
        fn times_of_go_survive() {
            super::recorded::survives::<$zoned, Times>("time");
        }

        #[test]
        fn times_are_what_go_programs_hold() {
            let at = $at;
            // 1969, 2023 and the years 1 and 9000, in zones with and without seconds.
            let seconds = [-1_i64, 1_700_000_000, -62_135_596_800, 221_845_000_000];
            for seconds in seconds {
                for offset in [0_i32, 3600, -3600, 20_700, 3601, -3601, 59, -59, -43_200] {
                    let sent: $zoned = at(seconds, 5, offset);
                    let zone = match offset {
                        0 => "ffff".to_owned(),
                        _ => format!("{:04x}", (offset / 60) as i16),
                    };
                    let (version, odd) = match offset % 60 {
                        0 => (1, String::new()),
                        odd => (2, format!("{:02x}", odd as i8)),
                    };
                    let since_year_1 = seconds + 62_135_596_800;
                    let expected = format!(
                        r#"{{"$gob":"{version:02x}{since_year_1:016x}00000005{zone}{odd}"}}"#
                    );
                    let held = super::in_go(r#"[{"ext":"time.Time","how":"gob"}]"#, &sent);
                    assert_eq!(held, expected, "{seconds} s, {offset} s east");
                }
            }
        }
    };
}

#[cfg(feature = "chrono")]
mod chrono {
    use chrono::{DateTime, FixedOffset, Utc};
    use farcall_gob::Gob;

    zoned!(DateTime<FixedOffset>, |seconds, nanos, offset| {
        DateTime::from_timestamp(seconds, nanos)
            .unwrap()
            .with_timezone(&FixedOffset::east_opt(offset).unwrap())
    });

    #[test]
    fn utc_is_utc_in_go() {
        let time: DateTime<Utc> = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let held = super::in_go(r#"[{"ext":"time.Time","how":"gob"}]"#, &time);
        assert_eq!(held, r#"{"$gob":"010000000edce5e80000000000ffff"}"#);
    }
}

#[cfg(feature = "jiff")]
mod jiff {
    use farcall_gob::Gob;
    use jiff::tz::{Offset, TimeZone};
    use jiff::{Timestamp, Zoned};

    zoned!(Zoned, |seconds, nanos, offset| {
        Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + nanos)
            .unwrap()
            .to_zoned(TimeZone::fixed(Offset::from_seconds(offset).unwrap()))
    });

    #[test]
    fn timestamps_are_utc_in_go() {
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        let held = super::in_go(r#"[{"ext":"time.Time","how":"gob"}]"#, &time);
        assert_eq!(held, r#"{"$gob":"010000000edce5e80000000000ffff"}"#);
    }
}

#[cfg(feature = "time")]
mod time {
    use farcall_gob::Gob;
    use time::{OffsetDateTime, UtcOffset};

    zoned!(OffsetDateTime, |seconds, nanos, offset| {
        OffsetDateTime::from_unix_timestamp(seconds)
            .unwrap()
            .replace_nanosecond(nanos)
            .unwrap()
            .to_offset(UtcOffset::from_whole_seconds(offset).unwrap())
    });
}

#[cfg(feature = "num-bigint")]
mod num_bigint {
    use std::collections::HashMap;

    use farcall_gob::{Gob, GobEncoded};
    use num_bigint::{BigInt, BigUint};

    #[derive(Gob)]
    struct Bigs {
        i: Option<BigInt>,
        r: Option<GobEncoded>,
        f: Option<GobEncoded>,
        l: Vec<BigUint>,
        v: BigInt,
        m: HashMap<String, BigInt>,
        n: Option<BigInt>,
        vz: BigUint,
    }

    #[test]
    fn numbers_of_go_survive() {
        super::recorded::survives::<BigInt, Bigs>("big");
    }

    #[test]
    fn numbers_are_what_go_programs_hold() {
        let schema = r#"[{"slice":{"ext":"big.Int","how":"gob"}}]"#;
        let large: BigInt = BigInt::from(1) << 70;
        assert_eq!(
            super::in_go(schema, &vec![-large, BigInt::ZERO, 300.into()]),
            r#"[{"$gob":"03400000000000000000"},{"$gob":"02"},{"$gob":"02012c"}]"#
        );
        assert_eq!(
            super::in_go(schema, &vec![BigUint::from(7_u8)]),
            r#"[{"$gob":"0207"}]"#
        );
    }
}

#[cfg(feature = "num-complex")]
mod num_complex {
    use num_complex::Complex;

    #[test]
    fn complex_numbers_are_what_go_programs_hold() {
        let expected = r#"{"$c128":["3ff8000000000000","c000000000000000"]}"#;
        let wide = Complex::new(1.5_f64, -2.0);
        let narrow = Complex::new(1.5_f32, -2.0);
        assert_eq!(super::in_go(r#"["complex128"]"#, &wide), expected);
        assert_eq!(super::in_go(r#"["complex64"]"#, &narrow), expected);
    }
}

#[cfg(feature = "url")]
mod url {
    use url::Url;

    #[test]
    fn urls_are_what_go_programs_hold() {
        for text in [
            "https://user:pw@h.example:8443/p%20q/%C3%A9?x=1&y=%26#f",
            "http://[2001:db8::1]/",
            "mailto:a@b.example",
        ] {
            let url = Url::parse(text).unwrap();
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            let held = super::in_go(r#"[{"ext":"url.URL","how":"bin"}]"#, &url);
            assert_eq!(held, format!(r#"{{"$bin":"{hex}"}}"#));
        }
    }
}

#[cfg(feature = "uuid")]
mod uuid {
    use farcall_gob::BinaryUuid;
    use uuid::Uuid;

    const UUID: Uuid = Uuid::from_u128(0x0001_0203_0405_0607_0809_7f80_81fd_feff);

    #[test]
    fn uuids_of_the_library_are_arrays_in_go() {
        assert_eq!(
            super::in_go(r#"[{"array":"uint8","len":16}]"#, &UUID),
            "[0,1,2,3,4,5,6,7,8,9,127,128,129,253,254,255]"
        );
    }

    // A netip.Addr encodes itself in the same way, by MarshalBinary, and is content with any 16 bytes.
    #[test]
    fn uuids_that_encode_themselves_are_16_bytes_in_go() {
        assert_eq!(
            super::in_go(r#"[{"ext":"netip.Addr","how":"bin"}]"#, &BinaryUuid(UUID)),
            r#"{"$bin":"000102030405060708097f8081fdfeff"}"#
        );
    }
}
