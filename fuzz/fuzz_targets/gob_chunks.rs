//! However a stream is cut into pieces, the same values come out of it, and then the same class of error; and a
//! decoder never asks for more bytes than the next value needs.
#![no_main]

use farcall_fuzz::{Found, Pieces, find};
use farcall_gob::{Decoder, Limits, Next};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, stream)) = data.split_first() else {
        return;
    };
    let mut whole_decoder = Decoder::new(Limits::default());
    let whole = find(&mut whole_decoder, stream);
    let mut decoder = Decoder::new(Limits::default());
    let types = decoder.types();
    let found = find_in_pieces(&mut decoder, stream, &whole, Pieces::new(seed));
    assert_eq!(found.values, whole.values);
    assert_eq!(
        found.error.as_ref().map(|error| error.kind()),
        whole.error.as_ref().map(|error| error.kind()),
        "{found:?} {whole:?}"
    );
    for (raw, _) in &whole.values {
        let text = |value: Result<farcall_gob::Value, farcall_gob::Error>| {
            value
                .map(|value| value.to_canonical_json())
                .map_err(|error| error.to_string())
        };
        let expected = text(whole_decoder.decode_value(raw));
        assert_eq!(text(decoder.decode_value(raw)), expected);
        assert_eq!(text(types.decode_value(raw)), expected);
    }
});

fn find_in_pieces(
    decoder: &mut Decoder,
    stream: &[u8],
    whole: &Found,
    mut pieces: Pieces,
) -> Found {
    let mut found = Found::default();
    let (mut done, mut arrived) = (0, 0);
    loop {
        match decoder.next(&stream[done..arrived]) {
            Ok(Next::Value { consumed, raw }) => {
                done += consumed;
                found.values.push((raw.to_vec(), done));
            }
            Ok(Next::More { consumed, at_least }) => {
                done += consumed;
                assert!(done <= arrived && at_least > 0);
                if let Some((_, end)) = whole.values.get(found.values.len()) {
                    assert!(arrived + at_least <= *end, "{at_least} bytes are too many");
                }
                if arrived == stream.len() {
                    return found;
                }
                arrived = stream.len().min(arrived + pieces.next_len());
            }
            Err(error) => {
                found.error = Some(error);
                return found;
            }
        }
    }
}
