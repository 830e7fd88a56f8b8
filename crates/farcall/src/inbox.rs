//! What arrived on a connection and was not consumed yet. An idle connection holds no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers::Kept;
use crate::transport::{ReadHalf, WriteHalf};

/// Large enough for a thousand small messages in one read.
const BUFFER_LEN: usize = 64 << 10;
/// Buffers that a thread keeps for its connections. Only those that wait in the middle of a message hold one.
const POOL_MAX: usize = 8;
/// Bodies as long as this are handed over rather than copied.
const HANDED_OVER_MIN: usize = 32 << 10;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes between what was consumed and what has arrived.
#[derive(Default)]
pub(crate) struct Inbox {
    /// Empty, or of full length: what lies behind `end` is only room.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Drops bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// How long a body is, if it is the last bytes of the message at the front: these very bytes, not equal ones.
    pub(crate) fn ends_with(&self, message_len: usize, body: &[u8]) -> Option<usize> {
        let message = self.bytes().get(..message_len)?;
        let tail = message.get(message_len.checked_sub(body.len())?..)?;
        std::ptr::eq(tail, body).then_some(body.len())
    }

    /// Drops a message from the front and keeps its body. Most of what is there may be one large body: then its memory
    /// is handed over, and nothing is copied but what came behind it.
    ///
    /// `body` are the last bytes of the message.
    pub(crate) fn take(&mut self, message_len: usize, body_len: usize) -> Kept {
        let end = (self.start + message_len).min(self.end);
        let place = end.saturating_sub(body_len)..end;
        if body_len < HANDED_OVER_MIN || 2 * body_len < self.buffer.len() {
            let kept = Kept::copy(self.buffer.get(place).unwrap_or_default());
            self.consume(message_len);
            return kept;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let behind = end..self.end;
        (self.start, self.end) = (0, 0);
        if !behind.is_empty() {
            self.make_room(behind.len());
            let behind = buffer.get(behind).unwrap_or_default();
            // There may be more of it than a new buffer holds: several large messages came in one read.
            if self.buffer.len() < behind.len() {
                self.buffer.resize(behind.len(), 0);
            }
            if let Some(front) = self.buffer.get_mut(..behind.len()) {
                front.copy_from_slice(behind);
                self.end = behind.len();
            }
        }
        Kept::part(buffer, place)
    }

    /// Waits for more bytes, and reads what there is. 0 is the end of the stream.
    ///
    /// `at_least` says how many more are needed; room grows with what has arrived, not with what was announced.
    /// Dropping the future loses nothing.
    pub(crate) async fn fill(
        &mut self,
        reader: &mut ReadHalf,
        at_least: usize,
    ) -> io::Result<usize> {
        poll_fn(|context| {
            self.make_room(at_least);
            let mut room = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
            match Pin::new(&mut *reader).poll_read(context, &mut room) {
                Poll::Pending => {
                    self.release_if_empty();
                    Poll::Pending
                }
                Poll::Ready(read) => {
                    read?;
                    let count = room.filled().len();
                    self.end += count;
                    Poll::Ready(Ok(count))
                }
            }
        })
        .await
    }

    /// The whole stream again, for someone who reads by itself: what is here comes first.
    pub(crate) fn replayed_on(self, reader: ReadHalf, writer: WriteHalf) -> Replayed {
        Replayed {
            inbox: self,
            reader,
            writer,
        }
    }

    fn make_room(&mut self, at_least: usize) {
        if self.buffer.is_empty() {
            self.buffer = POOL
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; BUFFER_LEN]);
        }
        let held = self.end - self.start;
        let room = self.buffer.len() - self.end;
        // A small rest of a small message: moving it is cheaper than many short reads behind it.
        let wanted = at_least.min((3 * held).max(BUFFER_LEN / 2));
        if room >= wanted && self.start < self.buffer.len() / 2 {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.start = 0;
        self.end = held;
        if self.buffer.len() - held < wanted {
            // JSON does not tell its length: a byte is all that is surely missing, time after time.
            self.buffer.resize(held + wanted.max(held / 2), 0);
        }
    }

