//! What a sender of any types and values means is what is decoded, also where the sender splits values over messages
//! as Go does; and sent on, it is still the same.
#![no_main]

use farcall_fuzz::model::Stream;
use farcall_fuzz::{find, roomy, sent_again};
use farcall_gob::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: Stream| {
    let mut decoder = Decoder::new(roomy());
    let found = find(&mut decoder, &stream.bytes);
    assert!(found.error.is_none(), "{:?} in {stream:?}", found.error);
    assert_eq!(found.values.len(), stream.values.len(), "{stream:?}");
    assert!(
        found
            .values
            .last()
            .is_none_or(|(_, end)| *end == stream.bytes.len())
    );
    for ((raw, _), meant) in found.values.iter().zip(&stream.values) {
        let text = meant.to_canonical_json();
        let value = match decoder.decode_value(raw) {
            Ok(value) => value,
            Err(error) => panic!("{error} in {stream:?}"),
        };
        assert_eq!(value.to_canonical_json(), text, "{stream:?}");
        let (again, _) = decoder
            .schema_of_value(raw)
            .and_then(|schema| sent_again(&value, &schema))
            .unwrap_or_else(|error| panic!("{error} in {stream:?}"));
        assert_eq!(again.to_canonical_json(), text, "{stream:?}");
        decoder
            .decode::<()>(raw)
            .unwrap_or_else(|error| panic!("{error} in {stream:?}"));
    }
});
