//! Which protocol a connection speaks, told by its first bytes alone.

use crate::json::first_of_members;
use crate::{Limits, Violation};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// TLS.
    Tls,
    /// HTTP `CONNECT`, the way into an RPC protocol over HTTP.
    Connect,
    /// Any other HTTP request.
    Http,
    /// farcall's handshake.
    Hello,
    /// JSON-RPC, of either version.
    JsonRpc,
    /// Go's net/rpc with gob.
    NetRpc,
}

/// Tells the protocol, or `None` while more bytes are needed.
///
/// An answer never changes when more bytes come, so it does not depend on how they were split.
///
/// # Errors
///
/// Bytes that begin no protocol, and more than [`Limits::hello_len_max`] of them that still tell nothing.
pub fn sniff(input: &[u8], limits: &Limits) -> Result<Option<Opening>, Violation> {
    let window = input.get(..limits.hello_len_max).unwrap_or(input);
    match sniff_window(window) {
        Ok(None) if input.len() >= limits.hello_len_max => {
            let max = limits.hello_len_max;
            Err(Violation::new(format!(
                "the first {max} bytes tell no protocol"
            )))
        }
        told => told,
    }
}

fn sniff_window(input: &[u8]) -> Result<Option<Opening>, Violation> {
    let &[first, second, ..] = input else {
        return match input.first() {
            Some(0) => Err(unknown(input)),
            _ => Ok(None),
        };
    };
    match (first, second) {
        (0x16, 0x03) => Ok(Some(Opening::Tls)),
        // A gob stream begins with a type definition: a length, then a negative type id of at least 64, which is
        // 0x7f or the first of several bytes. Neither can stand second in text.
        (1..=0x7f, 0x7f | 0xfe | 0xff) => Ok(Some(Opening::NetRpc)),
        (0xff, 0x80..) => Ok(Some(Opening::NetRpc)),
        (b'A'..=b'Z', _) => sniff_http(input),
        (b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n', _) => sniff_json(input),
        _ => Err(unknown(input)),
    }
}

fn sniff_http(input: &[u8]) -> Result<Option<Opening>, Violation> {
    const METHOD_LEN_MAX: usize = 16;
    let len = input
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    match input.get(len) {
        None if len <= METHOD_LEN_MAX => Ok(None),
        Some(b' ') if input.starts_with(b"CONNECT ") => Ok(Some(Opening::Connect)),
        Some(b' ') if len <= METHOD_LEN_MAX => Ok(Some(Opening::Http)),
        _ => Err(unknown(input)),
    }
}

fn sniff_json(input: &[u8]) -> Result<Option<Opening>, Violation> {
    match input.trim_ascii_start().first() {
        None => Ok(None),
        Some(b'[') => Ok(Some(Opening::JsonRpc)),
        Some(b'{') => Ok(first_of_members(input, |name| {
            if name == b"MagicNumber" {
                return Some(Opening::Hello);
            }
            // Go matches member names without case.
            let is_json_rpc = ["jsonrpc", "method", "params", "id"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
            is_json_rpc.then_some(Opening::JsonRpc)
        })),
        Some(_) => Err(unknown(input)),
    }
}

fn unknown(input: &[u8]) -> Violation {
    let shown = input.get(..32).unwrap_or(input).escape_ascii();
    Violation::new(format!("the first bytes begin no protocol: {shown}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(input: &[u8]) -> Result<Option<Opening>, Violation> {
        sniff(input, &Limits::default())
    }

    #[test]
    fn each_protocol_is_known_by_its_first_bytes() {
        for (input, opening) in [
            (&b"\x16\x03\x01"[..], Opening::Tls),
            (b"CONNECT /_tinyrpc_ HTTP/1.0\n\n", Opening::Connect),
            (b"GET / HTTP/1.1\r\n", Opening::Http),
            (b"PATCH /x HTTP/1.1\r\n", Opening::Http),
            (br#"{"MagicNumber":3927900}"#, Opening::Hello),
            (br#"{"CodecType":"method","MagicNumber":1}"#, Opening::Hello),
            (
                br#"{"Farcall":{"method":1},"MagicNumber":1}"#,
                Opening::Hello,
            ),
            (br#" {"method":"Foo.Sum""#, Opening::JsonRpc),
            (br#"{"params":[{"MagicNumber":1"#, Opening::JsonRpc),
            (br#"{"METHOD":1"#, Opening::JsonRpc),
            (b"[", Opening::JsonRpc),
            (b"\x2e\x7f\x03\x01\x01\x07Request", Opening::NetRpc),
            (b"\x2f\xff\x81\x03\x01\x01\x07Request", Opening::NetRpc),
        ] {
            // One byte may tell nothing yet.
            let padded = [input, b" "].concat();
            let input = if input.len() == 1 { &padded } else { input };
            assert_eq!(told(input), Ok(Some(opening)), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn garbage_is_refused_and_shown_escaped() {
        for input in [
            &b"\x00"[..],
            b"hello\r\n",
            b"\x80\x80",
            b"GETX\x00 /",
            b"  x",
            b"ABCDEFGHIJKLMNOPQRST ",
        ] {
            assert!(told(input).is_err(), "{}", input.escape_ascii());
        }
        let text = told(b"hi\r\n").unwrap_err().to_string();
        assert_eq!(text, "the first bytes begin no protocol: hi\\r\\n");
    }

    #[test]
    fn a_megabyte_that_tells_nothing_is_refused() {
        // Miri takes a thousand times as long.
        let len = if cfg!(miri) { 16 << 10 } else { 1 << 20 };
        let mut input = br#"{"x":""#.to_vec();
        input.resize(len, b'y');
        assert!(told(&input).unwrap_err().to_string().contains("8192"));
        assert!(told(&vec![b' '; len]).is_err());
    }

    proptest! {
        #[test]
        fn an_answer_never_changes_when_more_bytes_come(
            start in prop_oneof![
                Just(b"".to_vec()), Just(b"{\"".to_vec()), Just(b"CONN".to_vec()), Just(b"{\"id\":{".to_vec()),
                Just(b" \n{\"MagicNumber".to_vec()), Just(b"\x2e".to_vec()),
            ],
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let input = [start, rest].concat();
            let mut last = Ok(None);
            for len in 0..=input.len() {
                let now = told(&input[..len]);
                if let Ok(Some(_)) = last {
                    prop_assert_eq!(&now, &last);
                } else if last.is_err() {
                    prop_assert!(now.is_err());
                }
                last = now;
            }
        }
    }
}
