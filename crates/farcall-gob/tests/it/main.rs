//! What holds of farcall-gob as its users see it.

mod derived;
mod gotype;
mod judge;
mod messages;
mod streams;
mod vectors;
