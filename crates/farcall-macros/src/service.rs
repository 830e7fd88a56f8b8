//! `#[farcall::service]`: a trait becomes a service and a typed client.
//!
//! Here the attribute and the trait are read, and what cannot travel is refused: all errors at once, each where it
//! stands. `write` makes the trait, its `into_service` and its client of what was read. How a handler is called, and how an argument
//! is encoded, is the runtime's business: the code written here names `farcall`'s public items and nothing else.

mod write;

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, Item, ItemTrait, LitStr, Pat, PatType, Path,
    PathArguments, ReceiverKind, ReturnType, Safety, Signature, Token, TraitItem, TraitItemFn,
    Type, parse_quote,
};

use crate::names::Case;

/// Writes the code that stands in place of the trait.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let options = syn::parse2::<Options>(options)?;
    let Item::Trait(item) = syn::parse2::<Item>(item)? else {
        return Err(Error::new(
            Span::call_site(),
            "#[farcall::service] stands on the trait that lists the methods; \
             a type then implements that trait as any other",
        ));
    };
    Ok(Service::read(options, item)?.write())
}

/// What stands in the parentheses of `#[farcall::service(…)]`.
struct Options {
    name: Option<LitStr>,
    farcall: Path,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> syn::Result<Options> {
        let mut options = Options {
            name: None,
            farcall: parse_quote!(::farcall),
        };
        while !input.is_empty() {
            // `crate` is a keyword, which a plain identifier is not.
            let option = input.call(Ident::parse_any)?;
            match option.to_string().as_str() {
                "name" => {
                    input.parse::<Token![=]>()?;
                    options.name = Some(input.parse()?);
                }
                "crate" => {
                    input.parse::<Token![=]>()?;
                    options.farcall = input.parse::<LitStr>()?.parse()?;
                }
                unknown => {
                    return Err(Error::new(
                        option.span(),
                        format!(
                            "unknown option `{unknown}`; the options of #[farcall::service] are \
                             name = \"…\" and crate = \"…\""
                        ),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// A trait that passed every check.
struct Service {
    /// The way to the runtime, `::farcall` unless told otherwise.
    farcall: Path,
    /// The service's part of `Service.Method`.
    wire: String,
    /// The trait without its items, which are in `methods`.
    item: ItemTrait,
    methods: Vec<Method>,
}

/// A method that passed every check.
struct Method {
    /// As written, less `#[rpc]`.
    item: TraitItemFn,
    /// The method's part of `Service.Method`.
    wire: String,
    rpc: Rpc,
    takes_context: bool,
    argument: Option<Argument>,
    /// The streams of items, in the order in which the method takes them.
    streams: Vec<Items>,
    /// `Result<Quotient, MyError>`, and the `Quotient` in it.
    result: Type,
    reply: Type,
}

/// The argument that travels.
struct Argument {
    name: Ident,
    ty: Type,
}

/// A stream of items beside the argument.
struct Items {
    direction: Direction,
    /// What the items are.
    ty: Type,
}

/// Seen from the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Incoming,
    Outgoing,
}

/// The parameters after `&self`.
struct Inputs {
    takes_context: bool,
    argument: Option<Argument>,
    streams: Vec<Items>,
}

/// What the `#[rpc(…)]` attributes of one method say.
#[derive(Default)]
struct Rpc {
    name: Option<LitStr>,
    idempotent: bool,
    one_way: bool,
    spawn: bool,
    blocking: bool,
}

/// Errors found so far: a trait with three mistakes gets three messages.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }
}

impl Service {
    fn read(options: Options, mut item: ItemTrait) -> syn::Result<Service> {
        let mut errors = Errors::default();
        if !item.generics.params.is_empty() {
            errors.push(Error::new_spanned(
                &item.generics,
                "a service has one name on the wire, so its trait cannot be generic; \
                 put a concrete type here",
            ));
        }
        let wire = match &options.name {
            Some(name) => {
                errors.keep(check_service_name(name));
                name.value()
            }
            None => item.ident.unraw().to_string(),
        };
        let mut methods = Vec::new();
        for part in std::mem::take(&mut item.items) {
            let method = match part {
                TraitItem::Fn(method) => Method::read(method),
                TraitItem::Const(part) => Err(not_a_method(&part, "a constant")),
                TraitItem::Type(part) => Err(not_a_method(&part, "an associated type")),
                TraitItem::Macro(part) => Err(not_a_method(&part, "a macro")),
                part => Err(not_a_method(&part, "this")),
            };
            methods.extend(errors.keep(method));
        }
        check_names_differ(&wire, &methods, &mut errors);
        match errors.0 {
            Some(errors) => Err(errors),
            None => Ok(Service {
                farcall: options.farcall,
                wire,
                item,
                methods,
            }),
        }
    }
}

fn not_a_method(part: &impl quote::ToTokens, what: &str) -> Error {
    Error::new_spanned(
        part,
        format!("{what} cannot be called over the network; a service's trait holds methods alone"),
    )
}

/// A service's name is what stands before the last dot of `Service.Method`, so it may have dots itself.
fn check_service_name(name: &LitStr) -> syn::Result<()> {
    let value = name.value();
    let part_is_wrong = |part: &str| {
        part.is_empty() || part.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if value.split('.').any(part_is_wrong) {
        return Err(Error::new(
            name.span(),
            "a service's name is one or more words joined by dots, as in \"Arith\" or \"shop.Arith\"",
        ));
    }
    Ok(())
}

fn check_method_name(name: &str, span: Span) -> syn::Result<()> {
    let wrong = |why: String| Err(Error::new(span, why));
    if name.contains('.') {
        return wrong(format!(
            "the last dot of `Service.Method` ends the service's name, so the method's name \
             {name:?} cannot have one; a dotted service is #[farcall::service(name = \"…\")]"
        ));
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong(format!(
            "the method's name {name:?} has a space or a control character"
        ));
    }
    if !name.starts_with(char::is_uppercase) {
        return wrong(format!(
            "the method's name on the wire is {name:?}, and Go finds only names that begin with \
             an upper-case letter; give it one with #[rpc(name = \"…\")]"
        ));
    }
    Ok(())
}

fn check_names_differ(service: &str, methods: &[Method], errors: &mut Errors) {
    let mut seen = HashMap::new();
    for method in methods {
        // Two methods of one name may be meant for two configurations; the compiler sees one of them.
        if !configured(&method.item.attrs).is_empty() {
            continue;
        }
        let ident = &method.item.sig.ident;
        if let Some(first) = seen.insert(&method.wire, ident) {
            let wire = &method.wire;
            errors.push(Error::new(
                method.name_span(),
                format!(
                    "`{first}` and `{ident}` are both {service}.{wire} on the wire; \
                     rename one with #[rpc(name = \"…\")]"
                ),
            ));
        }
    }
}

impl Method {
    fn read(mut item: TraitItemFn) -> syn::Result<Method> {
        let mut errors = Errors::default();
        let rpc = errors
            .keep(Rpc::take_from(&mut item.attrs))
            .unwrap_or_default();
        errors.keep(check_kind(&item.sig));
        errors.keep(check_ident(&item.sig.ident));
        errors.keep(check_receiver(&item.sig));
        let inputs = errors.keep(read_inputs(&item));
        let result = errors.keep(read_result(&item.sig));
        if let Some((_, reply)) = &result {
            errors.keep(check_one_way(&rpc, reply));
        }
        if let (true, Some([_, ..])) = (rpc.one_way, inputs.as_ref().map(|i| i.streams.as_slice()))
        {
            errors.push(Error::new_spanned(
                &item.sig.ident,
                "a stream of items ends with the call's reply; leave out `one_way`",
            ));
        }
        let wire = match &rpc.name {
            Some(name) => name.value(),
            None => go_case(&item.sig.ident),
        };
        let named_at = rpc
            .name
            .as_ref()
            .map_or(item.sig.ident.span(), LitStr::span);
        errors.keep(check_method_name(&wire, named_at));
        match (errors.0, inputs, result) {
            (None, Some(inputs), Some((result, reply))) => Ok(Method {
                item,
                wire,
                rpc,
                takes_context: inputs.takes_context,
                argument: inputs.argument,
                streams: inputs.streams,
                result,
                reply,
            }),
            (errors, ..) => Err(errors.expect("what is missing was refused with an error")),
        }
    }

    fn name_span(&self) -> Span {
        let named = self.rpc.name.as_ref().map(LitStr::span);
        named.unwrap_or(self.item.sig.ident.span())
    }
}

impl Rpc {
    /// Reads the `#[rpc(…)]` attributes and takes them away: the compiler does not know them.
    fn take_from(attrs: &mut Vec<Attribute>) -> syn::Result<Rpc> {
        let mut rpc = Rpc::default();
        let mut errors = Errors::default();
        attrs.retain(|attr| {
            if !attr.path().is_ident("rpc") {
                return true;
            }
            errors.keep(rpc.read(attr));
            false
        });
        errors.0.map_or(Ok(rpc), Err)
    }

    fn read(&mut self, attr: &Attribute) -> syn::Result<()> {
        attr.parse_nested_meta(|option| {
            if option.path.is_ident("name") {
                self.name = Some(option.value()?.parse()?);
                return Ok(());
            }
            let flag = if option.path.is_ident("idempotent") {
                &mut self.idempotent
            } else if option.path.is_ident("one_way") {
                &mut self.one_way
            } else if option.path.is_ident("spawn") {
                &mut self.spawn
            } else if option.path.is_ident("blocking") {
                &mut self.blocking
            } else {
                return Err(option.error(
                    "unknown option; the options of #[rpc] are name = \"…\", idempotent, one_way, \
                     spawn and blocking",
                ));
            };
            *flag = true;
            if self.spawn && self.blocking {
                return Err(option.error(
                    "a blocking method has a thread of its own and is not spawned as well; \
                     write one of the two",
                ));
            }
            Ok(())
        })
    }
}

fn check_kind(sig: &Signature) -> syn::Result<()> {
    if sig.asyncness.is_none() {
        return Err(Error::new(
            sig.fn_token.span,
            format!(
                "a call waits for the network, so a remote method is asynchronous; \
                 write `async fn {}`",
                sig.ident
            ),
        ));
    }
    let odd = "a remote method is a plain `async fn`; leave this out";
    if let Some(part) = &sig.constness {
        return Err(Error::new_spanned(part, odd));
    }
    if let Safety::Unsafe(part) = &sig.safety {
        return Err(Error::new_spanned(part, odd));
    }
    if let Some(part) = &sig.abi {
        return Err(Error::new_spanned(part, odd));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a remote method has one argument type and one reply type, so it cannot be generic; \
             put concrete types in their place",
        ));
    }
    if let Some(part) = &sig.generics.where_clause {
        return Err(Error::new_spanned(
            part,
            "a remote method is there for every implementation; leave the bounds out",
        ));
    }
    Ok(())
}

fn check_one_way(rpc: &Rpc, reply: &Type) -> syn::Result<()> {
    let is_unit = matches!(reply, Type::Tuple(tuple) if tuple.elems.is_empty());
    match rpc.one_way && !is_unit {
        true => Err(Error::new_spanned(
            reply,
            "a one-way call ends when it is sent and nobody waits for its reply; \
             return `Result<()>`",
        )),
        false => Ok(()),
    }
}

/// Refuses the names that the generated code needs for itself.
fn check_ident(ident: &Ident) -> syn::Result<()> {
    let taken_by = match ident.to_string().as_str() {
        "into_service" => "the trait gets a method `into_service`",
        "new" | "connect" => "the client gets a function of this name",
        _ => return Ok(()),
    };
    Err(Error::new(
        ident.span(),
        format!(
            "{taken_by} from #[farcall::service]; name this one otherwise, and keep its name on \
             the wire with #[rpc(name = \"{}\")]",
            go_case(ident)
        ),
    ))
}

fn check_receiver(sig: &Signature) -> syn::Result<()> {
    let by_reference = |receiver: &syn::Receiver| {
        matches!(
            receiver.kind,
            ReceiverKind::Reference(_, None, None) if receiver.mutability.is_none()
        )
    };
    match sig.receiver() {
        Some(receiver) if by_reference(receiver) => Ok(()),
        Some(receiver) => Err(Error::new_spanned(
            receiver,
            "many calls run at once on one value, so a remote method takes `&self`; \
             put what changes behind a mutex or an atomic",
        )),
        None => Err(Error::new_spanned(
            &sig.ident,
            "a remote method is called on a value; make `&self` its first parameter",
        )),
    }
}

/// Reads the parameters after `&self`: the context if it is asked for, the argument if there is one, and the streams.
fn read_inputs(item: &TraitItemFn) -> syn::Result<Inputs> {
    let mut inputs = item.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Receiver(_) => None,
        FnArg::Typed(input) => Some(input),
    });
    let mut next = inputs.next();
    let takes_context = match next {
        Some(input) if is_context(&input.ty)? => {
            read_name(input, item)?;
            next = inputs.next();
            true
        }
        _ => false,
    };
    let argument = match next {
        Some(input) if read_items(&input.ty)?.is_none() => {
            next = inputs.next();
            Some(read_argument(input, item)?)
        }
        _ => None,
    };
    let mut streams: Vec<Items> = Vec::new();
    while let Some(input) = next {
        let Some(items) = read_items(&input.ty)? else {
            let says = match is_context(&input.ty) {
                Ok(true) => "the context comes first, right after `&self`",
                _ if argument.is_none() => "the argument comes before the streams of items",
                _ => {
                    "one value travels as the argument; put them in one struct \
                     with #[farcall::message]"
                }
            };
            return Err(Error::new_spanned(input, says));
        };
        read_name(input, item)?;
        if streams
            .iter()
            .any(|known| known.direction == items.direction)
        {
            return Err(Error::new_spanned(
                &input.ty,
                "a call has one stream of items in each direction; put both kinds of items in one \
                 type with #[farcall::message]",
            ));
        }
        streams.push(items);
        next = inputs.next();
    }
    Ok(Inputs {
        takes_context,
        argument,
        streams,
    })
}

/// The stream that a parameter of this type is, by the last word of its path, if it is one.
fn read_items(ty: &Type) -> syn::Result<Option<Items>> {
    let (inner, is_reference) = match ty {
        Type::Reference(reference) => (&*reference.elem, true),
        ty => (ty, false),
    };
    let Type::Path(path) = inner else {
        return Ok(None);
    };
    let Some(last) = path.path.segments.last() else {
        return Ok(None);
    };
    let direction = match last.ident.to_string().as_str() {
        "Incoming" => Direction::Incoming,
        "Outgoing" => Direction::Outgoing,
        _ => return Ok(None),
    };
    if is_reference {
        return Err(Error::new_spanned(
            ty,
            "the method owns its stream of items; take it by value",
        ));
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        let says = format!("say what the items are, as in `{}<u64>`", last.ident);
        return Err(Error::new_spanned(ty, says));
    };
    let Some(GenericArgument::Type(items)) = arguments.args.first() else {
        let says = format!("say what the items are, as in `{}<u64>`", last.ident);
        return Err(Error::new_spanned(ty, says));
    };
    check_owned(items, "an item")?;
    Ok(Some(Items {
        direction,
        ty: items.clone(),
    }))
}

/// Whether this is `&Context`, by the last word of its path: a macro sees names, not types.
fn is_context(ty: &Type) -> syn::Result<bool> {
    let Type::Reference(reference) = ty else {
        return Ok(false);
    };
    let Type::Path(path) = &*reference.elem else {
        return Ok(false);
    };
    if path
        .path
        .segments
        .last()
        .is_none_or(|last| last.ident != "Context")
    {
        return Ok(false);
    }
    if reference.mutability.is_some() || reference.lifetime.is_some() {
        return Err(Error::new_spanned(
            ty,
            "the context is taken as `&farcall::Context`",
        ));
    }
    Ok(true)
}

fn read_argument(input: &PatType, item: &TraitItemFn) -> syn::Result<Argument> {
    let name = read_name(input, item)?;
    if let Type::Reference(_) = *input.ty {
        return Err(Error::new_spanned(
            &input.ty,
            "the argument arrives over the network and belongs to the method; take it by value \
             (the client's method takes a reference by itself)",
        ));
    }
    check_owned(&input.ty, "an argument")?;
    Ok(Argument {
        name,
        ty: (*input.ty).clone(),
    })
}

/// The name of a parameter. Patterns are refused: the client's method needs a name to show.
fn read_name(input: &PatType, item: &TraitItemFn) -> syn::Result<Ident> {
    if let Some(attr) = input.attrs.first() {
        return Err(Error::new_spanned(
            attr,
            "attributes on a parameter are not supported; put it on the method or the type",
        ));
    }
    match &*input.pat {
        Pat::Wild(_) => Ok(format_ident!("args")),
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            if pat.mutability.is_some() && item.default.is_none() {
                return Err(Error::new_spanned(
                    pat,
                    "a method without a body has nothing to change; write `mut` in the \
                     implementation",
                ));
            }
            Ok(pat.ident.clone())
        }
        pat => Err(Error::new_spanned(
            pat,
            "a parameter is a plain name here, as in `args: Args`; take it apart in the body",
        )),
    }
}

/// Reads the return type: itself, and the reply inside it.
fn read_result(sig: &Signature) -> syn::Result<(Type, Type)> {
    let wrong = |at: &dyn Fn(&str) -> Error| {
        at(
            "a call over the network can fail, so a remote method returns a Result, \
            such as `farcall::Result<i64>`",
        )
    };
    let ReturnType::Type(_, result) = &sig.output else {
        return Err(wrong(&|says| Error::new_spanned(&sig.ident, says)));
    };
    let reply = match &**result {
        Type::Path(path) => path.path.segments.last().and_then(|last| {
            let PathArguments::AngleBracketed(arguments) = &last.arguments else {
                return None;
            };
            match arguments.args.first() {
                Some(GenericArgument::Type(reply)) if last.ident == "Result" => Some(reply),
                _ => None,
            }
        }),
        _ => None,
    };
    let Some(reply) = reply else {
        return Err(wrong(&|says| Error::new_spanned(result, says)));
    };
    check_owned(reply, "a reply")?;
    Ok(((**result).clone(), reply.clone()))
}

/// Refuses types that cannot be made from bytes alone, or mean something else in the client.
fn check_owned(ty: &Type, what: &str) -> syn::Result<()> {
    // The words of a type are enough to find these, wherever they are nested.
    fn check(tokens: TokenStream, what: &str) -> syn::Result<()> {
        for token in tokens {
            let why = match &token {
                TokenTree::Group(group) => {
                    check(group.stream(), what)?;
                    continue;
                }
                TokenTree::Punct(mark) if matches!(mark.as_char(), '&' | '\'') => {
                    "is made from bytes that came over the network, so it cannot borrow; \
                     use an owned type such as String or Vec"
                }
                TokenTree::Ident(word) if word == "impl" || word == "dyn" => {
                    "is decoded at the other end, which needs one concrete type"
                }
                TokenTree::Ident(word) if word == "Self" => {
                    "has the same type at both ends, and `Self` is another one in the client; \
                     write the type's name"
                }
                _ => continue,
            };
            return Err(Error::new(token.span(), format!("{what} {why}")));
        }
        Ok(())
    }
    check(quote!(#ty), what)
}

/// The name of a method on the wire, made as the names of fields are: `slow_add` is `SlowAdd`, `user_id` is `UserID`.
fn go_case(ident: &Ident) -> String {
    let ident = ident.unraw().to_string();
    // One that has no Go name stays as it is, and is refused with the other wrong names.
    Case::Go.name_of(&ident).unwrap_or(ident)
}

/// The attributes that decide whether the item exists.
fn configured(attrs: &[Attribute]) -> Vec<&Attribute> {
    let is_cfg = |attr: &&Attribute| attr.path().is_ident("cfg");
    attrs.iter().filter(is_cfg).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every message for this trait, or none when it is right.
    fn errors(options: &str, item: &str) -> Vec<String> {
        let expanded = expand(options.parse().unwrap(), item.parse().unwrap());
        match expanded {
            Ok(_) => Vec::new(),
            Err(errors) => errors.into_iter().map(|e| e.to_string()).collect(),
        }
    }

    fn errors_of_method(method: &str) -> Vec<String> {
        errors("", &format!("trait T {{ {method} }}"))
    }

    #[test]
    fn each_method_that_cannot_travel_is_refused_once_with_what_to_do() {
        for (method, says) in [
            ("fn m(&self) -> Result<u8>;", "write `async fn m`"),
            ("async fn m() -> Result<u8>;", "`&self` its first parameter"),
            ("async fn m(&mut self) -> Result<u8>;", "takes `&self`"),
            ("async fn m(self) -> Result<u8>;", "takes `&self`"),
            ("async fn m(self: &Self) -> Result<u8>;", "takes `&self`"),
            ("async fn m<T>(&self) -> Result<u8>;", "cannot be generic"),
            (
                "async fn m(&self) -> Result<u8> where u8: Copy;",
                "leave the bounds out",
            ),
            (
                "async unsafe fn m(&self) -> Result<u8>;",
                "a plain `async fn`",
            ),
            (
                "async fn m(&self, a: u8, b: u8) -> Result<u8>;",
                "in one struct with #[farcall::message]",
            ),
            (
                "async fn m(&self, a: u8, cx: &Context) -> Result<u8>;",
                "the context comes first",
            ),
            (
                "async fn m(&self, a: Incoming<u8>, cx: &Context) -> Result<u8>;",
                "the context comes first",
            ),
            (
                "async fn m(&self, a: Incoming<u8>, b: u8) -> Result<u8>;",
                "the argument comes before",
            ),
            (
                "async fn m(&self, a: u8, b: Outgoing<u8>, c: u8) -> Result<u8>;",
                "in one struct with #[farcall::message]",
            ),
            (
                "async fn m(&self, a: Outgoing<u8>, b: Outgoing<u8>) -> Result<u8>;",
                "one stream of items in each direction",
            ),
            (
                "async fn m(&self, a: &mut Incoming<u8>) -> Result<u8>;",
                "take it by value",
            ),
            (
                "async fn m(&self, a: Outgoing) -> Result<u8>;",
                "as in `Outgoing<u64>`",
            ),
            (
                "async fn m(&self, a: Incoming<&str>) -> Result<u8>;",
                "an item is made from bytes",
            ),
            (
                "async fn m(&self, mut a: Incoming<u8>) -> Result<u8>;",
                "`mut` in the implementation",
            ),
            (
                "#[rpc(one_way)] async fn m(&self, a: Outgoing<u8>) -> Result<()>;",
                "leave out `one_way`",
            ),
            (
                "async fn m(&self, cx: &mut Context) -> Result<u8>;",
                "taken as `&farcall::Context`",
            ),
            (
                "async fn m(&self, a: &A) -> Result<u8>;",
                "take it by value",
            ),
            (
                "async fn m(&self, a: Cow<'static, str>) -> Result<u8>;",
                "an argument is made from bytes",
            ),
            (
                "async fn m(&self, a: Vec<&[u8]>) -> Result<u8>;",
                "an argument is made from bytes",
            ),
            (
                "async fn m(&self, a: impl Into<u8>) -> Result<u8>;",
                "one concrete type",
            ),
            (
                "async fn m(&self, a: Box<Self>) -> Result<u8>;",
                "write the type's name",
            ),
            (
                "async fn m(&self, (a, b): A) -> Result<u8>;",
                "a plain name",
            ),
            ("async fn m(&self, ref a: A) -> Result<u8>;", "a plain name"),
            (
                "async fn m(&self, mut a: A) -> Result<u8>;",
                "`mut` in the implementation",
            ),
            (
                "async fn m(&self, #[cfg(x)] a: A) -> Result<u8>;",
                "attributes on a parameter",
            ),
            ("async fn m(&self);", "returns a Result"),
            ("async fn m(&self) -> u8;", "returns a Result"),
            ("async fn m(&self) -> io::Result;", "returns a Result"),
            ("async fn m(&self) -> (Result<u8>,);", "returns a Result"),
            (
                "async fn m(&self) -> Result<&str>;",
                "a reply is made from bytes",
            ),
            (
                "async fn into_service(&self) -> Result<u8>;",
                "name = \"IntoService\"",
            ),
            (
                "async fn connect(&self) -> Result<u8>;",
                "the client gets a function of this name",
            ),
            (
                "#[rpc(retry)] async fn m(&self) -> Result<u8>;",
                "name = \"…\", idempotent, one_way, spawn and blocking",
            ),
            (
                "#[rpc(one_way)] async fn m(&self) -> Result<u8>;",
                "nobody waits for its reply",
            ),
            (
                "#[rpc(spawn, blocking)] async fn m(&self) -> Result<u8>;",
                "one of the two",
            ),
            ("#[rpc] async fn m(&self) -> Result<u8>;", "parentheses"),
            (
                "#[rpc(name = 7)] async fn m(&self) -> Result<u8>;",
                "string literal",
            ),
            (
                "#[rpc(name = \"m\")] async fn m(&self) -> Result<u8>;",
                "upper-case letter",
            ),
            (
                "#[rpc(name = \"\")] async fn m(&self) -> Result<u8>;",
                "upper-case letter",
            ),
            (
                "#[rpc(name = \"A.B\")] async fn m(&self) -> Result<u8>;",
                "cannot have one",
            ),
            (
                "#[rpc(name = \"A B\")] async fn m(&self) -> Result<u8>;",
                "a space",
            ),
            ("async fn 数(&self) -> Result<u8>;", "#[rpc(name = \"…\")]"),
            ("const N: u8;", "a constant cannot be called"),
            ("type N;", "an associated type cannot be called"),
            ("m!();", "a macro cannot be called"),
        ] {
            let errors = errors_of_method(method);
            assert_eq!(errors.len(), 1, "{method} gave {errors:?}");
            assert!(errors[0].contains(says), "{method} gave {errors:?}");
        }
    }

    #[test]
    fn each_thing_that_is_no_service_is_refused_with_what_to_do() {
        for (options, item, says) in [
            ("", "struct S;", "stands on the trait"),
            ("", "impl T for S {}", "stands on the trait"),
            ("", "trait T<A> {}", "cannot be generic"),
            ("", "trait T<'a> {}", "cannot be generic"),
            (
                "rename = \"A\"",
                "trait T {}",
                "name = \"…\" and crate = \"…\"",
            ),
            ("name = \"A b\"", "trait T {}", "words joined by dots"),
            ("name = \"A..B\"", "trait T {}", "words joined by dots"),
            ("name = \"\"", "trait T {}", "words joined by dots"),
        ] {
            let errors = errors(options, item);
            assert_eq!(errors.len(), 1, "{item} gave {errors:?}");
            assert!(errors[0].contains(says), "{item} gave {errors:?}");
        }
    }

    #[test]
    fn three_mistakes_give_three_messages() {
        let errors = errors_of_method(
            "fn a(&self) -> Result<u8>; async fn b(&self, x: &u8); async fn c(&self) -> Result<u8>;",
        );
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn two_methods_of_one_name_on_the_wire_are_refused_unless_configured_apart() {
        let a = "async fn a_b(&self) -> Result<u8>;";
        let b = "#[rpc(name = \"AB\")] async fn ab(&self) -> Result<u8>;";
        let errors = errors_of_method(&format!("{a} {b}"));
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].contains("`a_b` and `ab` are both T.AB"),
            "{errors:?}"
        );
        assert!(errors_of_method(&format!("#[cfg(unix)] {a} #[cfg(not(unix))] {b}")).is_empty());
    }

    #[test]
    fn a_method_is_named_as_go_would_name_it() {
        for (rust, go) in [
            ("slow_add", "SlowAdd"),
            ("user_id", "UserID"),
            ("r#type", "Type"),
        ] {
            let ident = syn::parse_str::<Ident>(rust).unwrap();
            assert_eq!(go_case(&ident), go);
        }
    }
}
