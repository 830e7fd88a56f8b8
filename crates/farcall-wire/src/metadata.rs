//! Names and values that travel beside a body. Which messages have them is told in [`crate::frame`].

use std::fmt;

use crate::frame::binary::{chunk, put_varint};

/// Names and values, in the order given, in one piece of memory: as they stand in a binary frame.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(Vec<u8>);

impl Metadata {
    /// Adds a name and a value.
    pub fn push(&mut self, name: &str, value: &str) {
        // Lengths are a byte each, mostly.
        self.0.reserve(name.len() + value.len() + 2);
        for text in [name, value] {
            put_varint(text.len() as u64, &mut self.0);
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    /// Adds all pairs of another one.
    pub fn extend(&mut self, other: &Metadata) {
        self.0.extend_from_slice(&other.0);
    }

    /// Adds pairs whose bytes were checked.
    pub(crate) fn extend_raw(&mut self, pairs: &[u8]) {
        self.0.extend_from_slice(pairs);
    }

    /// Takes all pairs out, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and values in turn.
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs(&self.0)
    }

    /// The bytes, to be kept and read by [`Pairs::of`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Metadata {
        let mut metadata = Metadata::default();
        for (name, value) in pairs {
            metadata.push(name, value);
        }
        metadata
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pairs()).finish()
    }
}

/// The names and values of a [`Metadata`].
#[derive(Clone)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    /// The pairs in the bytes of a [`Metadata`]. They end where other bytes end to be pairs.
    pub fn of(bytes: &'a [u8]) -> Pairs<'a> {
        Pairs(bytes)
    }

    /// The value under a name, the last one if there are several.
    pub fn last(self, name: &str) -> Option<&'a str> {
        let found = self.filter(|(given, _)| *given == name);
        found.last().map(|(_, value)| value)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        Some((text(&mut self.0)?, text(&mut self.0)?))
    }
}

/// Text with its length before it. `None` where the bytes end too early, or are not UTF-8.
pub(crate) fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(chunk(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pairs_come_out_as_they_went_in(given: Vec<(String, String)>) {
            let pairs = || given.iter().map(|(name, value)| (&**name, &**value));
            let metadata: Metadata = pairs().collect();
            prop_assert_eq!(metadata.is_empty(), given.is_empty());
            prop_assert!(metadata.pairs().eq(pairs()));
            prop_assert!(Pairs::of(metadata.as_bytes()).eq(pairs()));
            for (name, _) in &given {
                let last = given.iter().rev().find(|(other, _)| other == name);
                prop_assert_eq!(metadata.pairs().last(name), last.map(|(_, value)| &**value));
            }
            let mut twice = metadata.clone();
            twice.extend(&metadata);
            prop_assert!(twice.pairs().eq(pairs().chain(pairs())));
            twice.clear();
            prop_assert_eq!(twice, Metadata::default());
        }

        #[test]
        fn bytes_that_are_no_pairs_end_them(bytes: Vec<u8>) {
            let read: Metadata = Pairs::of(&bytes).collect();
            prop_assert!(Pairs::of(&bytes).eq(read.pairs()));
        }
    }
}
