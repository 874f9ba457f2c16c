//! `#[aggregate]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, ItemImpl, Result, ReturnType, Signature};

use crate::function::{documentation, implementation, with_elided_lifetimes};
use crate::on_impl::OnImpl;
use crate::parameters::Parameters;

const UPDATE: &str = "fn update(&mut self, x: f64)";
const MERGE: &str = "fn merge(&mut self, other: Self)";
const FINISH: &str = "fn finish(&self) -> Option<f64>";
const MIGRATION: &str = "fn from_first(before: Before) -> Self";

const KIND: OnImpl = OnImpl { attribute: "aggregate", what: "an aggregate" };
const METHODS: &str = "`update`, `merge` and `finish`";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let (mut item, state, name) = KIND.read(arguments, item)?;
    let migrations = migrations(&KIND.migrations(&mut item)?, &state)?;
    let update = update(&item, &state)?;
    let merge = merge(&item, &state)?;
    let (finish, result) = finish(&item, &state)?;
    let body = quote!(private::Aggregation::<#state>::new());
    let exported = implementation(&state, &name, &documentation(&item.attrs), true, &body);
    Ok(quote! {
        #item

        #exported

        const _: () = {
            use ::tidemill_plugin::__private as private;

            impl private::Aggregate for #state {
                type Result = #result;
                const NAME: &'static str = #name;

                #update
                #merge
                #finish
                #migrations
            }
        };
    })
}

fn update(item: &ItemImpl, state: &Ident) -> Result<TokenStream> {
    let signature = KIND.required(item, "update", true, UPDATE, METHODS)?;
    let parameters = Parameters::of(signature.inputs.iter().skip(1))?;
    let (fields, columns, values) =
        (parameters.fields(), parameters.columns(), parameters.values());
    let each = quote_spanned! {signature.output.span()=>
        private::update_each(rows, nulls.as_ref(), update)
    };
    Ok(quote! {
        fn arguments() -> ::std::vec::Vec<private::arrow::datatypes::Field> {
            ::std::vec![#(#fields),*]
        }

        fn update_all(
            states: &mut [#state],
            groups: &[u32],
            arguments: &private::arrow::array::RecordBatch,
            context: &::tidemill_plugin::BatchContext,
        ) -> ::tidemill_plugin::Result<::std::vec::Vec<private::RowError>> {
            #columns
            let update = |row: usize| {
                let state = &mut states[groups[row] as usize];
                #state::update(state, #(#values),*)
            };
            #each
        }
    })
}

fn merge(item: &ItemImpl, state: &Ident) -> Result<TokenStream> {
    let signature = KIND.required(item, "merge", true, MERGE, METHODS)?;
    if signature.inputs.len() != 2 {
        return Err(KIND.unfit(signature, MERGE));
    }
    let into_result = quote_spanned!(signature.output.span()=> private::Updated::into_result);
    let call = quote_spanned!(signature.inputs.span()=> #state::merge(self, other));
    Ok(quote! {
        fn merge_one(&mut self, other: #state) -> ::tidemill_plugin::Result<()> {
            #into_result(#call)
        }
    })
}

/// From the states of earlier forms to those of the present one.
fn migrations(migrations: &[Signature], state: &Ident) -> Result<TokenStream> {
    if migrations.is_empty() {
        return Ok(TokenStream::new());
    }
    let (mut schemas, mut arms) = (Vec::new(), Vec::new());
    for (number, signature) in migrations.iter().enumerate() {
        let before = match (signature.inputs.first(), signature.inputs.len()) {
            (Some(FnArg::Typed(before)), 1) => &before.ty,
            _ => return Err(KIND.unfit(signature, MIGRATION)),
        };
        let name = &signature.ident;
        schemas.push(quote_spanned!(before.span()=> <#before as ::tidemill_plugin::Row>::schema()));
        let into_result = quote_spanned!(signature.output.span()=> private::Migrated::into_result);
        let number = number as u32;
        arms.push(quote! {
            #number => <#before as ::tidemill_plugin::Row>::from_batch(states)?
                .into_iter()
                .map(|before| #into_result(#state::#name(before)))
                .collect()
        });
    }
    Ok(quote! {
        fn migrations() -> ::std::vec::Vec<private::arrow::datatypes::SchemaRef> {
            ::std::vec![#(#schemas),*]
        }

        fn migrated(
            migration: u32,
            states: &private::arrow::array::RecordBatch,
        ) -> ::tidemill_plugin::Result<::std::vec::Vec<#state>> {
            match migration {
                #(#arms,)*
                other => ::std::result::Result::Err(private::no_migration(Self::NAME, other)),
            }
        }
    })
}

/// The function, and what it gives.
fn finish(item: &ItemImpl, state: &Ident) -> Result<(TokenStream, TokenStream)> {
    let signature = KIND.required(item, "finish", false, FINISH, METHODS)?;
    let ReturnType::Type(_, result) = &signature.output else {
        return Err(KIND.unfit(signature, FINISH));
    };
    if signature.inputs.len() != 1 {
        return Err(KIND.unfit(signature, FINISH));
    }
    let result = with_elided_lifetimes(result);
    let finish = quote! {
        fn finish_one(&self) -> #result {
            #state::finish(self)
        }
    };
    Ok((finish, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(item: TokenStream) -> String {
        let expanded = expand(TokenStream::new(), item);
        expanded.err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn what_an_aggregate_lacks_is_told_with_its_shape() {
        let lacks_merge = quote! {
            impl Mean { fn update(&mut self, x: f64) {} fn finish(&self) -> f64 { 0.0 } }
        };
        let expected = "an aggregate has `update`, `merge` and `finish`; there is no `merge`, such as \
                        `fn merge(&mut self, other: Self)`";
        assert_eq!(told(lacks_merge), expected);
        let gives_nothing = quote! {
            impl Mean { fn update(&mut self) {} fn merge(&mut self, o: Self) {} fn finish(&self) {} }
        };
        let expected = "an aggregate's `finish` is a `fn finish(&self) -> Option<f64>`";
        assert_eq!(told(gives_nothing), expected);
        let stands_alone = quote! { impl Mean { fn update(x: f64) {} } };
        let expected = "an aggregate's `update` is a `fn update(&mut self, x: f64)`";
        assert_eq!(told(stands_alone), expected);
    }
}
