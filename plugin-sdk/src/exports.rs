//! The plugin as the host sees it: the exports of the contract, over the author's functions.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic;

use crate::bindings::exports::tidemill::plugin::functions::{Guest, StatefulOutput};
use crate::bindings::tidemill::plugin::log as host;
use crate::bindings::tidemill::plugin::types;
use crate::bindings::tidemill::plugin::types::{
    BatchContext as HostContext, Failure, Opened as HostOpened, Rows,
};
use crate::function::{Function, Opened};
use crate::{BatchContext, Error, Result, config, ipc};

/// The functions that [`plugin!`](crate::plugin) was given.
pub trait Functions {
    /// All of them, in the plugin's order.
    fn functions() -> Vec<Function>;
}

/// Exports what `P` lists.
pub struct Exports<P>(PhantomData<P>);

/// Target of the log line that tells the host of a panic: the place, a line break, the message.
const PANIC_TARGET: &str = "tidemill::panic";

thread_local! {
    /// Indexed by the number that `open` gave.
    static INSTANCES: RefCell<Vec<Opened>> = const { RefCell::new(Vec::new()) };
}

impl<P: Functions> Guest for Exports<P> {
    fn describe() -> Vec<types::Function> {
        report_panics();
        P::functions().iter().map(Function::describe).collect()
    }

    fn open(function: String, config: String, input: Vec<u8>) -> Result<HostOpened, Failure> {
        report_panics();
        config::set(config);
        open(P::functions(), &function, &input).map_err(Error::into_host)
    }

    fn scalar(instance: u32, context: HostContext, arguments: Vec<u8>) -> Result<Rows, Failure> {
        let context = BatchContext::from_host(context);
        with(instance, |opened| opened.scalar(&context, arguments))
    }

    fn transform(instance: u32, context: HostContext, input: Vec<u8>) -> Result<Rows, Failure> {
        let context = BatchContext::from_host(context);
        with(instance, |opened| opened.transform(&context, input))
    }

    fn aggregate_update(_: u32, _: Vec<u32>, _: Vec<u8>, _: Vec<u8>) -> Result<Vec<u8>, Failure> {
        Err(no_such_kind("aggregate"))
    }

    fn aggregate_merge(_: u32, _: Vec<u32>, _: Vec<u8>, _: Vec<u8>) -> Result<Vec<u8>, Failure> {
        Err(no_such_kind("aggregate"))
    }

    fn aggregate_finish(_: u32, _: Vec<u8>) -> Result<Vec<u8>, Failure> {
        Err(no_such_kind("aggregate"))
    }

    fn stateful(
        _: u32,
        _: HostContext,
        _: Vec<u8>,
        _: Vec<u32>,
        _: Vec<u8>,
        _: Vec<u8>,
        _: Vec<Vec<i64>>,
    ) -> Result<StatefulOutput, Failure> {
        Err(no_such_kind("stateful"))
    }

    fn foreach_batch(instance: u32, context: HostContext, batch: u64) -> Result<(), Failure> {
        let context = BatchContext::from_host(context);
        with(instance, |opened| opened.foreach_batch(&context, batch))
    }
}

fn open(functions: Vec<Function>, name: &str, input: &[u8]) -> Result<HostOpened> {
    let function = functions
        .into_iter()
        .find(|function| function.name == name)
        .ok_or_else(|| Error::bad_input(format!("there is no function \"{name}\"")))?;
    let opened = Opened::new(function, ipc::decode_schema(input)?)?;
    let output = opened.output();
    let instance = INSTANCES.with_borrow_mut(|instances| {
        instances.push(opened);
        instances.len() - 1
    });
    Ok(HostOpened { instance: u32::try_from(instance)?, output })
}

fn with<T>(instance: u32, call: impl FnOnce(&mut Opened) -> Result<T>) -> Result<T, Failure> {
    INSTANCES.with_borrow_mut(|instances| match instances.get_mut(instance as usize) {
        Some(opened) => call(opened).map_err(Error::into_host),
        None => Err(Failure::BadInput(format!("there is no instance {instance}"))),
    })
}

fn no_such_kind(kind: &str) -> Failure {
    Failure::BadInput(format!("this plugin has no {kind} function"))
}

/// Tells the host what a panic said and where, before the trap that says neither.
fn report_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("(a value that is no text)");
        host::write(host::Level::Error, PANIC_TARGET, &format!("{place}\n{message}"));
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
                fn functions() -> ::std::vec::Vec<$crate::__private::Function> {
                    ::std::vec![$(<$function as $crate::__private::Exported>::function()),*]
                }
            }

            // Elsewhere, in the author's unit tests, nothing calls the exports.
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
