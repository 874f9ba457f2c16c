//! `#[aggregate]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, Ident, ImplItem, ItemImpl, LitStr, Result, ReturnType, Signature, Token, Type,
};

use crate::function::{documentation, implementation, plain, with_elided_lifetimes};
use crate::parameters::Parameters;

const UPDATE: &str = "fn update(&mut self, x: f64)";
const MERGE: &str = "fn merge(&mut self, other: Self)";
const FINISH: &str = "fn finish(&self) -> Option<f64>";

/// `name = "…"`.
#[derive(Default)]
struct Arguments {
    name: Option<String>,
}

impl Parse for Arguments {
    fn parse(tokens: ParseStream<'_>) -> Result<Arguments> {
        if tokens.is_empty() {
            return Ok(Arguments::default());
        }
        let key: Ident = tokens.parse()?;
        if key != "name" {
            let message = format!("there is no `{key}` here; an aggregate takes `name = \"…\"`");
            return Err(Error::new_spanned(key, message));
        }
        tokens.parse::<Token![=]>()?;
        let text: LitStr = tokens.parse()?;
        let name = text.value();
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = "a name in SQL begins with a letter, and has letters, digits and _";
            return Err(Error::new_spanned(text, message));
        }
        tokens.parse::<Option<Token![,]>>()?;
        match tokens.is_empty() {
            true => Ok(Arguments { name: Some(name) }),
            false => Err(tokens.error("an aggregate takes `name = \"…\"` alone")),
        }
    }
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item: ItemImpl = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), "#[aggregate] stands before an `impl` of the type of the state")
    })?;
    aggregate(&syn::parse2(arguments)?, &item)
}

fn aggregate(arguments: &Arguments, item: &ItemImpl) -> Result<TokenStream> {
    let state = state(item)?;
    let name = arguments.name.clone().unwrap_or_else(|| snake_case(&state.to_string()));
    let update = update(item, state)?;
    let merge = merge(item, state)?;
    let (finish, result) = finish(item, state)?;
    let body = quote!(private::Aggregation::<#state>::new());
    let exported = implementation(state, &name, &documentation(&item.attrs), true, &body);
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
            }
        };
    })
}

/// The type whose values are the states.
fn state(item: &ItemImpl) -> Result<&Ident> {
    if let Some((_, of, _)) = &item.trait_ {
        let message = "#[aggregate] stands before an `impl` of the type itself, not of a trait";
        return Err(Error::new_spanned(of, message));
    }
    let ident = match &*item.self_ty {
        Type::Path(path) => path.path.get_ident(),
        _ => None,
    };
    ident.filter(|_| item.generics.params.is_empty()).ok_or_else(|| {
        let message = "the state of an aggregate is a struct of this module without parameters";
        Error::new_spanned(&item.self_ty, message)
    })
}

fn update(item: &ItemImpl, state: &Ident) -> Result<TokenStream> {
    let signature = method(item, "update", UPDATE)?;
    receiver(signature, true, UPDATE)?;
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
    let signature = method(item, "merge", MERGE)?;
    receiver(signature, true, MERGE)?;
    if signature.inputs.len() != 2 {
        return Err(Error::new_spanned(
            signature,
            format!("an aggregate's `merge` is a `{MERGE}`"),
        ));
    }
    let into_result = quote_spanned!(signature.output.span()=> private::Updated::into_result);
    let call = quote_spanned!(signature.inputs.span()=> #state::merge(self, other));
    Ok(quote! {
        fn merge_one(&mut self, other: #state) -> ::tidemill_plugin::Result<()> {
            #into_result(#call)
        }
    })
}

/// The function, and what it gives.
fn finish(item: &ItemImpl, state: &Ident) -> Result<(TokenStream, TokenStream)> {
    let signature = method(item, "finish", FINISH)?;
    receiver(signature, false, FINISH)?;
    let ReturnType::Type(_, result) = &signature.output else {
        return Err(Error::new_spanned(
            signature,
            format!("an aggregate's `finish` is a `{FINISH}`"),
        ));
    };
    if signature.inputs.len() != 1 {
        return Err(Error::new_spanned(
            signature,
            format!("an aggregate's `finish` is a `{FINISH}`"),
        ));
    }
    let result = with_elided_lifetimes(result);
    let finish = quote! {
        fn finish_one(&self) -> #result {
            #state::finish(self)
        }
    };
    Ok((finish, result))
}

fn method<'a>(item: &'a ItemImpl, name: &str, shape: &str) -> Result<&'a Signature> {
    let found = item.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident == name => Some(&function.sig),
        _ => None,
    });
    let signature = found.ok_or_else(|| {
        let message = format!(
            "an aggregate has `update`, `merge` and `finish`; there is no `{name}`, such as `{shape}`"
        );
        Error::new_spanned(&item.self_ty, message)
    })?;
    plain(signature)?;
    Ok(signature)
}

fn receiver(signature: &Signature, is_mutable: bool, shape: &str) -> Result<()> {
    match signature.inputs.first() {
        Some(FnArg::Receiver(this))
            if this.reference.is_some() && this.mutability.is_some() == is_mutable =>
        {
            Ok(())
        }
        _ => {
            let name = &signature.ident;
            let message = format!("an aggregate's `{name}` is a `{shape}`");
            Err(Error::new_spanned(signature, message))
        }
    }
}

/// `TopThree` as `top_three`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut after_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && after_small {
            snake.push('_');
        }
        after_small = !letter.is_uppercase();
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn told(item: &ItemImpl) -> String {
        let expanded = aggregate(&Arguments::default(), item);
        expanded.err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn what_an_aggregate_lacks_is_told_with_its_shape() {
        let lacks_merge = parse_quote! {
            impl Mean { fn update(&mut self, x: f64) {} fn finish(&self) -> f64 { 0.0 } }
        };
        let expected = "an aggregate has `update`, `merge` and `finish`; there is no `merge`, such as \
                        `fn merge(&mut self, other: Self)`";
        assert_eq!(told(&lacks_merge), expected);
        let gives_nothing = parse_quote! {
            impl Mean { fn update(&mut self) {} fn merge(&mut self, o: Self) {} fn finish(&self) {} }
        };
        let expected = "an aggregate's `finish` is a `fn finish(&self) -> Option<f64>`";
        assert_eq!(told(&gives_nothing), expected);
        let stands_alone = parse_quote! { impl Mean { fn update(x: f64) {} } };
        let expected = "an aggregate's `update` is a `fn update(&mut self, x: f64)`";
        assert_eq!(told(&stands_alone), expected);
        assert!(told(&parse_quote! { impl Sum for Mean {} }).contains("not of a trait"));
        assert!(told(&parse_quote! { impl<T> Mean<T> {} }).contains("without parameters"));
    }

    #[test]
    fn its_name_is_the_types_or_the_given_one() {
        assert_eq!(snake_case("Mean"), "mean");
        assert_eq!(snake_case("TopThree"), "top_three");
        assert_eq!(snake_case("P95"), "p95");
        let told = |text: &str| {
            let read = syn::parse_str::<Arguments>(text);
            read.map(|read| read.name).map_err(|error| error.to_string())
        };
        assert_eq!(told("name = \"middle\""), Ok(Some("middle".to_owned())));
        assert_eq!(told(""), Ok(None));
        assert!(told("name = \"9th\"").is_err_and(|e| e.starts_with("a name in SQL begins")));
        assert!(told("names = \"a\"").is_err_and(|e| e.starts_with("there is no `names`")));
    }
}
