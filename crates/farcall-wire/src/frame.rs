//! Which bytes are a message's header and which its body, in each framing. One reader and one writer for each
//! direction of a connection; what a message means to a call is told by the engine above.

pub(crate) mod binary;
mod gob_pairs;
mod json_pairs;
mod json_rpc;
mod pack;

use self::gob_pairs::GobNames;
pub use self::json_rpc::JsonCall;
pub use self::pack::Compression;
use crate::{Body, BodyRef, Codec, EncodeError, Limits, Metadata, Violation};

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
    /// Asks whether the peer is there. It answers with [`Kind::Pong`] and the same `Header::seq`.
    Ping,
    /// Answers a [`Kind::Ping`].
    Pong,
    /// One item of a call's stream, from either side. `Header::seq` names the call.
    Item,
    /// The client sends no more items of this call; with `Header::error`, because it failed to.
    End,
    /// Items of a call were taken: the body is a [`Credit`], their number.
    Credit,
}

/// The body of a [`Kind::Credit`]: how many items were taken since the last one.
pub type Credit = u64;

/// What a message is beside its kind: a set, one bit for each member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// A request that wants no reply, not even an error.
    pub const ONE_WAY: Flags = Flags(1);
    /// A request that does no harm when it is run twice.
    pub const IDEMPOTENT: Flags = Flags(1 << 1);
    /// An error reply whose body says more.
    pub const DETAILS: Flags = Flags(1 << 2);
    /// The body is compressed.
    pub const COMPRESSED: Flags = Flags(1 << 3);
    /// A request whose client sends items after it, until a [`Kind::End`].
    pub const STREAMS: Flags = Flags(1 << 4);
    /// An error reply to a request whose handler was not started.
    pub const REFUSED: Flags = Flags(1 << 5);
    /// A request whose caller takes metadata with the reply.
    pub const METADATA: Flags = Flags(1 << 6);

    /// True when all of `flags` are set.
    pub fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// As one number.
    pub fn to_bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`Flags::to_bits`]; bits that have no meaning yet are kept.
    pub fn from_bits(bits: u64) -> Flags {
        Flags(bits as u8)
    }
}

