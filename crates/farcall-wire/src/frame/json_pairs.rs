//! Pairs of JSON values, header and body, each ended by a newline: farcall's JSON codec.

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::pack::{Compression, Packed};
use super::{Flags, Header, Kind, Load, Step};
use crate::json::JsonScan;
use crate::{Body, EncodeError, Limits, Violation};

/// TinyRPC's members always, as Go would write them, and farcall's where they say something.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireHeader<S, M> {
    #[serde(default)]
    service_method: S,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    error: S,
    #[serde(default, skip_serializing_if = "is_zero")]
    kind: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    timeout: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    code: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    load: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<M>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(super) struct Reader {
    pub(super) header: Header,
    scan: JsonScan,
    /// Where the header lies, once it was found: its body is looked for behind it.
    header_read: bool,
    limits: Limits,
}

impl Reader {
    pub(super) fn new(limits: &Limits) -> Reader {
        Reader {
            header: Header::default(),
            scan: JsonScan::new(limits.depth_max),
            header_read: false,
            limits: limits.clone(),
        }
    }

    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        let mut done = 0;
        loop {
            let rest = input.get(done..).unwrap_or_default();
            let Some(place) = next_value(&mut self.scan, rest, &self.limits)? else {
                return Ok(Step::More {
                    consumed: done + self.scan.take_blank(),
                    at_least: 1,
                });
            };
            done += place.end;
            let value = rest.get(place).unwrap_or_default();
            if self.header_read {
                self.header_read = false;
                return Ok(Step::Message {
                    consumed: done,
                    body: value,
                });
            }
            self.header = read_header(value)?;
            self.header_read = true;
        }
    }
}

/// Looks for one JSON value at the front of `rest`, within the limit on messages.
pub(super) fn next_value(
    scan: &mut JsonScan,
    rest: &[u8],
    limits: &Limits,
) -> Result<Option<Range<usize>>, Violation> {
    let found = scan.scan(rest)?;
    let len = match &found {
        Some(place) => place.len(),
        // White space before a value belongs to none, wherever the bytes were split.
        None => rest.len() - scan.blank(),
    };
    if len > limits.message_len_max {
        let max = limits.message_len_max;
        return Err(Violation::new(format!(
            "a JSON value is longer than {max} bytes"
        )));
    }
    if found.is_some() {
        *scan = JsonScan::new(limits.depth_max);
    }
    Ok(found)
}

fn read_header(value: &[u8]) -> Result<Header, Violation> {
    let wire: WireHeader<String, std::collections::BTreeMap<String, String>> =
        serde_json::from_slice(value).map_err(|error| {
            Violation::new(format!(
                "a header is no JSON object as it should be: {error}"
            ))
        })?;
    Ok(Header {
        service_method: wire.service_method,
        seq: wire.seq,
        error: wire.error,
        kind: Kind::from_number(wire.kind)?,
        timeout_ns: wire.timeout,
        code: u8::try_from(wire.code).unwrap_or(0),
        load: Load::from_bits(wire.load),
        flags: Flags::from_bits(wire.flags),
        metadata: wire
            .metadata
            .unwrap_or_default()
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect(),
        json: None,
    })
}

/// A compressed body: it stands as base64 in a string.
pub(super) fn packed(body: &[u8]) -> Result<Vec<u8>, Violation> {
    let broken = |error: &dyn std::fmt::Display| {
        Violation::new(format!("a compressed body is no base64 string: {error}"))
    };
    let text: String = serde_json::from_slice(body).map_err(|error| broken(&error))?;
    BASE64_STANDARD.decode(text).map_err(|error| broken(&error))
}

#[derive(Default)]
pub(super) struct Writer {
    pub(super) header: Header,
}

impl Writer {
    pub(super) fn write(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.write_header(out)?;
        body.to_json(out)?;
        out.push(b'\n');
        Ok(())
    }

    /// As [`Writer::write`], with the body compressed if it is long: then it stands as base64 in a string.
    pub(super) fn write_packed(
        &mut self,
        compression: Compression,
        body: Body<'_>,
        room: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        body.to_json(room)?;
        let packed = compression.pack(room);
        if let Packed::Smaller(_) = packed {
            self.header.flags |= Flags::COMPRESSED;
        }
        self.write_header(out)?;
        match packed {
            Packed::Smaller(bytes) => {
                out.extend_from_slice(format!("\"{}\"", BASE64_STANDARD.encode(bytes)).as_bytes());
            }
            Packed::AsItWas => out.extend_from_slice(room),
        }
        out.push(b'\n');
        Ok(())
    }

    fn write_header(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let header = &self.header;
        let wire = WireHeader {
            service_method: header.service_method.as_str(),
            seq: header.seq,
            error: header.error.as_str(),
            kind: header.kind.number().into(),
            timeout: header.timeout_ns,
            code: header.code.into(),
            load: header.load.to_bits().into(),
            flags: header.flags.to_bits().into(),
            metadata: (!header.metadata.is_empty())
                .then(|| header.metadata.pairs().collect::<BTreeMap<_, _>>()),
        };
        serde_json::to_writer(&mut *out, &wire)
            .map_err(|error| EncodeError::new("header", error))?;
        out.push(b'\n');
        Ok(())
    }
}
