//! The framings as properties: what holds for all messages, all splits and all bytes. Single cases stand beside the
//! code.

mod framing;
mod hostile;
mod traffic;
