//! Streams over the asynchronous traits of `futures-io`. What has arrived, and what is a value in it, is in `io`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::{Arrived, invalid_input};
use crate::encode::Encoder;
use crate::error::Error;
use crate::gob::Gob;
use crate::limits::Limits;
use crate::schema::Schema;
use crate::value::Value;

/// Writes values to an asynchronous writer, as [`Writer`](super::Writer) does to a blocking one.
///
/// It takes the traits of `futures-io`, which async-std, smol and others have. What has tokio's traits is wrapped by the
/// crate `tokio-util` (its feature `compat`): `AsyncWriter::new(stream.compat_write())`.
///
/// # Cancellation
///
/// A value is encoded as a whole when the future of [`write`](Self::write) is polled for the first time; from then on it
/// is part of the stream. Whoever drops the future after that leaves what was not written yet here, and it goes out
/// before anything else, at the next call of any method. So a dropped future never breaks the stream, but it does not
/// take its value back.
#[derive(Debug)]
pub struct AsyncWriter<W> {
    inner: W,
    encoder: Encoder,
    buffer: Vec<u8>,
    /// How much of the buffer is written.
    written: usize,
}

impl<W: AsyncWrite + Unpin> AsyncWriter<W> {
    /// The start of a stream.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            encoder: Encoder::new(),
            buffer: vec![],
            written: 0,
        }
    }

    /// Writes a value, and the definitions that are new.
    ///
    /// # Errors
    /// If the value cannot be sent (`InvalidInput`, with an [`Error`] inside; nothing of it was written), or if writing
    /// fails.
    pub async fn write<T: Gob>(&mut self, value: &T) -> io::Result<()> {
        let encoded = self.encoder.encode(value, &mut self.buffer);
        self.write_out(encoded).await
    }

    /// Writes a value without a Rust type.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_value(&mut self, value: &Value, ty: &Schema) -> io::Result<()> {
        let encoded = self.encoder.encode_value(value, ty, &mut self.buffer);
        self.write_out(encoded).await
    }

    /// Sees to it that what was written gets to where it goes, if the inner writer holds it back.
    ///
    /// # Errors
    /// If writing fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.poll_write_out(cx))?;
            Pin::new(&mut self.inner).poll_flush(cx)
        })
        .await
    }

    /// Ends the stream: flushes, and closes the inner writer.
    ///
    /// # Errors
    /// If writing or closing fails.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.poll_write_out(cx))?;
            Pin::new(&mut self.inner).poll_close(cx)
        })
        .await
    }

    /// What it writes to. What a dropped future has left behind is lost: [`flush`](Self::flush) first.
    pub fn into_inner(self) -> W {
        self.inner
    }

    /// What an earlier future has left behind stands in the buffer too, and goes out even if the new value cannot.
    async fn write_out(&mut self, encoded: Result<(), Error>) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_out(cx)).await?;
        encoded.map_err(invalid_input)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.buffer.get(self.written..) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.buffer.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

/// Reads values from an asynchronous reader, as [`Reader`](super::Reader) does from a blocking one.
///
/// It takes the traits of `futures-io`, which async-std, smol and others have. What has tokio's traits is wrapped by the
/// crate `tokio-util` (its feature `compat`): `AsyncReader::new(stream.compat())`.
///
/// ```
/// use farcall_gob::io::{AsyncReader, AsyncWriter};
///
/// async fn talk() -> std::io::Result<()> {
///     let mut writer = AsyncWriter::new(vec![]);
///     writer.write(&"one".to_owned()).await?;
///     writer.write(&"two".to_owned()).await?;
///     let sent = writer.into_inner();
///
///     let mut reader = AsyncReader::new(&sent[..]);
///     let mut texts = vec![];
///     while let Some(text) = reader.read::<String>().await? {
///         texts.push(text);
///     }
///     assert_eq!(texts, ["one", "two"]);
///     Ok(())
/// }
/// # use std::{pin::pin, task::{Context, Poll, Waker}};
/// # let Poll::Ready(done) = pin!(talk()).poll(&mut Context::from_waker(Waker::noop())) else { panic!("nothing waits") };
/// # done.unwrap();
/// ```
///
/// # Cancellation
///
/// All futures may be dropped at any time: what has arrived stays here, and the next call goes on from there.
#[derive(Debug)]
pub struct AsyncReader<R> {
    inner: R,
    arrived: Arrived,
}

impl<R: AsyncRead + Unpin> AsyncReader<R> {
    /// The start of a stream, within the default limits.
    pub fn new(inner: R) -> Self {
        Self::with_limits(inner, Limits::default())
    }

