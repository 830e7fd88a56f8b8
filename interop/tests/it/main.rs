//! The tests that talk to Go programs, by topic. They need Go; `./test` installs it.

mod cluster;
mod go_to_go;
mod go_to_rust;
mod program;
mod recorded;
mod rust_to_go;
mod support;
mod transcript;
