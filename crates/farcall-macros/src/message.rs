//! `#[message]`: one attribute that makes a type travel as gob and as JSON under the same names.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, LitStr, Path, Result, Type, parse_quote, parse2,
};

use crate::names::{self, Case};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut input: DeriveInput = parse2(item)?;
    let options = Options::parse(options, &mut input)?;
    match &mut input.data {
        Data::Struct(data) => match &mut data.fields {
            Fields::Named(fields) => {
                for field in &mut fields.named {
                    named_field(field, &options)?;
                }
                let (rename_all, Options { gob, serde, .. }) = (options.rename_all(), &options);
                let (gob, serde) = (path_text(gob), path_text(serde));
                input
                    .attrs
                    .push(parse_quote!(#[gob(crate = #gob, #rename_all)]));
                input.attrs.push(parse_quote!(#[serde(crate = #serde)]));
                bounds(&mut input, &options);
                let serialized = derive(&input, &options, &quote!(Serialize));
                let deserialized = from_objects(&input, &options);
                Ok(quote!(#serialized #deserialized))
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let field = &mut fields.unnamed[0];
                if !take_options(&mut field.attrs)?.is_empty() {
                    return Err(Error::new_spanned(
                        field,
                        "a type with one unnamed field has no names to change",
                    ));
                }
                if has_bytes(&field.ty) {
                    let with = format!("{}::__private::json::base64", path_text(&options.gob));
                    field.attrs.push(parse_quote!(#[serde(with = #with)]));
                }
                let (gob, serde) = (path_text(&options.gob), path_text(&options.serde));
                input.attrs.push(parse_quote!(#[gob(crate = #gob)]));
                input
                    .attrs
                    .push(parse_quote!(#[serde(crate = #serde, transparent)]));
                let Options { serde, .. } = &options;
                let both = quote!(Serialize, #serde::Deserialize);
                Ok(derive(&input, &options, &both))
            }
            Fields::Unnamed(fields) => Err(Error::new_spanned(
                fields,
                "messages match fields by name: give these fields names",
            )),
            Fields::Unit => Err(Error::new_spanned(
                &input.ident,
                format!(
                    "write `struct {} {{}}`: a struct without braces would be null in JSON",
                    input.ident
                ),
            )),
        },
        Data::Enum(_) => enumeration(input, &options),
        Data::Union(data) => Err(Error::new_spanned(
            data.union_token,
            "a union cannot be a message",
        )),
    }
}

struct Options {
    gob: Path,
    serde: Path,
    case: Case,
    /// What else is said of the type, for the derive.
    rest: Vec<TokenStream>,
}

impl Options {
    /// From the attribute itself, and from `#[farcall(…)]` beside it.
    fn parse(options: TokenStream, input: &mut DeriveInput) -> Result<Self> {
        let mut farcall: Path = parse_quote!(::farcall);
        let (mut case, mut rest) = (Case::Go, vec![]);
        let mut option = |meta: syn::meta::ParseNestedMeta<'_>| {
            if meta.path.is_ident("crate") {
                farcall = meta.value()?.parse::<LitStr>()?.parse()?;
            } else if meta.path.is_ident("rename_all") {
                let text: LitStr = meta.value()?.parse()?;
                case = Case::parse(&text.value()).ok_or_else(|| {
                    Error::new(text.span(), "one of \"Go\" and \"PascalCase\" is expected")
                })?;
            } else if meta.path.is_ident("rename") || meta.path.is_ident("as") {
                let (path, value) = (&meta.path, meta.value()?.parse::<LitStr>()?);
                rest.push(quote!(#path = #value));
            } else {
                return Err(meta.error("unknown option: a message has `rename`, `rename_all`, `crate`, and an enum `as`"));
            }
            Ok(())
        };
        syn::meta::parser(&mut option).parse2(options)?;
        for attr in take_ours(&mut input.attrs) {
            attr.parse_nested_meta(&mut option)?;
        }
        let (gob, serde) = (
            parse_quote!(#farcall::__private::gob),
            parse_quote!(#farcall::__private::serde),
        );
        Ok(Self {
            gob,
            serde,
            case,
            rest,
        })
    }

    fn rename_all(&self) -> TokenStream {
        let (rest, case) = (
            &self.rest,
            if self.case == Case::Go {
                "Go"
            } else {
                "PascalCase"
            },
        );
        quote!(rename_all = #case #(, #rest)*)
    }
}

/// Takes `#[farcall(…)]` away, which the compiler does not know.
fn take_ours(attrs: &mut Vec<Attribute>) -> Vec<Attribute> {
    let (ours, others) = std::mem::take(attrs)
        .into_iter()
        .partition(|attr| attr.path().is_ident("farcall"));
    *attrs = others;
    ours
}

/// What they say.
fn take_options(attrs: &mut Vec<Attribute>) -> Result<Vec<TokenStream>> {
    take_ours(attrs)
        .into_iter()
        .map(|attr| Ok(attr.meta.require_list()?.tokens.clone()))
        .collect()
}

fn named_field(field: &mut syn::Field, options: &Options) -> Result<()> {
    let Some(ident) = field.ident.clone() else {
        return Ok(());
    };
    let ours = take_options(&mut field.attrs)?;
    let (mut name, mut default, mut skip, mut aliases) = (None, None, false, vec![]);
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("rename") {
            name = Some(meta.value()?.parse::<LitStr>()?);
        } else if meta.path.is_ident("alias") {
            aliases.push(meta.value()?.parse::<LitStr>()?);
        } else if meta.path.is_ident("skip") {
            skip = true;
        } else if meta.path.is_ident("default") {
            default = Some(match meta.value() {
                Ok(value) => value.parse::<LitStr>()?.value(),
                Err(_) => "::core::default::Default::default".to_owned(),
            });
        } else {
            return Err(
                meta.error("unknown option: a field has `rename`, `alias`, `default` and `skip`")
            );
        }
        Ok(())
    });
    parser.parse2(quote!(#(#ours),*))?;
    if skip {
        field.attrs.push(parse_quote!(#[gob(skip)]));
        field.attrs.push(parse_quote!(#[serde(skip)]));
        return Ok(());
    }
    let name = match name {
        Some(name) => {
            names::check(&name.value()).map_err(|why| Error::new(name.span(), why))?;
            name.value()
        }
        None => options
            .case
            .name_of(&ident.to_string())
            .map_err(|why| Error::new(ident.span(), why))?,
    };
    let json = format!("{}::__private::json", path_text(&options.gob));
    // Missing members and null are zero, as in Go.
    let zero = default.clone().unwrap_or_else(|| format!("{json}::zero"));
    field
        .attrs
        .push(parse_quote!(#[gob(rename = #name #(, alias = #aliases)*)]));
    field
        .attrs
        .push(parse_quote!(#[serde(rename = #name, default = #zero #(, alias = #aliases)*)]));
    if let Some(default) = default {
        field.attrs.push(parse_quote!(#[gob(default = #default)]));
    }
    if has_bytes(&field.ty) {
        let with = format!("{json}::base64");
        field.attrs.push(parse_quote!(#[serde(with = #with)]));
    } else {
        let with = format!("{json}::field");
        field
            .attrs
            .push(parse_quote!(#[serde(deserialize_with = #with)]));
    }
    Ok(())
}

/// Does the type hold bytes, which are base64 in JSON?
fn has_bytes(ty: &Type) -> bool {
    let text = ty.to_token_stream().to_string().replace(' ', "");
    ["Vec<u8>", "Box<[u8]>"]
        .iter()
        .any(|bytes| text.contains(bytes))
        || text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "Bytes" || word == "BytesMut")
}

/// What type parameters must be: the fields' own functions keep serde from seeing it.
fn bounds(input: &mut DeriveInput, options: &Options) {
    let serde = path_text(&options.serde);
    let params: Vec<_> = input
        .generics
        .type_params()
        .map(|param| param.ident.to_string())
        .collect();
    if params.is_empty() {
        return;
    }
    let all = |bound: &str| {
        params
            .iter()
            .map(|param| format!("{param}: {bound}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (ser, de) = (
        all(&format!("{serde}::Serialize")),
        all(&format!("{serde}::Deserialize<'de>")),
    );
    let gob = format!("{}::Gob", path_text(&options.gob));
    let (ser, de) = (
        format!("{ser}, {}", all(&gob)),
        format!("{de}, {}", all(&gob)),
    );
    input
        .attrs
        .push(parse_quote!(#[serde(bound(serialize = #ser, deserialize = #de))]));
}

/// Derives `Gob` and of serde what is named.
fn derive(input: &DeriveInput, options: &Options, of_serde: &TokenStream) -> TokenStream {
    let Options { gob, serde, .. } = options;
    quote! {
        #[derive(#gob::Gob, #serde::#of_serde)]
        #input
    }
}

/// `Deserialize` for a struct, which JSON must not give as a list: serde's own would take one.
///
/// So serde's own is derived for a copy of the struct that stands for it, and handed its input by us.
fn from_objects(input: &DeriveInput, options: &Options) -> TokenStream {
    let Options { gob, serde, .. } = options;
    let ident = &input.ident;
    let name = ident.unraw().to_string();
    let for_serde = |attrs: &mut Vec<syn::Attribute>| {
        attrs.retain(|attr| attr.path().is_ident("serde") || attr.path().is_ident("cfg"));
    };
    let mut copy = input.clone();
    copy.ident = format_ident!("__Members");
    copy.vis = syn::Visibility::Inherited;
    for_serde(&mut copy.attrs);
    copy.attrs
        .push(parse_quote!(#[serde(remote = #name, rename = #name)]));
    if let Data::Struct(data) = &mut copy.data {
        data.fields
            .iter_mut()
            .for_each(|field| for_serde(&mut field.attrs));
    }
    let mut generics = input.generics.clone();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!(#serde::Deserialize<'de>));
        param.bounds.push(parse_quote!(#gob::Gob));
    }
    generics.params.insert(0, parse_quote!('de));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (_, ty_generics, _) = input.generics.split_for_impl();
    let turbofish = ty_generics.as_turbofish();
    quote! {
        const _: () = {
            #[derive(#serde::Deserialize)]
            #[allow(dead_code)]
            #copy

            #[automatically_derived]
            impl #impl_generics #serde::Deserialize<'de> for #ident #ty_generics #where_clause {
                fn deserialize<__D: #serde::Deserializer<'de>>(
                    deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    match #serde::Deserializer::is_human_readable(&deserializer) {
                        true => __Members #turbofish::deserialize(#gob::__private::json::Object(deserializer)),
                        false => __Members #turbofish::deserialize(deserializer),
                    }
                }
            }
        };
    }
}

/// An enum is the number or the text in JSON that it is in gob.
fn enumeration(mut input: DeriveInput, options: &Options) -> Result<TokenStream> {
    let Options {
        gob, serde, rest, ..
    } = options;
    let gob_path = path_text(gob);
    if let Data::Enum(data) = &mut input.data {
        for variant in &mut data.variants {
            if !matches!(variant.fields, Fields::Unit) {
                return Err(Error::new_spanned(
                    variant,
                    "a message's variants hold nothing: make it a struct with an Option for each case, or use \
                     #[derive(Gob)] alone, which has forms for this",
                ));
            }
            let ours = take_options(&mut variant.attrs)?;
            variant.attrs.push(parse_quote!(#[gob(#(#ours),*)]));
        }
    }
    input
        .attrs
        .push(parse_quote!(#[gob(crate = #gob_path #(, #rest)*)]));
    let ident = &input.ident;
    Ok(quote! {
        #[derive(#gob::Gob)]
        #input

        #[automatically_derived]
        impl #serde::Serialize for #ident {
            fn serialize<S: #serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                #serde::Serialize::serialize(&self.__gob_form(), serializer)
            }
        }

        #[automatically_derived]
        impl<'de> #serde::Deserialize<'de> for #ident {
            fn deserialize<D: #serde::Deserializer<'de>>(deserializer: D) -> ::core::result::Result<Self, D::Error> {
                let form = #serde::Deserialize::deserialize(deserializer)?;
                Self::__from_gob_form(form).map_err(#serde::de::Error::custom)
            }
        }
    })
}

fn path_text(path: &Path) -> String {
    path.to_token_stream().to_string().replace(' ', "")
}
