//! `#[stateful]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, GenericArgument, Ident, Pat, PathArguments, Result, ReturnType, Signature, Type,
};

use crate::function::{documentation, implementation, is_context, with_elided_lifetimes};
use crate::on_impl::OnImpl;

const ROWS: &str = "fn rows(&mut self, key: String, rows: Vec<Input>) -> Vec<Output>";
const TIMER: &str =
    "fn timer(&mut self, key: String, due: Timestamp, timers: &mut Timers) -> Vec<Output>";
const INITIAL: &str = "fn initial(&mut self, key: String, row: Seed)";
const MIGRATION: &str = "fn take_first(&mut self, key: String, before: Before)";

const KIND: OnImpl = OnImpl { attribute: "stateful", what: "a stateful function" };

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let (mut item, state, name) = KIND.read(arguments, item)?;
    let migrations = KIND.migrations(&mut item)?;
    let rows =
        KIND.required(&item, "rows", true, ROWS, "`rows`, and may have `timer` and `initial`")?;
    let rows = Method::of(rows, &state, ROWS)?;
    let (key, on_rows) = (rows.key.fields(), on_rows(&rows)?);
    let on_timer = match KIND.method(&item, "timer", true, TIMER)? {
        Some(timer) => on_timer(&Method::of(timer, &state, TIMER)?, &rows)?,
        None => TokenStream::new(),
    };
    let on_seed = match KIND.method(&item, "initial", true, INITIAL)? {
        Some(initial) => on_seed(&Method::of(initial, &state, INITIAL)?, &rows)?,
        None => TokenStream::new(),
    };
    let on_migration = on_migration(&migrations, &state, &rows)?;
    let body = quote!(private::Keeping::<#state>::new());
    let exported = implementation(&state, &name, &documentation(&item.attrs), true, &body);
    Ok(quote! {
        #item

        #exported

        const _: () = {
            use ::tidemill_plugin::__private as private;

            impl private::Stateful for #state {
                const NAME: &'static str = #name;

                fn key() -> ::std::vec::Vec<private::arrow::datatypes::Field> {
                    ::std::vec![#(#key),*]
                }

                #on_rows
                #on_timer
                #on_seed
                #on_migration
            }
        };
    })
}

/// The columns of a key: one, or those of a tuple.
struct Key {
    names: Vec<String>,
    types: Vec<Type>,
    is_tuple: bool,
}

impl Key {
    fn of(pattern: &Pat, ty: &Type) -> Result<Key> {
        let (types, is_tuple): (Vec<Type>, bool) = match ty {
            Type::Tuple(tuple) if !tuple.elems.is_empty() => {
                (tuple.elems.iter().cloned().collect(), true)
            }
            other => (vec![other.clone()], false),
        };
        let name = |pattern: &Pat| match pattern {
            Pat::Ident(name) => Some(name.ident.to_string().trim_start_matches('_').to_owned()),
            _ => None,
        };
        let names: Option<Vec<String>> = match pattern {
            Pat::Tuple(parts) if is_tuple => parts.elems.iter().map(name).collect(),
            one if is_tuple => name(one)
                .map(|whole| (1..=types.len()).map(|part| format!("{whole}_{part}")).collect()),
            one => name(one).map(|name| vec![name]),
        };
        let names = names.filter(|names| names.len() == types.len()).ok_or_else(|| {
            Error::new_spanned(pattern, "give the parts of the key names: people see them")
        })?;
        Ok(Key { names, types, is_tuple })
    }

