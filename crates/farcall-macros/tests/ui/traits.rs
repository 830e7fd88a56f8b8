//! A service is a trait of methods, and of nothing else.

#[farcall_macros::service]
struct Calculator;

#[farcall_macros::service]
trait Store<T> {}

#[farcall_macros::service]
trait Parts {
    const LIMIT: usize;
    type Item;
}

fn main() {}
