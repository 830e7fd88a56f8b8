//! Who is to blame: a [`Violation`] is the peer's, an [`EncodeError`] the local value's, a [`DecodeError`] the
//! two types' that do not fit. "More bytes are needed" is none of them.

use std::fmt;

/// The peer broke the protocol. Nothing after it can be trusted, so the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

/// Longest description of a violation, in bytes. It may quote the peer, and ends in a log.
const VIOLATION_LEN_MAX: usize = 300;

impl Violation {
    /// A violation described in words that fit behind "protocol violation: ".
    ///
    /// The words may quote the peer: they are cut where they become long, and control characters are escaped.
    pub fn new(what: impl Into<String>) -> Violation {
        let what = what.into();
        if what.len() <= VIOLATION_LEN_MAX && !what.contains(char::is_control) {
            return Violation(what);
        }
        let mut shown = String::new();
        for c in what.chars() {
            if shown.len() >= VIOLATION_LEN_MAX {
                shown.push('…');
                break;
            }
            match c.is_control() {
                true => shown.extend(c.escape_default()),
                false => shown.push(c),
            }
        }
        Violation(shown)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_is_quoted_with_stays_short_and_on_one_line() {
        assert_eq!(Violation::new("a\nb").to_string(), "a\\nb");
        let long = Violation::new("ü\0".repeat(1000)).to_string();
        assert!(long.len() < VIOLATION_LEN_MAX + 16, "{}", long.len());
        assert!(long.ends_with('…'));
    }
}
