//! `#[derive(Gob)]`: a type's description, and how it is written and read field by field.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Path, Result, Type, parse_quote,
    parse2,
};

use crate::names::{self, Case};

pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let mut input: DeriveInput = parse2(item)?;
    let options = TypeOptions::parse(&input)?;
    let gob = &options.gob;
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(Error::new(
            lifetime.span(),
            "a received value owns its data: use String, Vec or Cow<'static, …>",
        ));
    }
    for param in input.generics.type_params_mut() {
        param.bounds.push(parse_quote!(#gob::__private::Gob));
    }
    let mut beside = TokenStream::new();
    let body = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(_) | Fields::Unit => {
                let generic = input.generics.type_params().next().is_some();
                let (methods, checks) = structure(&input.ident, &options, generic, &data.fields)?;
                beside = checks;
                methods
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => newtype(&fields.unnamed[0].ty),
            fields @ Fields::Unnamed(_) => {
                return Err(Error::new(
                    fields.span(),
                    "gob matches fields by name: give these fields names",
                ));
            }
        },
        Data::Enum(data) => {
            let code = crate::gob_enum::expand(&options, data)?;
            if !code.forms.is_empty() {
                let (name, forms_of) = (&input.ident, code.forms);
                beside = quote!(impl #name { #forms_of });
            }
            code.methods
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span(),
                "gob cannot send a union",
            ));
        }
    };
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use #gob::__private::{At, Describer, Gob, GobField, NodeId, Reader, Writer};
            use ::core::option::Option::{self, None, Some};
            use ::core::result::Result::{Err, Ok};
            type Read<T> = ::core::result::Result<T, #gob::Error>;
            type Done = Read<()>;

            impl #impl_generics Gob for #name #type_generics #where_clause {
                #body
            }

            #beside
        };
    })
}

/// What `#[gob(…)]` says about a type.
pub(crate) struct TypeOptions {
    pub(crate) gob: Path,
    pub(crate) name: String,
    pub(crate) case: Case,
    /// How an enum is sent.
    pub(crate) form: Option<LitStr>,
}

impl TypeOptions {
    fn parse(input: &DeriveInput) -> Result<Self> {
        let mut options = Self {
            gob: parse_quote!(::farcall_gob),
            name: input.ident.to_string().trim_start_matches("r#").to_owned(),
            case: Case::Go,
            form: None,
        };
        each_option(&input.attrs, |meta| {
            if meta.path.is_ident("crate") {
                options.gob = meta.value()?.parse::<LitStr>()?.parse()?;
            } else if meta.path.is_ident("rename") {
                options.name = meta.value()?.parse::<LitStr>()?.value();
            } else if meta.path.is_ident("rename_all") {
                let case: LitStr = meta.value()?.parse()?;
                options.case = Case::parse(&case.value()).ok_or_else(|| {
                    Error::new(case.span(), "one of \"Go\" and \"PascalCase\" is expected")
                })?;
            } else if meta.path.is_ident("as") && matches!(input.data, Data::Enum(_)) {
                options.form = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error(
                    "unknown option: a type has `rename`, `rename_all`, `crate`, and an enum `as`",
                ));
            }
            Ok(())
        })?;
        Ok(options)
    }
}

pub(crate) fn each_option(
    attrs: &[Attribute],
    mut option: impl FnMut(syn::meta::ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("gob")) {
        attr.parse_nested_meta(&mut option)?;
    }
    Ok(())
}

/// One field of a struct.
struct Field<'a> {
    ident: &'a Ident,
    ty: &'a Type,
    name: String,
    aliases: Vec<LitStr>,
    default: Option<Path>,
    skip: bool,
    span: Span,
}

