//! The attributes and derives of farcall. Use them through the crate `farcall`, which re-exports them and holds what
//! the code they write calls.

use proc_macro::TokenStream;

mod service;

/// Makes a trait a remote service: see `farcall`'s crate page for the whole picture.
///
/// The trait keeps its methods, and implementing it is ordinary Rust. `into_service` makes a `farcall::Service` from an
/// implementation, and beside the trait `Arith` stands its client, `ArithClient`.
///
/// # Methods
///
/// A method is `async`, takes `&self`, then `&farcall::Context` if it wants to know its caller or its deadline, then
/// at most one argument by value, and returns a `Result` whose error can become a `farcall::Error`. A method with a
/// body is a default that implementations may leave as it is.
///
/// The name on the wire has each word's first letter raised and is otherwise the method's own: `slow_add` is
/// `SlowAdd`, and `user_id` is `UserId`. Doc comments become the description that `farcall describe` and the debug
/// page show.
///
/// # Options
///
/// On the trait: `name = "…"` is the service's name on the wire, instead of the trait's; `crate = "…"` is the path of
/// `farcall`, when it is not `::farcall`.
///
/// On a method, as `#[rpc(…)]`: `name = "…"` is its name on the wire; `idempotent` says that running it twice does no
/// harm, so that a call whose fate is unknown may be sent again; `spawn` gives each call its own task from the start;
/// `blocking` runs it on a thread where waiting does no harm.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    service::expand(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
