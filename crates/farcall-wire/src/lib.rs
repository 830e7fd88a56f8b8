//! farcall's wire protocols: bytes in, messages out. No sockets, no clock, no tasks.

mod code;

pub use code::Code;
