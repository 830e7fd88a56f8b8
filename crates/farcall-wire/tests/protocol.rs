//! Keeps `docs/protocol.md` true: every dump in it is what the code writes, and is read back.

use farcall_wire::{
    Body, Codec, Compression, Credit, Features, Flags, FrameReader, FrameWriter, Framing, Header,
    Hello, Kind, Limits, Load, Side, Step, TINYRPC_CONNECTED, TINYRPC_PATH, connect_request,
};

#[derive(Debug, PartialEq, farcall_gob::Gob, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

const ARGS: Args = Args { a: 7, b: 8 };
const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The dump called `name`: the hex digits in the first column.
fn dump(name: &str) -> Vec<u8> {
    let marker = format!("```hex {name}\n");
    let (_, rest) = DOCUMENT
        .split_once(&marker)
        .unwrap_or_else(|| panic!("docs/protocol.md has no dump called {name}"));
    let (block, _) = rest.split_once("```").unwrap();
    let mut bytes = Vec::new();
    for line in block.lines() {
        // What follows two spaces is for people.
        let column = line.split("   ").next().unwrap_or_default();
        for word in column.split_whitespace() {
            let byte = u8::from_str_radix(word, 16);
            bytes.push(byte.unwrap_or_else(|_| panic!("{name}: {word:?} is no byte")));
        }
    }
    bytes
}

/// Shows bytes as the document does, so that a failure can be pasted.
fn shown(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:47}   {}\n", hex.join(" "), line.escape_ascii())
    });
    lines.collect()
}

fn check(name: &str, written: &[u8]) {
    let documented = dump(name);
    assert!(
        written == documented,
        "docs/protocol.md, {name}: the code writes\n{}",
        shown(written)
    );
}

fn request() -> Header {
    Header {
        service_method: "Arith.Multiply".into(),
        seq: 1,
        ..Header::default()
    }
}

fn write(framing: Framing, side: Side, header: Header, body: Body<'_>) -> Vec<u8> {
    let mut writer = FrameWriter::new(framing, side);
    *writer.header() = header;
    let mut out = Vec::new();
    writer.write(body, &mut out).unwrap();
    out
}

#[test]
fn the_handshake_is_as_documented() {
    check("connect", &connect_request(TINYRPC_PATH));
    check("connected", TINYRPC_CONNECTED);
    let mut out = Vec::new();
    Hello::new(Codec::Gob, 10_000_000_000, 0, Features::default()).write(&mut out);
    check("option", &out);
}

#[test]
fn requests_and_replies_are_as_documented_in_every_codec() {
    for codec in Codec::ALL {
        let framing = Framing::Farcall(codec);
        let written = write(framing, Side::Client, request(), Body::from(&ARGS));
        check(&format!("{codec}-request"), &written);
        let reply = Header {
            seq: 1,
            ..Header::default()
        };
        let written = write(framing, Side::Server, reply, Body::from(&56_i64));
        check(&format!("{codec}-reply"), &written);
        let error = Header {
            seq: 1,
            error: "divide by zero".into(),
            code: 2,
            load: Load {
                in_flight: 3,
                utilisation: 0,
            },
            ..Header::default()
        };
        let written = write(framing, Side::Server, error, Body::from(&()));
        check(&format!("{codec}-error"), &written);
    }
    let cancel = Header {
        seq: 1,
        kind: Kind::Cancel,
        ..Header::default()
    };
    let written = write(
        Framing::Farcall(Codec::Postcard),
        Side::Client,
        cancel,
        Body::from(&()),
    );
    check("postcard-cancel", &written);
}

