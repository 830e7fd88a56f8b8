//! The first bytes of a connection tell its protocol whatever they are: no panic, and an answer once given never
//! changes when more bytes come.
#![no_main]

use farcall_fuzz::Pieces;
use farcall_wire::{Limits, sniff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, input)) = data.split_first() else {
        return;
    };
    let tight = Limits {
        hello_len_max: 64,
        ..Limits::default()
    };
    for limits in [Limits::default(), tight] {
        let mut pieces = Pieces::new(seed);
        let (mut len, mut last) = (0, Ok(None));
        loop {
            let now = sniff(&input[..len], &limits);
            match last {
                Ok(Some(_)) => assert_eq!(now, last, "after {len} bytes"),
                Err(_) => assert!(now.is_err(), "after {len} bytes"),
                Ok(None) => {}
            }
            assert!(now != Ok(None) || len < limits.hello_len_max);
            if len == input.len() {
                break;
            }
            last = now;
            len = input.len().min(len + pieces.next_len());
        }
    }
});
