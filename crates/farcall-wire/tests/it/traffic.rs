//! Messages of every kind, and a reader that is fed in pieces. No claim is proved here.

use std::collections::BTreeMap;

use farcall_wire::{
    Body, BodyRef, Codec, Compression, DecodeError, Flags, FrameReader, FrameWriter, Framing,
    Header, Kind, Limits, Load, Metadata, Side, Step, Violation,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// A body of one of several types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Map(BTreeMap<String, i64>),
    Lists(Vec<Vec<String>>),
    Nothing,
}

impl Sent {
    pub(crate) fn body(&self) -> Body<'_> {
        match self {
            Sent::Int(value) => Body::from(value),
            Sent::Text(value) => Body::from(value),
            Sent::Bytes(value) => Body::from(value),
            Sent::Map(value) => Body::from(value),
            Sent::Lists(value) => Body::from(value),
            Sent::Nothing => Body::from(&()),
        }
    }

    /// Reads a body as the type that this one has.
    pub(crate) fn like(&self, body: BodyRef<'_>) -> Result<Sent, DecodeError> {
        Ok(match self {
            Sent::Int(_) => Sent::Int(body.decode()?),
            Sent::Text(_) => Sent::Text(body.decode()?),
            Sent::Bytes(_) => Sent::Bytes(body.decode()?),
            Sent::Map(_) => Sent::Map(body.decode()?),
            Sent::Lists(_) => Sent::Lists(body.decode()?),
            Sent::Nothing => {
                let () = body.decode()?;
                Sent::Nothing
            }
        })
    }
}

pub(crate) fn bodies() -> impl Strategy<Value = Sent> {
    let text = || ".{0,20}";
    prop_oneof![
        any::<i64>().prop_map(Sent::Int),
        text().prop_map(Sent::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Sent::Bytes),
        // Long enough to be compressed, and worth it.
        (any::<u8>(), 2_000_usize..9_000).prop_map(|(byte, len)| Sent::Bytes(vec![byte; len])),
        prop::collection::btree_map(text(), any::<i64>(), 0..5).prop_map(Sent::Map),
        prop::collection::vec(prop::collection::vec(text(), 0..4), 0..4).prop_map(Sent::Lists),
        Just(Sent::Nothing),
    ]
}

/// Every framing, and the side that writes.
pub(crate) fn framings() -> impl Strategy<Value = (Framing, Side)> {
    let mut framings = Vec::from(Codec::ALL.map(Framing::Farcall));
    framings.extend([Framing::NetRpc, Framing::JsonRpc]);
    let sides = prop::sample::select(&[Side::Client, Side::Server][..]);
    (prop::sample::select(framings), sides)
}

/// Headers with every member set that this side of this framing sends.
pub(crate) fn headers(framing: Framing, side: Side) -> impl Strategy<Value = Header> {
    let kinds = [
        Kind::Call,
        Kind::Cancel,
        Kind::GoAway,
        Kind::Ping,
        Kind::Pong,
        Kind::Item,
        Kind::End,
        Kind::Credit,
    ];
    let kinds = prop::sample::select(kinds.to_vec());
    // Which bodies are compressed is not the caller's to say.
    let flags = any::<u8>()
        .prop_map(|bits| Flags::from_bits(u64::from(bits & !Flags::COMPRESSED.to_bits())));
    let loads = (any::<u16>(), any::<u8>());
    let metadata = prop::collection::vec((".{0,8}", ".{0,8}"), 0..4);
    (
        (".{0,30}", any::<u64>(), ".{0,30}"),
        (kinds, any::<u64>(), any::<u8>(), loads, metadata, flags),
    )
        .prop_map(
            move |(
                (service_method, seq, error),
                (kind, timeout_ns, code, load, metadata, flags),
            )| {
                let plain = Header {
                    service_method,
                    seq,
                    ..Header::default()
                };
                match (framing, side) {
                    (Framing::NetRpc | Framing::JsonRpc, Side::Client) => plain,
                    // It is told by its request what to look like.
                    (Framing::JsonRpc, Side::Server) => plain,
                    (Framing::NetRpc, Side::Server) => Header { error, ..plain },
                    (Framing::Farcall(codec), _) => Header {
                        // Binary frames have a code where they have an error.
                        code: match error.is_empty() {
                            true => 0,
                            false => code,
                        },
                        error,
                        kind,
                        flags,
                        timeout_ns,
                        load: Load {
                            in_flight: load.0,
                            utilisation: load.1,
                        },
                        metadata: pairs(&match codec {
                            // An object: each name once, in whatever order.
                            Codec::Json => Vec::from_iter(BTreeMap::from_iter(metadata)),
                            _ => metadata,
                        }),
                        ..plain
                    },
                }
            },
        )
}

