//! The built program from outside, by topic: what it prints, and how it exits.

mod bench;
mod commands;
mod describe;
mod gob;
mod streams;
mod support;
