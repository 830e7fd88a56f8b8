//! Streams over `std::io`: thin layers over [`Encoder`] and [`Decoder`], which have no I/O of their own.

use std::io;

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
    decoder: Decoder,
    buffer: Vec<u8>,
    /// How many bytes at the front of the buffer are done with.
    done: usize,
}

/// How much is asked for at a time, or some of these for a long value.
const CHUNK: usize = 8 << 10;

impl<R: io::Read> Reader<R> {
    /// The start of a stream, within the default limits.
    pub fn new(inner: R) -> Self {
        Self::with_limits(inner, Limits::default())
    }

    /// The start of a stream.
    pub fn with_limits(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            decoder: Decoder::new(limits),
            buffer: vec![],
            done: 0,
        }
    }

    /// Reads the next value; `None` at the end of the stream.
    ///
    /// # Errors
    /// `InvalidData` with an [`Error`] inside if the value does not fit `T`, and then the next one may be read;
    /// `UnexpectedEof` if the stream ends inside a value; or if reading fails.
    pub fn read<T: Gob>(&mut self) -> io::Result<Option<T>> {
        let Some(len) = self.fill()? else {
            return Ok(None);
        };
        let raw = self
            .buffer
            .get(self.done - len..self.done)
            .unwrap_or_default();
        self.decoder.decode(raw).map(Some).map_err(invalid_data)
    }

    /// Reads the next value, whatever its type, and the type.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_value(&mut self) -> io::Result<Option<(Value, Schema)>> {
        let Some(len) = self.fill()? else {
            return Ok(None);
        };
        let raw = self
            .buffer
            .get(self.done - len..self.done)
            .unwrap_or_default();
        let value = self.decoder.decode_value(raw).map_err(invalid_data)?;
        Ok(Some((
            value,
            self.decoder.schema_of_value(raw).map_err(invalid_data)?,
        )))
    }

    /// Reads until a value is whole. It ends at `done`, and is as long as the answer says.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        loop {
            let rest = self.buffer.get(self.done..).unwrap_or_default();
            let at_least = match self.decoder.next(rest).map_err(invalid_data)? {
                Next::Value { consumed, raw } => {
                    let len = raw.len();
                    self.done += consumed;
                    return Ok(Some(len));
                }
                Next::More { consumed, at_least } => {
                    self.done += consumed;
                    at_least
                }
            };
            self.buffer.drain(..self.done);
            self.done = 0;
            // A length alone reserves nothing: memory is taken as bytes arrive.
            let start = self.buffer.len();
            self.buffer
                .resize(start + at_least.clamp(CHUNK, 64 * CHUNK), 0);
            let read = loop {
                match self
                    .inner
                    .read(self.buffer.get_mut(start..).unwrap_or_default())
                {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
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
