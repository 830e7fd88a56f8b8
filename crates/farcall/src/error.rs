//! The one error of calls: what ended a call, and whether the server may have run it.
//! Reading addresses has an error of its own ([`crate::AddressError`]); so has starting a server.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use farcall_wire::{Body, BodyKind, BodyRef, Encode, Message};

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
    is_refusal: bool,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    details: Option<Details>,
}

/// More about an error than its text.
#[derive(Clone)]
enum Details {
    /// As they were given here.
    Given(Arc<dyn Encode>),
    /// As they arrived.
    Received(BodyKind, Arc<[u8]>),
}

/// The result of a call, and of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a code and a text for the caller.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code,
            reached: Reached::Answered,
            is_refusal: false,
            message: message.into(),
            source: None,
            details: None,
        }))
    }

    /// An error that says that the call was not begun, and may be made again, here later or elsewhere now: for limits
    /// and checks that stand before a handler. Farcall's clients know it by [`Reached::Refused`].
    pub fn refused(code: Code, message: impl Into<String>) -> Error {
        Error::new(code, message).refuse()
    }

    /// Makes it the refusal of the call that is served here.
    pub(crate) fn refuse(mut self) -> Error {
        self.0.is_refusal = true;
        self.with_reached(Reached::Refused)
    }

    /// True for a refusal that was made here. One of another server, which a handler hands on, says nothing about the
    /// handler: it ran.
    pub(crate) fn is_refusal(&self) -> bool {
        self.0.is_refusal
    }

    /// Adds a value that says more than the text can. Farcall's clients get it beside code and text; all others get
    /// the text alone.
    ///
    /// ```
    /// use farcall::{Code, Error};
    /// let taken = Error::new(Code::AlreadyExists, "the name is taken").with_details(vec!["ada2".to_owned()]);
    /// assert_eq!(taken.details::<Vec<String>>().unwrap().unwrap(), ["ada2"]);
    /// ```
    #[must_use]
    pub fn with_details(mut self, details: impl Message) -> Error {
        self.0.details = Some(Details::Given(Arc::new(details)));
        self
    }

    /// The value that [`Error::with_details`] added, if there is one, as the type that the caller takes it for.
    ///
    /// # Errors
    ///
    /// [`Code::Internal`] when it does not fit the type.
    pub fn details<T: Message>(&self) -> Option<Result<T>> {
        self.read_details(|body| body.decode())
    }

    /// The value that [`Error::with_details`] added, if there is one, as JSON for people.
    ///
    /// # Errors
    ///
    /// [`Code::Internal`] when the codec of the connection does not tell types, as postcard does not.
    pub fn details_json(&self) -> Option<Result<serde_json::Value>> {
        self.read_details(|body| body.to_plain_json())
    }

    fn read_details<T>(
        &self,
        read: impl FnOnce(BodyRef<'_>) -> Result<T, farcall_wire::DecodeError>,
    ) -> Option<Result<T>> {
        let unreadable = |error: &dyn fmt::Display| {
            let text = format!("the error's details do not fit the type asked for: {error}");
            Error::new(Code::Internal, text)
        };
        let mut json = Vec::new();
        let read = match self.0.details.as_ref()? {
            Details::Received(kind, raw) => read(kind.body(raw)),
            Details::Given(given) => match Body::Typed(&**given).to_json(&mut json) {
                Ok(()) => read(BodyRef::Json(&json)),
                Err(error) => return Some(Err(unreadable(&error))),
            },
        };
        Some(read.map_err(|error| unreadable(&error)))
    }

    /// What is to be sent as the details.
    pub(crate) fn given_details(&self) -> Option<Body<'_>> {
        match self.0.details.as_ref()? {
            Details::Given(given) => Some(Body::Typed(&**given)),
            // A handler that hands on another server's error: its bytes are in that connection's codec.
            Details::Received(..) => None,
        }
    }

    pub(crate) fn with_received_details(mut self, kind: BodyKind, raw: &[u8]) -> Error {
        self.0.details = Some(Details::Received(kind, raw.into()));
        self
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
