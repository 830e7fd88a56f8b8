//! farcall
