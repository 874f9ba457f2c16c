//! The parameters of a function that is called for each row: columns, and the batch.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, Pat, Result, Type};

use crate::function::{is_context, with_elided_lifetimes};

/// Parameters that take a column's value each, and maybe `&BatchContext` as the last one.
pub(crate) struct Parameters {
    names: Vec<String>,
    types: Vec<TokenStream>,
    takes_context: bool,
}

impl Parameters {
    pub(crate) fn of<'a>(arguments: impl Iterator<Item = &'a FnArg>) -> Result<Parameters> {
        let mut parameters = arguments.map(parameter).collect::<Result<Vec<_>>>()?;
        let takes_context = parameters.last().is_some_and(|(_, ty)| is_context(ty));
        parameters.truncate(parameters.len() - usize::from(takes_context));
        Ok(Parameters {
            names: parameters.iter().map(|(name, _)| name.to_string()).collect(),
            types: parameters.iter().map(|(_, ty)| with_elided_lifetimes(ty)).collect(),
            takes_context,
        })
    }

    /// The columns as the host is told: expressions, of which each makes a field.
    // Spans of the author's types, here and below, so that an unusable one is underlined and not the
    // attribute.
    pub(crate) fn fields(&self) -> Vec<TokenStream> {
        let fields = self.types.iter().zip(&self.names);
        let field = |(ty, name): (&TokenStream, &String)| quote_spanned!(ty.span()=> private::parameter::<#ty>(#name));
        fields.map(field).collect()
    }

    /// Statements that find the columns in `arguments`, and in `nulls` the rows to skip.
    pub(crate) fn columns(&self) -> TokenStream {
        let (columns, types) = (self.bound(), &self.types);
        let index = 0..types.len();
        let index_again = index.clone();
        quote! {
            let _ = context;
            let rows = arguments.num_rows();
            let nulls = ::std::option::Option::None;
            #(
                let #columns = private::argument::<#types>(arguments, #index)?;
                let nulls = private::nulls::<#types>(arguments, #index_again, nulls);
            )*
        }
    }

    /// The values of `row`, as the function takes them.
    pub(crate) fn values(&self) -> Vec<TokenStream> {
        let columns = self.bound();
        let values = self.types.iter().zip(&columns).map(|(ty, column)| {
            quote_spanned!(ty.span()=> <#ty as ::tidemill_plugin::FromColumn>::get(#column, row))
        });
        values.chain(self.takes_context.then(|| quote!(context))).collect()
    }

    fn bound(&self) -> Vec<Ident> {
        (0..self.types.len()).map(|i| format_ident!("column_{i}")).collect()
    }
}

fn parameter(argument: &FnArg) -> Result<(Ident, Type)> {
    match argument {
        FnArg::Receiver(this) => {
            Err(Error::new_spanned(this, "a plugin's function stands alone: it has no `self`"))
        }
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(name) => Ok((name.ident.clone(), (*argument.ty).clone())),
            other => Err(Error::new_spanned(other, "give the argument a name: SQL shows it")),
        },
    }
}
