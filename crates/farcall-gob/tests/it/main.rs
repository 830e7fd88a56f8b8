//! What holds of farcall-gob as its users see it.

mod derived;
mod gotype;
mod hostile;
mod judge;
mod messages;
mod named;
mod streams;
mod vectors;