/// Those of the framings whose messages come back as they were: JSON-RPC's requests get an id of their reader's choice.
pub(crate) fn faithful() -> impl Strategy<Value = ((Framing, Side), Vec<(Header, Sent)>)> {
    let is_faithful = |((framing, _), _): &((Framing, Side), _)| *framing != Framing::JsonRpc;
    conversations().prop_filter("JSON-RPC", is_faithful)
}

/// A framing, the side that writes, and what it says.
pub(crate) fn conversations() -> impl Strategy<Value = ((Framing, Side), Vec<(Header, Sent)>)> {
    framings().prop_flat_map(|(framing, side)| {
        let message = (headers(framing, side), bodies());
        (Just((framing, side)), prop::collection::vec(message, 1..6))
    })
}

pub(crate) fn write(framing: (Framing, Side), messages: &[(Header, Sent)]) -> Vec<u8> {
    write_packed(framing, None, messages)
}

/// As [`write`], on a connection that compresses.
pub(crate) fn write_packed(
    (framing, side): (Framing, Side),
    compression: Option<Compression>,
    messages: &[(Header, Sent)],
) -> Vec<u8> {
    let mut writer = FrameWriter::new(framing, side).with_compression(compression);
    let mut bytes = Vec::new();
    for (header, body) in messages {
        *writer.header() = header.clone();
        writer.write(body.body(), &mut bytes).unwrap();
    }
    bytes
}

/// What a reader makes of bytes that come in pieces: its messages, and whether it refused what follows them.
pub(crate) struct Read<T> {
    pub(crate) messages: Vec<(Header, T)>,
    pub(crate) refused: Option<Violation>,
}

/// Feeds a reader as a connection does. `take` reads each body, told its number.
pub(crate) fn read<T>(
    framing: (Framing, Side),
    limits: &Limits,
    pieces: impl IntoIterator<Item = Vec<u8>>,
    take: impl FnMut(usize, BodyRef<'_>) -> T,
) -> Read<T> {
    read_packed(framing, None, limits, pieces, take)
}

/// As [`read`], on a connection that compresses.
pub(crate) fn read_packed<T>(
    (framing, writer): (Framing, Side),
    compression: Option<Compression>,
    limits: &Limits,
    pieces: impl IntoIterator<Item = Vec<u8>>,
    mut take: impl FnMut(usize, BodyRef<'_>) -> T,
) -> Read<T> {
    let side = match writer {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    };
    let mut reader = FrameReader::new(framing, side, limits).with_compression(compression);
    let mut room = Vec::new();
    let mut inbox = Vec::new();
    let mut messages = Vec::new();
    let mut missing = 1;
    for piece in pieces {
        let enough = piece.len() >= missing;
        inbox.extend(piece);
        loop {
            match reader.next(&inbox) {
                Err(refused) => {
                    let refused = Some(refused);
                    return Read { messages, refused };
                }
                Ok(Step::More { consumed, at_least }) => {
                    assert!(consumed <= inbox.len() && at_least > 0);
                    inbox.drain(..consumed);
                    missing = at_least;
                    break;
                }
                Ok(Step::Message { consumed, body }) => {
                    assert!(enough, "more bytes were said to be missing");
                    let body = match reader.expand(body, &mut room) {
                        Ok(body) => body.to_vec(),
                        Err(refused) => {
                            let refused = Some(refused);
                            return Read { messages, refused };
                        }
                    };
                    let (header, body) = reader.message(&body);
                    let header = std::mem::take(header);
                    messages.push((header, take(messages.len(), body)));
                    // A batch of JSON-RPC is consumed with its last message.
                    assert!(consumed <= inbox.len());
                    assert!(consumed > 0 || framing == Framing::JsonRpc);
                    inbox.drain(..consumed);
                }
            }
        }
    }
    Read {
        messages,
        refused: None,
    }
}

/// Bytes cut at these places.
pub(crate) fn cut(bytes: &[u8], at: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = at.iter().map(|at| at.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let pairs = places.windows(2);
    pairs.map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

fn pairs(pairs: &[(String, String)]) -> Metadata {
    let pairs = pairs.iter();
    pairs.map(|(name, value)| (&**name, &**value)).collect()
}
