//! Which bytes are a message's header and which its body, in each framing. One reader and one writer for each
//! direction of a connection; what a message means to a call is told by the engine above.

pub(crate) mod binary;
mod gob_pairs;
mod json_pairs;
mod json_rpc;

use self::gob_pairs::GobNames;
pub use self::json_rpc::JsonCall;
use crate::{Body, BodyRef, Codec, EncodeError, Limits, Violation};

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A request, or the reply to one.
    #[default]
    Call,
    /// The client gave the call up.
    Cancel,
    /// The server is going away: no new calls on this connection. `Header::seq` is not used.
    GoAway,
}

/// Everything that stands beside a body.
///
/// The first three members are TinyRPC's and net/rpc's. The others are only sent to a peer that agreed to them in
/// the handshake; at zero they take no bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `Service.Method`.
    pub service_method: String,
    /// Matches a reply to its request.
    pub seq: u64,
    /// What went wrong; empty for requests and good replies.
    pub error: String,
    /// What the message is.
    pub kind: Kind,
    /// The time a request has left, in nanoseconds. 0 is for ever.
    pub timeout_ns: u64,
    /// The number of the error's [`crate::Code`]. 0 when none was sent.
    pub code: u8,
    /// The server's load, on replies: calls in flight, and how busy it is from 0 to 255.
    pub load: Load,
    /// Names and values, in the order given.
    pub metadata: Vec<(String, String)>,
    /// What a JSON-RPC request wants back; its reply takes it along.
    pub json: Option<Box<JsonCall>>,
}

/// How loaded a server is, in its own view: three bytes that can ride on every reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls that it has in flight; 65,535 stands for that many or more.
    pub in_flight: u16,
    /// How much of its capacity is in use: 0 is idle or not known, 255 is all.
    pub utilisation: u8,
}

impl Load {
    /// As one number: `in_flight << 8 | utilisation`.
    pub fn to_bits(self) -> u32 {
        u32::from(self.in_flight) << 8 | u32::from(self.utilisation)
    }

    /// The inverse of [`Load::to_bits`]; higher bits are for later versions.
    pub fn from_bits(bits: u64) -> Load {
        Load {
            in_flight: (bits >> 8) as u16,
            utilisation: bits as u8,
        }
    }
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Call => 0,
            Kind::Cancel => 1,
            Kind::GoAway => 2,
        }
    }

    fn from_number(number: u64) -> Result<Kind, Violation> {
        match number {
            0 => Ok(Kind::Call),
            1 => Ok(Kind::Cancel),
            2 => Ok(Kind::GoAway),
            // Kinds are only sent when both sides know them.
            other => Err(Violation::new(format!(
                "the message kind {other} is not known"
            ))),
        }
    }
}

/// The framings there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// farcall's: TinyRPC's pairs of header and body in gob and JSON, binary frames in the other codecs.
    Farcall(Codec),
    /// Go's net/rpc: pairs of gob values under its own names.
    NetRpc,
    /// JSON-RPC: one object for each message.
    JsonRpc,
}

/// Which end of a connection this is. net/rpc and JSON-RPC write requests and replies differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sends requests.
    Client,
    /// Sends replies.
    Server,
}

/// What [`FrameReader::next`] found.
#[derive(Debug)]
pub enum Step<'a> {
    /// The first `consumed` bytes are done with. No whole message follows them yet; it takes at least `at_least`
    /// bytes more than there are.
    More {
        /// Bytes to drop from the front.
        consumed: usize,
        /// Bytes to read before trying again, at least 1.
        at_least: usize,
    },
    /// One message. It is to be handed to [`FrameReader::message`].
    Message {
        /// Bytes to drop from the front, once the body has been used.
        consumed: usize,
        /// The body's bytes.
        body: &'a [u8],
    },
}

/// Finds messages in the bytes of one direction.
pub struct FrameReader(Reader);

enum Reader {
    Gob(Box<gob_pairs::Reader>),
    Json(json_pairs::Reader),
    JsonRpc(json_rpc::Reader),
    Binary(binary::Reader),
}

impl FrameReader {
    /// A reader on `side`, of what its peer sends.
    pub fn new(framing: Framing, side: Side, limits: &Limits) -> FrameReader {
        let gob = |after_handshake| {
            Reader::Gob(Box::new(gob_pairs::Reader::new(limits, after_handshake)))
        };
        FrameReader(match framing {
            Framing::Farcall(Codec::Gob) => gob(true),
            Framing::NetRpc => gob(false),
            Framing::Farcall(Codec::Json) => Reader::Json(json_pairs::Reader::new(limits)),
            Framing::JsonRpc => Reader::JsonRpc(json_rpc::Reader::new(limits, side)),
            Framing::Farcall(codec) => Reader::Binary(binary::Reader::new(codec, limits)),
        })
    }

