//! Reads numbers and bytes out of messages. Knows where messages end, not what they mean.

use crate::error::Error;
use crate::wire::{self, NUMBER_LEN_MAX};

/// A place in the messages of one value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    /// The rest of the current message.
    pub(crate) msg: &'a [u8],
    /// What follows the current message.
    tail: &'a [u8],
    /// Length of it all, from where offsets are counted.
    whole: usize,
}

/// The message at the front of some bytes.
#[derive(Debug)]
pub(crate) enum Front<'a> {
    Whole {
        body: &'a [u8],
        rest: &'a [u8],
    },
    /// At least that many bytes are missing.
    Cut(usize),
}

/// The message at the front of some bytes if it is whole and of a usual length, and what follows it.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn usual_front(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match input {
        [len @ 0..0x80, rest @ ..] | [0xFF, len, rest @ ..] => (usize::from(*len), rest),
        [0xFE, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(len)
}

impl<'a> Front<'a> {
    pub(crate) fn of(input: &'a [u8], len_max: usize) -> Result<Self, Error> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(Self::Cut(1));
        };
        let (len, rest) = if first < 0x80 {
            (u64::from(first), rest)
        } else {
            let size = usize::from(first.wrapping_neg());
            if size >= NUMBER_LEN_MAX {
                return Err(bad_number(first));
            }
            let Some((bytes, rest)) = rest.split_at_checked(size) else {
                return Ok(Self::Cut(size - rest.len()));
            };
            (
                bytes
                    .iter()
                    .fold(0, |value, &byte| value << 8 | u64::from(byte)),
                rest,
            )
        };
        let Some(len) = usize::try_from(len).ok().filter(|&len| len <= len_max) else {
            return Err(Error::limit(format!(
                "a message of {len} bytes is longer than {len_max}: raise Limits::message if that is no attack"
            )));
        };
        Ok(match rest.split_at_checked(len) {
            Some((body, rest)) => Self::Whole { body, rest },
            None => Self::Cut(len - rest.len()),
        })
    }
}

impl<'a> Cursor<'a> {
    /// Before the first of some messages.
    pub(crate) fn new(messages: &'a [u8]) -> Self {
        Self {
            msg: &[],
            tail: messages,
            whole: messages.len(),
        }
    }

