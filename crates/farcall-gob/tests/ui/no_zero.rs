//! A field that was not sent is zero, and this type has none.
#[derive(farcall_gob::Gob)]
struct Args {
    count: std::num::NonZero<u32>,
}

fn main() {
    farcall_gob::Schema::of::<Args>();
}
