//! The handshake of farcall's protocol: TinyRPC's JSON `Option`, with the features that both sides can add.
//! What follows the handshake is framed in [`crate::frame`].

use serde::{Deserialize, Serialize};

use crate::json::JsonScan;
use crate::{Codec, Compression, Limits, Violation};

/// The magic number that opens the conversation.
pub const MAGIC: i64 = 0x003b_ef5c;

/// The `Option` that a client sends, and that the server sends back as its acknowledgement.
///
/// Durations are nanoseconds, 0 is none. The server sends back what it got, since Go's client takes the
/// acknowledgement for its new defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Hello {
    magic_number: i64,
    codec_type: String,
    connect_timeout: i64,
    handle_timeout: i64,
    /// Absent in Go's programs, which drop it from what they send back: then all features are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    farcall: Option<Extension>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Extension {
    #[serde(rename = "V", default)]
    version: u32,
    #[serde(rename = "Feat", default)]
    features: Vec<String>,
    /// In an acknowledgement: how many requests of this connection the server has at work at a time.
    #[serde(rename = "InFlight", default, skip_serializing_if = "Option::is_none")]
    in_flight_max: Option<u32>,
    /// How many bytes of items this side holds for a stream that nobody has taken yet.
    #[serde(rename = "Window", default, skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
}

/// What two farcall peers agreed on beyond TinyRPC's protocol. With older peers nothing is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Requests carry the time they have left.
    pub deadline: bool,
    /// The client says when it has given a call up.
    pub cancel: bool,
    /// Errors carry a code.
    pub code: bool,
    /// Requests carry metadata.
    pub metadata: bool,
    /// Replies carry the server's load.
    pub load: bool,
    /// The server says when it is going away.
    pub drain: bool,
    /// The server describes itself to whoever calls its `Farcall.Describe`.
    pub describe: bool,
    /// Requests may want no reply.
    pub one_way: bool,
    /// Requests say when running them twice does no harm.
    pub idempotent: bool,
    /// Errors may have a body.
    pub details: bool,
    /// Either side may ask whether the other is there.
    pub ping: bool,
    /// Calls may have streams of items.
    pub stream: bool,
    /// Long bodies may be compressed with LZ4.
    pub lz4: bool,
    /// Long bodies may be compressed with Zstandard.
    pub zstd: bool,
}

impl Features {
    /// Everything this version knows, as it was built.
    pub const ALL: Features = Features {
        deadline: true,
        cancel: true,
        code: true,
        metadata: true,
        load: true,
        drain: true,
        describe: true,
        one_way: true,
        idempotent: true,
        details: true,
        ping: true,
        stream: true,
        lz4: true,
        zstd: cfg!(feature = "zstd"),
    };

    /// These features, with this compression or none.
    #[must_use]
    pub fn compressing(self, compression: Option<Compression>) -> Features {
        Features {
            lz4: matches!(compression, Some(Compression::Lz4)),
            #[cfg(feature = "zstd")]
            zstd: matches!(compression, Some(Compression::Zstd)),
            #[cfg(not(feature = "zstd"))]
            zstd: false,
            ..self
        }
    }

    /// The compression that was agreed on. Where both are, it is LZ4.
    pub fn compression(self) -> Option<Compression> {
        match (self.lz4, self.zstd) {
            (true, _) => Some(Compression::Lz4),
            #[cfg(feature = "zstd")]
            (false, true) => Some(Compression::Zstd),
            _ => None,
        }
    }

