//! Go has no such numbers, and no nil elements.
#[derive(farcall_gob::Gob)]
struct Args {
    big: u128,
}

#[derive(farcall_gob::Gob)]
struct Elements {
    list: Vec<Option<i64>>,
}

struct Plain;

#[derive(farcall_gob::Gob)]
struct Holder {
    plain: Plain,
}

fn main() {}
