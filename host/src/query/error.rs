//! Why a job cannot be started. Nothing was created.

use tidemill_checkpoint::CheckpointError;
use tidemill_connectors::ConfigError;
use tidemill_core::{ConnectorError, PluginError};
use tidemill_plan::PlanError;
use tidemill_plugin_host::LoadError;

use crate::job::JobError;

/// The job, a plugin or a place is wrong, or is not what the checkpoint was made with.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The file.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A source or sink.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin's file.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A plugin's function.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The SQL, or what it asks for.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A place that cannot be reached.
    #[error("{}", with_cause(.0))]
    Place(#[from] ConnectorError),
    /// The checkpoint cannot be read.
    #[error("{}", with_cause(.0))]
    Checkpoint(#[from] CheckpointError),
    /// The system has no threads or handles left to check the job with.
    #[error("{0}")]
    Exhausted(String),
    /// Names within the job do not fit together.
    #[error("{0}")]
    Invalid(String),
}

impl PrepareError {
    /// Whether the same job may be started later: the machine lacks something, or a place does not
    /// answer or has no room or no permission. The match is exhaustive on purpose.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            PrepareError::Exhausted(_) => true,
            PrepareError::Job(error) => error.is_retryable(),
            PrepareError::Place(error) => error.is_retryable(),
            PrepareError::Checkpoint(error) => error.is_of_the_place(),
            PrepareError::Load(error) => error.is_retryable(),
            PrepareError::Config(_)
            | PrepareError::Plugin(_)
            | PrepareError::Plan(_)
            | PrepareError::Invalid(_) => false,
        }
    }
}

/// Names within the job, or of what goes with it, do not fit together.
pub(super) fn invalid(reason: impl Into<String>) -> PrepareError {
    PrepareError::Invalid(reason.into())
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
