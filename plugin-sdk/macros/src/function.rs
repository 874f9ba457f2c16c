//! The three kinds of function.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, LitBool, LitStr, Meta, Pat, Result,
};
use syn::{ReturnType, Token, Type};

use crate::ddl;

/// `deterministic = false`.
pub(crate) struct Scalar {
    is_deterministic: bool,
}

impl Parse for Scalar {
    fn parse(tokens: ParseStream<'_>) -> Result<Scalar> {
        if tokens.is_empty() {
            return Ok(Scalar { is_deterministic: true });
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
            true => Ok(Scalar { is_deterministic: value.value }),
            false => Err(tokens.error("a scalar takes `deterministic = false` alone")),
        }
    }
}

pub(crate) fn scalar(arguments: &Scalar, function: &ItemFn) -> Result<TokenStream> {
    plain(function)?;
    let mut parameters = parameters(function)?;
    let takes_context = parameters.last().is_some_and(|(_, ty)| is_context(ty));
    let context = takes_context.then(|| quote!(context));
    parameters.truncate(parameters.len() - usize::from(takes_context));
    let names: Vec<String> = parameters.iter().map(|(name, _)| name.to_string()).collect();
    let types: Vec<TokenStream> =
        parameters.iter().map(|(_, ty)| with_elided_lifetimes(ty)).collect();
    let columns: Vec<Ident> = (0..types.len()).map(|i| format_ident!("column_{i}")).collect();
    let index = 0..types.len();
    let index_again = index.clone();
    let ReturnType::Type(_, output) = &function.sig.output else {
        return Err(Error::new_spanned(
            &function.sig,
            "a scalar gives a value for each row; add a result, such as `-> f64`",
        ));
    };
    let output = with_elided_lifetimes(output);
    let call = &function.sig.ident;
    let name = call.to_string();
    // Spans of the author's types, so that an unusable one is underlined and not the attribute.
    let fields = types
        .iter()
        .zip(&names)
        .map(|(ty, name)| quote_spanned!(ty.span()=> private::parameter::<#ty>(#name)));
    let values = types.iter().zip(&columns).map(|(ty, column)| {
        quote_spanned!(ty.span()=> <#ty as ::tidemill_plugin::FromColumn>::get(#column, row))
    });
    let result = quote_spanned!(output.span()=> private::result::<#output>(#name));
    let evaluate =
        quote_spanned!(output.span()=> private::evaluate(rows, nulls.as_ref(), evaluate));
    let values = values.chain(context);
    let body = quote! {
        private::Body::Scalar(|arguments, context| {
            let _ = context;
            let rows = arguments.num_rows();
            let nulls = ::std::option::Option::None;
            #(
                let #columns = private::argument::<#types>(arguments, #index)?;
                let nulls = private::nulls::<#types>(arguments, #index_again, nulls);
            )*
            let evaluate = |row: usize| {
                let _ = row;
                #call(#(#values),*)
            };
            #evaluate
        })
    };
    let input = quote! {
        ::std::option::Option::Some(private::arrow::datatypes::Schema::new(
            ::std::vec::Vec::<private::arrow::datatypes::Field>::from([#(#fields),*])
        ))
    };
    let output = quote!(::std::option::Option::Some(#result));
    Ok(exported(function, arguments.is_deterministic, &input, &output, &body))
}

/// `input = "…", output = "…"`.
#[derive(Default)]
pub(crate) struct Schemas {
    input: Option<LitStr>,
    output: Option<LitStr>,
}

impl Parse for Schemas {
    fn parse(tokens: ParseStream<'_>) -> Result<Schemas> {
        let mut schemas = Schemas::default();
        while !tokens.is_empty() {
            let key: Ident = tokens.parse()?;
            let place = match key.to_string().as_str() {
                "input" => &mut schemas.input,
                "output" => &mut schemas.output,
                other => {
                    let message = format!(
                        "there is no `{other}` here; a transform takes `input = \"…\"` and \
                         `output = \"…\"`, each with columns such as \"id STRING, amount DOUBLE\""
                    );
                    return Err(Error::new_spanned(key, message));
                }
            };
            tokens.parse::<Token![=]>()?;
            if place.replace(tokens.parse()?).is_some() {
                return Err(Error::new_spanned(key, "given twice"));
            }
            if !tokens.is_empty() {
                tokens.parse::<Token![,]>()?;
            }
        }
        Ok(schemas)
    }
}

pub(crate) fn transform(schemas: Schemas, function: &ItemFn) -> Result<TokenStream> {
    const SHAPE: &str = "fn(RecordBatch, &BatchContext) -> Result<RecordBatch>";
    two_arguments(function, "a transform", SHAPE)?;
    let call = &function.sig.ident;
    let body = quote_spanned!(call.span()=> private::Body::Transform(#call));
    let schema = |ddl: Option<LitStr>| match ddl {
        Some(ddl) => ddl::schema(&ddl).map(|schema| quote!(::std::option::Option::Some(#schema))),
        None => Ok(quote!(::std::option::Option::None)),
    };
    Ok(exported(function, true, &schema(schemas.input)?, &schema(schemas.output)?, &body))
}

pub(crate) fn foreach_batch(arguments: &TokenStream, function: &ItemFn) -> Result<TokenStream> {
    const SHAPE: &str = "fn(DataFrame, &BatchContext) -> Result<()>";
    no_arguments(arguments, "foreach_batch")?;
    two_arguments(function, "a foreach_batch handler", SHAPE)?;
    let call = &function.sig.ident;
    let handler = quote_spanned! {call.span()=>
        let handler: fn(::tidemill_plugin::DataFrame, &::tidemill_plugin::BatchContext)
            -> ::tidemill_plugin::Result<()> = #call;
    };
    let body = quote! {
        private::Body::ForeachBatch(|batch, context| {
            #handler
            handler(::tidemill_plugin::DataFrame::of_batch(batch), context)
        })
    };
    let none = quote!(::std::option::Option::None);
    Ok(exported(function, true, &none, &none, &body))
}

/// The function, and the type of the same name that describes it.
fn exported(
    function: &ItemFn,
    is_deterministic: bool,
    input: &TokenStream,
    output: &TokenStream,
    body: &TokenStream,
) -> TokenStream {
    let (visibility, ident) = (&function.vis, &function.sig.ident);
    let name = ident.to_string();
    let documentation = documentation(&function.attrs);
    quote! {
        #[allow(dead_code, reason = "`plugin!` calls it through the type of its name")]
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types, reason = "named as the function, for `plugin!` to find")]
        #visibility struct #ident {}

        const _: () = {
            use ::tidemill_plugin::__private as private;

            impl private::Exported for #ident {
                fn function() -> private::Function {
                    private::Function {
                        name: #name,
                        documentation: #documentation,
                        input: #input,
                        output: #output,
                        deterministic: #is_deterministic,
                        body: #body,
                    }
                }
            }
        };
    }
}

fn no_arguments(arguments: &TokenStream, attribute: &str) -> Result<()> {
    if arguments.is_empty() {
        return Ok(());
    }
    Err(Error::new_spanned(arguments, format!("#[{attribute}] takes no arguments")))
}

fn two_arguments(function: &ItemFn, what: &str, shape: &str) -> Result<()> {
    plain(function)?;
    if function.sig.inputs.len() == 2 && !matches!(function.sig.output, ReturnType::Default) {
        return Ok(());
    }
    Err(Error::new_spanned(&function.sig, format!("{what} is a `{shape}`")))
}

/// Refuses what the host could not call.
fn plain(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        let message = "the host waits for the plugin: remove `async`, every call here blocks";
        return Err(Error::new_spanned(token, message));
    }
    if let Some(generic) = signature.generics.type_params().next() {
        let message = "the host needs to know the types: write concrete ones";
        return Err(Error::new_spanned(generic, message));
    }
    Ok(())
}

fn parameters(function: &ItemFn) -> Result<Vec<(Ident, Type)>> {
    let parameter = |argument: &FnArg| match argument {
        FnArg::Receiver(this) => {
            Err(Error::new_spanned(this, "a plugin's function stands alone: it has no `self`"))
        }
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(name) => Ok((name.ident.clone(), (*argument.ty).clone())),
            other => Err(Error::new_spanned(other, "give the argument a name: SQL shows it")),
        },
    };
    function.sig.inputs.iter().map(parameter).collect()
}

fn is_context(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else {
        return false;
    };
    let Type::Path(path) = &*reference.elem else {
        return false;
    };
    path.path.segments.last().is_some_and(|last| last.ident == "BatchContext")
}

/// The type with every lifetime left open, as the function's own names mean nothing outside it.
fn with_elided_lifetimes(ty: &Type) -> TokenStream {
    fn elide(tokens: TokenStream) -> TokenStream {
        let mut after_quote = false;
        let elided = tokens.into_iter().map(|token| match token {
            TokenTree::Group(group) => {
                let mut elided = Group::new(group.delimiter(), elide(group.stream()));
                elided.set_span(group.span());
                TokenTree::Group(elided)
            }
            TokenTree::Punct(punct) => {
                after_quote = punct.as_char() == '\'';
                TokenTree::Punct(punct)
            }
            TokenTree::Ident(name) if std::mem::take(&mut after_quote) && name != "static" => {
                TokenTree::Ident(Ident::new("_", name.span()))
            }
            other => other,
        });
        elided.collect()
    }
    elide(ty.to_token_stream())
}

/// The text of the doc comment.
fn documentation(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                let text = text.value();
                Some(text.strip_prefix(' ').unwrap_or(&text).to_owned())
            }
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn scalar_error(function: ItemFn) -> String {
        let arguments = Scalar { is_deterministic: true };
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
            let scalar = syn::parse_str::<Scalar>(text).map_err(|error| error.to_string());
            scalar.map(|scalar| scalar.is_deterministic)
        };
        assert_eq!(read(""), Ok(true));
        assert_eq!(read("deterministic = false"), Ok(false));
        let told = "there is no `pure` here; a scalar takes `deterministic = false`";
        assert_eq!(read("pure = true"), Err(told.to_owned()));
        let told = "a scalar takes `deterministic = false` alone";
        assert_eq!(read("deterministic = false, deterministic = true"), Err(told.to_owned()));
    }

    #[test]
    fn a_transform_says_what_it_looks_like() {
        let function = parse_quote! { fn f(rows: RecordBatch) -> RecordBatch { rows } };
        let told = transform(Schemas::default(), &function).err().map(|error| error.to_string());
        let shape = "a transform is a `fn(RecordBatch, &BatchContext) -> Result<RecordBatch>`";
        assert_eq!(told.as_deref(), Some(shape));
    }

    #[test]
    fn schemas_name_what_they_do_not_know() {
        let told =
            |arguments: &str| syn::parse_str::<Schemas>(arguments).err().map(|e| e.to_string());
        assert!(
            told("inputs = \"a INT\"").is_some_and(|told| told.contains("there is no `inputs`"))
        );
        let ddl: LitStr = parse_quote!("id STRING, tags ARRAY<TEXT>");
        let told = ddl::schema(&ddl).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("at character 23 there is \"TEXT\", expected a type"), "{told}");
        for ddl in ["price DECIMAL(10, 2) NOT NULL, at TIMESTAMP", "m MAP<STRING, ARRAY<INT>>"] {
            let ddl = LitStr::new(ddl, proc_macro2::Span::call_site());
            assert!(ddl::schema(&ddl).is_ok());
        }
    }
}
