//! Who calls: the check that every call must pass. How an identity is proved is the user's to say.

use std::any::Any;

use super::{Call, Middleware, Next, Running};
use crate::{Code, Context, Error, Result};

/// Lets a call pass if `check` can say whose it is. What it says goes along: the layers that follow find it with
/// [`Call::get`], the handler with [`Context::get`].
///
/// An error ends the call before its argument is decoded. One without a code of its own ([`Code::Failed`], as text
/// becomes) is [`Code::Unauthenticated`]; for a caller who is known and may not, give [`Code::PermissionDenied`]. What
/// `check` panics with is [`Code::Internal`], and nobody passes.
///
/// `check` is run by the task that reads a connection: one that has to ask somebody is better written as a middleware of
/// its own, which may wait.
///
/// ```
/// use farcall::middleware::auth;
/// use farcall::{Context, Result, Server};
///
/// struct User(String);
///
/// # async fn run() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder()
///     .layer(auth(|context: &Context| match context.metadata("authorization") {
///         Some("Bearer s3cret") => Ok(User("ada".into())),
///         _ => Err("say who you are, in the metadata `authorization`".into()),
///     }))
///     .method("Who.AmI", |context: Context, (): ()| async move {
///         let user = context.get::<User>().map(|user| user.0.clone());
///         Ok(user.unwrap_or_default())
///     })
///     .bind("tcp@127.0.0.1:0")
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
pub fn auth<F, T>(check: F) -> Auth<F>
where
    F: Fn(&Context) -> Result<T> + Send + Sync + 'static,
    T: Any + Send + Sync,
{
    Auth(check)
}

/// What [`auth`] makes.
#[derive(Clone, Debug)]
pub struct Auth<F>(F);

impl<F, T> Middleware for Auth<F>
where
    F: Fn(&Context) -> Result<T> + Send + Sync + 'static,
    T: Any + Send + Sync,
{
    fn call(&self, mut call: Call, next: Next) -> Running {
        match (self.0)(call.context()) {
            Ok(identity) => {
                call.insert(identity);
                next.run(call)
            }
            Err(error) => {
                let error = match error.code() {
                    Code::Failed => Error::new(Code::Unauthenticated, error.message()),
                    _ => error,
                };
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}