    /// In the last of some messages, of which `msg` is left.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn last(msg: &'a [u8], whole: usize) -> Self {
        Self {
            msg,
            tail: &[],
            whole,
        }
    }

    /// At `offset` of some messages, with `left` bytes of the current one to come.
    pub(crate) fn resume(messages: &'a [u8], offset: usize, left: usize) -> Option<Self> {
        let (msg, tail) = messages.get(offset..)?.split_at_checked(left)?;
        Some(Self {
            msg,
            tail,
            whole: messages.len(),
        })
    }

    /// Goes on to the next message: `Some(n)` if at least `n` bytes of it are missing.
    #[inline]
    pub(crate) fn next_message(&mut self, len_max: usize) -> Result<Option<usize>, Error> {
        match Front::of(self.tail, len_max).map_err(|e| e.at_offset(self.offset()))? {
            Front::Whole { body, rest } => {
                (self.msg, self.tail) = (body, rest);
                Ok(None)
            }
            Front::Cut(missing) => Ok(Some(missing)),
        }
    }

    /// How many bytes stand before this place.
    pub(crate) fn offset(&self) -> usize {
        self.whole.saturating_sub(self.tail.len() + self.msg.len())
    }

    /// How many bytes are left, in this message and those after it.
    pub(crate) fn left(&self) -> usize {
        self.msg.len() + self.tail.len()
    }

    /// A failure at this place.
    #[cold]
    pub(crate) fn corrupt(&self, what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        Error::corrupt(what).at_offset(self.offset())
    }

    // The rest of the message goes through registers only: no call that could go slow is given the cursor itself.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn uint(&mut self) -> Result<u64, Error> {
        if let Some((&first, rest)) = self.msg.split_first() {
            if first < 0x80 {
                self.msg = rest;
                return Ok(first.into());
            }
            let size = usize::from(first.wrapping_neg());
            if let (Some(word), Some(left)) = (rest.first_chunk(), rest.get(size..)) {
                if size < NUMBER_LEN_MAX {
                    self.msg = left;
                    return Ok(u64::from_be_bytes(*word) >> (64 - 8 * size));
                }
            }
        }
        match uint_at_end(self.msg) {
            Some((value, rest)) => {
                self.msg = rest;
                Ok(value)
            }
            None => Err(self.no_uint()),
        }
    }

    /// Many numbers. Those of one length tend to stand in rows, and within a row none has to wait for the length of the
    /// one before.
    #[inline]
    pub(crate) fn uints<T>(
        &mut self,
        places: &mut [T],
        convert: impl Fn(u64) -> Result<T, Error>,
    ) -> Result<(), Error> {
        let mut places = places.iter_mut();
        while let Some(place) = places.next() {
            let head = self.msg.first().copied().unwrap_or_default();
            *place = convert(self.uint()?)?;
            if head < 0x80 {
                while let Some((&first @ 0..0x80, rest)) = self.msg.split_first() {
                    let Some(place) = places.next() else { break };
                    self.msg = rest;
                    *place = convert(first.into())?;
                }
                continue;
            }
            let size = usize::from(head.wrapping_neg()).clamp(1, 8);
            while let Some([first, word @ ..]) = self.msg.first_chunk::<NUMBER_LEN_MAX>() {
                if *first != head {
                    break;
                }
                let Some(place) = places.next() else { break };
                self.msg = self.msg.get(1 + size..).unwrap_or_default();
                *place = convert(u64::from_be_bytes(*word) >> (64 - 8 * size))?;
            }
        }
        Ok(())
    }

    #[cold]
    fn no_uint(&self) -> Error {
        match self.msg.first() {
            None => self.corrupt("the message ends where a number should be"),
            Some(&first) if first < 0xF8 => bad_number(first).at_offset(self.offset()),
            Some(_) => self.corrupt("the message ends inside a number"),
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn int(&mut self) -> Result<i64, Error> {
        self.uint().map(wire::unzigzag)
    }

    /// A type id, which is negative where a definition follows.
    pub(crate) fn id(&mut self) -> Result<i32, Error> {
        let at = *self;
        let id = self.int()?;
        match i32::try_from(id) {
            Ok(id) if id != 0 && id != i32::MIN => Ok(id),
            _ => Err(at.corrupt(format!("{id} is no type id"))),
        }
    }

    /// Bytes with their length before them.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let at = *self;
        let len = self.uint()?;
        let split = usize::try_from(len)
            .ok()
            .and_then(|len| self.msg.split_at_checked(len));
        let Some((bytes, rest)) = split else {
            return Err(at.corrupt(format!(
                "{len} bytes should follow, but the message has only {}",
                self.msg.len()
            )));
        };
        self.msg = rest;
        Ok(bytes)
    }

    /// The 0 that stands before a value which is no struct, where the value of a message or an interface begins.
    #[inline]
    pub(crate) fn not_a_struct(&mut self) -> Result<(), Error> {
        match self.uint()? {
            0 => Ok(()),
            _ => Err(self.corrupt("a value that is no struct should begin with 0")),
        }
    }

    #[cold]
    pub(crate) fn no_such_field(&self, fields: usize) -> Error {
        self.corrupt(format!("a field beyond the {fields} that the struct has"))
    }

    /// The name of the type in an interface; empty for nil.
    pub(crate) fn interface_name(&mut self) -> Result<&'a [u8], Error> {
        let name = self.bytes()?;
        if name.len() > INTERFACE_NAME_LEN_MAX {
            return Err(self.corrupt(format!(
                "the name of a type in an interface has {} bytes",
                name.len()
            )));
        }
        Ok(name)
    }
}

/// As in Go.
pub(crate) const INTERFACE_NAME_LEN_MAX: usize = 1024;

/// A number within the last bytes of a message, and what follows.
#[inline(never)]
fn uint_at_end(msg: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = msg.split_first()?;
    if first < 0x80 {
        return Some((first.into(), rest));
    }
    let size = usize::from(first.wrapping_neg());
    if size >= NUMBER_LEN_MAX {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(size)?;
    Some((
        bytes
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
        rest,
    ))
}

#[cold]
fn bad_number(first: u8) -> Error {
    Error::corrupt(format!("no number begins with the byte {first:#04x}"))
}
