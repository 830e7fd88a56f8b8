//! Go programs, and the tests that talk to them.
