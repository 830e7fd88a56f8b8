//! Bytes from nobody's friend: no panic, the same verdict however they are split, and nothing beyond the limits.

use farcall_wire::{
    Features, Framing, Hello, Limits, Side, TINYRPC_CONNECTED, TINYRPC_PATH, connect_request,
    read_connect, read_connected, sniff,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::traffic::{Sent, conversations, cut, framings, read, write};

/// One change to good bytes.
#[derive(Clone, Debug)]
enum Harm {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Harm {
    fn to(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match self {
            Harm::Set(at, byte) => {
                let at = place(at);
                if let Some(there) = bytes.get_mut(at) {
                    *there = *byte;
                }
            }
            Harm::Insert(at, what) => {
                let at = place(at);
                bytes.splice(at..at, what.iter().copied());
            }
            Harm::Remove(at, len) => {
                let at = place(at);
                bytes.drain(at..(at + len).min(bytes.len()));
            }
            Harm::Repeat(at, len) => {
                let at = place(at);
                let again = bytes[at..(at + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

fn harms() -> impl Strategy<Value = Vec<Harm>> {
    // Bytes that mean something to some framing are likelier than others.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"{}[]\",:\\\n \x00\x01\x7f\x80\xf8\xfe\xff"[..]),
        ]
    };
    let harm = prop_oneof![
        (any::<Index>(), byte()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        (any::<Index>(), prop::collection::vec(byte(), 1..10))
            .prop_map(|(at, what)| Harm::Insert(at, what)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, len)| Harm::Remove(at, len)),
        (any::<Index>(), 1..60_usize).prop_map(|(at, len)| Harm::Repeat(at, len)),
    ];
    prop::collection::vec(harm, 1..4)
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..300_usize, 1..300_usize, 1..6_usize).prop_map(|(hello, message, depth)| Limits {
        hello_len_max: hello,
        message_len_max: message,
        depth_max: depth,
        ..Limits::default()
    })
}

/// Where openings begin to differ.
const STARTS: &[&[u8]] = &[
    b"",
    b"{",
    b"{\"MagicNumber\":3927900,",
    b"{\"CodecType\":\"",
    b"CONNECT ",
    b"CONNECT /_tinyrpc_ HTTP/1.0\n",
    b"HTTP/1.0 200 ",
    b"HTTP/1.1 200 OK\r\nX: ",
    b"\x16\x03",
    b"\x2f\xff",
    b"[[[[",
    b" \n\t",
];

/// Reads every body as every type, none of which it may be.
fn as_everything(framing: (Framing, Side), limits: &Limits, bytes: &[u8], at: &[Index]) {
    let types = [
        Sent::Int(0),
        Sent::Text(String::new()),
        Sent::Bytes(Vec::new()),
        Sent::Map(Default::default()),
        Sent::Lists(Vec::new()),
        Sent::Nothing,
    ];
    for like in types {
        let pieces = cut(bytes, at);
        read(framing, limits, pieces, |_, body| like.like(body).is_ok());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(
        framing in framings(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in prop::collection::vec(any::<Index>(), 0..6),
        limits in prop_oneof![Just(Limits::default()), limits()],
    ) {
        as_everything(framing, &limits, &bytes, &at);
    }

    #[test]
    fn harmed_messages_make_no_reader_panic_and_split_as_they_stand(
        (framing, sent) in conversations(),
        harms in harms(),
        at in prop::collection::vec(any::<Index>(), 0..6),
        limits in prop_oneof![Just(Limits::default()), limits()],
    ) {
        let mut bytes = write(framing, &sent);
        for harm in &harms {
            harm.to(&mut bytes);
        }
        as_everything(framing, &limits, &bytes, &at);
        let take = |_: usize, _: farcall_wire::BodyRef<'_>| ();
        let whole = read(framing, &limits, [bytes.clone()], take);
        let bytewise = bytes.chunks(1).map(<[u8]>::to_vec).collect();
        for pieces in [cut(&bytes, &at), bytewise] {
            let split = read(framing, &limits, pieces, take);
            // A piece may end before the byte that is wrong, but nothing else differs.
            prop_assert_eq!(&split.messages, &whole.messages);
            prop_assert_eq!(split.refused.is_some(), whole.refused.is_some(), "{:?} {:?}", split.refused, whole.refused);
        }
    }

    #[test]
    fn no_bytes_make_an_opening_panic_or_outgrow_its_limit(
        start in prop::sample::select(STARTS),
        rest in prop::collection::vec(any::<u8>(), 0..100),
        limits in prop_oneof![Just(Limits::default()), limits()],
    ) {
        let bytes = [start, &rest].concat();
        for len in 0..=bytes.len() {
            let input = &bytes[..len];
            let over = len >= limits.hello_len_max;
            // Whoever still waits for more bytes must be below the limit.
            prop_assert!(!(over && matches!(sniff(input, &limits), Ok(None))));
            prop_assert!(!(over && matches!(Hello::read(input, &limits), Ok(None))));
            prop_assert!(!(over && matches!(read_connect(input, &limits), Ok(None))));
            prop_assert!(!(over && matches!(read_connected(input, &limits), Ok(None))));
        }
    }

    #[test]
    fn a_harmed_handshake_is_understood_refused_or_waited_on_and_no_panic(
        codec in prop::sample::select(farcall_wire::Codec::ALL.as_slice()),
        harms in harms(),
    ) {
        let mut hello = Vec::new();
        Hello::new(codec, 1, -1, Features::ALL).write(&mut hello);
        let connect = connect_request(TINYRPC_PATH);
        for mut bytes in [hello, connect, TINYRPC_CONNECTED.to_vec()] {
            for harm in &harms {
                harm.to(&mut bytes);
            }
            let limits = Limits::default();
            if let Ok(Some((hello, len))) = Hello::read(&bytes, &limits) {
                prop_assert!(len <= bytes.len());
                let ack = hello.acknowledge(Features::ALL, 7);
                prop_assert_eq!(ack.features(), hello.features());
                let mut written = Vec::new();
                ack.write(&mut written);
                let (back, _) = Hello::read(&written, &Limits { hello_len_max: 1 << 20, ..limits.clone() }).unwrap().unwrap();
                prop_assert_eq!(back, ack);
                prop_assert!(hello.codec().is_ok() || hello.codec().is_err_and(|e| e.to_string().len() < 400));
            }
            if let Ok(Some((_, len))) = read_connect(&bytes, &limits) {
                prop_assert!(len <= bytes.len());
            }
            if let Ok(Some(len)) = read_connected(&bytes, &limits) {
                prop_assert!(len <= bytes.len());
            }
            let _ = sniff(&bytes, &limits);
        }
    }

    #[test]
    fn a_handshake_comes_back_as_it_was(
        codec in prop::sample::select(farcall_wire::Codec::ALL.as_slice()),
        connect in any::<i64>(),
        handle in any::<i64>(),
        on in any::<[bool; 14]>(),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let [deadline, cancel, code, metadata, load, drain, describe, ..] = on;
        let [.., one_way, idempotent, details, ping, stream, lz4, zstd] = on;
        let features = Features {
            deadline, cancel, code, metadata, load, drain, describe,
            one_way, idempotent, details, ping, stream, lz4, zstd,
        };
        let hello = Hello::new(codec, connect, handle, features);
        let mut bytes = Vec::new();
        hello.write(&mut bytes);
        let len = bytes.len();
        bytes.extend(behind);
        let (back, consumed) = Hello::read(&bytes, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!(&back, &hello);
        let is_binary = codec.mime() != "application/gob" && codec.mime() != "application/json";
        prop_assert_eq!(consumed, len - usize::from(!is_binary));
        prop_assert_eq!(back.features(), features);
        prop_assert_eq!(back.codec(), Ok(codec));
        prop_assert_eq!(back.handle_timeout(), handle);
    }
}
