//! The one error of calls: what ended a call, and whether the server may have run it.
//! Reading addresses has an error of its own ([`crate::AddressError`]); so has starting a server.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use farcall_wire::Code;

/// How far a failed call got. It decides whether calling again is safe.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The request never left this process whole: the server cannot have run it.
    NotSent,
    /// The server said that it did not start the handler.
    Refused,
    /// The request may have reached the server, and no verdict came back.
    Unknown,
    /// The server answered: the handler ran, or the request itself was wrong.
    Answered,
}

/// Why a call failed.
///
/// Programs act on [`Error::code`]; people read the text. A handler returns one too: `Err("divide by zero".into())`
/// reaches the caller as [`Code::Failed`] with those words, whatever its language.
///
/// ```
/// use farcall::{Code, Error};
/// let error = Error::from("divide by zero");
/// assert_eq!(error.code(), Code::Failed);
/// assert_eq!(error.to_string(), "divide by zero");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    reached: Reached,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The result of a call, and of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a code and a text for the caller.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code,
            reached: Reached::Answered,
            message: message.into(),
            source: None,
        }))
    }

    /// What kind of failure this is.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text alone, as it travels.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How far the call got.
    pub fn reached(&self) -> Reached {
        self.0.reached
    }

    /// True when the handler surely did not run, so that calling again is safe for any method.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.reached, Reached::NotSent | Reached::Refused)
    }

    pub(crate) fn with_reached(mut self, reached: Reached) -> Error {
        self.0.reached = reached;
        self
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.0.source = Some(Arc::new(source));
        self
    }

    #[cfg(feature = "tower")]
    pub(crate) fn with_boxed_source(mut self, source: Box<dyn StdError + Send + Sync>) -> Error {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        let mut debug = f.debug_struct("Error");
        debug
            .field("code", &inner.code)
            .field("message", &inner.message);
        if inner.reached != Reached::Answered {
            debug.field("reached", &inner.reached);
        }
        if let Some(source) = &inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<crate::AddressError> for Error {
    fn from(error: crate::AddressError) -> Error {
        Error::new(Code::InvalidArgument, error.to_string()).with_reached(Reached::NotSent)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Error {
        Error::new(Code::Failed, message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Error {
        Error::new(Code::Failed, message)
    }
}
