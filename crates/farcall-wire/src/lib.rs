//! farcall-wire
