//! The attributes and derives of farcall and farcall-gob. Use them through those crates, which re-export them and hold
//! what the code they write calls.

use proc_macro::TokenStream;

mod gob;
mod gob_enum;
mod gob_variants;
mod message;
mod names;
mod service;

/// Makes a type one that gob can send and receive: see `farcall_gob`'s crate page for the whole picture.
///
/// A struct with named fields is a Go struct. One with a single unnamed field is what that field is. An enum whose
/// variants have no fields is a Go integer, and there are forms for the others.
///
/// # Names
///
/// Go only sends fields whose names begin with a capital letter, and its programs write `ID`, `URL` and `HTTP`: so
/// `user_id` is `UserID` on the wire. `#[gob(rename = "…")]` on a field says otherwise.
///
/// # Options
///
/// On the type: `rename = "…"` is its name, which only informs; `rename_all = "PascalCase"` writes `UserId`;
/// `crate = "…"` is the path of `farcall_gob`.
///
/// On a field: `rename = "…"`; `alias = "…"` is another name to receive it by; `default` or `default = "path"` gives
/// the value for senders whose type lacks the field (one that is zero is not sent either, and stays zero); `skip`
/// keeps it off the wire, and fills it by `Default`.
///
/// On an enum: `as = "int"`, which is the default, `as = "uint"` or `as = "string"`; on one of its variants, `other`
/// takes the numbers or names that are unknown, and `rename = "…"` is its name if the enum is a string.
///
/// An enum whose variants hold one thing each is a Go interface with `as = "interface"`: `rename = "…"` on a variant is
/// the name under which Go has registered its type, a variant that holds nothing is nil, and one that is `other` holds
/// a `Value` of any other type. With `as = "union"` it is a struct with a pointer for each variant.
#[proc_macro_derive(Gob, attributes(gob))]
pub fn derive_gob(item: TokenStream) -> TokenStream {
    gob::expand(item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a trait a remote service: see `farcall`'s crate page for the whole picture.
///
/// The trait keeps its methods, and implementing it is ordinary Rust:
///
/// ```
/// #[farcall::service]
/// pub trait Arith {
///     /// Multiplies.
///     async fn multiply(&self, factors: [i64; 2]) -> farcall::Result<i64>;
/// }
///
/// struct Calculator;
///
/// impl Arith for Calculator {
///     async fn multiply(&self, [a, b]: [i64; 2]) -> farcall::Result<i64> {
///         a.checked_mul(b).ok_or_else(|| "too large".into())
///     }
/// }
///
/// // For a server: `Arith.Multiply` on the wire.
/// let service: farcall::Service = Calculator.into_service();
/// // For a caller: `ArithClient`, with a method for each of the trait's.
/// async fn six_times_seven(client: &ArithClient) -> farcall::Result<i64> {
///     client.multiply(&[6, 7]).await
/// }
/// ```
///
/// # Methods
///
/// A method is `async`, takes `&self`, then `&farcall::Context` if it wants to know its caller or its deadline, then
/// at most one argument by value, and returns a `Result` whose error can become a `farcall::Error`. A method with a
/// body is a default that implementations may leave as it is.
///
/// Behind the argument it may take streams of items, one each way: `farcall::Incoming<T>` is what the caller sends,
/// `farcall::Outgoing<T>` goes to the caller. The client's method gives a `farcall::StreamCall` then.
///
/// The name on the wire is what Go would call the method, by the rule for the fields of messages: `slow_add` is
/// `SlowAdd`, and `user_id` is `UserID`. Doc comments become the description that people see on the debug page.
///
/// # Options
///
/// On the trait: `name = "…"` is the service's name on the wire, instead of the trait's; `crate = "…"` is the path of
/// `farcall`, when it is not `::farcall`.
///
/// On a method, as `#[rpc(…)]`: `name = "…"` is its name on the wire; `idempotent` says that running it twice does no
/// harm, so that a call whose fate is unknown may be sent again; `one_way` lets the client's method end when the request
/// is sent, and wants a `Result<()>`; `spawn` gives each call its own task from the start;
/// `blocking` runs it on a thread where waiting does no harm.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    service::expand(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a type one that farcall can send and receive, in every protocol: it derives [`Gob`] and serde's traits, with
/// the same names.
///
/// It takes structs with named fields, structs with one unnamed field, which are what that field is, and enums without
/// fields, which are numbers. JSON is as Go's `encoding/json` has it: a missing member or `null` is zero, unknown
/// members are ignored, bytes are base64.
///
/// Options on the type, as in `#[farcall::message(rename_all = "PascalCase")]`, and on fields and variants, as in
/// `#[farcall(rename = "Num1")]`, are those of [`Gob`]. `crate = "…"` is the path of `farcall`.
#[proc_macro_attribute]
pub fn message(options: TokenStream, item: TokenStream) -> TokenStream {
    message::expand(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
