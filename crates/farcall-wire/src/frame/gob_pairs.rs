//! Pairs of gob values, header and body, in one gob stream for each direction: farcall's gob codec, TinyRPC's, and
//! Go's net/rpc, which differ in the names of their headers alone.

use farcall_gob as gob;
use farcall_gob::{GoString, Gob};

use super::pack::{Compression, Packed};
use super::{Flags, Header, Kind, Load, Step, skip_newline};
use crate::codec::GobStream;
use crate::{Body, BodyRef, EncodeError, Limits, Metadata, Violation};

/// Under which name and with which members headers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GobNames {
    /// TinyRPC's `Header`, with farcall's additions behind.
    Farcall,
    /// net/rpc's `Request`.
    Request,
    /// net/rpc's `Response`.
    Response,
}

/// What any of the headers may hold. Members are matched by name, so that one type reads all of them.
#[derive(Default, Gob)]
#[gob(rename = "Header")]
struct Received {
    // Not `String`: Go's strings need not be UTF-8, and a bad one must not end the connection.
    service_method: GoString,
    seq: u64,
    error: GoString,
    kind: u64,
    timeout: u64,
    code: u64,
    load: u64,
    metadata: Vec<GoString>,
    flags: u64,
}

#[derive(Default, Gob)]
#[gob(rename = "Header")]
struct FarcallHeader {
    service_method: String,
    seq: u64,
    error: String,
    kind: u64,
    timeout: u64,
    code: u64,
    load: u64,
    /// Names and values in turn: unlike an empty map, an empty list takes no bytes.
    metadata: Vec<String>,
    flags: u64,
}

#[derive(Default, Gob)]
#[gob(rename = "Request")]
struct GoRequest {
    service_method: String,
    seq: u64,
}

#[derive(Default, Gob)]
#[gob(rename = "Response")]
struct GoResponse {
    service_method: String,
    seq: u64,
    error: String,
}

pub(super) struct Reader {
    decoder: gob::Decoder,
    pub(super) header: Header,
    /// The header was read, its body not yet.
    in_body: bool,
    newline_pending: bool,
}

impl Reader {
    pub(super) fn new(limits: &Limits, after_handshake: bool) -> Reader {
        let limits = gob::Limits {
            message: limits.message_len_max,
            depth: limits.depth_max,
            // Lists of empty strings or of structs that are mostly zero are a few bytes each on the wire, and honest.
            memory_base: 1 << 20,
            ..gob::Limits::default()
        };
        Reader {
            decoder: gob::Decoder::new(limits),
            header: Header::default(),
            in_body: false,
            newline_pending: after_handshake,
        }
    }

    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        let mut done = skip_newline(&mut self.newline_pending, input);
        loop {
            let rest = input.get(done..).unwrap_or_default();
            let (consumed, raw) = match self.decoder.next(rest).map_err(broken)? {
                gob::Next::More { consumed, at_least } => {
                    return Ok(Step::More {
                        consumed: done + consumed,
                        at_least,
                    });
                }
                gob::Next::Value { consumed, raw } => (consumed, raw),
            };
            done += consumed;
            if self.in_body {
                self.in_body = false;
                return Ok(Step::Message {
                    consumed: done,
                    body: raw,
                });
            }
            let header: Received = self.decoder.decode(raw).map_err(broken)?;
            self.header = header.try_into()?;
            self.in_body = true;
        }
    }

    pub(super) fn message<'a>(&'a mut self, raw: &'a [u8]) -> (&'a mut Header, BodyRef<'a>) {
        let body = BodyRef::Gob(GobStream::Reader(&mut self.decoder), raw);
        (&mut self.header, body)
    }

    /// A compressed body: it stands as one value of bytes.
    pub(super) fn packed(&mut self, raw: &[u8]) -> Result<Vec<u8>, Violation> {
        self.decoder.decode(raw).map_err(broken)
    }

    /// The one value in the bytes that a compressed body stood for. The types defined before it are remembered.
    pub(super) fn value_in<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        match self.decoder.next(bytes).map_err(broken)? {
            gob::Next::Value { consumed, raw } if consumed == bytes.len() => Ok(raw),
            gob::Next::Value { .. } | gob::Next::More { .. } => {
                Err(Violation::new("a compressed body is not one gob value"))
            }
        }
    }

    pub(super) fn types(&self) -> gob::Types {
        self.decoder.types()
    }
}

