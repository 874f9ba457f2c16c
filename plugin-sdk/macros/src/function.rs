//! What the attributes of all kinds have in common.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, ItemFn, Lit, Meta, Result, ReturnType, Signature, Type,
};

/// The function, and the type of the same name that describes it.
pub(crate) fn exported(
    function: &ItemFn,
    is_deterministic: bool,
    body: &TokenStream,
) -> TokenStream {
    let (visibility, ident) = (&function.vis, &function.sig.ident);
    let name = ident.to_string();
    let documentation = documentation(&function.attrs);
    let implementation = implementation(ident, &name, &documentation, is_deterministic, body);
    quote! {
        #[allow(dead_code, reason = "`plugin!` calls it through the type of its name")]
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types, reason = "named as the function, for `plugin!` to find")]
        #visibility struct #ident {}

        #implementation
    }
}

/// What `plugin!` finds by the type.
pub(crate) fn implementation(
    ident: &Ident,
    name: &str,
    documentation: &str,
    is_deterministic: bool,
    body: &TokenStream,
) -> TokenStream {
    quote! {
        const _: () = {
            use ::tidemill_plugin::__private as private;

            impl private::Exported for #ident {
                const NAME: &'static str = #name;

                fn function() -> private::Function {
                    private::Function {
                        documentation: #documentation,
                        deterministic: #is_deterministic,
                        body: ::std::boxed::Box::new(#body),
                    }
                }
            }
        };
    }
}

/// Refuses a function that has not so many arguments and a result.
pub(crate) fn shaped(function: &ItemFn, arguments: usize, what: &str, shape: &str) -> Result<()> {
    let signature = &function.sig;
    plain(signature)?;
    if signature.inputs.len() == arguments && !matches!(signature.output, ReturnType::Default) {
        return Ok(());
    }
    Err(Error::new_spanned(signature, format!("{what} is a `{shape}`")))
}

/// Refuses what the host could not call.
pub(crate) fn plain(signature: &Signature) -> Result<()> {
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

pub(crate) fn is_context(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else {
        return false;
    };
    let Type::Path(path) = &*reference.elem else {
        return false;
    };
    path.path.segments.last().is_some_and(|last| last.ident == "BatchContext")
}

/// The type with every lifetime left open, as the function's own names mean nothing outside it.
pub(crate) fn with_elided_lifetimes(ty: &Type) -> TokenStream {
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
pub(crate) fn documentation(attributes: &[Attribute]) -> String {
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
