//! What the compiler finds only when it knows the types: each shown in the trait or its implementation.

use std::rc::Rc;

struct NoMessage;
struct NoError;

#[farcall::service]
trait Shop {
    async fn sell(&self, thing: NoMessage) -> farcall::Result<()>;
    async fn show(&self) -> farcall::Result<NoMessage>;
    async fn pay(&self) -> Result<(), NoError>;
}

#[farcall::service]
trait Counter {
    async fn count(&self) -> farcall::Result<u64>;
}

struct Held;

impl Counter for Held {
    async fn count(&self) -> farcall::Result<u64> {
        let held = Rc::new(1);
        wait().await;
        Ok(*held)
    }
}

async fn wait() {}

fn main() {}
