//! Any bytes can be read as a handshake: no panic, nothing is decided before it is whole, and what was read can be
//! written and is then the same.
#![no_main]

use farcall_fuzz::Pieces;
use farcall_wire::{Features, Hello, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, input)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        hello_len_max: 1_000,
        ..Limits::default()
    };
    let whole = Hello::read(input, &limits);
    let mut pieces = Pieces::new(seed);
    let mut len = 0;
    let in_pieces = loop {
        let now = Hello::read(&input[..len], &limits);
        if now != Ok(None) || len == input.len() {
            break now;
        }
        len = input.len().min(len + pieces.next_len());
    };
    match (&whole, &in_pieces) {
        // The reasons may differ: too long, and broken behind that.
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, in_pieces),
    }
    let Ok(Some((hello, consumed))) = whole else {
        return;
    };
    assert!(consumed <= input.len());
    let _ = (hello.codec(), hello.handle_timeout());
    let mut out = vec![];
    hello.write(&mut out);
    let generous = Limits {
        hello_len_max: 100_000,
        ..Limits::default()
    };
    let again = Hello::read(&out, &generous);
    // All but the newline, which is looked at later.
    assert_eq!(again, Ok(Some((hello.clone(), out.len() - 1))));
    let ack = hello.acknowledge(Features::ALL, 7);
    assert_eq!(ack.features(), hello.features());
    assert_eq!(
        hello.acknowledge(Features::default(), 7).features(),
        Features::default()
    );
});
