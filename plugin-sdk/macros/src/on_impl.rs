//! What the attributes have in common that stand before the `impl` of a type.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::{Error, FnArg, Ident, ImplItem, ItemImpl, LitStr, Result, Signature, Token, Type};

use crate::function::plain;

/// Marks a method that takes over what an earlier form of the state held.
const MIGRATION: &str = "migration";

/// A kind of function that is a type with methods.
pub(crate) struct OnImpl {
    /// The attribute.
    pub(crate) attribute: &'static str,
    /// "an aggregate".
    pub(crate) what: &'static str,
}

/// `name = "…"`.
struct Named {
    name: Option<String>,
}

impl Parse for Named {
    fn parse(tokens: ParseStream<'_>) -> Result<Named> {
        if tokens.is_empty() {
            return Ok(Named { name: None });
        }
        let key: Ident = tokens.parse()?;
        if key != "name" {
            let message = format!("there is no `{key}` here; it takes `name = \"…\"`");
            return Err(Error::new_spanned(key, message));
        }
        tokens.parse::<Token![=]>()?;
        let text: LitStr = tokens.parse()?;
        let name = text.value();
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = "a name begins with a letter, and has letters, digits and _";
            return Err(Error::new_spanned(text, message));
        }
        tokens.parse::<Option<Token![,]>>()?;
        match tokens.is_empty() {
            true => Ok(Named { name: Some(name) }),
            false => Err(tokens.error("it takes `name = \"…\"` alone")),
        }
    }
}

impl OnImpl {
    /// The `impl`, its type, and the function's name: the one that is given, or the type's in small letters.
    pub(crate) fn read(
        &self,
        arguments: TokenStream,
        item: TokenStream,
    ) -> Result<(ItemImpl, Ident, String)> {
        let attribute = self.attribute;
        let item: ItemImpl = syn::parse2(item).map_err(|error| {
            let message =
                format!("#[{attribute}] stands before an `impl` of the type of the state");
            Error::new(error.span(), message)
        })?;
        let Named { name } = syn::parse2(arguments)?;
        let state = self.state(&item)?.clone();
        let name = name.unwrap_or_else(|| snake_case(&state.to_string()));
        Ok((item, state, name))
    }

    /// The type whose values are the states.
    fn state<'i>(&self, item: &'i ItemImpl) -> Result<&'i Ident> {
        let OnImpl { attribute, what } = self;
        if let Some((_, of, _)) = &item.trait_ {
            let message = format!(
                "#[{attribute}] stands before an `impl` of the type itself, not of a trait"
            );
            return Err(Error::new_spanned(of, message));
        }
        let ident = match &*item.self_ty {
            Type::Path(path) => path.path.get_ident(),
            _ => None,
        };
        ident.filter(|_| item.generics.params.is_empty()).ok_or_else(|| {
            let message =
                format!("the state of {what} is a struct of this module without parameters");
            Error::new_spanned(&item.self_ty, message)
        })
    }

    /// A method that takes `self` by a reference, if it is there.
    pub(crate) fn method<'i>(
        &self,
        item: &'i ItemImpl,
        name: &str,
        is_mutable: bool,
        shape: &str,
    ) -> Result<Option<&'i Signature>> {
        let found = item.items.iter().find_map(|item| match item {
            ImplItem::Fn(function) if function.sig.ident == name => Some(&function.sig),
            _ => None,
        });
        let Some(signature) = found else { return Ok(None) };
        plain(signature)?;
        match signature.inputs.first() {
            Some(FnArg::Receiver(this))
                if this.reference.is_some() && this.mutability.is_some() == is_mutable =>
            {
                Ok(Some(signature))
            }
            _ => Err(self.unfit(signature, shape)),
        }
    }

    /// The same for one that has to be there; `all` names those that have to.
    pub(crate) fn required<'i>(
        &self,
        item: &'i ItemImpl,
        name: &str,
        is_mutable: bool,
        shape: &str,
        all: &str,
    ) -> Result<&'i Signature> {
        let what = self.what;
        self.method(item, name, is_mutable, shape)?.ok_or_else(|| {
            let message = format!("{what} has {all}; there is no `{name}`, such as `{shape}`");
            Error::new_spanned(&item.self_ty, message)
        })
    }

    /// The methods with `#[migration]`, and the `impl` without these attributes.
    pub(crate) fn migrations(&self, item: &mut ItemImpl) -> Result<Vec<Signature>> {
        let mut migrations = Vec::new();
        for item in &mut item.items {
            let ImplItem::Fn(function) = item else { continue };
            let before = function.attrs.len();
            function.attrs.retain(|attribute| !attribute.path().is_ident(MIGRATION));
            if function.attrs.len() < before {
                plain(&function.sig)?;
                migrations.push(function.sig.clone());
            }
        }
        Ok(migrations)
    }

    /// A method is not of the shape that it has to have.
    pub(crate) fn unfit(&self, signature: &Signature, shape: &str) -> Error {
        let (what, name) = (self.what, &signature.ident);
        Error::new_spanned(signature, format!("{what}'s `{name}` is a `{shape}`"))
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
    use quote::quote;

    use super::*;

    const KIND: OnImpl = OnImpl { attribute: "aggregate", what: "an aggregate" };

    #[test]
    fn its_name_is_the_types_or_the_given_one() {
        assert_eq!(snake_case("Mean"), "mean");
        assert_eq!(snake_case("TopThree"), "top_three");
        assert_eq!(snake_case("P95"), "p95");
        let told = |arguments: TokenStream| {
            let read = KIND.read(arguments, quote!(impl TopThree {}));
            read.map(|(.., name)| name).map_err(|error| error.to_string())
        };
        assert_eq!(told(quote!(name = "middle")), Ok("middle".to_owned()));
        assert_eq!(told(quote!()), Ok("top_three".to_owned()));
        assert!(told(quote!(name = "9th")).is_err_and(|e| e.starts_with("a name begins")));
        assert!(told(quote!(names = "a")).is_err_and(|e| e.starts_with("there is no `names`")));
    }

    #[test]
    fn it_stands_before_an_impl_of_a_plain_type() {
        let told = |item: TokenStream| {
            let read = KIND.read(TokenStream::new(), item);
            read.err().map_or_else(String::new, |error| error.to_string())
        };
        assert!(told(quote!(impl Sum for Mean {})).contains("not of a trait"));
        assert!(
            told(quote!(
                impl<T> Mean<T> {}
            ))
            .contains("without parameters")
        );
        assert!(
            told(quote!(
                struct Mean {}
            ))
            .contains("before an `impl`")
        );
    }
}
