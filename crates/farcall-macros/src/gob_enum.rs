//! `#[derive(Gob)]` on enums: Go has none, so each form is one of Go's habits. Constants are here; enums whose variants
//! hold something are in `gob_variants`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, Error, Fields, Ident, LitStr, Result, Variant};

use crate::gob::{TypeOptions, each_option};
use crate::gob_variants;

/// What is written for an enum.
pub(crate) struct Code {
    /// The trait's methods.
    pub(crate) methods: TokenStream,
    /// Functions of the enum that turn it into what is sent, and back.
    pub(crate) forms: TokenStream,
}

pub(crate) fn expand(options: &TypeOptions, data: &DataEnum) -> Result<Code> {
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            &data.variants,
            "an enum without variants has no values to send",
        ));
    }
    let form = options.form.as_ref().map(LitStr::value);
    match form.as_deref() {
        None | Some("int") => Ok(number(&Variants::parse(data)?, &quote!(i64))),
        Some("uint") => Ok(number(&Variants::parse(data)?, &quote!(u64))),
        Some("string") => Ok(text(&Variants::parse(data)?)),
        Some("interface") => gob_variants::interface(data),
        Some("union") => gob_variants::union(&options.name, data),
        Some(_) => Err(Error::new_spanned(
            &options.form,
            "one of \"int\", \"uint\", \"string\", \"interface\" and \"union\" is expected",
        )),
    }
}

/// The variants of an enum without fields.
struct Variants<'a> {
    idents: Vec<&'a Ident>,
    names: Vec<String>,
    other: Option<&'a Ident>,
}

impl<'a> Variants<'a> {
    fn parse(data: &'a DataEnum) -> Result<Self> {
        let mut variants = Self {
            idents: vec![],
            names: vec![],
            other: None,
        };
        for variant in &data.variants {
            if !matches!(variant.fields, Fields::Unit) {
                return Err(Error::new_spanned(
                    variant,
                    "Go has no enums whose variants hold something: say #[gob(as = \"interface\")] if this is a Go \
                     interface, or #[gob(as = \"union\")] for a struct with a pointer for each variant",
                ));
            }
            let options = VariantOptions::parse(variant)?;
            if options.other {
                variants.other = Some(&variant.ident);
            }
            variants.idents.push(&variant.ident);
            variants.names.push(options.name);
        }
        Ok(variants)
    }
}

/// What `#[gob(…)]` says about a variant.
pub(crate) struct VariantOptions {
    pub(crate) name: String,
    pub(crate) renamed: bool,
    pub(crate) other: bool,
}

impl VariantOptions {
    pub(crate) fn parse(variant: &Variant) -> Result<Self> {
        let name = variant
            .ident
            .to_string()
            .trim_start_matches("r#")
            .to_owned();
        let mut options = Self {
            name,
            renamed: false,
            other: false,
        };
        each_option(&variant.attrs, |meta| {
            if meta.path.is_ident("rename") {
                options.name = meta.value()?.parse::<LitStr>()?.value();
                options.renamed = true;
            } else if meta.path.is_ident("other") {
                options.other = true;
            } else {
                return Err(meta.error("unknown option: a variant has `rename` and `other`"));
            }
            Ok(())
        })?;
        Ok(options)
    }
}

/// An integer: Go's constants made with `iota`.
fn number(variants: &Variants<'_>, int: &TokenStream) -> Code {
    let Variants { idents, other, .. } = variants;
    let unknown = match other {
        Some(other) => quote!(Ok(Self::#other)),
        None => quote!(Err(::std::format!(
            "{form} is no variant of {}",
            ::core::any::type_name::<Self>()
        ))),
    };
    Code {
        methods: quote! {
            const NESTS: bool = false;
            const HAS_ZERO: bool = false #(|| Self::#idents as #int == 0)*;

            fn describe(d: &mut Describer) -> NodeId {
                <#int as Gob>::describe(d)
            }

            #[inline]
            fn zero() -> Option<Self> {
                #(if Self::#idents as #int == 0 {
                    return Some(Self::#idents);
                })*
                None
            }

            #[inline]
            fn is_left_out(&self) -> bool {
                self.__gob_form() == 0
            }

            #[inline]
            fn put(&self, w: &mut Writer<'_>) -> Done {
                <#int as Gob>::put(&self.__gob_form(), w)
            }

            fn get(r: &mut Reader<'_>, at: At<'_>) -> Read<Self> {
                let form = <#int as Gob>::get(r, at)?;
                Self::__from_gob_form(form).map_err(|what| r.out_of_range(what))
            }
        },
        forms: quote! {
            #[inline]
            fn __gob_form(&self) -> #int {
                match self { #(Self::#idents => Self::#idents as #int,)* }
            }

            fn __from_gob_form(form: #int) -> ::core::result::Result<Self, ::std::string::String> {
                #(if form == Self::#idents as #int {
                    return Ok(Self::#idents);
                })*
                #unknown
            }
        },
    }
}

/// A string: Go's named string constants. Only a variant whose name is empty is zero.
fn text(variants: &Variants<'_>) -> Code {
    let Variants {
        idents,
        names,
        other,
    } = variants;
    let unknown = match other {
        Some(other) => quote!(Ok(Self::#other)),
        None => quote!(Err(::std::format!(
            "{form:?} is no variant of {}",
            ::core::any::type_name::<Self>()
        ))),
    };
    Code {
        methods: quote! {
            const NESTS: bool = false;
            const HAS_ZERO: bool = false #(|| #names.is_empty())*;

            fn describe(d: &mut Describer) -> NodeId {
                <::std::string::String as Gob>::describe(d)
            }

            fn zero() -> Option<Self> {
                #(if #names.is_empty() {
                    return Some(Self::#idents);
                })*
                None
            }

            fn is_left_out(&self) -> bool {
                self.__gob_form().is_empty()
            }

            fn put(&self, w: &mut Writer<'_>) -> Done {
                w.bytes(self.__gob_form().as_bytes());
                Ok(())
            }

            fn get(r: &mut Reader<'_>, at: At<'_>) -> Read<Self> {
                let form = <::std::string::String as Gob>::get(r, at)?;
                Self::__from_gob_form(form).map_err(|what| r.out_of_range(what))
            }
        },
        forms: quote! {
            fn __gob_form(&self) -> &'static str {
                match self { #(Self::#idents => #names,)* }
            }

            fn __from_gob_form(form: ::std::string::String) -> ::core::result::Result<Self, ::std::string::String> {
                #(if form == #names {
                    return Ok(Self::#idents);
                })*
                #unknown
            }
        },
    }
}
