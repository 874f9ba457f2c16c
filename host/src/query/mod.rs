//! From a job to a query: everything is checked and planned first ([`Prepared`]), and only then is
//! anything created ([`Prepared::start`]).

mod alone;
mod call;
mod case_rows;
mod cases;
mod compiled_in;
mod error;
mod kept_plugins;
mod late;
mod letters;
mod memory;
mod origins;
mod output;
mod pinned;
mod pinned_places;
mod planning;
mod plugins;
mod prepare;
mod replay;
mod shared;
mod statics;
mod stored_letters;
mod targets;

pub use alone::{load_plugin, plugin_name};
pub use call::{Call, CallError, CallOutput, RefusedInput};
pub use cases::{Case, FoundCase, Played, cases_of};
pub use error::PrepareError;
pub use kept_plugins::{KeptPlugin, KeptPlugins, RanBatches, UsedNext};
pub use memory::ProcessMemory;
pub use planning::plan_now;
pub use prepare::{MadeOf, Prepared, StartError};
pub use replay::{Outcome as ReplayOutcome, Replay, Rows as ReplayedRows};
pub use shared::Shared;
pub use stored_letters::StoredLetters;
