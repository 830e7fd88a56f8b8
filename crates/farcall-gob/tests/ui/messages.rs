//! What cannot be a message.
use farcall_macros::message;

#[message]
struct Unit;

#[message]
enum Event {
    Started(i64),
}

#[message(rename_all = "camelCase")]
struct Args {
    a: i64,
}

fn main() {}
