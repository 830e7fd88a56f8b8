//! Any bytes can be read as messages, in each framing and on both sides: no panic, and however they are split, the
//! same messages come out. Their headers can be written, and are the same when they are read again.
#![no_main]

use farcall_fuzz::Pieces;
use farcall_wire::{
    Body, Codec, Compression, FrameReader, FrameWriter, Framing, Header, Limits, Side, Step,
};
use libfuzzer_sys::fuzz_target;

const FRAMINGS: [Framing; 6] = [
    Framing::NetRpc,
    Framing::JsonRpc,
    Framing::Farcall(Codec::Gob),
    Framing::Farcall(Codec::Json),
    Framing::Farcall(Codec::MessagePack),
    Framing::Farcall(Codec::Postcard),
];

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, seed], input)) = data.split_first_chunk() else {
        return;
    };
    let framing = FRAMINGS[usize::from(choice) % FRAMINGS.len()];
    let side = if choice < 128 {
        Side::Server
    } else {
        Side::Client
    };
    let whole = read(framing, side, input, || input.len());
    let mut pieces = Pieces::new(seed);
    let in_pieces = read(framing, side, input, || pieces.next_len());
    assert_eq!(in_pieces, whole);
    for message in &whole.messages {
        write_again(framing, side, &message.header);
    }
});

#[derive(Debug, PartialEq)]
struct Read {
    messages: Vec<Message>,
    broken: bool,
}

#[derive(Debug, PartialEq)]
struct Message {
    header: Header,
    body: Vec<u8>,
    decoded: Vec<Result<String, String>>,
}

fn read(framing: Framing, side: Side, input: &[u8], mut next_len: impl FnMut() -> usize) -> Read {
    let limits = Limits {
        message_len_max: 2_000,
        depth_max: 32,
        ..Limits::default()
    };
    let mut reader =
        FrameReader::new(framing, side, &limits).with_compression(Some(Compression::Lz4));
    let mut room = vec![];
    let mut found = Read {
        messages: vec![],
        broken: false,
    };
    let (mut done, mut arrived) = (0, 0);
    loop {
        match reader.next(&input[done..arrived]) {
            Ok(Step::Message { consumed, body }) => {
                assert!(done + consumed <= arrived);
                let Ok(body) = reader.expand(body, &mut room) else {
                    found.broken = true;
                    return found;
                };
                let header = reader.header().clone();
                let kind = reader.body_kind();
                let mut decoded = vec![];
                // The first twice: where the reader is, and elsewhere.
                decoded.push(text(reader.message(body).1.decode::<Vec<i64>>()));
                if framing != Framing::JsonRpc {
                    let elsewhere = text(kind.body(body).decode::<Vec<i64>>());
                    assert_eq!(decoded.first(), Some(&elsewhere));
                }
                decoded.push(text(reader.message(body).1.decode::<()>()));
                decoded.push(text(reader.message(body).1.decode::<String>()));
                decoded.push(text(reader.message(body).1.decode::<Vec<u8>>()));
                decoded.push(text(reader.message(body).1.to_plain_json()));
                found.messages.push(Message {
                    header,
                    body: body.to_vec(),
                    decoded,
                });
                done += consumed;
            }
            Ok(Step::More { consumed, at_least }) => {
                assert!(at_least > 0 && done + consumed <= arrived);
                done += consumed;
                if arrived == input.len() {
                    return found;
                }
                arrived = input.len().min(arrived + next_len().max(1));
            }
            Err(_) => {
                found.broken = true;
                return found;
            }
        }
    }
}

fn text<T: std::fmt::Debug>(value: Result<T, farcall_wire::DecodeError>) -> Result<String, String> {
    value
        .map(|value| format!("{value:?}"))
        .map_err(|error| error.to_string())
}

/// Writes a header as the side that received it would: unchanged by farcall's framings, as the reply in JSON-RPC.
fn write_again(framing: Framing, side: Side, header: &Header) {
    let other = match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    };
    if framing == Framing::JsonRpc {
        if side == Side::Server {
            let mut out = vec![];
            let mut writer = FrameWriter::new(framing, side);
            *writer.header() = header.clone();
            // A reply may be refused, if it is to none.
            let _ = writer.write(Body::from(&7_i64), &mut out);
        }
        return;
    }
    // What is sent knows no more than the framing has a place for, so it is compared after one trip.
    let once = trip(framing, side, other, header);
    assert_eq!(trip(framing, side, other, &once), once);
}

fn trip(framing: Framing, side: Side, other: Side, header: &Header) -> Header {
    // The newline that ends the handshake comes first. Without it, a message may be taken for it.
    let mut out = match framing {
        Framing::Farcall(_) => b"\n".to_vec(),
        _ => vec![],
    };
    let mut writer = FrameWriter::new(framing, other);
    *writer.header() = header.clone();
    if let Err(error) = writer.write(Body::from(&vec![1_i64, -1]), &mut out) {
        panic!("{error} for {header:?}");
    }
    let limits = Limits {
        message_len_max: 100_000,
        ..Limits::default()
    };
    let mut reader = FrameReader::new(framing, side, &limits);
    match reader.next(&out) {
        Ok(Step::Message { consumed, body }) => {
            assert!(
                out.get(consumed..)
                    .unwrap_or_default()
                    .trim_ascii()
                    .is_empty()
            );
            assert_eq!(reader.message(body).1.decode(), Ok(vec![1_i64, -1]));
            reader.header().clone()
        }
        other => panic!("{other:?} for {header:?}"),
    }
}
