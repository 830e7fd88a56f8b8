//! What the program says: lines and tables for people, JSON for machines, and the exit code with its advice when
//! something failed. Nothing here calls anybody.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use farcall::Code;
use serde::Serialize;

/// The way a command ends when it does not end well: the exit code, what happened, what to do. One without words ends
/// in silence.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    advice: Option<String>,
}

/// The exit codes after 0. They are fixed: scripts act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The call was answered with an error, or a check did not hold.
    Failed = 1,
    /// The command line or a value on it is wrong.
    Usage = 2,
    /// Nobody could be reached.
    Unreachable = 3,
    /// The time was over first.
    Timeout = 4,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Failure {
        Failure {
            exit,
            what: what.to_string(),
            advice: None,
        }
    }

    /// A value on the command line that cannot be used.
    pub(crate) fn usage(what: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, what)
    }

    /// Says what to do about it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }

    /// Says that this is the first of several.
    pub(crate) fn at_first(mut self, all: String) -> Failure {
        self.what = format!("{all}; the first: {}", self.what);
        self
    }

    /// Tells the user on stderr, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let Failure { exit, what, advice } = self;
        let code = ExitCode::from(exit as u8);
        if what.is_empty() {
            return code;
        }
        // If stderr is gone there is nobody left to tell, and the exit code still says it.
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "farcall: {what}");
        if let Some(advice) = advice {
            let _ = writeln!(stderr, "         {advice}");
        }
        code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        // Whoever read the output has had enough of it, as `head` has: nothing to complain about.
        let what = match error.kind() {
            io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("cannot write the output: {error}"),
        };
        Failure::new(Exit::Failed, what)
    }
}

impl From<farcall::Error> for Failure {
    fn from(error: farcall::Error) -> Failure {
        let exit = match error.code() {
            Code::DeadlineExceeded => Exit::Timeout,
            // Lost after it was sent is another thing: somebody was there.
            Code::Unavailable if error.is_retryable() => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let failure = Failure::new(exit, printable(&format!("{}: {error}", error.code())));
        match error.code() {
            Code::Unavailable if error.is_retryable() => failure.advise(
                "is the address right, and does the server run? `farcall ls` shows who is there",
            ),
            Code::Unimplemented => {
                failure.advise("`farcall ls ADDR` shows the methods of a farcall server")
            }
            _ => failure,
        }
    }
}

impl From<farcall::AddressError> for Failure {
    fn from(error: farcall::AddressError) -> Failure {
        Failure::usage(error)
    }
}

/// Writes one line to stdout, at once: whoever reads it may be waiting for exactly this line.
pub(crate) fn line(text: impl fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string(value)?)
}

/// The first line of every server: where it listens.
pub(crate) fn listening(on: &str, as_json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Listening<'a> {
        listening: &'a str,
    }
    match as_json {
        true => json(&Listening { listening: on }),
        false => line(format_args!("listening on {on}")),
    }
}

/// Reads a span of time with its unit, as Go writes it: `2s`, `500ms`, `1.5m`. A bare `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time; write one as 2s, 500ms or 5m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// Whether stdout is a terminal that can draw over what it shows.
pub(crate) fn is_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !dumb
}

/// Rows in columns, each as wide as its widest cell; the last one is left as it is.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = head.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, widest) in cells.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widest - width(cell) + 2));
        }
        line.trim_end().to_owned()
    };
    let rows = rows
        .iter()
        .map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(rows).collect()
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// Text from outside, made safe for a terminal: escape sequences become visible.
pub(crate) fn printable(text: &str) -> String {
    let show = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(show).collect()
}

/// A block of lines that is drawn again over itself. Only for terminals.
#[derive(Default)]
pub(crate) struct Canvas {
    height: usize,
}

impl Canvas {
    /// Draws these lines where the last ones stood.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.frame(lines).as_bytes())?;
        stdout.flush()
    }

    fn frame(&mut self, lines: &[String]) -> String {
        // Without line wrap (?7l) a line takes one row however narrow the terminal is, so counting rows is counting lines.
        let mut frame = String::from("\x1b[?7l");
        if self.height > 0 {
            frame.push_str(&format!("\x1b[{}A", self.height));
        }
        for line in lines {
            frame.push_str(&format!("\x1b[2K{line}\n"));
        }
        // The last drawing may have been taller.
        frame.push_str("\x1b[J\x1b[?7h");
        self.height = lines.len();
        frame
    }
}

/// How a line is meant, and so its colour.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Bad,
    Quiet,
    Strong,
}

/// Colours a text, on a terminal whose owner has not set `NO_COLOR`.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Quiet => "2",
        Tone::Strong => "1",
    };
    match is_terminal() && !refused {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let lines = table(["name", "n"], &[row("é", "1"), row("longer", "")]);
        assert_eq!(lines, ["name    n", "é       1", "longer"]);
    }

    #[test]
    fn a_span_of_time_has_a_unit() {
        for (text, ms) in [
            ("2s", 2000),
            ("500ms", 500),
            ("1.5m", 90_000),
            ("0", 0),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1d", "1 s", "nans", "1e400s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn escape_sequences_from_outside_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jé\n"), "a\\u{1b}[2Jé\\n");
    }

    #[test]
    fn a_canvas_goes_back_over_as_many_lines_as_it_drew() {
        let mut canvas = Canvas::default();
        let lines = |n: usize| vec!["x".to_owned(); n];
        assert!(!canvas.frame(&lines(3)).contains('A'));
        assert!(canvas.frame(&lines(1)).contains("\x1b[3A"));
        assert!(canvas.frame(&lines(2)).contains("\x1b[1A"));
    }
}
