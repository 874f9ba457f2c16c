//! From a job to a query: everything is checked and planned first ([`Prepared`]), and only then is
//! anything created ([`Prepared::start`]).

mod alone;
mod call;
mod compiled_in;
mod error;
mod late;
mod letters;
mod memory;
mod output;
mod pinned;
mod pinned_operators;
mod pinned_places;
mod plugins;
mod prepare;
mod statics;
mod stored_letters;
mod targets;

pub use alone::{load_plugin, plugin_name};
pub use call::{Call, CallError, CallOutput, RefusedInput};
pub use error::PrepareError;
pub use memory::ProcessMemory;
pub use prepare::{Prepared, Shared, StartError};
pub use stored_letters::StoredLetters;
