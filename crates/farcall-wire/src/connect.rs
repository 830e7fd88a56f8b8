//! The HTTP `CONNECT` that leads into an RPC protocol, as Go's net/rpc does it. HTTP proper is not served here.

use crate::{Limits, Violation};

/// The path of farcall's and TinyRPC's protocol.
pub const TINYRPC_PATH: &str = "/_tinyrpc_";
/// The path of Go's net/rpc.
pub const GO_RPC_PATH: &str = "/_goRPC_";
/// The path of geerpc's protocol, as geerpc spells it.
pub const GEERPC_PATH: &str = "/_geeprc_";
/// What the server answers on [`TINYRPC_PATH`]. Go compares the whole status text.
pub const TINYRPC_CONNECTED: &[u8] = b"HTTP/1.0 200 Connected to RPC\n\n";
/// What the server answers on [`GO_RPC_PATH`].
pub const GO_RPC_CONNECTED: &[u8] = b"HTTP/1.0 200 Connected to Go RPC\n\n";

/// What the server answers on [`GEERPC_PATH`].
pub const GEERPC_CONNECTED: &[u8] = b"HTTP/1.0 200 Connected to Gee RPC\n\n";

/// The request that opens the way, byte for byte as Go sends it: bare line feeds, no `Host`.
pub fn connect_request(path: &str) -> Vec<u8> {
    format!("CONNECT {path} HTTP/1.0\n\n").into_bytes()
}

/// Reads the head of a `CONNECT`. `Some` is its path and how many bytes the head took.
///
/// # Errors
///
/// A head that is malformed, too long, or announces a body: what follows belongs to the RPC protocol.
pub fn read_connect<'a>(
    input: &'a [u8],
    limits: &Limits,
) -> Result<Option<(&'a str, usize)>, Violation> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let Some(len) = parsed(head.parse(window(input, limits)), input, limits)? else {
        return Ok(None);
    };
    let has_body = |h: &&mut httparse::Header<'_>| {
        h.name.eq_ignore_ascii_case("content-length")
            || h.name.eq_ignore_ascii_case("transfer-encoding")
    };
    if let Some(header) = head.headers.iter_mut().find(has_body) {
        return Err(Violation::new(format!(
            "CONNECT has no body, yet sends {}",
            header.name
        )));
    }
    Ok(Some((head.path.unwrap_or_default(), len)))
}

/// Reads the head of the server's answer. `Some` is how many bytes it took; what follows is the RPC protocol.
///
/// # Errors
///
/// A head that is malformed or too long, and any status but 200.
pub fn read_connected(input: &[u8], limits: &Limits) -> Result<Option<usize>, Violation> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let Some(len) = parsed(head.parse(window(input, limits)), input, limits)? else {
        return Ok(None);
    };
    match head.code {
        Some(200) => Ok(Some(len)),
        code => Err(Violation::new(format!(
            "the server refused CONNECT with {} {}",
            code.unwrap_or_default(),
            head.reason.unwrap_or_default()
        ))),
    }
}

fn window<'a>(input: &'a [u8], limits: &Limits) -> &'a [u8] {
    input.get(..limits.hello_len_max).unwrap_or(input)
}

fn parsed(
    status: Result<httparse::Status<usize>, httparse::Error>,
    input: &[u8],
    limits: &Limits,
) -> Result<Option<usize>, Violation> {
    match status {
        Ok(httparse::Status::Complete(len)) => Ok(Some(len)),
        Ok(httparse::Status::Partial) if input.len() < limits.hello_len_max => Ok(None),
        Ok(httparse::Status::Partial) => {
            let max = limits.hello_len_max;
            Err(Violation::new(format!(
                "the HTTP head is longer than {max} bytes"
            )))
        }
        Err(error) => Err(Violation::new(format!(
            "the HTTP head is malformed: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Result<Option<(&str, usize)>, Violation> {
        read_connect(input, &Limits::default())
    }

    #[test]
    fn the_head_is_read_with_bare_line_feeds_and_with_crlf() {
        for head in [
            "CONNECT /_tinyrpc_ HTTP/1.0\n\n",
            "CONNECT /_tinyrpc_ HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let input = format!("{head}rest");
            assert_eq!(read(input.as_bytes()), Ok(Some(("/_tinyrpc_", head.len()))));
            for len in 0..head.len() {
                assert_eq!(read(&head.as_bytes()[..len]), Ok(None));
            }
        }
    }

    #[test]
    fn a_head_that_announces_a_body_is_refused() {
        for header in ["Content-Length: 3", "transfer-encoding: chunked"] {
            let head = format!("CONNECT /_tinyrpc_ HTTP/1.1\r\n{header}\r\n\r\n");
            assert!(
                read(head.as_bytes())
                    .unwrap_err()
                    .to_string()
                    .contains("no body")
            );
        }
    }

    #[test]
    fn long_and_malformed_heads_are_refused() {
        let long = [
            b"CONNECT /_tinyrpc_ HTTP/1.0\nX: ".as_slice(),
            &[b'x'; 9000],
        ]
        .concat();
        assert!(read(&long).is_err());
        assert!(read(b"CONNECT /_tinyrpc_ HTTP/3.0\n\n").is_err());
        assert!(read(b"CONNECT /a\0b HTTP/1.0\n\n").is_err());
    }

    #[test]
    fn the_answer_must_be_200() {
        let read = |input: &[u8]| read_connected(input, &Limits::default());
        assert_eq!(read(TINYRPC_CONNECTED), Ok(Some(TINYRPC_CONNECTED.len())));
        assert_eq!(read(&TINYRPC_CONNECTED[..20]), Ok(None));
        let refused = read(b"HTTP/1.0 404 Not Found\r\n\r\n")
            .unwrap_err()
            .to_string();
        assert_eq!(refused, "the server refused CONNECT with 404 Not Found");
    }
}
