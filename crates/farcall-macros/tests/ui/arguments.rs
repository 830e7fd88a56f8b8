//! One owned value travels, and the context is no part of it.

#[farcall::service]
trait Shop {
    async fn buy(&self, item: u64, count: u64) -> farcall::Result<()>;
    async fn rename(&self, name: &str) -> farcall::Result<()>;
    async fn tag(&self, tags: Vec<std::borrow::Cow<'static, str>>) -> farcall::Result<()>;
    async fn pay(&self, (amount, currency): (u64, String)) -> farcall::Result<()>;
    async fn cancel(&self, order: u64, cx: &farcall::Context) -> farcall::Result<()>;
    async fn store<T: Send>(&self, thing: T) -> farcall::Result<()>;
    async fn show(&self, thing: impl ToString) -> farcall::Result<()>;
}

fn main() {}