impl<'a> Field<'a> {
    fn parse(field: &'a syn::Field, case: Case) -> Result<Self> {
        let ident = field
            .ident
            .as_ref()
            .ok_or_else(|| Error::new(field.span(), "this field needs a name"))?;
        let mut renamed = None;
        let (mut aliases, mut default, mut skip) = (vec![], None, false);
        each_option(&field.attrs, |meta| {
            if meta.path.is_ident("rename") {
                renamed = Some(meta.value()?.parse::<LitStr>()?);
            } else if meta.path.is_ident("alias") {
                aliases.push(meta.value()?.parse()?);
            } else if meta.path.is_ident("default") {
                default = Some(match meta.value() {
                    Ok(value) => value.parse::<LitStr>()?.parse()?,
                    Err(_) => parse_quote!(::core::default::Default::default),
                });
            } else if meta.path.is_ident("skip") {
                skip = true;
            } else {
                return Err(meta
                    .error("unknown option: a field has `rename`, `alias`, `default` and `skip`"));
            }
            Ok(())
        })?;
        let (name, span) = match renamed {
            _ if skip => (String::new(), ident.span()),
            Some(name) => {
                names::check(&name.value()).map_err(|why| Error::new(name.span(), why))?;
                (name.value(), name.span())
            }
            None => {
                let name = case
                    .name_of(&ident.to_string())
                    .map_err(|why| Error::new(ident.span(), why))?;
                (name, ident.span())
            }
        };
        Ok(Self {
            ident,
            ty: &field.ty,
            name,
            aliases,
            default,
            skip,
            span,
        })
    }
}