fn broken(error: gob::Error) -> Violation {
    Violation::new(error.to_string())
}

impl TryFrom<Received> for Header {
    type Error = Violation;

    fn try_from(wire: Received) -> Result<Header, Violation> {
        let mut texts = wire.metadata.into_iter().map(text);
        let mut metadata = Metadata::default();
        while let (Some(name), value) = (texts.next(), texts.next()) {
            metadata.push(&name, &value.unwrap_or_default());
        }
        Ok(Header {
            service_method: text(wire.service_method),
            seq: wire.seq,
            error: text(wire.error),
            kind: Kind::from_number(wire.kind)?,
            timeout_ns: wire.timeout,
            code: u8::try_from(wire.code).unwrap_or(0),
            load: Load::from_bits(wire.load),
            metadata,
            flags: Flags::from_bits(wire.flags),
            json: None,
        })
    }
}

pub(super) struct Writer {
    encoder: gob::Encoder,
    pub(super) header: Header,
    names: GobNames,
    /// The types of headers were defined on the wire.
    header_is_defined: bool,
}

impl Writer {
    pub(super) fn new(names: GobNames) -> Writer {
        Writer {
            encoder: gob::Encoder::new(),
            header: Header::default(),
            names,
            header_is_defined: false,
        }
    }

    pub(super) fn write(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mark = self.encoder.mark(out.len());
        let written = self
            .write_header(out)
            .and_then(|()| body.to_gob(&mut self.encoder, out));
        match written {
            Ok(()) => self.header_is_defined = true,
            Err(_) => self.encoder.rollback(mark, out),
        }
        written
    }

    /// As [`Writer::write`], with the body compressed if it is long. Its definitions are compressed with it.
    pub(super) fn write_packed(
        &mut self,
        compression: Compression,
        body: Body<'_>,
        room: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if !self.header_is_defined {
            // The body's definitions come behind the header, which may need one of the same types.
            return self.write(body, out);
        }
        let mark = self.encoder.mark(out.len());
        let written = body.to_gob(&mut self.encoder, room).and_then(|()| {
            let packed = compression.pack(room);
            if let Packed::Smaller(_) = packed {
                self.header.flags |= Flags::COMPRESSED;
            }
            self.write_header(out)?;
            match packed {
                Packed::Smaller(bytes) => self
                    .encoder
                    .encode(&bytes, out)
                    .map_err(|error| EncodeError::new("compressed body", error)),
                Packed::AsItWas => {
                    out.extend_from_slice(room);
                    Ok(())
                }
            }
        });
        if written.is_err() {
            self.encoder.rollback(mark, out);
        }
        written
    }

    fn write_header(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Writer {
            encoder, header, ..
        } = self;
        // The strings are lent to the wire's struct and taken back, so that they are allocated once.
        let service_method = std::mem::take(&mut header.service_method);
        let error = std::mem::take(&mut header.error);
        let seq = header.seq;
        let written;
        match self.names {
            GobNames::Farcall => {
                let pairs = header.metadata.pairs();
                let metadata = pairs.flat_map(|(name, value)| [name, value].map(str::to_owned));
                let wire = FarcallHeader {
                    service_method,
                    seq,
                    error,
                    kind: header.kind.number().into(),
                    timeout: header.timeout_ns,
                    code: header.code.into(),
                    load: header.load.to_bits().into(),
                    metadata: metadata.collect(),
                    flags: header.flags.to_bits().into(),
                };
                written = encoder.encode(&wire, out);
                (header.service_method, header.error) = (wire.service_method, wire.error);
            }
            GobNames::Request => {
                let wire = GoRequest {
                    service_method,
                    seq,
                };
                written = encoder.encode(&wire, out);
                header.service_method = wire.service_method;
            }
            GobNames::Response => {
                let wire = GoResponse {
                    service_method,
                    seq,
                    error,
                };
                written = encoder.encode(&wire, out);
                (header.service_method, header.error) = (wire.service_method, wire.error);
            }
        }
        written.map_err(|error| EncodeError::new("header", error))
    }
}

fn text(text: GoString) -> String {
    String::from_utf8(text.0)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
