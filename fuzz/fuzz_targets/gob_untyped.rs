//! Any bytes can be decoded without a type: no panic, no more memory than the limits allow, and what comes out can
//! be sent again and is then the same. Its text forms end.
#![no_main]

use farcall_fuzz::{is_ambiguous, peak, sent_again};
use farcall_gob::{Decoder, ErrorKind, Limits, Next, Schema, Value};
use libfuzzer_sys::fuzz_target;

/// What a value may take beside its parts: the list of types that interfaces brought, and an error's text.
const SLACK: usize = 16 << 10;

/// What the fields that were not sent may take.
const ZEROS_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let mut decoder = Decoder::new(limits.clone());
    let mut at = 0;
    loop {
        let (next, memory) = peak(|| decoder.next(&data[at..]));
        assert!(
            memory <= (64 << 10) + 128 * data.len(),
            "{memory} bytes of memory to find a value in {}",
            data.len()
        );
        let Ok(Next::Value { consumed, raw }) = next else {
            return;
        };
        at += consumed;
        let (value, memory) = peak(|| decoder.decode_value(raw));
        let allowed = limits.memory_base + limits.memory_factor * raw.len();
        assert!(
            memory <= allowed + SLACK,
            "{memory} bytes of memory for {}",
            raw.len()
        );
        let (Ok(value), Ok(schema)) = (value, decoder.schema_of_value(raw)) else {
            continue;
        };
        check(&value, &schema);
    }
});

fn check(value: &Value, schema: &Schema) {
    let text = value.to_canonical_json();
    match sent_again(value, schema) {
        Ok((again, schema_again)) => {
            assert_eq!(again.to_canonical_json(), text);
            assert_eq!(schema_again.to_go(), schema.to_go());
        }
        Err(error) => assert!(
            error.kind() == ErrorKind::Unsupported && is_ambiguous(value, schema),
            "{error}"
        ),
    }
    schema.to_rust();
    schema.to_string();
    let mut full = value.clone();
    let (filled, memory) = peak(|| full.fill_zeros(schema, ZEROS_MAX).is_ok());
    assert!(
        memory <= ZEROS_MAX + SLACK,
        "{memory} bytes of memory for zeros"
    );
    if filled {
        full.to_plain_json();
    }
    let json = value.to_plain_json();
    let inferred = Schema::infer(&json);
    // Plain JSON forgets types, so it need not fit; but whatever is made of it can be sent.
    for schema in [schema, &inferred] {
        if let Ok(mut value) = Value::from_json(&json, schema) {
            if value.fill_zeros(schema, ZEROS_MAX).is_ok() {
                value.to_plain_json();
            }
        }
    }
}
