//! The plugin as the host sees it: its functions, told, opened, and found again for a call. The calls
//! themselves are in the file of each kind.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic;

use crate::bindings::exports::tidemill::plugin::functions::{Failure, Guest};
use crate::bindings::tidemill::plugin::{log as host, types};
use crate::kinds::{Called, Exported, Function};
use crate::{BatchContext, Error, Result, config, logging};

/// The functions that [`plugin!`](crate::plugin) was given.
pub trait Functions {
    /// All of them, in the plugin's order.
    const FUNCTIONS: &'static [Entry];
}

/// A function by name. It is made when it is asked for.
pub struct Entry {
    name: &'static str,
    function: fn() -> Function,
}

impl Entry {
    /// The entry of a function with one of the attributes.
    #[must_use]
    pub const fn of<F: Exported>() -> Entry {
        Entry { name: F::NAME, function: F::function }
    }
}

/// Exports what `P` lists.
pub struct Exports<P>(PhantomData<P>);

/// A function of the plugin by its name, and what is called of it.
type Opened = (&'static str, Box<dyn Any>);

thread_local! {
    /// By the number that `open` gave.
    static OPENED: RefCell<Vec<Opened>> = const { RefCell::new(Vec::new()) };
    static CONTEXT: RefCell<BatchContext> = RefCell::default();
}

impl<P: Functions> Guest for Exports<P> {
    fn describe() -> Vec<types::Function> {
        start();
        P::FUNCTIONS.iter().map(|entry| (entry.function)().describe(entry.name)).collect()
    }

    fn open(function: String, config: String, input: String) -> Result<types::Opened, Failure> {
        start();
        config::set(config);
        open(P::FUNCTIONS, &function, &input).map_err(Error::into_host)
    }

    fn begin(context: types::BatchContext) {
        CONTEXT.replace(BatchContext::from_host(context));
    }
}

fn open(functions: &[Entry], name: &str, input: &str) -> Result<types::Opened> {
    let entry = functions
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| Error::bad_input(format!("there is no function \"{name}\"")))?;
    let opened = (entry.function)().body.open(&tidemill_block::read_schema(input)?)?;
    let output = tidemill_block::write_schema(&opened.output)?;
    let id = OPENED.with_borrow_mut(|all| {
        all.push((entry.name, opened.call));
        all.len() - 1
    });
    let (reads, origins) = (opened.reads, opened.origins);
    Ok(types::Opened { id: u32::try_from(id)?, output, reads, origins })
}

/// Calls an opened function of a kind.
pub(crate) fn with<T: Called, R>(
    opened: u32,
    call: impl FnOnce(&mut T, &BatchContext) -> Result<R>,
) -> Result<R, Failure> {
    OPENED.with_borrow_mut(|all| {
        let Some((name, function)) = all.get_mut(opened as usize) else {
            return Err(Failure::BadInput(format!("no function was opened as number {opened}")));
        };
        let Some(function) = function.downcast_mut() else {
            return Err(Failure::BadInput(format!("\"{name}\" is not {}", T::KIND)));
        };
        CONTEXT.with_borrow(|context| call(function, context)).map_err(Error::into_host)
    })
}

/// What comes before all else in an instance.
fn start() {
    logging::start();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        // The trap that follows says neither.
        host::panicked(&place, text.unwrap_or("(a value that is no text)"));
    }));
}

/// Makes a plugin of functions: lists all that carry one of the attributes. Once in a crate.
///
/// ```
/// use tidemill_plugin::prelude::*;
///
/// /// The price with tax.
/// #[scalar]
/// fn with_tax(amount: f64) -> f64 {
///     amount * 1.1
/// }
///
/// plugin! { with_tax }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    ($($function:path),* $(,)?) => {
        const _: () = {
            struct Plugin;

            impl $crate::__private::Functions for Plugin {
                const FUNCTIONS: &'static [$crate::__private::Entry] =
                    &[$($crate::__private::Entry::of::<$function>()),*];
            }

            // Elsewhere, in the author's unit tests, nothing calls the exports, and what they call is used
            // all the same.
            const _: &[$crate::__private::Entry] =
                <Plugin as $crate::__private::Functions>::FUNCTIONS;

            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code, reason = "the exports of the canonical ABI")]
            const _: () = {
                type Exports = $crate::__private::Exports<Plugin>;
                $crate::__private::export_functions!(
                    Exports with_types_in $crate::__private::bindings
                );
            };
        };
    };
}
