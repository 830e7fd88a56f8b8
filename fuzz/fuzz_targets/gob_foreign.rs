//! Any bytes can be decoded into the types of other crates: no panic, no more memory than the limits allow, and what
//! comes out can be sent again and is then the same.
#![no_main]

use farcall_fuzz::{find, peak, roomy, roomy_encoder};
use farcall_gob::{
    BinaryEncoded, BinaryUuid, Decoder, Encoder, ErrorKind, Gob, GobEncoded, Limits, NetIp,
    TextEncoded,
};
use libfuzzer_sys::fuzz_target;

/// What a value may take beside its parts: an error's text.
const SLACK: usize = 4 << 10;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(Limits::default());
    for (raw, _) in find(&mut decoder, data).values {
        check_all(&mut decoder, &raw);
    }
    // The bytes of values that encode themselves, which are rarely found by changing whole streams.
    alone(&GobEncoded(data.to_vec()));
    alone(&BinaryEncoded(data.to_vec()));
    alone(&TextEncoded(data.to_vec()));
});

fn check_all(decoder: &mut Decoder, raw: &[u8]) {
    check::<chrono::DateTime<chrono::Utc>>(decoder, raw);
    check::<chrono::DateTime<chrono::FixedOffset>>(decoder, raw);
    check::<jiff::Timestamp>(decoder, raw);
    check::<jiff::Zoned>(decoder, raw);
    check::<time::OffsetDateTime>(decoder, raw);
    check::<std::time::SystemTime>(decoder, raw);
    check::<num_bigint::BigInt>(decoder, raw);
    check::<num_bigint::BigUint>(decoder, raw);
    check::<num_complex::Complex<f32>>(decoder, raw);
    check::<num_complex::Complex<f64>>(decoder, raw);
    check::<url::Url>(decoder, raw);
    check::<uuid::Uuid>(decoder, raw);
    check::<BinaryUuid>(decoder, raw);
    check::<std::net::IpAddr>(decoder, raw);
    check::<std::net::SocketAddr>(decoder, raw);
    check::<NetIp>(decoder, raw);
    check::<Vec<jiff::Zoned>>(decoder, raw);
    check::<Vec<num_bigint::BigInt>>(decoder, raw);
    check::<Vec<uuid::Uuid>>(decoder, raw);
}

/// Reads bytes as those of values that encode themselves.
fn alone(bytes: &impl Gob) {
    let mut stream = vec![];
    let sent = Encoder::new().encode(bytes, &mut stream);
    sent.unwrap_or_else(|error| panic!("{error}"));
    let mut decoder = Decoder::new(Limits::default());
    for (raw, _) in find(&mut decoder, &stream).values {
        check_all(&mut decoder, &raw);
    }
}

fn check<T: Gob>(decoder: &mut Decoder, raw: &[u8]) {
    // The first time also works out how the types go together, so memory is counted the second time.
    drop(decoder.decode::<T>(raw));
    let limits = decoder.limits();
    let allowed = limits.memory_base + limits.memory_factor * raw.len();
    let (value, memory) = peak(|| decoder.decode::<T>(raw));
    assert!(
        memory <= allowed + SLACK,
        "{memory} bytes of memory for {} as {}",
        raw.len(),
        std::any::type_name::<T>()
    );
    let Ok(value) = value else { return };
    let Some(written) = written(&value) else {
        return;
    };
    let mut decoder = Decoder::new(roomy());
    let found = find(&mut decoder, &written);
    for (raw, _) in &found.values {
        let again: T = decoder
            .decode(raw)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self::written(&again).as_ref(), Some(&written));
    }
    assert_eq!(found.values.len(), 1);
}

/// `None` for what cannot be sent, as a zone that is one minute west of UTC.
fn written<T: Gob>(value: &T) -> Option<Vec<u8>> {
    let mut stream = vec![];
    match roomy_encoder().encode(value, &mut stream) {
        Ok(()) => Some(stream),
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::OutOfRange),
                "{error}"
            );
            None
        }
    }
}
