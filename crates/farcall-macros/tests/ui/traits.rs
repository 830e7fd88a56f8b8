//! A service is a trait of methods, and of nothing else.

#[farcall::service]
struct Calculator;

#[farcall::service]
trait Store<T> {}

#[farcall::service]
trait Parts {
    const LIMIT: usize;
    type Item;
}

fn main() {}
