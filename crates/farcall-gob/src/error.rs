//! What can go wrong, and where: one opaque error with a class, an offset and the path of the field.
//! The texts of single failures are written where they happen.

use std::borrow::Cow;
use std::fmt;

/// Why a value could not be encoded or decoded.
///
/// Its text begins with `gob: `, names the field and the byte, and says what was expected.
/// It is one word wide, so that results stay small where values are read.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    path: String,
    offset: Option<usize>,
}

/// What class an [`Error`] is of: the classes ask for different reactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not gob. The stream they came from cannot be read any further.
    Corrupt,
    /// The sender's type does not fit the receiver's. The next value can be read.
    Mismatch,
    /// A number, a character or a text does not fit the receiver's type. The next value can be read.
    OutOfRange,
    /// An interface holds a type that was not registered here. The next value can be read.
    Unregistered,
    /// A limit was reached; see [`Limits`](crate::Limits). Final for the stream if it came from
    /// [`Decoder::next`](crate::Decoder::next).
    Limit,
    /// The value has no form in gob. Nothing was written.
    Unsupported,
}

impl Error {
    #[cold]
    pub(crate) fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            path: String::new(),
            offset: None,
        }))
    }

    #[cold]
    pub(crate) fn corrupt(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    #[cold]
    pub(crate) fn limit(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Limit, what)
    }

    /// A value that its own type's rules refuse, for types that convert themselves
    /// (see [`Opaque`](crate::Opaque)).
    #[cold]
    pub fn refused(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::OutOfRange, what)
    }

    /// What class of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How many bytes had been read when the failure was noticed, where that is known:
    /// of the value's own bytes when decoding, of the bytes given when looking for a value.
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// The way to the field, in the wire's names: `Order.Lines[].Price`. Empty if the failure concerns the whole value.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    #[cold]
    pub(crate) fn at_offset(mut self, offset: usize) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Counts the offset from a point that is `bytes` further ahead, such as the beginning of the stream. A failure whose
    /// place is not known stays without one.
    #[cold]
    #[must_use]
    pub fn beyond(mut self, bytes: usize) -> Self {
        self.0.offset = self.0.offset.map(|offset| offset + bytes);
        self
    }

    /// Puts a field's name before the path. For derived code.
    #[doc(hidden)]
    #[cold]
    pub fn in_field(mut self, name: &str) -> Self {
        self.prepend(name);
        self
    }

    /// Puts "an element of" before the path.
    #[cold]
    pub(crate) fn in_element(mut self) -> Self {
        self.prepend("[]");
        self
    }

    fn prepend(&mut self, part: &str) {
        let path = &mut self.0.path;
        // Of a value that nests deep, the innermost parts will do.
        if path.len() > PATH_LEN_MAX {
            if !path.starts_with(CUT) {
                path.insert_str(0, CUT);
            }
            return;
        }
        if !path.is_empty() && !path.starts_with('[') {
            path.insert(0, '.');
        }
        path.insert_str(0, part);
    }
}

const PATH_LEN_MAX: usize = 200;
const CUT: &str = "...";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.write_str("gob: ")?;
        if !inner.path.is_empty() {
            write!(f, "{}: ", inner.path)?;
        }
        f.write_str(&inner.what)?;
        match inner.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {}
