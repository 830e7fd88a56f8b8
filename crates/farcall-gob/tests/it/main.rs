//! What holds of farcall-gob as its users see it.

mod derived;
mod gotype;
mod judge;
mod streams;
mod vectors;
