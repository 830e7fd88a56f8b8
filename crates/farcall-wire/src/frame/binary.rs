//! Length-delimited binary frames, header and body in one: for MessagePack and postcard.
//!
//! ```text
//! length  u32, little endian: the bytes that follow it
//! kind    u8
//! present u8: which of the members below are there, a bit each, from the lowest
//! seq     varint
//! method  varint length, text
//! timeout varint, nanoseconds
//! error   u8 code, then varint length, text
//! load    u16 little endian calls in flight, u8 utilisation
//! meta    varint count, then that many names and values, each a varint length and text
//! flags   u8
//! body    the rest
//! ```
//!
//! A varint is seven bits a byte, lowest first, the highest bit set on all but the last.

use super::pack::{Compression, Packed};
use super::{Flags, Header, Kind, Load, Step};
use crate::metadata::text;
use crate::{Body, BodyRef, Codec, EncodeError, Limits, Violation};

const METHOD: u8 = 1;
const TIMEOUT: u8 = 1 << 1;
const ERROR: u8 = 1 << 2;
const LOAD: u8 = 1 << 3;
const META: u8 = 1 << 4;
const FLAGS: u8 = 1 << 5;
const KNOWN: u8 = METHOD | TIMEOUT | ERROR | LOAD | META | FLAGS;

const LENGTH_LEN: usize = 4;

pub(super) struct Reader {
    pub(super) codec: Codec,
    pub(super) header: Header,
    /// The header holds more than a Seq and a method: most have no more, and need not be emptied for the next one.
    has_more: bool,
    len_max: usize,
}

impl Reader {
    pub(super) fn new(codec: Codec, limits: &Limits) -> Reader {
        Reader {
            codec,
            header: Header::default(),
            has_more: false,
            len_max: limits.message_len_max,
        }
    }

    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        let more = |at_least| Step::More {
            consumed: 0,
            at_least,
        };
        let Some((length, rest)) = input.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(more(LENGTH_LEN - input.len()));
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.len_max {
            let max = self.len_max;
            return Err(Violation::new(format!(
                "a frame has {length} bytes, more than {max}"
            )));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(more(length - rest.len()));
        };
        let body = self.read_header(frame)?;
        Ok(Step::Message {
            consumed: LENGTH_LEN + length,
            body,
        })
    }

    pub(super) fn body<'a>(&self, raw: &'a [u8]) -> BodyRef<'a> {
        BodyRef::Binary(self.codec, raw)
    }

    /// Reads a header and gives what follows it.
    fn read_header<'a>(&mut self, frame: &'a [u8]) -> Result<&'a [u8], Violation> {
        let header = &mut self.header;
        if std::mem::take(&mut self.has_more) {
            header.clear();
        }
        let Some((&[kind, present], mut rest)) = frame.split_first_chunk() else {
            return Err(malformed());
        };
        header.seq = varint(&mut rest).ok_or_else(malformed)?;
        match present & METHOD {
            0 => header.service_method.clear(),
            _ => {
                let method = chunk(&mut rest).ok_or_else(malformed)?;
                // The next request often asks for the same one.
                if method != header.service_method.as_bytes() {
                    let method = std::str::from_utf8(method).map_err(|_| malformed())?;
                    header.service_method.clear();
                    header.service_method.push_str(method);
                }
            }
        }
        if kind == 0 && present & !METHOD == 0 {
            return Ok(rest);
        }
        self.has_more = true;
        header.kind = Kind::from_number(kind.into())?;
        if present & !KNOWN != 0 {
            let text = format!("a frame has members that are not known: {present:#04x}");
            return Err(Violation::new(text));
        }
        read_more(present, rest, header).ok_or_else(malformed)
    }
}

fn malformed() -> Violation {
    Violation::new("a frame's header is malformed")
}

/// Reads what few headers have. `None` where the frame ends too early or text is not UTF-8.
fn read_more<'a>(present: u8, mut rest: &'a [u8], header: &mut Header) -> Option<&'a [u8]> {
    if present & TIMEOUT != 0 {
        header.timeout_ns = varint(&mut rest)?;
    }
    if present & ERROR != 0 {
        let (&[code], after) = rest.split_first_chunk()?;
        rest = after;
        header.code = code;
        header.error.push_str(text(&mut rest)?);
    }
    if present & LOAD != 0 {
        let (&[low, high, utilisation], after) = rest.split_first_chunk()?;
        rest = after;
        header.load = Load {
            in_flight: u16::from_le_bytes([low, high]),
            utilisation,
        };
    }
    if present & META != 0 {
        let count = varint(&mut rest)?;
        let pairs = rest;
        for _ in 0..count {
            text(&mut rest)?;
            text(&mut rest)?;
        }
        let len = pairs.len() - rest.len();
        header.metadata.extend_raw(pairs.get(..len)?);
    }
    if present & FLAGS != 0 {
        let (&[flags], after) = rest.split_first_chunk()?;
        rest = after;
        header.flags = Flags::from_bits(flags.into());
    }
    Some(rest)
}

/// Bytes with their length before them.
pub(crate) fn chunk<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(rest)?).ok()?;
    let (chunk, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(chunk)
}

