//! Lines for the host's log. They carry the plugin's, the function's and the batch's name there.
//!
//! ```
//! use tidemill_plugin::prelude::*;
//!
//! let rejected = 3;
//! log::info!("{rejected} orders without an amount");
//! ```

pub use crate::{
    __debug as debug, __error as error, __info as info, __trace as trace, __warn as warn,
};

use std::fmt;

#[cfg(target_arch = "wasm32")]
use crate::bindings::tidemill::plugin::log as host;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Every step.
    Trace,
    /// For the author.
    Debug,
    /// For the operator.
    Info,
    /// Something that should be looked at.
    Warn,
    /// Something that went wrong.
    Error,
}

/// Writes one line. `target` names the place in the plugin, by custom its `module_path!()`.
pub fn write(level: Level, target: &str, message: fmt::Arguments<'_>) {
    #[cfg(target_arch = "wasm32")]
    {
        let level = match level {
            Level::Trace => host::Level::Trace,
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::write(level, target, &message.to_string());
    }
    // In the author's own unit tests there is no host.
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?} {target}: {message}");
}

/// Logs for someone who follows every step.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($message:tt)+) => { $crate::__log!(Trace, $($message)+) };
}

/// Logs for the author.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($message:tt)+) => { $crate::__log!(Debug, $($message)+) };
}

/// Logs for the operator.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($message:tt)+) => { $crate::__log!(Info, $($message)+) };
}

/// Logs something that should be looked at.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($message:tt)+) => { $crate::__log!(Warn, $($message)+) };
}

/// Logs something that went wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($message:tt)+) => { $crate::__log!(Error, $($message)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        $crate::log::write($crate::log::Level::$level, module_path!(), format_args!($($message)+))
    };
}
