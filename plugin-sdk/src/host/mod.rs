//! What a function asks of its host while it runs. In a plugin it is an import of the contract, in the
//! author's unit tests it is what the test says.

#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a plugin has a host"))]
mod imports;

pub(crate) use crate::bindings::tidemill::plugin::dataframe::Handle;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::{host::*, state::*};
#[cfg(target_arch = "wasm32")]
pub(crate) use imports::*;