/// Reads a number of at most 64 bits.
pub(crate) fn varint(rest: &mut &[u8]) -> Option<u64> {
    if let [byte @ ..0x80, after @ ..] = *rest {
        *rest = after;
        return Some(u64::from(*byte));
    }
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The bytes that any number of 64 bits fits into.
const VARINT_MAX: usize = 10;

pub(crate) fn put_varint(number: u64, out: &mut Vec<u8>) {
    let mut bytes = [0; VARINT_MAX];
    let len = varint_into(number, &mut bytes);
    append_front(&bytes, len, out);
}

/// Appends the first bytes of an array. All of it, and then less: a copy whose length is known to the compiler is a few
/// instructions, and one of so few bytes whose length is not takes longer than all the rest of a header.
fn append_front<const N: usize>(bytes: &[u8; N], len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

/// Writes a number into `out`, which must have room for any, and gives its length.
fn varint_into(mut number: u64, out: &mut [u8]) -> usize {
    let mut len = 0;
    while number >= 0x80 {
        out[len] = number as u8 | 0x80;
        number >>= 7;
        len += 1;
    }
    out[len] = number as u8;
    len + 1
}

pub(super) struct Writer {
    codec: Codec,
    pub(super) header: Header,
}

impl Writer {
    pub(super) fn new(codec: Codec) -> Writer {
        Writer {
            codec,
            header: Header::default(),
        }
    }

    pub(super) fn write(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        write_header(&self.header, out);
        body.to_binary(self.codec, out)?;
        write_length(start, out)
    }

    /// As [`Writer::write`], with the body compressed if it is long.
    pub(super) fn write_packed(
        &mut self,
        compression: Compression,
        body: Body<'_>,
        room: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        body.to_binary(self.codec, room)?;
        let packed = compression.pack(room);
        if let Packed::Smaller(_) = packed {
            self.header.flags |= Flags::COMPRESSED;
        }
        let start = out.len();
        write_header(&self.header, out);
        match packed {
            Packed::Smaller(bytes) => out.extend_from_slice(&bytes),
            Packed::AsItWas => out.extend_from_slice(room),
        }
        write_length(start, out)
    }
}

/// Fills in how long the frame is that begins at `start`.
fn write_length(start: usize, out: &mut [u8]) -> Result<(), EncodeError> {
    let length = u32::try_from(out.len() - start - LENGTH_LEN)
        .map_err(|_| EncodeError::new("frame", "it is longer than 4 GiB"))?;
    if let Some(place) = out.get_mut(start..start + LENGTH_LEN) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

/// Writes the header, behind room for the frame's length.
fn write_header(header: &Header, out: &mut Vec<u8>) {
    let bit = |is_there: bool, bit| if is_there { bit } else { 0 };
    let more = bit(header.timeout_ns > 0, TIMEOUT)
        | bit(!header.error.is_empty(), ERROR)
        | bit(header.load != Load::default(), LOAD)
        | bit(!header.metadata.is_empty(), META)
        | bit(header.flags != Flags::default(), FLAGS);
    let method = header.service_method.as_bytes();
    // Put together first and appended once: that is what most headers are.
    let mut front = [0; LENGTH_LEN + 2 + 2 * VARINT_MAX];
    front[LENGTH_LEN] = header.kind.number();
    front[LENGTH_LEN + 1] = more | bit(!method.is_empty(), METHOD);
    let mut len = LENGTH_LEN + 2;
    len += varint_into(header.seq, &mut front[len..]);
    if !method.is_empty() {
        len += varint_into(method.len() as u64, &mut front[len..]);
    }
    append_front(&front, len, out);
    out.extend_from_slice(method);
    if more != 0 {
        write_more(header, more, out);
    }
}

/// Writes what few headers have.
fn write_more(header: &Header, present: u8, out: &mut Vec<u8>) {
    let put_text = |text: &str, out: &mut Vec<u8>| {
        put_varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    };
    if present & TIMEOUT != 0 {
        put_varint(header.timeout_ns, out);
    }
    if present & ERROR != 0 {
        out.push(header.code);
        put_text(&header.error, out);
    }
    if present & LOAD != 0 {
        out.extend_from_slice(&header.load.in_flight.to_le_bytes());
        out.push(header.load.utilisation);
    }
    if present & META != 0 {
        put_varint(header.metadata.pairs().count() as u64, out);
        out.extend_from_slice(header.metadata.as_bytes());
    }
    if present & FLAGS != 0 {
        out.push(header.flags.to_bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_hold_every_number_and_no_more() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(number, &mut out);
            let mut rest = out.as_slice();
            assert_eq!(varint(&mut rest), Some(number));
            assert!(rest.is_empty());
        }
        assert_eq!(varint(&mut [0xff; 10].as_slice()), None);
        assert_eq!(varint(&mut [0x80].as_slice()), None);
    }

    #[test]
    fn a_request_is_these_bytes() {
        let mut writer = Writer::new(Codec::Postcard);
        writer.header.service_method.push_str("A.B");
        writer.header.seq = 300;
        let mut out = Vec::new();
        writer.write(Body::from(&7_i64), &mut out).unwrap();
        assert_eq!(out, *b"\x09\0\0\0\x00\x01\xac\x02\x03A.B\x0e");
    }

    #[test]
    fn a_long_frame_is_refused_before_it_is_buffered() {
        let limits = Limits {
            message_len_max: 100,
            ..Limits::default()
        };
        let mut reader = Reader::new(Codec::Postcard, &limits);
        let refused = reader.next(&101_u32.to_le_bytes()).unwrap_err().to_string();
        assert_eq!(refused, "a frame has 101 bytes, more than 100");
    }
}
