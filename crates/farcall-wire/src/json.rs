//! Where JSON values begin and end, found without parsing them, however the bytes are split.
//! What they mean is serde_json's work.

use std::ops::Range;

use crate::Violation;

/// Finds the end of one JSON value in bytes that grow at the end. Every byte is looked at once.
///
/// White space before the value is passed over. The value's own grammar is not checked (its parser does that), only
/// strings, nesting and what ends a number or a literal.
#[derive(Clone, Debug)]
pub(crate) struct JsonScan {
    /// Bytes already looked at.
    seen: usize,
    start: usize,
    depth: usize,
    depth_max: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    /// Inside an object or array, outside strings.
    Inside,
    /// Inside a string; true after a backslash.
    String {
        escaped: bool,
    },
    /// Inside a number, `true`, `false` or `null` at the top.
    Bare,
}

impl JsonScan {
    pub(crate) fn new(depth_max: usize) -> JsonScan {
        JsonScan {
            seen: 0,
            start: 0,
            depth: 0,
            depth_max,
            state: State::Before,
        }
    }

    /// Looks at what is new in `input`, which begins where it began at the last call. `Some` is where the value lies.
    pub(crate) fn scan(&mut self, input: &[u8]) -> Result<Option<Range<usize>>, Violation> {
        for (at, &byte) in input.iter().enumerate().skip(self.seen) {
            self.seen = at + 1;
            match self.state {
                State::Before => {
                    self.start = at;
                    match byte {
                        b' ' | b'\t' | b'\r' | b'\n' => {}
                        b'{' | b'[' => self.open()?,
                        b'"' => self.state = State::String { escaped: false },
                        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.state = State::Bare,
                        _ => {
                            return Err(Violation::new(format!(
                                "byte {byte:#04x} cannot begin a JSON value"
                            )));
                        }
                    }
                }
                State::Inside => match byte {
                    b'{' | b'[' => self.open()?,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Ok(Some(self.start..at + 1));
                        }
                    }
                    b'"' => self.state = State::String { escaped: false },
                    _ => {}
                },
                State::String { escaped: true } => self.state = State::String { escaped: false },
                State::String { escaped: false } => match byte {
                    b'\\' => self.state = State::String { escaped: true },
                    b'"' if self.depth == 0 => return Ok(Some(self.start..at + 1)),
                    b'"' => self.state = State::Inside,
                    _ => {}
                },
                State::Bare => {
                    if !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.') {
                        return Ok(Some(self.start..at));
                    }
                }
            }
        }
        Ok(None)
    }

    /// How many bytes of white space, looked at already, stand before the value.
    pub(crate) fn blank(&self) -> usize {
        match self.state {
            State::Before => self.seen,
            _ => self.start,
        }
    }

    /// Leaves out the white space at the front that was looked at, and says how long it is: the next input begins behind
    /// it.
    pub(crate) fn take_blank(&mut self) -> usize {
        let blank = self.blank();
        self.seen -= blank;
        self.start = 0;
        blank
    }

    fn open(&mut self) -> Result<(), Violation> {
        self.depth += 1;
        self.state = State::Inside;
        if self.depth > self.depth_max {
            return Err(Violation::new(format!(
                "JSON is nested deeper than {}",
                self.depth_max
            )));
        }
        Ok(())
    }
}

/// Finds the names of an object's own members (not of objects inside it), however the bytes are split.
///
/// `input` begins at the object's brace or at white space before it. Each whole name is passed to `name`, without its
/// quotes and with escapes as they stand, until `name` returns an answer.
pub(crate) fn first_of_members<T>(
    input: &[u8],
    mut name: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    let mut depth = 0_usize;
    let mut in_string = None;
    let mut escaped = false;
    // In an object's own members, a string is a name when it follows the brace or a comma.
    let mut expects_name = false;
    for (at, &byte) in input.iter().enumerate() {
        if let Some(start) = in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = None;
                    if depth == 1 && expects_name {
                        expects_name = false;
                        if let Some(answer) = input.get(start..at).and_then(&mut name) {
                            return Some(answer);
                        }
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'{' | b'[' => {
                depth += 1;
                expects_name = depth == 1 && byte == b'{';
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => expects_name = true,
            b'"' => in_string = Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &str) -> Option<Range<usize>> {
        JsonScan::new(8).scan(input.as_bytes()).unwrap()
    }

    #[test]
    fn the_end_of_a_value_is_found() {
        assert_eq!(whole(r#" {"a":[1,"}"],"b":{}} x"#), Some(1..21));
        assert_eq!(whole(r#""a\"b" "#), Some(0..6));
        assert_eq!(whole("56\n"), Some(0..2));
        assert_eq!(whole("56"), None, "a number may go on");
        assert_eq!(whole("null{"), Some(0..4));
        assert_eq!(whole("[[]"), None);
        assert_eq!(whole("  "), None);
    }

    #[test]
    fn the_end_does_not_depend_on_how_the_bytes_are_split() {
        let input = br#" {"a\\":"\"}","b":[[-1.5e+3,null]]}true "#;
        let expected = JsonScan::new(8).scan(input).unwrap();
        for split in 0..input.len() {
            let mut scan = JsonScan::new(8);
            let found = match scan.scan(&input[..split]).unwrap() {
                Some(found) => Some(found),
                None => scan.scan(input).unwrap(),
            };
            assert_eq!(found, expected, "split at {split}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_at_once() {
        assert!(JsonScan::new(8).scan(b"\x16\x03").is_err());
        assert!(JsonScan::new(2).scan(b"[[[").is_err());
    }

    #[test]
    fn only_the_names_of_the_outer_object_are_seen() {
        let mut names = Vec::new();
        let input = br#"{"a":"x","b":{"c":1,"d":["e"]},"f\"":[{"g":1}, "h"],"i":1"#;
        first_of_members(input, |name| {
            names.push(String::from_utf8_lossy(name).into_owned());
            None::<()>
        });
        assert_eq!(names, ["a", "b", "f\\\"", "i"]);
    }
}
