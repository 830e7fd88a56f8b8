//! The farcall program.
fn main() {}
