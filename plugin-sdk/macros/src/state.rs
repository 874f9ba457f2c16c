//! `#[derive(State)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, LitStr, Result};
use tidemill_types::Interval;

pub(crate) fn derive(item: &DeriveInput) -> Result<TokenStream> {
    let refuse = |message| Err(Error::new_spanned(&item.ident, message));
    let Data::Struct(data) = &item.data else {
        return refuse("a state is a struct whose fields are ValueState, ListState and MapState");
    };
    let Fields::Named(named) = &data.fields else {
        return refuse("a state is a struct whose fields have names, by which they are kept");
    };
    if !item.generics.params.is_empty() {
        return refuse("what is kept has types: it takes no parameters");
    }
    let ident = &item.ident;
    let fields: Vec<_> = named.named.iter().filter_map(|field| field.ident.as_ref()).collect();
    let names: Vec<String> =
        fields.iter().map(|field| field.to_string().trim_start_matches("r#").to_owned()).collect();
    let types: Vec<_> = named.named.iter().map(|field| &field.ty).collect();
    let variables = named.named.iter().zip(&names).map(|(field, name)| {
        let ttl = match ttl(field)? {
            Some(micros) => quote!(::std::option::Option::Some(#micros)),
            None => quote!(::std::option::Option::None),
        };
        let ty = &field.ty;
        Ok(quote_spanned! {ty.span()=> <#ty as private::StateField>::variable(#name, #ttl)})
    });
    let variables = variables.collect::<Result<Vec<_>>>()?;
    let numbers = 0..fields.len() as u32;
    let each = types.iter().zip(&fields).map(|(ty, field)| {
        quote_spanned! {ty.span()=> &mut self.#field as &mut dyn private::Kept}
    });
    let made = types.iter().zip(numbers).map(|(ty, number)| {
        quote_spanned! {ty.span()=> <#ty as private::StateField>::numbered(#number)}
    });
    Ok(quote! {
        const _: () = {
            use ::tidemill_plugin::__private as private;

            impl ::tidemill_plugin::State for #ident {
                fn variables() -> ::std::vec::Vec<private::Variable> {
                    ::std::vec![#(#variables),*]
                }

                fn new() -> #ident {
                    #ident { #(#fields: #made),* }
                }

                fn each(&mut self) -> ::std::vec::Vec<&mut dyn private::Kept> {
                    ::std::vec![#(#each),*]
                }
            }
        };
    })
}

/// Microseconds of `#[state(ttl = "…")]`.
fn ttl(field: &Field) -> Result<Option<u64>> {
    let mut ttl = None;
    let attributes = field.attrs.iter().filter(|attribute| attribute.path().is_ident("state"));
    for attribute in attributes {
        ttl = Some(read(attribute)?);
    }
    Ok(ttl)
}

fn read(attribute: &Attribute) -> Result<u64> {
    let mut ttl = None;
    attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident("ttl") {
            return Err(meta.error("a field of a state takes `ttl = \"1 hour\"` alone"));
        }
        let text: LitStr = meta.value()?.parse()?;
        let interval: Interval = text
            .value()
            .parse()
            .map_err(|error| Error::new_spanned(&text, format!("ttl: {error}")))?;
        let micros = u64::try_from(interval.micros).ok().filter(|micros| *micros > 0);
        ttl =
            Some(micros.ok_or_else(|| Error::new_spanned(&text, "ttl: it has to be more than 0"))?);
        Ok(())
    })?;
    ttl.ok_or_else(|| Error::new_spanned(attribute, "a field of a state takes `ttl = \"1 hour\"`"))
}
