//! `#[scalar]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, LitBool, Result, ReturnType, Token};

use crate::function::{exported, plain, with_elided_lifetimes};
use crate::parameters::Parameters;

/// `deterministic = false`.
struct Arguments {
    is_deterministic: bool,
}

impl Parse for Arguments {
    fn parse(tokens: ParseStream<'_>) -> Result<Arguments> {
        if tokens.is_empty() {
            return Ok(Arguments { is_deterministic: true });
        }
        let key: Ident = tokens.parse()?;
        if key != "deterministic" {
            let message =
                format!("there is no `{key}` here; a scalar takes `deterministic = false`");
            return Err(Error::new_spanned(key, message));
        }
        tokens.parse::<Token![=]>()?;
        let value: LitBool = tokens.parse()?;
        tokens.parse::<Option<Token![,]>>()?;
        match tokens.is_empty() {
            true => Ok(Arguments { is_deterministic: value.value }),
            false => Err(tokens.error("a scalar takes `deterministic = false` alone")),
        }
    }
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    scalar(&syn::parse2(arguments)?, &syn::parse2(item)?)
}

fn scalar(arguments: &Arguments, function: &ItemFn) -> Result<TokenStream> {
    plain(&function.sig)?;
    let parameters = Parameters::of(function.sig.inputs.iter())?;
    let (fields, columns, values) =
        (parameters.fields(), parameters.columns(), parameters.values());
    let ReturnType::Type(_, output) = &function.sig.output else {
        return Err(Error::new_spanned(
            &function.sig,
            "a scalar gives a value for each row; add a result, such as `-> f64`",
        ));
    };
    let output = with_elided_lifetimes(output);
    let call = &function.sig.ident;
    let name = call.to_string();
    let result = quote_spanned!(output.span()=> private::result::<#output>(#name));
    let evaluate =
        quote_spanned!(output.span()=> private::evaluate(rows, nulls.as_ref(), evaluate));
    let body = quote! {
        private::Scalar {
            input: ::std::vec![#(#fields),*],
            output: #result,
            call: |arguments, context| {
                #columns
                let evaluate = |row: usize| {
                    let _ = row;
                    #call(#(#values),*)
                };
                #evaluate
            },
        }
    };
    Ok(exported(function, arguments.is_deterministic, &body))
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn scalar_error(function: ItemFn) -> String {
        let arguments = Arguments { is_deterministic: true };
        scalar(&arguments, &function).err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn a_function_that_the_host_could_not_call_is_refused_with_the_way_out() {
        let told = scalar_error(parse_quote! { fn f(x: f64) {} });
        assert_eq!(told, "a scalar gives a value for each row; add a result, such as `-> f64`");
        let told = scalar_error(parse_quote! { async fn f(x: f64) -> f64 { x } });
        assert_eq!(told, "the host waits for the plugin: remove `async`, every call here blocks");
        let told = scalar_error(parse_quote! { fn f<T>(x: T) -> T { x } });
        assert_eq!(told, "the host needs to know the types: write concrete ones");
        let told = scalar_error(parse_quote! { fn f((a, b): (f64, f64)) -> f64 { a } });
        assert_eq!(told, "give the argument a name: SQL shows it");
        assert_eq!(scalar_error(parse_quote! { fn f<'a>(x: &'a str) -> &'a str { x } }), "");
    }

    #[test]
    fn a_scalar_says_that_it_is_not_deterministic() {
        let read = |text: &str| {
            let scalar = syn::parse_str::<Arguments>(text).map_err(|error| error.to_string());
            scalar.map(|scalar| scalar.is_deterministic)
        };
        assert_eq!(read(""), Ok(true));
        assert_eq!(read("deterministic = false"), Ok(false));
        let told = "there is no `pure` here; a scalar takes `deterministic = false`";
        assert_eq!(read("pure = true"), Err(told.to_owned()));
        let told = "a scalar takes `deterministic = false` alone";
        assert_eq!(read("deterministic = false, deterministic = true"), Err(told.to_owned()));
    }
}