impl std::ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
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
    /// What it is beside that.
    pub flags: Flags,
    /// The time a request has left, in nanoseconds. 0 is for ever.
    pub timeout_ns: u64,
    /// The number of the error's [`crate::Code`]. 0 when none was sent.
    pub code: u8,
    /// The server's load, on replies: calls in flight, and how busy it is from 0 to 255.
    pub load: Load,
    /// Names and values, in the order given.
    pub metadata: Metadata,
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
            Kind::Ping => 3,
            Kind::Pong => 4,
            Kind::Item => 5,
            Kind::End => 6,
            Kind::Credit => 7,
        }
    }

    fn from_number(number: u64) -> Result<Kind, Violation> {
        match number {
            0 => Ok(Kind::Call),
            1 => Ok(Kind::Cancel),
            2 => Ok(Kind::GoAway),
            3 => Ok(Kind::Ping),
            4 => Ok(Kind::Pong),
            5 => Ok(Kind::Item),
            6 => Ok(Kind::End),
            7 => Ok(Kind::Credit),
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
pub struct FrameReader {
    reader: Reader,
    compression: Option<Compression>,
    message_len_max: usize,
}

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
        let reader = match framing {
            Framing::Farcall(Codec::Gob) => gob(true),
            Framing::NetRpc => gob(false),
            Framing::Farcall(Codec::Json) => Reader::Json(json_pairs::Reader::new(limits)),
            Framing::JsonRpc => Reader::JsonRpc(json_rpc::Reader::new(limits, side)),
            Framing::Farcall(codec) => Reader::Binary(binary::Reader::new(codec, limits)),
        };
        FrameReader {
            reader,
            compression: None,
            message_len_max: limits.message_len_max,
        }
    }

    /// A reader of bodies that may be compressed in the way that the two sides agreed on.
    #[must_use]
    pub fn with_compression(self, compression: Option<Compression>) -> FrameReader {
        FrameReader {
            compression,
            ..self
        }
    }

    /// Looks for the next message at the front of `input`: what arrived and was not yet consumed.
    ///
    /// However the bytes are split, the same messages come out.
    ///
    /// # Errors
    ///
    /// Bytes that cannot be framed, or that are more than the limits allow: the end of the connection.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        match &mut self.reader {
            Reader::Gob(reader) => reader.next(input),
            Reader::Json(reader) => reader.next(input),
            Reader::JsonRpc(reader) => reader.next(input),
            Reader::Binary(reader) => reader.next(input),
        }
    }

    /// The header of the message that [`FrameReader::next`] found last.
    pub fn header(&mut self) -> &mut Header {
        match &mut self.reader {
            Reader::Gob(reader) => &mut reader.header,
            Reader::Json(reader) => &mut reader.header,
            Reader::JsonRpc(reader) => &mut reader.header,
            Reader::Binary(reader) => &mut reader.header,
        }
    }

    /// The body of the message found last as it was before it was compressed, which it may not have been. `room` is
    /// where it is put then.
    ///
    /// To be called for every message, in order, also when the body is of no use: a gob body may define types that
    /// later ones need.
    ///
    /// # Errors
    ///
    /// Bytes that are not what they say: the end of the connection.
    pub fn expand<'a>(
        &mut self,
        body: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Violation> {
        if !self.header().flags.has(Flags::COMPRESSED) {
            return Ok(body);
        }
        let Some(compression) = self.compression else {
            return Err(Violation::new(
                "a body is compressed, and no compression was agreed on",
            ));
        };
        let max = self.message_len_max;
        match &mut self.reader {
            Reader::Gob(reader) => {
                let packed = reader.packed(body)?;
                compression.expand(&packed, max, room)?;
                reader.value_in(room)
            }
            Reader::Json(_) | Reader::JsonRpc(_) => {
                let packed = json_pairs::packed(body)?;
                compression.expand(&packed, max, room)?;
                Ok(room)
            }
            Reader::Binary(_) => {
                compression.expand(body, max, room)?;
                Ok(room)
            }
        }
    }

    /// Header and body of the message found last, at once.
    pub fn message<'a>(&'a mut self, raw: &'a [u8]) -> (&'a mut Header, BodyRef<'a>) {
        match &mut self.reader {
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
        match &self.reader {
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
pub struct FrameWriter {
    writer: Writer,
    framing: Framing,
    compression: Option<Compression>,
    /// A body on its way to be compressed.
    room: Vec<u8>,
}

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
        let writer = match framing {
            Framing::Farcall(Codec::Gob) => gob(GobNames::Farcall),
            Framing::NetRpc => match side {
                Side::Client => gob(GobNames::Request),
                Side::Server => gob(GobNames::Response),
            },
            Framing::Farcall(Codec::Json) => Writer::Json(json_pairs::Writer::default()),
            Framing::JsonRpc => Writer::JsonRpc(json_rpc::Writer::new(side)),
            Framing::Farcall(codec) => Writer::Binary(binary::Writer::new(codec)),
        };
        FrameWriter {
            writer,
            framing,
            compression: None,
            room: Vec::new(),
        }
    }

    /// A writer that compresses long bodies in the way that the two sides agreed on. Go's framings have none.
    #[must_use]
    pub fn with_compression(self, compression: Option<Compression>) -> FrameWriter {
        let can_compress = matches!(self.framing, Framing::Farcall(_));
        FrameWriter {
            compression: compression.filter(|_| can_compress),
            ..self
        }
    }

    /// The header to be filled in for the next [`FrameWriter::write`], which leaves it empty again.
    ///
    /// It is kept between messages, so that its strings are allocated once.
    pub fn header(&mut self) -> &mut Header {
        match &mut self.writer {
            Writer::Gob(writer) => &mut writer.header,
            Writer::Json(writer) => &mut writer.header,
            Writer::JsonRpc(writer) => &mut writer.header,
            Writer::Binary(writer) => &mut writer.header,
        }
    }

    /// Appends the header filled in before and `body`, as one unit, and tells how many bytes the message has, or would
    /// have if its body were not compressed.
    ///
    /// # Errors
    ///
    /// When the body cannot be encoded. Then nothing was appended, and the stream is as it was.
    pub fn write(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        let start = out.len();
        let written = match self.compression {
            None => self.write_plain(body, out).map(|()| out.len() - start),
            Some(compression) => self.write_packed(compression, body, out),
        };
        if written.is_err() {
            out.truncate(start);
        }
        self.header().clear();
        written
    }

    fn write_plain(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.writer {
            Writer::Gob(writer) => writer.write(body, out),
            Writer::Json(writer) => writer.write(body, out),
            Writer::JsonRpc(writer) => writer.write(body, out),
            Writer::Binary(writer) => writer.write(body, out),
        }
    }

    /// Encodes the body first, since the header says whether it is compressed.
    fn write_packed(
        &mut self,
        compression: Compression,
        body: Body<'_>,
        out: &mut Vec<u8>,
    ) -> Result<usize, EncodeError> {
        let start = out.len();
        let room = &mut self.room;
        room.clear();
        match &mut self.writer {
            Writer::Gob(writer) => writer.write_packed(compression, body, room, out)?,
            Writer::Json(writer) => writer.write_packed(compression, body, room, out)?,
            Writer::Binary(writer) => writer.write_packed(compression, body, room, out)?,
            // It is none of farcall's framings.
            Writer::JsonRpc(writer) => writer.write(body, out)?,
        }
        let len = (out.len() - start).max(room.len());
        pack::release(room);
        Ok(len)
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
            flags,
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
        *flags = Flags::default();
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
