//! A remote method returns a Result around one owned value.

#[farcall::service]
trait Clock {
    async fn tick(&self);
    async fn now(&self) -> u64;
    async fn zone(&self) -> farcall::Result<&str>;
    async fn when(&self) -> std::fmt::Result;
}

fn main() {}
