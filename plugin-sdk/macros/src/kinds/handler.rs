//! `#[foreach_batch]`.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{Error, ItemFn, Result};

use crate::function::{exported, shaped};

const SHAPE: &str = "fn(DataFrame, &BatchContext) -> Result<()>";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[foreach_batch] takes no arguments"));
    }
    let function: ItemFn = syn::parse2(item)?;
    shaped(&function, 2, "a foreach_batch handler", SHAPE)?;
    let call = &function.sig.ident;
    let body = quote_spanned!(call.span()=> private::Handler(#call));
    Ok(exported(&function, true, &body))
}