#[test]
fn compressed_bodies_are_as_documented_in_every_framing() {
    let body = vec![7_u8; 2000];
    for (codec, max) in [(Codec::Gob, 64), (Codec::Json, 160), (Codec::Postcard, 64)] {
        let framing = Framing::Farcall(codec);
        let mut writer =
            FrameWriter::new(framing, Side::Client).with_compression(Some(Compression::Lz4));
        let mut bytes = Vec::new();
        // The definitions of the header's type are shown above.
        *writer.header() = request();
        writer.write(Body::from(&()), &mut bytes).unwrap();
        let first = bytes.len();
        *writer.header() = request();
        let plain = writer.write(Body::from(&body), &mut bytes).unwrap();
        let written = &bytes[first..];
        assert!(
            plain > 2000 && written.len() < max,
            "{codec}: {plain} to {}",
            written.len()
        );
        check(&format!("{codec}-compressed"), written);
        let mut reader = FrameReader::new(framing, Side::Server, &Limits::default())
            .with_compression(Some(Compression::Lz4));
        let mut room = Vec::new();
        let Step::Message { consumed, .. } = reader.next(&bytes).unwrap() else {
            panic!("{codec}: the first request is not whole");
        };
        let Step::Message { body: packed, .. } = reader.next(&bytes[consumed..]).unwrap() else {
            panic!("{codec}: the second request is not whole");
        };
        let expanded = reader.expand(packed, &mut room).unwrap();
        assert_eq!(
            reader.message(expanded).1.decode::<Vec<u8>>().unwrap(),
            body
        );
    }
}

#[test]
fn streams_are_as_documented() {
    let postcard = |header, body: Body<'_>| {
        write(
            Framing::Farcall(Codec::Postcard),
            Side::Client,
            header,
            body,
        )
    };
    let mut flags = Flags::default();
    flags |= Flags::STREAMS;
    let request = Header {
        service_method: "Numbers.Double".into(),
        seq: 1,
        flags,
        ..Header::default()
    };
    check(
        "postcard-stream-request",
        &postcard(request, Body::from(&())),
    );
    let of_kind = |kind| Header {
        seq: 1,
        kind,
        ..Header::default()
    };
    let item = postcard(of_kind(Kind::Item), Body::from(&20_i64));
    check("postcard-item", &item);
    check(
        "postcard-end",
        &postcard(of_kind(Kind::End), Body::from(&())),
    );
    let broken_off = Header {
        error: "the file is gone".into(),
        code: 5,
        ..of_kind(Kind::End)
    };
    check(
        "postcard-broken-off",
        &postcard(broken_off, Body::from(&())),
    );
    let taken: Credit = 3;
    let credit = postcard(of_kind(Kind::Credit), Body::from(&taken));
    check("postcard-credit", &credit);
    for codec in [Codec::Json, Codec::Gob] {
        let mut writer = FrameWriter::new(Framing::Farcall(codec), Side::Client);
        let mut bytes = Vec::new();
        // The definitions of the header's type are shown above.
        *writer.header() = self::request();
        writer.write(Body::from(&ARGS), &mut bytes).unwrap();
        let first = bytes.len();
        *writer.header() = of_kind(Kind::Item);
        writer.write(Body::from(&20_i64), &mut bytes).unwrap();
        check(&format!("{codec}-item"), &bytes[first..]);
    }
}

#[test]
fn going_away_can_say_why() {
    let header = Header {
        error: "a frame is too long".into(),
        kind: Kind::GoAway,
        ..Header::default()
    };
    for codec in Codec::ALL {
        let framing = Framing::Farcall(codec);
        let bytes = write(framing, Side::Server, header.clone(), Body::from(&()));
        let mut reader = FrameReader::new(framing, Side::Client, &Limits::default());
        let Step::Message { .. } = reader.next(&bytes).unwrap() else {
            panic!("{codec}: the message is not whole");
        };
        assert_eq!(*reader.header(), header, "{codec}");
    }
}

#[test]
fn go_s_dialects_are_as_documented() {
    let header = Header {
        seq: 0,
        ..request()
    };
    check(
        "netrpc-request",
        &write(
            Framing::NetRpc,
            Side::Client,
            header.clone(),
            Body::from(&ARGS),
        ),
    );
    check(
        "jsonrpc-request",
        &write(Framing::JsonRpc, Side::Client, header, Body::from(&ARGS)),
    );
}

#[test]
fn what_is_documented_is_read_back() {
    for codec in Codec::ALL {
        let bytes = dump(&format!("{codec}-request"));
        let mut reader =
            FrameReader::new(Framing::Farcall(codec), Side::Server, &Limits::default());
        let Step::Message { consumed, body } = reader.next(&bytes).unwrap() else {
            panic!("{codec}: the request is not whole");
        };
        // The line feed behind a JSON value may be taken with what follows.
        assert!(bytes[consumed..].trim_ascii().is_empty(), "{codec}");
        let (header, body) = reader.message(body);
        assert_eq!(*header, request());
        assert_eq!(body.decode::<Args>().unwrap(), ARGS);
    }
}
