//! farcall-gob
