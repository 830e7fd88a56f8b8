//! What holds of farcall-gob as its users see it.

mod derived;
mod foreign;
mod gotype;
mod hostile;
mod judge;
#[cfg(feature = "serde")]
mod messages;
mod named;
mod streams;
mod vectors;
