//! How a call of a plugin fails.

use crate::BatchId;

/// A call of a plugin failed. The process and the query's state are unharmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\", function \"{function}\"{}: {failure}", in_batch(.batch))]
pub struct PluginError {
    /// The job's name for the plugin.
    pub plugin: String,
    /// The function that was called.
    pub function: String,
    /// The batch that it was called for, if it was for one.
    pub batch: Option<BatchId>,
    /// What happened.
    pub failure: PluginFailure,
}

fn in_batch(batch: &Option<BatchId>) -> String {
    batch.map_or(String::new(), |batch| format!(", batch {batch}"))
}

/// How a call of a plugin can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginFailure {
    /// It ran too long.
    #[error("ran past its deadline of {limit_ms} ms; raise limits.deadline or do less a call")]
    Deadline {
        /// The deadline.
        limit_ms: u64,
    },
    /// It wanted too much memory.
    #[error("wanted more than its {limit} bytes of memory; raise limits.memory or keep less")]
    Memory {
        /// The limit.
        limit: u64,
    },
    /// It panicked.
    #[error("panicked at {place}: {message}")]
    Panic {
        /// The panic's message.
        message: String,
        /// File, line and column in the plugin's source.
        place: String,
    },
    /// It executed something that Wasm forbids.
    #[error("trapped: {0}")]
    Trap(String),
    /// What it gave back is not what it declared.
    #[error("gave back something unusable: {0}")]
    BadOutput(String),
    /// It refused rows, and the query has no place for them.
    #[error(
        "refused row {row}: {reason}; add [dead_letters] with a `path` to the job, and refused rows go there instead of ending the batch"
    )]
    Refused {
        /// Index of the first refused row.
        row: u32,
        /// The plugin's words.
        reason: String,
    },
    /// It returned an error: the input as a whole cannot be processed.
    #[error("could not process its input: {0}")]
    BadInput(String),
    /// It returned an error that may pass.
    #[error("failed for now: {0}")]
    Retryable(String),
    /// It returned an error that will not pass.
    #[error("failed: {0}")]
    Fatal(String),
    /// It has no such function, or not of this kind, or not for these columns.
    #[error("{0}")]
    Signature(String),
    /// The host could not run it.
    #[error("could not be run: {0}")]
    Host(String),
}

impl PluginFailure {
    /// Whether the same call may succeed later. The match is exhaustive on purpose.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            PluginFailure::Retryable(_) => true,
            PluginFailure::Deadline { .. }
            | PluginFailure::Memory { .. }
            | PluginFailure::Panic { .. }
            | PluginFailure::Trap(_)
            | PluginFailure::BadOutput(_)
            | PluginFailure::Refused { .. }
            | PluginFailure::BadInput(_)
            | PluginFailure::Fatal(_)
            | PluginFailure::Signature(_)
            | PluginFailure::Host(_) => false,
        }
    }
}
