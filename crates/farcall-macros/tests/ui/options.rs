//! An unknown option is answered with the known ones.

#[farcall::service(rename = "B")]
trait A {}

#[farcall::service]
trait B {
    #[rpc(retry = 3)]
    async fn tries(&self) -> farcall::Result<()>;
    #[rpc(spawn, blocking)]
    async fn both(&self) -> farcall::Result<()>;
}

fn main() {}
