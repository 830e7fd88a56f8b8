//! Who is to blame: a [`Violation`] is the peer's, an [`EncodeError`] the local value's, a [`DecodeError`] the
//! two types' that do not fit. "More bytes are needed" is none of them.

use std::fmt;

/// The peer broke the protocol. Nothing after it can be trusted, so the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl Violation {
    /// A violation described in words that fit behind "protocol violation: ".
    pub fn new(what: impl Into<String>) -> Violation {
        Violation(what.into())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// A value that cannot be encoded. Nothing of its message was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(String);

impl EncodeError {
    pub(crate) fn new(codec: &str, cause: impl fmt::Display) -> EncodeError {
        EncodeError(format!("{codec}: {cause}"))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}

/// A body that does not fit the type asked for. The connection stays in step: the body was delimited before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(String);

impl DecodeError {
    pub(crate) fn new(cause: impl fmt::Display) -> DecodeError {
        DecodeError(cause.to_string())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}
