//! What a service trait becomes: the trait itself, its `into_service`, and its typed client.
//! The trait was read and found right before; nothing is refused here.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Ident, ItemTrait, Lit, Meta, Path, parse_quote};

use super::{Argument, Direction, Items, Method, Service, configured};

impl Service {
    pub(super) fn write(&self) -> TokenStream {
        let item = self.write_trait();
        let client = self.write_client();
        quote! {
            #item
            #client
        }
    }

    fn write_trait(&self) -> TokenStream {
        let ItemTrait {
            attrs,
            vis,
            modifiers: _,
            unsafety,
            trait_token,
            ident,
            generics,
            supertraits,
            ..
        } = &self.item;
        let where_clause = &generics.where_clause;
        let supertraits = supertraits.iter();
        let methods = self.methods.iter().map(Method::write_declaration);
        let into_service = self.write_into_service();
        quote! {
            #(#attrs)*
            #vis #unsafety #trait_token #ident:
                #(#supertraits +)* ::core::marker::Send + ::core::marker::Sync + 'static
            #where_clause
            {
                #(#methods)*
                #into_service
            }
        }
    }

    fn write_into_service(&self) -> TokenStream {
        let farcall = &self.farcall;
        let wire = &self.wire;
        let doc = write_doc(&self.item.attrs);
        let methods = self.methods.iter().map(|method| {
            let configured = configured(&method.item.attrs);
            let method = method.write_handler(farcall, &self.item.ident);
            quote! {
                #(#configured)*
                let service = service.with(#method);
            }
        });
        let says = format!("Makes the service `{wire}`, ready for a server, from this value.");
        quote! {
            #[doc = #says]
            #[allow(dead_code, deprecated, unused_variables)]
            fn into_service(self) -> #farcall::Service
            where
                Self: ::core::marker::Sized,
            {
                let target = ::std::sync::Arc::new(self);
                let service = #farcall::Service::new(#wire) #doc;
                #(#methods)*
                service
            }
        }
    }

    fn write_client(&self) -> TokenStream {
        let farcall = &self.farcall;
        let vis = &self.item.vis;
        let client = format_ident!("{}Client", self.item.ident.unraw());
        let configured = configured(&self.item.attrs);
        let methods = self.methods.iter().map(|m| m.write_call(self));
        let says = format!(
            "A client of the service `{}`: a method for each of [`{}`]'s. \
             Clones are cheap and share their connections.",
            self.wire, self.item.ident
        );
        quote! {
            #[doc = #says]
            #(#configured)*
            #[allow(dead_code)]
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            #vis struct #client {
                channel: #farcall::Channel,
            }

            #(#configured)*
            #[allow(dead_code)]
            impl #client {
                /// A client that calls through this channel: a connection to one server, or a cluster.
                #vis fn new(channel: impl ::core::convert::Into<#farcall::Channel>) -> Self {
                    Self {
                        channel: ::core::convert::Into::into(channel),
                    }
                }

                /// Connects to a server or a cluster, given by its address.
                ///
                /// # Errors
                ///
                /// When the address cannot be read, or nobody can be reached there.
                #vis async fn connect(target: &str) -> #farcall::Result<Self> {
                    #farcall::Result::Ok(Self::new(#farcall::Channel::connect(target).await?))
                }

                #(#methods)*
            }
        }
    }
}

