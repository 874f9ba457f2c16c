//! `#[transform]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, ItemFn, LitStr, Result, Token};

use crate::ddl;
use crate::function::{exported, shaped};

const MAKING: &str = "fn(RecordBatch, &BatchContext) -> Result<RecordBatch>";
const STREAMING: &str = "fn(RecordBatch, &BatchContext, &mut Output<'_>) -> Result<()>";
const SELECTING: &str = "fn(RecordBatch, &BatchContext) -> Result<Selected>";

/// `input = "…", output = "…"`, or `reads = "…", sets = "…"`.
#[derive(Default)]
struct Columns {
    input: Option<LitStr>,
    output: Option<LitStr>,
    reads: Option<LitStr>,
    sets: Option<LitStr>,
}

impl Parse for Columns {
    fn parse(tokens: ParseStream<'_>) -> Result<Columns> {
        let mut columns = Columns::default();
        while !tokens.is_empty() {
            let key: Ident = tokens.parse()?;
            let place = match key.to_string().as_str() {
                "input" => &mut columns.input,
                "output" => &mut columns.output,
                "reads" => &mut columns.reads,
                "sets" => &mut columns.sets,
                other => {
                    let message = format!(
                        "there is no `{other}` here; a transform takes `input` and `output`, or \
                         `reads` and `sets`, each with columns such as \"id STRING, amount DOUBLE\""
                    );
                    return Err(Error::new_spanned(key, message));
                }
            };
            tokens.parse::<Token![=]>()?;
            let ddl: LitStr = tokens.parse()?;
            check(&ddl)?;
            if place.replace(ddl).is_some() {
                return Err(Error::new_spanned(key, "given twice"));
            }
            if !tokens.is_empty() {
                tokens.parse::<Token![,]>()?;
            }
        }
        Ok(columns)
    }
}

/// Refuses what is no list of columns, and a name that comes twice.
fn check(ddl: &LitStr) -> Result<()> {
    let mut names = ddl::check(ddl)?;
    names.iter_mut().for_each(|name| name.make_ascii_lowercase());
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let message = format!("the column \"{name}\" is named twice");
            return Err(Error::new(ddl.span(), message));
        }
    }
    Ok(())
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    transform(&syn::parse2(arguments)?, &syn::parse2(item)?)
}

fn transform(columns: &Columns, function: &ItemFn) -> Result<TokenStream> {
    let Columns { input, output, reads, sets } = columns;
    let body = match (input, output, reads, sets) {
        (_, _, None, None) => making(input.as_ref(), output.as_ref(), function)?,
        (None, None, Some(reads), sets) => selecting(reads, sets.as_ref(), function)?,
        (_, _, None, Some(sets)) => {
            let message = "say what the function reads, too: `reads = \"…\"`, which may be \"\"";
            return Err(Error::new_spanned(sets, message));
        }
        (_, _, Some(reads), _) => {
            let message = "`reads` and `sets` let the other columns through, and `input` and \
                           `output` do not: take the one or the other";
            return Err(Error::new_spanned(reads, message));
        }
    };
    Ok(exported(function, true, &body))
}

/// All columns of the output are made.
fn making(
    input: Option<&LitStr>,
    output: Option<&LitStr>,
    function: &ItemFn,
) -> Result<TokenStream> {
    let call = &function.sig.ident;
    let call = if function.sig.inputs.len() == 3 {
        shaped(function, 3, "a transform", STREAMING)?;
        if output.is_none() {
            let message = "a transform that may give its rows in several batches, or in none, says \
                           which columns they have: #[transform(output = \"…\")]";
            return Err(Error::new_spanned(&function.sig, message));
        }
        quote_spanned!(call.span()=> #call)
    } else {
        shaped(function, 2, "a transform", MAKING)?;
        quote_spanned!(call.span()=> |rows, context, output| output.give(#call(rows, context)?))
    };
    let (input, output) = (optional(input), optional(output));
    Ok(quote!(private::Making { input: #input, output: #output, call: #call }))
}

/// The columns that are not set are let through.
fn selecting(reads: &LitStr, sets: Option<&LitStr>, function: &ItemFn) -> Result<TokenStream> {
    shaped(function, 2, "a transform with `reads`", SELECTING)?;
    let call = &function.sig.ident;
    let call = quote_spanned!(call.span()=> #call);
    let sets = sets.map_or_else(|| quote!(""), |sets| quote!(#sets));
    Ok(quote!(private::Selecting { reads: #reads, sets: #sets, call: #call }))
}

fn optional(ddl: Option<&LitStr>) -> TokenStream {
    match ddl {
        Some(ddl) => quote!(::std::option::Option::Some(#ddl)),
        None => quote!(::std::option::Option::None),
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn told(arguments: &str, function: &ItemFn) -> String {
        let columns = syn::parse_str::<Columns>(arguments);
        let expanded = columns.and_then(|columns| transform(&columns, function));
        expanded.err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_transform_says_what_it_looks_like() {
        let function = parse_quote! { fn f(rows: RecordBatch) -> RecordBatch { rows } };
        let shape = "a transform is a `fn(RecordBatch, &BatchContext) -> Result<RecordBatch>`";
        assert_eq!(told("", &function), shape);
        let shape =
            "a transform with `reads` is a `fn(RecordBatch, &BatchContext) -> Result<Selected>`";
        assert_eq!(told(r#"reads = "a INT""#, &function), shape);
        let function = parse_quote! {
            fn f(rows: RecordBatch, ctx: &BatchContext, out: &mut Output<'_>) -> Result<()> { Ok(()) }
        };
        assert!(told("", &function).contains("#[transform(output = \"…\")]"));
        assert_eq!(told(r#"output = "a INT""#, &function), "");
    }

    #[test]
    fn what_lets_columns_through_is_not_mixed_with_what_does_not() {
        let function = parse_quote! { fn f(rows: RecordBatch, ctx: &BatchContext) -> Result<Selected> { f() } };
        for right in [r#"reads = """#, r#"reads = "a INT", sets = "a STRING""#] {
            assert_eq!(told(right, &function), "");
        }
        assert!(told(r#"sets = "a INT""#, &function).contains("`reads = \"…\"`, which may be"));
        let mixed = told(r#"reads = "a INT", output = "a INT""#, &function);
        assert!(mixed.contains("take the one or the other"), "{mixed}");
    }

    #[test]
    fn columns_name_what_they_do_not_know() {
        let told = |arguments: &str| {
            syn::parse_str::<Columns>(arguments).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(told("inputs = \"a INT\"").contains("there is no `inputs`"));
        let of_a_type = told("input = \"id STRING, tags ARRAY<TEXT>\"");
        assert!(
            of_a_type.contains("at character 23 there is \"TEXT\", expected a type"),
            "{of_a_type}"
        );
        assert_eq!(told("reads = \"a INT, A STRING\""), "the column \"a\" is named twice");
        for ddl in [
            "price DECIMAL(10, 2) NOT NULL, at TIMESTAMP",
            "m MAP<STRING, ARRAY<INT>>, i INTERVAL DAY TO HOUR, v VOID",
        ] {
            assert_eq!(told(&format!("input = \"{ddl}\"")), "");
        }
    }
}