    fn named(&mut self) -> [(&'static str, &mut bool); 14] {
        [
            ("deadline", &mut self.deadline),
            ("cancel", &mut self.cancel),
            ("code", &mut self.code),
            ("metadata", &mut self.metadata),
            ("load", &mut self.load),
            ("drain", &mut self.drain),
            ("describe", &mut self.describe),
            ("one_way", &mut self.one_way),
            ("idempotent", &mut self.idempotent),
            ("details", &mut self.details),
            ("ping", &mut self.ping),
            ("stream", &mut self.stream),
            ("lz4", &mut self.lz4),
            ("zstd", &mut self.zstd),
        ]
    }

    /// What both sides can do.
    pub fn and(mut self, mut other: Features) -> Features {
        for ((_, ours), (_, theirs)) in self.named().into_iter().zip(other.named()) {
            *ours &= *theirs;
        }
        self
    }

    fn from_names(names: &[String]) -> Features {
        let mut features = Features::default();
        for (name, on) in features.named() {
            *on = names.iter().any(|given| given == name);
        }
        features
    }

    fn names(mut self) -> Vec<String> {
        let named = self.named().into_iter();
        named
            .filter(|(_, on)| **on)
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

impl Hello {
    /// What a client opens with. Durations in nanoseconds, 0 for none; no features make it TinyRPC's own `Option`.
    pub fn new(
        codec: Codec,
        connect_timeout: i64,
        handle_timeout: i64,
        features: Features,
    ) -> Hello {
        Hello {
            magic_number: MAGIC,
            codec_type: codec.mime().to_owned(),
            connect_timeout,
            handle_timeout,
            farcall: Extension::of(features),
        }
    }

    /// Reads a whole `Option` at the front of `input`. `Some` also says how many bytes it took: with the line feed behind
    /// it where the codec is binary. Elsewhere that may come later, and is passed over by the reader of what follows.
    ///
    /// # Errors
    ///
    /// What is no JSON object, is longer than [`Limits::hello_len_max`], or lacks the magic number.
    pub fn read(input: &[u8], limits: &Limits) -> Result<Option<(Hello, usize)>, Violation> {
        let window = input.get(..limits.hello_len_max).unwrap_or(input);
        let Some(place) = JsonScan::new(limits.depth_max.min(8)).scan(window)? else {
            if input.len() >= limits.hello_len_max {
                let max = limits.hello_len_max;
                return Err(Violation::new(format!(
                    "the handshake is longer than {max} bytes"
                )));
            }
            return Ok(None);
        };
        let end = place.end;
        let hello: Hello = serde_json::from_slice(&input[place])
            .map_err(|error| Violation::new(format!("the handshake is no Option: {error}")))?;
        if hello.magic_number != MAGIC {
            let magic = hello.magic_number;
            return Err(Violation::new(format!(
                "the magic number is {magic}, not {MAGIC}"
            )));
        }
        let is_binary = Codec::from_mime(&hello.codec_type).is_some_and(Codec::is_binary);
        match (is_binary, input.get(end)) {
            (false, _) => Ok(Some((hello, end))),
            // A binary frame can begin with the byte that a line feed is.
            (true, Some(b'\n')) => Ok(Some((hello, end + 1))),
            (true, None) => Ok(None),
            (true, Some(other)) => Err(Violation::new(format!(
                "byte {other:#04x} follows the handshake, not a line feed"
            ))),
        }
    }

    /// Appends the `Option` and the newline that ends it, as Go's encoder writes them.
    pub fn write(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self)
            .expect("strings and numbers always have a JSON form");
        out.push(b'\n');
    }

    /// The codec asked for.
    ///
    /// # Errors
    ///
    /// A name that this version does not know.
    pub fn codec(&self) -> Result<Codec, Violation> {
        let unknown = || Violation::new(format!("the codec {:?} is not known", self.codec_type));
        Codec::from_mime(&self.codec_type).ok_or_else(unknown)
    }

    /// The features offered or agreed on.
    pub fn features(&self) -> Features {
        match &self.farcall {
            Some(extension) => Features::from_names(&extension.features),
            None => Features::default(),
        }
    }

    /// The longest a handler may take by the client's wish, in nanoseconds; 0 or less is no wish.
    pub fn handle_timeout(&self) -> i64 {
        self.handle_timeout
    }

    /// How many requests of this connection the server has at work at a time, by its acknowledgement. `None` when it
    /// does not say. What a client sends beyond them is not read until one has ended.
    pub fn in_flight_max(&self) -> Option<usize> {
        let max = self.farcall.as_ref()?.in_flight_max?;
        usize::try_from(max).ok().filter(|max| *max > 0)
    }

    /// This handshake, which also says how many bytes of items this side holds for a stream.
    #[must_use]
    pub fn with_window(mut self, window: usize) -> Hello {
        if let Some(farcall) = &mut self.farcall {
            farcall.window = Some(u32::try_from(window).unwrap_or(u32::MAX));
        }
        self
    }

    /// How many bytes of items the other side holds for a stream. `None` when it does not say.
    pub fn window(&self) -> Option<usize> {
        usize::try_from(self.farcall.as_ref()?.window?).ok()
    }

    /// The acknowledgement: the same `Option`, with those features that the server has too, and with the number of
    /// requests that it has at work at a time.
    pub fn acknowledge(&self, server: Features, in_flight_max: usize) -> Hello {
        let mut ack = self.clone();
        if self.farcall.is_some() {
            ack.farcall = Extension::of(self.features().and(server));
        }
        if let Some(farcall) = &mut ack.farcall {
            farcall.in_flight_max = u32::try_from(in_flight_max).ok();
        }
        ack
    }
}

impl Extension {
    fn of(features: Features) -> Option<Extension> {
        (features != Features::default()).then(|| Extension {
            version: 1,
            features: features.names(),
            in_flight_max: None,
            window: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Go client of TinyRPC writes it.
    const GO: &[u8] =
        b"{\"MagicNumber\":3927900,\"CodecType\":\"application/gob\",\"ConnectTimeout\":10000000000,\"HandleTimeout\":0}\n";

    #[test]
    fn an_option_from_go_comes_back_byte_for_byte() {
        let (hello, consumed) = Hello::read(GO, &Limits::default()).unwrap().unwrap();
        assert_eq!(consumed, GO.len() - 1, "the newline is looked at later");
        assert_eq!(hello.codec(), Ok(Codec::Gob));
        let mut ack = Vec::new();
        hello.acknowledge(Features::ALL, 256).write(&mut ack);
        assert_eq!(ack, GO);
    }

    #[test]
    fn without_features_we_open_as_go_does() {
        let mut out = Vec::new();
        Hello::new(Codec::Gob, 10_000_000_000, 0, Features::default()).write(&mut out);
        assert_eq!(out, GO);
    }

    #[test]
    fn features_are_on_when_both_sides_have_them() {
        let offered = Hello::new(Codec::Json, 0, 0, Features::ALL);
        let server = Features {
            cancel: false,
            ..Features::ALL
        };
        let ack = offered.acknowledge(server, 256);
        assert_eq!(ack.features(), server);
        assert_eq!(
            (offered.in_flight_max(), ack.in_flight_max()),
            (None, Some(256))
        );
        assert_eq!(ack.codec(), Ok(Codec::Json));
    }

    #[test]
    fn nothing_is_decided_before_the_option_is_whole() {
        for len in 0..GO.len() - 1 {
            assert_eq!(
                Hello::read(&GO[..len], &Limits::default()),
                Ok(None),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn before_binary_frames_the_line_feed_is_a_part_of_the_handshake() {
        let limits = Limits::default();
        for codec in [Codec::MessagePack, Codec::Postcard] {
            let mut bytes = Vec::new();
            Hello::new(codec, 0, 0, Features::ALL).write(&mut bytes);
            let len = bytes.len();
            assert_eq!(Hello::read(&bytes[..len - 1], &limits), Ok(None));
            // A frame of ten bytes begins like a line feed.
            bytes.extend([10, 0, 0, 0]);
            let (_, consumed) = Hello::read(&bytes, &limits).unwrap().unwrap();
            assert_eq!(consumed, len);
            bytes[len - 1] = 11;
            let refused = Hello::read(&bytes, &limits).unwrap_err();
            assert!(refused.to_string().contains("not a line feed"), "{refused}");
        }
    }

    #[test]
    fn a_bad_opening_is_refused_with_its_reason() {
        let refused = |input: &[u8]| {
            Hello::read(input, &Limits::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(br#"{"MagicNumber":7,"CodecType":"application/gob"}"#),
            "the magic number is 7, not 3927900"
        );
        assert!(refused(br#"{"MagicNumber":"x"}"#).contains("no Option"));
        assert!(refused(&[b'{'; 9 << 10]).contains("nested deeper"));
        let mut long = br#"{"CodecType":""#.to_vec();
        long.resize(1 << 20, b'x');
        assert_eq!(refused(&long), "the handshake is longer than 8192 bytes");
        let (hello, _) = Hello::read(
            br#"{"MagicNumber":3927900,"CodecType":"evil"}"#,
            &Limits::default(),
        )
        .unwrap()
        .unwrap();
        assert_eq!(
            hello.codec().unwrap_err().to_string(),
            "the codec \"evil\" is not known"
        );
    }
}
