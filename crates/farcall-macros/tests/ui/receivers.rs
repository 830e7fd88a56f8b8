//! A remote method takes `&self`, and is asynchronous.

#[farcall::service]
trait Counter {
    async fn changes(&mut self) -> farcall::Result<()>;
    async fn consumes(self) -> farcall::Result<()>;
    async fn belongs_to_nobody() -> farcall::Result<()>;
    fn blocks(&self) -> farcall::Result<()>;
}

fn main() {}