    fn release_if_empty(&mut self) {
        if self.start < self.end {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.start = 0;
        self.end = 0;
        if buffer.len() == BUFFER_LEN {
            POOL.with_borrow_mut(|pool| {
                if pool.len() < POOL_MAX {
                    pool.push(buffer);
                }
            });
        }
    }
}

/// A stream whose first bytes were read already, and are read again.
pub(crate) struct Replayed {
    inbox: Inbox,
    reader: ReadHalf,
    writer: WriteHalf,
}

impl AsyncRead for Replayed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = self.inbox.bytes();
        if bytes.is_empty() {
            self.inbox = Inbox::default();
            return Pin::new(&mut self.reader).poll_read(context, room);
        }
        let count = bytes.len().min(room.remaining());
        room.put_slice(bytes.get(..count).unwrap_or_default());
        self.inbox.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

/// Reads and drops what still comes, so that closing the socket does not destroy what was written last.
pub(crate) async fn discard(reader: &mut ReadHalf) {
    let _ = poll_fn(|context| {
        // Not kept while it waits: every connection's task would be that much larger.
        let mut scratch = [0; 4096];
        loop {
            let mut room = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *reader).poll_read(context, &mut room)) {
                Ok(()) if !room.filled().is_empty() => {}
                end => return Poll::Ready(end),
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::buffers;

    #[tokio::test]
    async fn bytes_come_out_in_order_whatever_is_consumed_between() {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let mut reader: ReadHalf = Box::new(theirs);
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
        ours.write_all(&sent).await.unwrap();
        drop(ours);
        let mut inbox = Inbox::default();
        let mut got = Vec::new();
        let mut step = 1;
        while inbox.fill(&mut reader, step).await.unwrap() > 0 {
            let count = inbox.bytes().len().min(step * 1000);
            got.extend_from_slice(&inbox.bytes()[..count]);
            inbox.consume(count);
            step = step % 97 + 1;
        }
        got.extend_from_slice(inbox.bytes());
        assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
    }

    #[tokio::test]
    async fn a_large_body_is_handed_over_and_what_is_behind_it_stays() {
        for (len, behind, is_copied) in [
            (BUFFER_LEN * 3, 350, false),
            (BUFFER_LEN * 4, BUFFER_LEN * 2, false),
            (buffers::LEN_MAX, 350, true),
        ] {
            let (mut ours, theirs) = tokio::io::duplex(1 << 20);
            let mut reader: ReadHalf = Box::new(theirs);
            let sent: Vec<u8> = (0..150 + len + behind).map(|i| (i % 251) as u8).collect();
            ours.write_all(&sent).await.unwrap();
            drop(ours);
            let mut inbox = Inbox::default();
            while inbox
                .fill(&mut reader, sent.len() - inbox.bytes().len())
                .await
                .unwrap()
                > 0
                && inbox.bytes().len() < sent.len()
            {}
            inbox.consume(100);
            let address = inbox.bytes()[50..].as_ptr();
            let kept = inbox.take(50 + len, len);
            assert!(kept.bytes() == &sent[150..150 + len]);
            assert_eq!(kept.bytes().as_ptr() != address, is_copied);
            assert!(inbox.bytes() == &sent[150 + len..]);
        }
    }

    #[tokio::test]
    async fn a_waiting_connection_holds_no_buffer() {
        let (_ours, theirs) = tokio::io::duplex(64);
        let mut reader: ReadHalf = Box::new(theirs);
        let mut inbox = Inbox::default();
        let mut waiting = Box::pin(inbox.fill(&mut reader, 1));
        assert!(
            std::future::Future::poll(
                waiting.as_mut(),
                &mut std::task::Context::from_waker(std::task::Waker::noop())
            )
            .is_pending()
        );
        drop(waiting);
        assert_eq!(inbox.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn a_long_message_takes_few_reads_though_it_never_tells_its_length() {
        let (mut ours, theirs) = tokio::io::duplex(4 << 20);
        let mut reader: ReadHalf = Box::new(theirs);
        ours.write_all(&vec![b'x'; 4 << 20]).await.unwrap();
        drop(ours);
        let mut inbox = Inbox::default();
        let mut reads = 0;
        while inbox.fill(&mut reader, 1).await.unwrap() > 0 {
            reads += 1;
        }
        assert_eq!(inbox.bytes().len(), 4 << 20);
        assert!(reads < 20, "{reads} reads");
    }

    #[tokio::test]
    async fn an_announced_length_alone_buys_no_memory() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let mut reader: ReadHalf = Box::new(theirs);
        ours.write_all(b"x").await.unwrap();
        let mut inbox = Inbox::default();
        inbox.fill(&mut reader, 1 << 30).await.unwrap();
        assert!(inbox.buffer.len() <= BUFFER_LEN);
    }
}