    /// Looks for the next message at the front of `input`: what arrived and was not yet consumed.
    ///
    /// However the bytes are split, the same messages come out.
    ///
    /// # Errors
    ///
    /// Bytes that cannot be framed, or that are more than the limits allow: the end of the connection.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        match &mut self.0 {
            Reader::Gob(reader) => reader.next(input),
            Reader::Json(reader) => reader.next(input),
            Reader::JsonRpc(reader) => reader.next(input),
            Reader::Binary(reader) => reader.next(input),
        }
    }

    /// The header of the message that [`FrameReader::next`] found last.
    pub fn header(&mut self) -> &mut Header {
        match &mut self.0 {
            Reader::Gob(reader) => &mut reader.header,
            Reader::Json(reader) => &mut reader.header,
            Reader::JsonRpc(reader) => &mut reader.header,
            Reader::Binary(reader) => &mut reader.header,
        }
    }

    /// Header and body of the message found last, at once.
    pub fn message<'a>(&'a mut self, raw: &'a [u8]) -> (&'a mut Header, BodyRef<'a>) {
        match &mut self.0 {
            Reader::Gob(reader) => reader.message(raw),
            Reader::Json(reader) => (&mut reader.header, BodyRef::Json(raw)),
            Reader::JsonRpc(reader) => {
                let body = reader.body(raw);
                (&mut reader.header, body)
            }
            Reader::Binary(reader) => {
                let body = reader.body(raw);
                (&mut reader.header, body)
            }
        }
    }

    /// The stream's gob types, to decode bodies elsewhere with [`BodyKind::body`].
    pub fn body_kind(&self) -> BodyKind {
        match &self.0 {
            Reader::Gob(reader) => BodyKind::Gob(reader.types()),
            Reader::Json(_) | Reader::JsonRpc(_) => BodyKind::Json,
            Reader::Binary(reader) => BodyKind::Binary(reader.codec),
        }
    }
}

/// How bodies of a connection are decoded by those who did not read them.
#[derive(Clone)]
pub enum BodyKind {
    /// Gob, with the stream's definitions.
    Gob(farcall_gob::Types),
    /// JSON.
    Json,
    /// One of the binary codecs.
    Binary(Codec),
}

impl BodyKind {
    /// A body whose bytes were kept.
    pub fn body<'a>(&'a self, raw: &'a [u8]) -> BodyRef<'a> {
        match self {
            BodyKind::Gob(types) => BodyRef::Gob(crate::codec::GobStream::Shared(types), raw),
            BodyKind::Json => BodyRef::Json(raw),
            BodyKind::Binary(codec) => BodyRef::Binary(*codec, raw),
        }
    }
}

/// Writes messages of one direction.
pub struct FrameWriter(Writer);

enum Writer {
    Gob(Box<gob_pairs::Writer>),
    Json(json_pairs::Writer),
    JsonRpc(json_rpc::Writer),
    Binary(binary::Writer),
}

impl FrameWriter {
    /// A writer for what `side` sends.
    pub fn new(framing: Framing, side: Side) -> FrameWriter {
        let gob = |names| Writer::Gob(Box::new(gob_pairs::Writer::new(names)));
        FrameWriter(match framing {
            Framing::Farcall(Codec::Gob) => gob(GobNames::Farcall),
            Framing::NetRpc => match side {
                Side::Client => gob(GobNames::Request),
                Side::Server => gob(GobNames::Response),
            },
            Framing::Farcall(Codec::Json) => Writer::Json(json_pairs::Writer::default()),
            Framing::JsonRpc => Writer::JsonRpc(json_rpc::Writer::new(side)),
            Framing::Farcall(codec) => Writer::Binary(binary::Writer::new(codec)),
        })
    }

    /// The header to be filled in for the next [`FrameWriter::write`], which leaves it empty again.
    ///
    /// It is kept between messages, so that its strings are allocated once.
    pub fn header(&mut self) -> &mut Header {
        match &mut self.0 {
            Writer::Gob(writer) => &mut writer.header,
            Writer::Json(writer) => &mut writer.header,
            Writer::JsonRpc(writer) => &mut writer.header,
            Writer::Binary(writer) => &mut writer.header,
        }
    }

    /// Appends the header filled in before and `body`, as one unit.
    ///
    /// # Errors
    ///
    /// When the body cannot be encoded. Then nothing was appended, and the stream is as it was.
    pub fn write(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let written = match &mut self.0 {
            Writer::Gob(writer) => writer.write(body, out),
            Writer::Json(writer) => writer.write(body, out),
            Writer::JsonRpc(writer) => writer.write(body, out),
            Writer::Binary(writer) => writer.write(body, out),
        };
        if written.is_err() {
            out.truncate(start);
        }
        self.header().clear();
        written
    }
}

impl Header {
    /// Empties the header and keeps its memory.
    pub fn clear(&mut self) {
        let Header {
            service_method,
            seq,
            error,
            kind,
            timeout_ns,
            code,
            load,
            metadata,
            json,
        } = self;
        service_method.clear();
        error.clear();
        metadata.clear();
        *seq = 0;
        *kind = Kind::Call;
        *timeout_ns = 0;
        *code = 0;
        *load = Load::default();
        *json = None;
    }
}

/// A newline may follow the handshake, and belongs to it.
///
/// Whether it came with the handshake's last byte or later depends on how the bytes were split, so it is looked for
/// when the first byte behind the handshake arrives. No message begins with one.
fn skip_newline(pending: &mut bool, input: &[u8]) -> usize {
    match input.first() {
        Some(b'\n') if *pending => {
            *pending = false;
            1
        }
        Some(_) => {
            *pending = false;
            0
        }
        None => 0,
    }
}