impl Method {
    /// The method in the trait. The implementation is free to write it as `async fn`.
    fn write_declaration(&self) -> TokenStream {
        let attrs = &self.item.attrs;
        let mut sig = self.item.sig.clone();
        let result = &self.result;
        sig.asyncness = None;
        // All that is new stands at a place of the method's own, so that lints about it do not show the attribute.
        let output = quote_spanned! {result.span()=>
            -> impl ::core::future::Future<Output = #result> + ::core::marker::Send
        };
        sig.output = parse_quote!(#output);
        match &self.item.default {
            Some(body) => {
                let body = quote_spanned!(body.span()=> { async move #body });
                quote!(#(#attrs)* #sig #body)
            }
            None => {
                let end = self.item.semi_token;
                quote!(#(#attrs)* #sig #end)
            }
        }
    }

    /// The `farcall::Method` that calls the trait's method on `target`.
    fn write_handler(&self, farcall: &Path, service: &Ident) -> TokenStream {
        let wire = &self.wire;
        let ident = &self.item.sig.ident;
        let context = self.takes_context.then(|| quote!(&cx,));
        let argument = self.argument.as_ref().map(|_| quote!(args,));
        let streams = self
            .streams
            .iter()
            .map(|items| stream_name(items.direction));
        let name_or_not = |name, is_used| if is_used { name } else { quote!(_) };
        let cx = name_or_not(quote!(cx), self.takes_context);
        let args = name_or_not(quote!(args), self.argument.is_some());
        let ty = self.argument_type();
        let error = located(quote!(#farcall::Error::from), self.result.span());
        let flags = [
            (self.rpc.idempotent, quote!(.idempotent())),
            (self.rpc.spawn, quote!(.spawned())),
            (self.rpc.blocking, quote!(.blocking())),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, call)| call);
        let doc = write_doc(&self.item.attrs);
        // By the trait's name: the value may have methods of the same name.
        let call = quote! {
            <Self as #service>::#ident(&*target, #context #argument #(#streams),*).await.map_err(#error)
        };
        let call = located(call, self.result.span());
        let (constructor, streams) = match self.streams.as_slice() {
            [] if self.takes_context => (quote!(new), None),
            [] => (quote!(plain), None),
            _ => {
                let name = |direction| {
                    let is_used = self.items(direction).is_some();
                    name_or_not(stream_name(direction), is_used)
                };
                let incoming = name(Direction::Incoming);
                let outgoing = name(Direction::Outgoing);
                let (up, down) = self.items_types(farcall);
                let streams = quote!(
                    , #incoming: #farcall::Incoming<#up>, #outgoing: #farcall::Outgoing<#down>
                );
                (quote!(streaming), Some(streams))
            }
        };
        let is_plain = !self.takes_context && self.streams.is_empty();
        let cx = (!is_plain).then(|| quote!(#cx: #farcall::Context,));
        let handler = quote! {
            #farcall::Method::#constructor(#wire, {
                let target = ::std::sync::Arc::clone(&target);
                move |#cx #args: #ty #streams| {
                    let target = ::std::sync::Arc::clone(&target);
                    async move { #call }
                }
            })
        };
        let handler = located(handler, ident.span());
        quote!(#handler #(#flags)* #doc)
    }

    /// The client's method.
    fn write_call(&self, service: &Service) -> TokenStream {
        let farcall = &service.farcall;
        let vis = &service.item.vis;
        let ident = &self.item.sig.ident;
        let reply = &self.reply;
        let path = format!("{}.{}", service.wire, self.wire);
        let copied = self.item.attrs.iter().filter(|attr| {
            ["doc", "cfg", "deprecated"]
                .iter()
                .any(|name| attr.path().is_ident(name))
        });
        let has_doc = self.item.attrs.iter().any(|a| a.path().is_ident("doc"));
        let doc = (!has_doc).then(|| {
            let says = format!("Calls `{path}`.");
            quote!(#[doc = #says])
        });
        let (call, returned) = match self.streams.as_slice() {
            [] => (quote!(call), quote!(Call<'a, #reply>)),
            _ => {
                let (up, down) = self.items_types(farcall);
                (quote!(stream), quote!(StreamCall<'a, #up, #down, #reply>))
            }
        };
        let call = located(call, ident.span());
        let flags = [
            (self.rpc.idempotent, quote!(.idempotent())),
            (self.rpc.one_way, quote!(.one_way())),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag);
        let (parameter, argument) = match &self.argument {
            Some(Argument { name, ty }) => (Some(quote!(#name: &'a #ty)), quote!(#name)),
            None => (None, quote!(&())),
        };
        quote! {
            #doc
            #(#copied)*
            #vis fn #ident<'a>(&'a self, #parameter) -> #farcall::#returned {
                self.channel.#call(#path, #argument) #(#flags)*
            }
        }
    }

    /// The items in one direction, if there are any.
    fn items(&self, direction: Direction) -> Option<&Items> {
        let mut streams = self.streams.iter();
        streams.find(|items| items.direction == direction)
    }

    /// The types of the items that go up to the handler and down from it.
    fn items_types(&self, farcall: &Path) -> (TokenStream, TokenStream) {
        let ty = |direction| match self.items(direction) {
            Some(Items { ty, .. }) => quote!(#ty),
            None => quote!(#farcall::NoItems),
        };
        (ty(Direction::Incoming), ty(Direction::Outgoing))
    }

    /// What travels: a method without an argument is sent the unit value.
    fn argument_type(&self) -> TokenStream {
        match &self.argument {
            Some(Argument { ty, .. }) => quote!(#ty),
            None => quote!(()),
        }
    }
}

fn stream_name(direction: Direction) -> TokenStream {
    match direction {
        Direction::Incoming => quote!(incoming),
        Direction::Outgoing => quote!(outgoing),
    }
}

/// Code that stands at a place of the user's when the compiler complains about it, and is known as generated still.
fn located(code: TokenStream, place: Span) -> TokenStream {
    let at_place = |mut token: TokenTree| {
        token.set_span(token.span().located_at(place));
        token
    };
    // What stands in brackets keeps its own place.
    code.into_iter().map(at_place).collect()
}

/// `.doc("…")` with the text of the doc comment, if there is one.
fn write_doc(attrs: &[Attribute]) -> Option<TokenStream> {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(line),
                ..
            }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    });
    let text = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
        .collect::<Vec<_>>()
        .join("\n");
    let text = text.trim();
    (!text.is_empty()).then(|| quote!(.doc(#text)))
}
