//! What can go wrong with a Go program. Not here: what goes wrong between it and farcall; that is a failed check of its own.

use std::{fmt, io, process::ExitStatus, time::Duration};

/// Why a Go program could not be built, started, read or ended as it should.
///
/// `Debug` prints what `Display` does, because a test that fails shows `Debug`.
#[non_exhaustive]
pub enum Error {
    /// There is no Go that can build the programs. Each candidate is told with why it won't do.
    NoGo {
        /// What was tried.
        tried: String,
    },
    /// Go refused the programs.
    Build {
        /// What Go said.
        said: String,
    },
    /// The system refused something.
    Io {
        /// What was attempted.
        attempt: String,
        /// The system's reason.
        source: io::Error,
    },
    /// No line, or no end, came in time. The program has been killed.
    Late {
        /// The command line.
        command: String,
        /// How long was waited.
        within: Duration,
        /// What the program wrote to its standard error.
        stderr: String,
    },
    /// The program ended where a line was expected.
    Ended {
        /// The command line.
        command: String,
        /// What the program wrote to its standard error.
        stderr: String,
    },
    /// A line is not what the program was expected to print.
    Unexpected {
        /// The command line.
        command: String,
        /// The line.
        line: String,
    },
    /// The program ended with a failure, as a client does when a check fails.
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The lines of the checks that failed.
        checks: Vec<String>,
        /// What the program wrote to its standard error.
        stderr: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoGo { tried } => write!(
                f,
                "no Go of version 1.27 or newer ({tried}); run ./test, which installs one, or name one in FARCALL_GO"
            ),
            Error::Build { said } => write!(f, "interop/go does not build:\n{said}"),
            Error::Io { attempt, source } => write!(f, "cannot {attempt}: {source}"),
            Error::Late {
                command,
                within,
                stderr,
            } => {
                write!(
                    f,
                    "{command}: nothing came within {within:?}{}",
                    Stderr(stderr)
                )
            }
            Error::Ended { command, stderr } => {
                write!(
                    f,
                    "{command}: ended before the line that was awaited{}",
                    Stderr(stderr)
                )
            }
            Error::Unexpected { command, line } => write!(f, "{command}: unexpected line {line}"),
            Error::Failed {
                command,
                status,
                checks,
                stderr,
            } => {
                write!(f, "{command}: {status}")?;
                for check in checks {
                    write!(f, "\n  {check}")?;
                }
                write!(f, "{}", Stderr(stderr))
            }
        }
    }
}

/// Standard error as the end of a message; nothing if it is empty.
struct Stderr<'a>(&'a str);

impl fmt::Display for Stderr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, "\nits standard error:\n{}", self.0)
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
