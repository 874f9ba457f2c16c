//! Which rows of a result a micro-batch hands to the sink.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Spark's output modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// Rows that will never change again.
    #[default]
    Append,
    /// Rows that changed in this batch.
    Update,
    /// The whole result, every batch.
    Complete,
}

impl fmt::Display for OutputMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutputMode::Append => "append",
            OutputMode::Update => "update",
            OutputMode::Complete => "complete",
        })
    }
}
