//! Shapes that Go does not have.
#[derive(farcall_gob::Gob)]
struct Pair(i64, i64);

#[derive(farcall_gob::Gob)]
struct Borrowed<'a> {
    text: &'a str,
}

#[derive(farcall_gob::Gob)]
enum Event {
    Started(i64),
}

#[derive(farcall_gob::Gob)]
enum Never {}

#[derive(farcall_gob::Gob)]
#[gob(as = "interface")]
enum Shape {
    Number(i64),
}

#[derive(farcall_gob::Gob)]
struct Twice {
    id: i64,
    #[gob(rename = "ID")]
    other: i64,
}

#[derive(farcall_gob::Gob)]
struct Unknown {
    #[gob(renamed = "X")]
    x: i64,
}

fn main() {}
