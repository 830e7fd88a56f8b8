//! Go would drop a field whose name begins with a small letter.
#[derive(farcall_gob::Gob)]
struct Args {
    #[gob(rename = "count")]
    count: i64,
}

#[derive(farcall_gob::Gob)]
struct Other {
    世界: i64,
}

fn main() {}
