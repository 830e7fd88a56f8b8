//! Names on the wire are Go's: unique, upper case, and without a dot inside a method's.

#[farcall::service(name = "a service")]
trait Names {
    async fn item_by_id(&self) -> farcall::Result<()>;
    #[rpc(name = "ItemByID")]
    async fn find(&self) -> farcall::Result<()>;
    #[rpc(name = "find")]
    async fn lower(&self) -> farcall::Result<()>;
    #[rpc(name = "Item.Find")]
    async fn dotted(&self) -> farcall::Result<()>;
    async fn into_service(&self) -> farcall::Result<()>;
    async fn new(&self) -> farcall::Result<()>;
}

fn main() {}
