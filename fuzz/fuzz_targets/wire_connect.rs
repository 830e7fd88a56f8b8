//! Any bytes can be read as the HTTP heads around `CONNECT`: no panic, and however they are split, the same comes out.
#![no_main]

use farcall_fuzz::Pieces;
use farcall_wire::{Limits, Violation, read_connect, read_connected};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, input)) = data.split_first() else {
        return;
    };
    split_or_not(seed, input, |input, limits| {
        read_connect(input, limits)
            .map(|head| head.map(|(path, consumed)| (path.to_owned(), consumed)))
    });
    split_or_not(seed, input, |input, limits| {
        read_connected(input, limits).map(|head| head.map(|consumed| (String::new(), consumed)))
    });
});

type Head = Result<Option<(String, usize)>, Violation>;

fn split_or_not(seed: u8, input: &[u8], read: impl Fn(&[u8], &Limits) -> Head) {
    let limits = Limits {
        hello_len_max: 200,
        ..Limits::default()
    };
    let whole = read(input, &limits);
    let mut pieces = Pieces::new(seed);
    let mut len = 0;
    let in_pieces = loop {
        let now = read(&input[..len], &limits);
        if now != Ok(None) || len == input.len() {
            break now;
        }
        len = input.len().min(len + pieces.next_len());
    };
    match (&whole, &in_pieces) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, in_pieces),
    }
    if let Ok(Some((_, consumed))) = whole {
        assert!(consumed <= input.len() && consumed <= limits.hello_len_max);
    }
}
