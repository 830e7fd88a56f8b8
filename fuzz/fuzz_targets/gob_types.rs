//! Any text is a Go type or an error: no panic, and no more memory than a text of that length can mean. What was read
//! prints as text that is read as the same type.
#![no_main]

use farcall_fuzz::peak;
use farcall_gob::Schema;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (parsed, memory) = peak(|| text.parse::<Schema>());
    assert!(
        memory <= (64 << 10) + 1_000 * text.len(),
        "{memory} bytes of memory for {}",
        text.len()
    );
    let schema = match parsed {
        Ok(schema) => schema,
        Err(error) => {
            assert!(error.offset() <= text.len(), "{error}");
            return;
        }
    };
    let _ = (schema.to_string(), schema.to_rust());
    let printed = schema.to_go();
    let again: Schema = printed
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(again.to_go(), printed);
});