    /// The start of a stream.
    pub fn with_limits(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            arrived: Arrived::new(limits),
        }
    }

    /// Reads the next value; `None` at the end of the stream.
    ///
    /// # Errors
    /// `InvalidData` with an [`Error`] inside if the value does not fit `T`, and then the next one may be read;
    /// `UnexpectedEof` if the stream ends inside a value; or if reading fails.
    pub async fn read<T: Gob>(&mut self) -> io::Result<Option<T>> {
        if !self.fill().await? {
            return Ok(None);
        }
        self.arrived.decode().map(Some)
    }

    /// Reads the next value, whatever its type, and the type.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_value(&mut self) -> io::Result<Option<(Value, Schema)>> {
        if !self.fill().await? {
            return Ok(None);
        }
        self.arrived.decode_value().map(Some)
    }

    /// Reads until a value is whole; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        while let Some(missing) = self.arrived.missing()? {
            let room = self.arrived.room(missing);
            let read = poll_fn(|cx| {
                loop {
                    match ready!(Pin::new(&mut self.inner).poll_read(cx, room)) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => return Poll::Ready(read),
                    }
                }
            });
            match read.await? {
                0 => return self.arrived.at_end(),
                read => self.arrived.took(read),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    /// Gives and takes a few bytes at a time, and is not ready every other time.
    #[derive(Default)]
    struct Drip {
        bytes: Vec<u8>,
        at: usize,
        was_pending: bool,
        flushed: usize,
        closed: bool,
    }

    impl Drip {
        fn of(bytes: &[u8]) -> Self {
            Self {
                bytes: bytes.to_vec(),
                ..Self::default()
            }
        }

        fn poll_ready(&mut self) -> Poll<()> {
            self.was_pending = !self.was_pending;
            if self.was_pending {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }
    }

    impl AsyncRead for Drip {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            ready!(self.poll_ready());
            let rest = &self.bytes[self.at..];
            let len = rest.len().min(buffer.len()).min(3);
            buffer[..len].copy_from_slice(&rest[..len]);
            self.at += len;
            Poll::Ready(Ok(len))
        }
    }

    impl AsyncWrite for Drip {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            ready!(self.poll_ready());
            let len = bytes.len().min(5);
            self.bytes.extend_from_slice(&bytes[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.poll_ready());
            self.flushed = self.bytes.len();
            Poll::Ready(Ok(()))
        }

        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.poll_ready());
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn finish<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..1_000_000 {
            let polled = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(value) = polled {
                return value;
            }
        }
        panic!("it never ends");
    }

    fn values() -> Vec<Vec<String>> {
        vec![
            vec![],
            vec!["x".repeat(20_000)],
            vec!["a".into(), "b".into()],
        ]
    }

    /// The values' stream, as the blocking writer has it.
    fn stream() -> Vec<u8> {
        let mut writer = super::super::Writer::new(vec![]);
        for value in values() {
            writer.write(&value).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn the_stream_is_that_of_the_blocking_writer() {
        let mut writer = AsyncWriter::new(Drip::default());
        for value in values() {
            finish(writer.write(&value)).unwrap();
        }
        finish(writer.flush()).unwrap();
        finish(writer.close()).unwrap();
        let inner = writer.into_inner();
        assert_eq!(inner.bytes, stream());
        assert_eq!((inner.flushed, inner.closed), (stream().len(), true));
    }

    #[test]
    fn values_are_read_from_whatever_comes_in_pieces() {
        let stream = stream();
        let mut reader = AsyncReader::new(Drip::of(&stream));
        for value in values() {
            assert_eq!(
                finish(reader.read::<Vec<String>>()).unwrap(),
                Some(value),
                "in order"
            );
        }
        assert_eq!(finish(reader.read::<Vec<String>>()).unwrap(), None);
        let mut reader = AsyncReader::new(Drip::of(&stream));
        let (value, ty) = finish(reader.read_value()).unwrap().unwrap();
        assert_eq!(
            (value.to_canonical_json().as_str(), ty.to_string().as_str()),
            ("[]", "[]string")
        );
    }

    #[test]
    fn a_value_that_does_not_fit_leaves_the_next_and_a_cut_stream_is_told() {
        let stream = stream();
        let mut reader = AsyncReader::new(Drip::of(&stream[..stream.len() - 1]));
        for _ in 0..2 {
            let error = finish(reader.read::<i64>()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let error = finish(reader.read::<Vec<String>>()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn dropped_reads_lose_nothing() {
        let mut reader = AsyncReader::new(Drip::of(&stream()));
        for value in values() {
            // Each future is polled once and dropped.
            let read = (0..1_000_000).find_map(|_| match poll_once(reader.read::<Vec<String>>()) {
                Poll::Ready(read) => Some(read.unwrap()),
                Poll::Pending => None,
            });
            assert_eq!(read, Some(Some(value)));
        }
    }

    #[test]
    fn dropped_writes_go_out_before_the_next() {
        let mut writer = AsyncWriter::new(Drip::default());
        for value in values() {
            assert!(poll_once(writer.write(&value)).is_pending());
        }
        let never_polled = values();
        drop(writer.write(&never_polled));
        finish(writer.flush()).unwrap();
        assert_eq!(writer.into_inner().bytes, stream());
    }

    #[test]
    fn a_value_that_cannot_be_sent_holds_back_no_other() {
        #[derive(crate::Gob)]
        struct Deep {
            inner: Option<Box<Deep>>,
        }
        let mut deep = Deep { inner: None };
        for _ in 0..20_000 {
            deep = Deep {
                inner: Some(Box::new(deep)),
            };
        }
        let mut writer = AsyncWriter::new(Drip::default());
        assert!(poll_once(writer.write(&7_i64)).is_pending());
        let error = finish(writer.write(&deep)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let mut expected = vec![];
        Encoder::new().encode(&7_i64, &mut expected).unwrap();
        assert_eq!(writer.into_inner().bytes, expected);
        // Taken apart one by one: its own drop would go as deep as it is.
        while let Some(inner) = deep.inner.take() {
            deep = *inner;
        }
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error() {
        struct Full;
        impl AsyncWrite for Full {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Ready(Ok(0))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let error = finish(AsyncWriter::new(Full).write(&1_u8)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
