//! The error codes that travel on the wire. Their numbers are gRPC's, so that gateways need no table.

use core::fmt;

/// What kind of failure ended a call: the part of an error that programs act on.
///
/// The numbers are stable and travel between farcall peers. Older peers see the error's text alone, and
/// a text that came without a code is [`Code::Failed`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// The caller gave the call up before it ended.
    Cancelled = 1,
    /// The handler ran and said no, in the error's words.
    Failed = 2,
    /// The argument could not be decoded, or the handler refused it.
    InvalidArgument = 3,
    /// The time given to the call was over before its reply.
    DeadlineExceeded = 4,
    /// The thing asked for does not exist.
    NotFound = 5,
    /// The thing to be made exists already.
    AlreadyExists = 6,
    /// The caller is known, and may not do this.
    PermissionDenied = 7,
    /// A limit was reached: of messages, calls, rate or memory.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// The operation was given up because of another one; trying again from the start may help.
    Aborted = 10,
    /// A position or number lies outside what exists.
    OutOfRange = 11,
    /// The server has no such service or method.
    Unimplemented = 12,
    /// The server broke: a handler panicked, or a reply could not be encoded.
    Internal = 13,
    /// No connection, or it ended, or the server is going away.
    Unavailable = 14,
    /// Data was lost or damaged for good.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

/// Every code with its number and name: one table for both directions.
const CODES: [(Code, &str); 16] = [
    (Code::Cancelled, "cancelled"),
    (Code::Failed, "failed"),
    (Code::InvalidArgument, "invalid_argument"),
    (Code::DeadlineExceeded, "deadline_exceeded"),
    (Code::NotFound, "not_found"),
    (Code::AlreadyExists, "already_exists"),
    (Code::PermissionDenied, "permission_denied"),
    (Code::ResourceExhausted, "resource_exhausted"),
    (Code::FailedPrecondition, "failed_precondition"),
    (Code::Aborted, "aborted"),
    (Code::OutOfRange, "out_of_range"),
    (Code::Unimplemented, "unimplemented"),
    (Code::Internal, "internal"),
    (Code::Unavailable, "unavailable"),
    (Code::DataLoss, "data_loss"),
    (Code::Unauthenticated, "unauthenticated"),
];

impl Code {
    /// The code's name as it stands in JSON and metrics: `deadline_exceeded`.
    pub fn as_str(self) -> &'static str {
        CODES
            .iter()
            .find(|(code, _)| *code == self)
            .map_or("failed", |(_, name)| name)
    }

    /// The code with this number. Zero and numbers from the future are [`Code::Failed`]: the text still speaks.
    pub fn from_number(number: u64) -> Code {
        CODES
            .iter()
            .find(|(code, _)| u64::from(code.number()) == number)
            .map_or(Code::Failed, |(code, _)| *code)
    }

    /// The code's number on the wire, 1 to 16.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_code_name_each_other() {
        for (code, name) in CODES {
            assert_eq!(Code::from_number(u64::from(code.number())), code);
            assert_eq!(code.as_str(), name);
        }
        assert_eq!(Code::from_number(0), Code::Failed);
        assert_eq!(Code::from_number(99), Code::Failed);
    }
}
