//! A reply that has no end, written without hyper: ten thousand clients may wait for one, and hyper keeps 16 KiB for
//! each. Between two pieces nothing is held but the stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::http::response::Parts;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Next;

/// Longer pieces are not copied to go with their frame in one write.
const COPIED_LEN_MAX: usize = 16 * 1024;

/// The reply to the first request of a connection, in chunks of HTTP/1.1.
pub(super) struct Endless {
    pub(super) head: Parts,
    pub(super) next: Next,
}

impl Endless {
    /// Writes it until it ends after all, or the peer goes. Dropping the future breaks it off.
    pub(super) async fn send<S>(self, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Endless { head, mut next } = self;
        let head = in_bytes(&head);
        if stream.write_all(&head).await.is_err() {
            return;
        }
        drop(head);
        loop {
            let piece = tokio::select! {
                piece = next.as_mut() => piece,
                () = gone(&mut stream) => return,
            };
            let sent = match piece {
                Some((piece, feed)) => {
                    next = feed.next();
                    send_chunk(&mut stream, piece).await
                }
                None => {
                    let _ = stream.write_all(b"0\r\n\r\n").await;
                    let _ = stream.shutdown().await;
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

async fn send_chunk(stream: &mut (impl AsyncWrite + Unpin), piece: Bytes) -> io::Result<()> {
    // A chunk of nothing would be the last one.
    if piece.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:X}\r\n", piece.len()).into_bytes();
    if piece.len() <= COPIED_LEN_MAX {
        chunk.extend_from_slice(&piece);
        chunk.extend_from_slice(b"\r\n");
        return stream.write_all(&chunk).await;
    }
    stream.write_all(&chunk).await?;
    stream.write_all(&piece).await?;
    stream.write_all(b"\r\n").await
}

/// Waits until the peer ends its side. What it sends before is not read by anybody: the reply says that it is the last.
async fn gone(stream: &mut (impl AsyncRead + Unpin)) {
    poll_fn(|context| {
        // Not kept while it waits.
        let mut scratch = [0; 1024];
        loop {
            let mut room = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut room)) {
                Ok(()) if !room.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}

fn in_bytes(head: &Parts) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut bytes = format!("HTTP/1.1 {}\r\nDate: {date}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend(in_title_case(name.as_str()));
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    bytes
}

/// `content-type` as `Content-Type`, as all other replies have it.
fn in_title_case(name: &str) -> impl Iterator<Item = u8> {
    let mut begins = true;
    name.bytes().map(move |byte| {
        let was_beginning = std::mem::replace(&mut begins, byte == b'-');
        if was_beginning {
            byte.to_ascii_uppercase()
        } else {
            byte
        }
    })
}
