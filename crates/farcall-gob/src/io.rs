//! Streams over `std::io`, and over the traits of `futures-io` with that feature: thin layers over [`Encoder`] and
//! [`Decoder`], which have no I/O of their own. Nothing here starts a thread or a task, or knows a runtime.

#[cfg(feature = "futures-io")]
mod futures;

use std::io;

#[cfg(feature = "futures-io")]
pub use futures::{AsyncReader, AsyncWriter};

use crate::decode::{Decoder, Next};
use crate::encode::Encoder;
use crate::error::Error;
use crate::gob::Gob;
use crate::limits::Limits;
use crate::schema::Schema;
use crate::value::Value;

/// Writes values to a file or a socket. It writes each value at once, so give it a [`io::BufWriter`] if they are many
/// and small.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl<W: io::Write> Writer<W> {
    /// The start of a stream.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            encoder: Encoder::new(),
            buffer: vec![],
        }
    }

    /// Writes a value, and the definitions that are new.
    ///
    /// # Errors
    /// If the value cannot be sent (`InvalidInput`, with an [`Error`] inside; nothing was written), or if writing fails.
    pub fn write<T: Gob>(&mut self, value: &T) -> io::Result<()> {
        self.buffer.clear();
        self.encoder
            .encode(value, &mut self.buffer)
            .map_err(invalid_input)?;
        self.inner.write_all(&self.buffer)
    }

    /// Writes a value without a Rust type.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_value(&mut self, value: &Value, ty: &Schema) -> io::Result<()> {
        self.buffer.clear();
        self.encoder
            .encode_value(value, ty, &mut self.buffer)
            .map_err(invalid_input)?;
        self.inner.write_all(&self.buffer)
    }

    /// Sees to it that what was written gets to where it goes, if the inner writer holds it back.
    ///
    /// # Errors
    /// If flushing fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

/// Reads values from a file or a socket. It reads ahead as far as there is something.
///
/// ```
/// use farcall_gob::io::{Reader, Writer};
///
/// let mut writer = Writer::new(vec![]);
/// writer.write(&"one".to_owned())?;
/// writer.write(&"two".to_owned())?;
/// let file = writer.into_inner();
///
/// let mut reader = Reader::new(&file[..]);
/// while let Some(text) = reader.read::<String>()? {
///     println!("{text}");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    arrived: Arrived,
}

impl<R: io::Read> Reader<R> {
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
    pub fn read<T: Gob>(&mut self) -> io::Result<Option<T>> {
        if !self.fill()? {
            return Ok(None);
        }
        self.arrived.decode().map(Some)
    }

    /// Reads the next value, whatever its type, and the type.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_value(&mut self) -> io::Result<Option<(Value, Schema)>> {
        if !self.fill()? {
            return Ok(None);
        }
        self.arrived.decode_value().map(Some)
    }

    /// Reads until a value is whole; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        while let Some(missing) = self.arrived.missing()? {
            let read = loop {
                match self.inner.read(self.arrived.room(missing)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            if read == 0 {
                return self.arrived.at_end();
            }
            self.arrived.took(read);
        }
        Ok(true)
    }
}

/// What has arrived of a stream.
#[derive(Debug)]
struct Arrived {
    decoder: Decoder,
    /// Has arrived up to `end`. What follows are zeros, or remains of what was there: room to read into.
    buffer: Vec<u8>,
    end: usize,
    /// How many bytes at the front are done with.
    done: usize,
    /// How long the value is that was found last. It ends at `done`.
    value_len: usize,
}

/// How much is asked for at a time, or some of these for a long value.
const CHUNK: usize = 8 << 10;

impl Arrived {
    fn new(limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(limits),
            buffer: vec![],
            end: 0,
            done: 0,
            value_len: 0,
        }
    }

    /// Looks for the next value: `None` if it is here, or how many bytes are missing at least.
    fn missing(&mut self) -> io::Result<Option<usize>> {
        let rest = self.buffer.get(self.done..self.end).unwrap_or_default();
        match self.decoder.next(rest).map_err(invalid_data)? {
            Next::Value { consumed, raw } => {
                self.value_len = raw.len();
                self.done += consumed;
                Ok(None)
            }
            Next::More { consumed, at_least } => {
                self.done += consumed;
                Ok(Some(at_least))
            }
        }
    }

    /// Where to read what is missing. A length alone reserves little: memory is taken as bytes arrive.
    fn room(&mut self, missing: usize) -> &mut [u8] {
        self.buffer.copy_within(self.done..self.end, 0);
        self.end -= self.done;
        self.done = 0;
        let size = self.end + missing.clamp(CHUNK, 64 * CHUNK);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    fn took(&mut self, read: usize) {
        self.end = self.buffer.len().min(self.end + read);
    }

    /// Nothing more will come: an error unless all values were whole.
    fn at_end(&self) -> io::Result<bool> {
        if self.done == self.end {
            Ok(false)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn decode<T: Gob>(&mut self) -> io::Result<T> {
        let raw = self.buffer.get(self.done - self.value_len..self.done);
        self.decoder
            .decode(raw.unwrap_or_default())
            .map_err(invalid_data)
    }

    fn decode_value(&mut self) -> io::Result<(Value, Schema)> {
        let raw = self.buffer.get(self.done - self.value_len..self.done);
        let raw = raw.unwrap_or_default();
        let value = self.decoder.decode_value(raw).map_err(invalid_data)?;
        let schema = self.decoder.schema_of_value(raw).map_err(invalid_data)?;
        Ok((value, schema))
    }
}

fn invalid_data(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn invalid_input(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_whatever_comes_in_pieces() {
        struct Drip<'a>(&'a [u8]);
        impl io::Read for Drip<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let len = self.0.len().min(buffer.len()).min(3);
                let (now, later) = self.0.split_at(len);
                buffer[..len].copy_from_slice(now);
                self.0 = later;
                Ok(len)
            }
        }
        let values: Vec<Vec<String>> = vec![
            vec![],
            vec!["x".repeat(20_000)],
            vec!["a".into(), "b".into()],
        ];
        let mut writer = Writer::new(vec![]);
        for value in &values {
            writer.write(value).unwrap();
        }
        let stream = writer.into_inner();
        let mut reader = Reader::new(Drip(&stream));
        for value in &values {
            assert_eq!(reader.read::<Vec<String>>().unwrap().as_ref(), Some(value));
        }
        assert_eq!(reader.read::<Vec<String>>().unwrap(), None);
        let mut reader = Reader::new(Drip(&stream[..stream.len() - 1]));
        let error = loop {
            match reader.read::<i64>() {
                Ok(value) => panic!("{value:?} is no int"),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut reader = Reader::new(&stream[..]);
        let (value, ty) = reader.read_value().unwrap().unwrap();
        assert_eq!(
            (value.to_canonical_json().as_str(), ty.to_string().as_str()),
            ("[]", "[]string")
        );
    }
}