fn structure(
    ident: &Ident,
    options: &TypeOptions,
    generic: bool,
    fields: &Fields,
) -> Result<(TokenStream, TokenStream)> {
    let all = fields
        .iter()
        .map(|field| Field::parse(field, options.case))
        .collect::<Result<Vec<_>>>()?;
    let sent: Vec<_> = all.iter().filter(|field| !field.skip).collect();
    for (ix, field) in sent.iter().enumerate() {
        if sent[..ix].iter().any(|other| other.name == field.name) {
            return Err(Error::new(
                field.span,
                format!("two fields are called `{}` on the wire", field.name),
            ));
        }
    }
    let type_name = &options.name;
    let numbers: Vec<_> = (0..sent.len() as u32).collect();
    let tys: Vec<_> = sent.iter().map(|field| field.ty).collect();
    let wire_names: Vec<_> = sent.iter().map(|field| &field.name).collect();
    let idents: Vec<_> = sent.iter().map(|field| field.ident).collect();
    let locals: Vec<_> = sent
        .iter()
        .map(|field| format_ident!("field_{}", field.ident))
        .collect();
    let aliases = sent.iter().zip(&numbers).flat_map(|(field, number)| {
        field
            .aliases
            .iter()
            .map(move |alias| quote!(d.alias(node, #alias, #number);))
    });
    let skipped: Vec<_> = all
        .iter()
        .filter(|field| field.skip)
        .map(|field| field.ident)
        .collect();
    // A field that was not sent was zero, so it must have a zero, or something to stand for it.
    let need_zero = sent.iter().filter(|field| field.default.is_none()).map(|field| {
        let text = format!(
            "the field `{}` of `{ident}` has no zero, which is what gob takes for a field that was not sent: make it an \
             Option, or give it #[gob(default)]",
            field.ident
        );
        let ty = field.ty;
        quote_spanned!(ty.span()=> ::core::assert!(<#ty as GobField>::HAS_ZERO, #text))
    });
    // Of generic types this is only known when they are used.
    let (checks, checks_on_use) = if generic {
        (quote!(), quote!(#(const { #need_zero })*))
    } else {
        (quote!(#(const _: () = #need_zero;)*), quote!())
    };
    let zeros: Vec<_> = sent
        .iter()
        .map(|field| {
            let ty = field.ty;
            match &field.default {
                None => quote!(<#ty as GobField>::zero()?),
                Some(path) => quote!(<#ty as GobField>::zero().unwrap_or_else(#path)),
            }
        })
        .collect();
    let starts = sent.iter().zip(&numbers).map(|(field, number)| {
        let ty = field.ty;
        let local = format_ident!("field_{}", field.ident);
        match &field.default {
            None => quote! {
                let Some(mut #local) = <#ty as GobField>::zero() else { return Err(r.no_zero()) };
            },
            Some(path) => quote! {
                let mut #local: #ty = match <#ty as GobField>::zero() {
                    Some(zero) if at.has(#number) => zero,
                    _ => #path(),
                };
            },
        }
    });
    let has_zero = sent
        .iter()
        .filter(|field| field.default.is_none())
        .map(|field| field.ty);
    let count = sent.len();
    let read_fields = if sent.is_empty() {
        quote! {
            let mut fields = r.fields(at);
            while fields.step(r)?.is_some() {}
        }
    } else {
        quote! {
            // Nearly always, both sides have the same struct: then its fields come in their order, or not at all.
            if at.is_same() {
                let mut step = r.uint()?;
                #(step = r.next_field(step, &mut #locals, at.field(#numbers), #wire_names)?;)*
                r.no_more_fields(step, #count)?;
            } else {
                let mut fields = r.fields(at);
                while let Some((number, at)) = fields.step(r)? {
                    match number {
                        #(#numbers => r.field(&mut #locals, at, #wire_names)?,)*
                        _ => {}
                    }
                }
            }
        }
    };
    let (last, write_fields) = if sent.is_empty() {
        (quote!(), quote!())
    } else {
        (
            quote!(let last = 0;),
            quote!(#(let last = w.field(&self.#idents, #numbers, last, #wire_names)?;)* let _ = last;),
        )
    };
    // Lists of small structs take twice as long if each one comes back through memory. Slow builds save the stack.
    let inline = if sent.len() <= 4 {
        quote!(#[cfg_attr(not(debug_assertions), inline(always))])
    } else {
        quote!()
    };
    let methods = quote! {
        const HAS_ZERO: bool = true #(&& <#has_zero as GobField>::HAS_ZERO)*;
        const NESTS: bool = false #(|| <#tys as GobField>::NESTS)*;

        fn describe(d: &mut Describer) -> NodeId {
            #checks_on_use
            let node = d.structure::<Self>(#type_name, |d| {
                ::std::vec![#((#wire_names, <#tys as GobField>::describe(d))),*]
            });
            #(#aliases)*
            node
        }

        #[inline]
        fn zero() -> Option<Self> {
            Some(Self { #(#idents: #zeros,)* #(#skipped: ::core::default::Default::default(),)* })
        }

        #inline
        fn put(&self, w: &mut Writer<'_>) -> Done {
            if <Self as Gob>::NESTS {
                w.enter()?;
            }
            #last
            #write_fields
            w.end();
            if <Self as Gob>::NESTS {
                w.leave();
            }
            Ok(())
        }

        #inline
        fn get(r: &mut Reader<'_>, at: At<'_>) -> Read<Self> {
            if <Self as Gob>::NESTS {
                r.enter()?;
            }
            #(#starts)*
            #read_fields
            if <Self as Gob>::NESTS {
                r.leave();
            }
            Ok(Self { #(#idents: #locals,)* #(#skipped: ::core::default::Default::default(),)* })
        }
    };
    Ok((methods, checks))
}

/// A type that is on the wire what its only field is.
fn newtype(inner: &Type) -> TokenStream {
    quote! {
        const HAS_ZERO: bool = <#inner as Gob>::HAS_ZERO;
        const NESTS: bool = <#inner as Gob>::NESTS;

        fn describe(d: &mut Describer) -> NodeId {
            <#inner as Gob>::describe(d)
        }

        #[inline]
        fn zero() -> Option<Self> {
            <#inner as Gob>::zero().map(Self)
        }

        #[inline]
        fn is_left_out(&self) -> bool {
            <#inner as Gob>::is_left_out(&self.0)
        }

        #[inline]
        fn put(&self, w: &mut Writer<'_>) -> Done {
            <#inner as Gob>::put(&self.0, w)
        }

        #[inline]
        fn put_after(&self, delta: u32, w: &mut Writer<'_>) -> Done {
            <#inner as Gob>::put_after(&self.0, delta, w)
        }

        #[inline]
        fn put_in_list(&self, w: &mut Writer<'_>) -> Done {
            <#inner as Gob>::put_in_list(&self.0, w)
        }

        #[inline]
        fn get(r: &mut Reader<'_>, at: At<'_>) -> Read<Self> {
            <#inner as Gob>::get(r, at).map(Self)
        }

        fn describe_list<L: 'static>(d: &mut Describer) -> NodeId {
            <#inner as Gob>::describe_list::<L>(d)
        }

        fn put_list(list: &[Self], w: &mut Writer<'_>) -> Done {
            w.uint(list.len() as u64);
            w.enter()?;
            for item in list {
                <#inner as Gob>::put_in_list(&item.0, w)?;
            }
            w.leave();
            Ok(())
        }

        fn get_list(r: &mut Reader<'_>, at: At<'_>) -> Read<::std::vec::Vec<Self>> {
            let list = <#inner as Gob>::get_list(r, at)?;
            Ok(list.into_iter().map(Self).collect())
        }
    }
}
