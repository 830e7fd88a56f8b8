//! What holds of farcall-gob as its users see it.

#[cfg(feature = "serde")]
mod adapted;
mod derived;
mod gotype;
mod hostile;
mod judge;
#[cfg(feature = "serde")]
mod messages;
mod named;
mod random;
mod streams;
mod vectors;
