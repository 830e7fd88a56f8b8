//! `#[derive(Gob)]` on enums whose variants hold something.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, Error, Fields, Ident, Result, Type, Variant};

use crate::gob_enum::{Code, VariantOptions};
use crate::names;

/// A Go interface: each variant is a type that is registered under a name.
pub(crate) fn interface(data: &DataEnum) -> Result<Code> {
    let mut nil = None;
    let mut other = None;
    let (mut idents, mut tys, mut names) = (vec![], vec![], vec![]);
    for variant in &data.variants {
        let options = VariantOptions::parse(variant)?;
        match held(variant)? {
            None if nil.is_some() => {
                return Err(Error::new_spanned(
                    variant,
                    "only one variant can be nil, which is what holds nothing",
                ));
            }
            None => nil = Some(&variant.ident),
            Some(_) if options.other => other = Some(&variant.ident),
            Some(_) if !options.renamed => {
                return Err(Error::new_spanned(
                    variant,
                    "say under which name Go has registered this type, as in #[gob(rename = \"main.Circle\")]",
                ));
            }
            Some(ty) => {
                idents.push(&variant.ident);
                tys.push(ty);
                names.push(options.name);
            }
        }
    }
    let (has_zero, zero) = nil_as_zero(nil);
    let on_nil = match nil {
        Some(nil) => quote!(Ok(Self::#nil)),
        None => quote!(Err(r.unexpected_nil())),
    };
    let on_unknown = match other {
        Some(other) => quote!(r.unknown_contents(&contents).map(Self::#other)),
        None => quote!(Err(r.unregistered(&contents))),
    };
    let is_nil = match nil {
        Some(nil) => quote!(::core::matches!(self, Self::#nil)),
        None => quote!(false),
    };
    let put_nil = nil.map(|nil| quote!(Self::#nil => { w.end(); Ok(()) }));
    let put_other = other.map(|other| quote!(Self::#other(value) => Gob::put(value, w),));
    Ok(Code {
        methods: quote! {
            const HAS_ZERO: bool = #has_zero;

            fn describe(_: &mut Describer) -> NodeId {
                Describer::INTERFACE
            }

            fn zero() -> Option<Self> {
                #zero
            }

            fn is_left_out(&self) -> bool {
                #is_nil
            }

            fn put(&self, w: &mut Writer<'_>) -> Done {
                match self {
                    #put_nil
                    #put_other
                    #(Self::#idents(value) => w.contents::<#tys>(#names, value),)*
                }
            }

            fn get(r: &mut Reader<'_>, _: At<'_>) -> Read<Self> {
                let Some(contents) = r.contents_type()? else { return #on_nil };
                match contents.name() {
                    #(#names => r.contents::<#tys>(&contents).map(Self::#idents),)*
                    _ => #on_unknown,
                }
            }
        },
        forms: TokenStream::new(),
    })
}

/// A struct with a pointer for each variant, of which one is set: as gob describes its own types.
pub(crate) fn union(name: &str, data: &DataEnum) -> Result<Code> {
    let mut none = None;
    let (mut idents, mut tys, mut names) = (vec![], vec![], vec![]);
    for variant in &data.variants {
        let options = VariantOptions::parse(variant)?;
        match held(variant)? {
            None if none.is_some() => {
                return Err(Error::new_spanned(
                    variant,
                    "only one variant can be the one that holds nothing",
                ));
            }
            None => none = Some(&variant.ident),
            Some(ty) => {
                names::check(&options.name).map_err(|why| Error::new_spanned(variant, why))?;
                idents.push(&variant.ident);
                tys.push(ty);
                names.push(options.name);
            }
        }
    }
    let numbers: Vec<_> = (0..idents.len() as u32).collect();
    let (has_zero, zero) = nil_as_zero(none);
    let on_none = match none {
        Some(none) => quote!(Ok(Self::#none)),
        None => quote!(Err(r.unexpected_nil())),
    };
    let put_none = none.map(|none| quote!(Self::#none => {}));
    Ok(Code {
        methods: quote! {
            const HAS_ZERO: bool = #has_zero;

            fn describe(d: &mut Describer) -> NodeId {
                d.structure::<Self>(#name, |d| ::std::vec![#((#names, <#tys as Gob>::describe(d))),*])
            }

            fn zero() -> Option<Self> {
                #zero
            }

            fn put(&self, w: &mut Writer<'_>) -> Done {
                w.enter()?;
                match self {
                    #put_none
                    #(Self::#idents(value) => <#tys as Gob>::put_after(value, #numbers + 1, w)
                        .map_err(|error| error.in_field(#names))?,)*
                }
                w.end();
                w.leave();
                Ok(())
            }

            fn get(r: &mut Reader<'_>, at: At<'_>) -> Read<Self> {
                r.enter()?;
                let mut found = None;
                let mut fields = r.fields(at);
                while let Some((number, at)) = fields.step(r)? {
                    let value = match number {
                        #(#numbers => <#tys as Gob>::get(r, at).map(Self::#idents)
                            .map_err(|error| error.in_field(#names))?,)*
                        _ => continue,
                    };
                    if found.replace(value).is_some() {
                        return Err(r.out_of_range("two variants of an enum came at once"));
                    }
                }
                r.leave();
                match found {
                    Some(value) => Ok(value),
                    None => #on_none,
                }
            }
        },
        forms: TokenStream::new(),
    })
}

/// The type of what a variant holds.
fn held(variant: &Variant) -> Result<Option<&Type>> {
    match &variant.fields {
        Fields::Unit => Ok(None),
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Ok(Some(&fields.unnamed[0].ty)),
        fields => Err(Error::new_spanned(
            fields,
            "a variant holds one thing: put these into a struct of their own",
        )),
    }
}

fn nil_as_zero(nil: Option<&Ident>) -> (bool, TokenStream) {
    match nil {
        Some(nil) => (true, quote!(Some(Self::#nil))),
        None => (false, quote!(None)),
    }
}