    /// The columns as the host is told: expressions, of which each makes a field.
    fn fields(&self) -> Vec<TokenStream> {
        let fields = self.types.iter().zip(&self.names).map(|(ty, name)| {
            let ty = with_elided_lifetimes(ty);
            quote_spanned!(ty.span()=> private::parameter::<#ty>(#name))
        });
        fields.collect()
    }

    /// The key number `key` of `keys`.
    fn value(&self) -> TokenStream {
        let parts = self.types.iter().enumerate().map(|(column, ty)| {
            let ty = with_elided_lifetimes(ty);
            quote_spanned!(ty.span()=> private::key_part::<#ty>(keys, #column, key)?)
        });
        match self.is_tuple {
            true => quote!((#(#parts,)*)),
            false => quote!(#(#parts)*),
        }
    }
}

/// A method: the key, something of its own, and maybe `&mut Timers` and `&BatchContext`.
struct Method<'i> {
    state: &'i Ident,
    signature: &'i Signature,
    key: Key,
    own: Type,
    takes_timers: bool,
    takes_context: bool,
}

impl<'i> Method<'i> {
    fn of(signature: &'i Signature, state: &'i Ident, shape: &str) -> Result<Method<'i>> {
        let unfit = || KIND.unfit(signature, shape);
        let mut arguments = signature.inputs.iter().skip(1).map(|argument| match argument {
            FnArg::Typed(argument) => Ok(argument),
            FnArg::Receiver(_) => Err(unfit()),
        });
        let (Some(key), Some(own)) = (arguments.next(), arguments.next()) else {
            return Err(unfit());
        };
        let (key, own) = (key?, own?);
        let (mut takes_timers, mut takes_context) = (false, false);
        for argument in arguments {
            let argument = argument?;
            match () {
                () if is_timers(&argument.ty) && !takes_timers && !takes_context => {
                    takes_timers = true;
                }
                () if is_context(&argument.ty) && !takes_context => takes_context = true,
                () => {
                    let message = "there may be `timers: &mut Timers` and then `ctx: &BatchContext` \
                                   here, and nothing else";
                    return Err(Error::new_spanned(argument, message));
                }
            }
        }
        Ok(Method {
            state,
            key: Key::of(&key.pat, &key.ty)?,
            own: (*own.ty).clone(),
            signature,
            takes_timers,
            takes_context,
        })
    }

    fn call(&self, own: &TokenStream) -> TokenStream {
        let (state, name, key) = (self.state, &self.signature.ident, self.key.value());
        let timers = self.takes_timers.then(|| quote!(, timers));
        let context = self.takes_context.then(|| quote!(, context));
        quote_spanned!(self.signature.inputs.span()=> #state::#name(self, #key, #own #timers #context))
    }

    /// What says of timers and context that they may not be wanted.
    fn unused() -> TokenStream {
        quote!(let _ = (&timers, &context);)
    }

    fn gives(&self, shape: &str) -> Result<TokenStream> {
        match &self.signature.output {
            ReturnType::Type(_, ty) => Ok(with_elided_lifetimes(ty)),
            ReturnType::Default => Err(KIND.unfit(self.signature, shape)),
        }
    }

    /// The same key as `rows` has.
    fn check_key(&self, rows: &Method<'_>) -> Result<()> {
        let parts = |key: &Key| {
            let types = key.types.iter().map(|ty| with_elided_lifetimes(ty).to_string());
            types.zip(key.names.clone()).collect::<Vec<_>>()
        };
        match parts(&self.key) == parts(&rows.key) {
            true => Ok(()),
            false => {
                let message = "the key has other types or names than that of `rows`";
                Err(Error::new_spanned(self.signature, message))
            }
        }
    }
}

fn is_timers(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else { return false };
    let Type::Path(path) = &*reference.elem else { return false };
    let is_it = path.path.segments.last().is_some_and(|last| last.ident == "Timers");
    is_it && reference.mutability.is_some()
}

/// The `T` of a `Vec<T>`.
fn item_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Vec")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(item) => Some(item),
        _ => None,
    }
}

fn on_rows(rows: &Method<'_>) -> Result<TokenStream> {
    let input = item_of(&rows.own).ok_or_else(|| {
        let message = "the rows of a key are a Vec of a struct with #[derive(Row)]";
        Error::new_spanned(&rows.own, message)
    })?;
    let output = rows.gives(ROWS)?;
    let (call, unused) = (rows.call(&quote!(rows)), Method::unused());
    Ok(quote! {
        type Input = #input;
        type Output = <#output as private::Emitted>::Row;

        fn on_rows(
            &mut self,
            keys: &private::arrow::array::RecordBatch,
            key: usize,
            rows: ::std::vec::Vec<#input>,
            timers: &mut ::tidemill_plugin::Timers,
            context: &::tidemill_plugin::BatchContext,
        ) -> ::tidemill_plugin::Result<::std::vec::Vec<Self::Output>> {
            #unused
            private::Emitted::into_rows(#call)
        }
    })
}

fn on_timer(timer: &Method<'_>, rows: &Method<'_>) -> Result<TokenStream> {
    timer.check_key(rows)?;
    timer.gives(TIMER)?;
    let (call, unused) = (timer.call(&quote!(due)), Method::unused());
    Ok(quote! {
        fn on_timer(
            &mut self,
            keys: &private::arrow::array::RecordBatch,
            key: usize,
            due: ::tidemill_plugin::Timestamp,
            timers: &mut ::tidemill_plugin::Timers,
            context: &::tidemill_plugin::BatchContext,
        ) -> ::tidemill_plugin::Result<::std::vec::Vec<Self::Output>> {
            #unused
            private::Emitted::into_rows(#call)
        }
    })
}

fn on_seed(initial: &Method<'_>, rows: &Method<'_>) -> Result<TokenStream> {
    initial.check_key(rows)?;
    let seed = &initial.own;
    let (call, unused) = (initial.call(&quote!(row)), Method::unused());
    let into_result =
        quote_spanned!(initial.signature.output.span()=> private::Updated::into_result);
    Ok(quote! {
        fn seed() -> ::std::option::Option<private::arrow::datatypes::SchemaRef> {
            ::std::option::Option::Some(<#seed as ::tidemill_plugin::Row>::schema())
        }

        fn on_seed(
            &mut self,
            keys: &private::arrow::array::RecordBatch,
            key: usize,
            row: &private::arrow::array::RecordBatch,
            timers: &mut ::tidemill_plugin::Timers,
            context: &::tidemill_plugin::BatchContext,
        ) -> ::tidemill_plugin::Result<()> {
            #unused
            for row in <#seed as ::tidemill_plugin::Row>::from_batch(row)? {
                #into_result(#call)?;
            }
            ::std::result::Result::Ok(())
        }
    })
}

fn on_migration(migrations: &[Signature], state: &Ident, rows: &Method<'_>) -> Result<TokenStream> {
    if migrations.is_empty() {
        return Ok(TokenStream::new());
    }
    let (mut schemas, mut arms) = (Vec::new(), Vec::new());
    for (number, signature) in migrations.iter().enumerate() {
        match signature.inputs.first() {
            Some(FnArg::Receiver(this))
                if this.reference.is_some() && this.mutability.is_some() => {}
            _ => return Err(KIND.unfit(signature, MIGRATION)),
        }
        let migration = Method::of(signature, state, MIGRATION)?;
        migration.check_key(rows)?;
        let (before, call) = (&migration.own, migration.call(&quote!(before)));
        schemas.push(quote_spanned!(before.span()=> <#before as ::tidemill_plugin::Row>::schema()));
        let into_result = quote_spanned!(signature.output.span()=> private::Updated::into_result);
        let number = number as u32;
        arms.push(quote! {
            #number => {
                for before in <#before as ::tidemill_plugin::Row>::from_batch(kept)? {
                    #into_result(#call)?;
                }
                ::std::result::Result::Ok(())
            }
        });
    }
    let unused = Method::unused();
    Ok(quote! {
        fn migrations() -> ::std::vec::Vec<private::arrow::datatypes::SchemaRef> {
            ::std::vec![#(#schemas),*]
        }

        fn on_migration(
            &mut self,
            migration: u32,
            keys: &private::arrow::array::RecordBatch,
            key: usize,
            kept: &private::arrow::array::RecordBatch,
            timers: &mut ::tidemill_plugin::Timers,
            context: &::tidemill_plugin::BatchContext,
        ) -> ::tidemill_plugin::Result<()> {
            #unused
            match migration {
                #(#arms,)*
                other => ::std::result::Result::Err(private::no_migration(Self::NAME, other)),
            }
        }
    })
}
