//! farcall-macros
