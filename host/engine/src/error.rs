//! Why a query ended badly.

use std::error::Error;

use tidemill_checkpoint::CheckpointError;
use tidemill_core::{BatchId, ConnectorError, OutOfMemory, PluginError, StateError};
use tidemill_plan::{NoThread, PlanError, TooManyLetters};

/// Why a batch, and with it the query, could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A batch failed. The state is as before it, and a new start tries it again.
    #[error("batch {batch} failed: {}", chain(.reason.as_ref()))]
    Batch {
        /// The batch.
        batch: BatchId,
        /// What failed.
        #[source]
        reason: Box<EngineError>,
    },
    /// A source, a sink or a target.
    #[error("{}", chain(.0))]
    Connector(#[from] ConnectorError),
    /// A plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The checkpoint.
    #[error("{}", chain(.0))]
    Checkpoint(#[from] CheckpointError),
    /// The plan could not be made again, or not be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An expression failed on the data.
    #[error("{0}")]
    Execution(String),
    /// A batch failed, and the sink could not drop what it had of it. It is in a state that nobody
    /// knows, until it is opened anew.
    #[error(
        "{reason}. And the sink could not drop what it was given of the batch: {}. It is not tried again in this process; the next start opens the place anew, which drops it there",
        chain(.abort)
    )]
    NotUndone {
        /// What failed.
        #[source]
        reason: Box<EngineError>,
        /// What the sink said.
        abort: ConnectorError,
    },
    /// A batch failed that was to take over, before its rows, the state that an earlier generation of a plugin
    /// kept. That state stays as it was.
    #[error("in the batch that takes over the state of an earlier generation of a plugin: {0}")]
    Migration(#[source] Box<EngineError>),
    /// What grows with data would go beyond the process's memory budget.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// A batch has more dead letters than the job allows. Nothing of it was delivered.
    #[error(transparent)]
    DeadLetters(#[from] TooManyLetters),
    /// There is no thread to work on.
    #[error(transparent)]
    Threads(#[from] NoThread),
    /// Rows could not be kept aside.
    #[error("the batch's output could not be written to a temporary file: {0}")]
    Spill(String),
    /// The checkpoint belongs to another query than this job describes.
    #[error("{0}")]
    Incompatible(String),
}

impl EngineError {
    /// Whether the same work may succeed later. The match is exhaustive on purpose.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            EngineError::Batch { reason, .. } | EngineError::Migration(reason) => {
                reason.is_retryable()
            }
            EngineError::Connector(error) => error.is_retryable(),
            EngineError::Plugin(error) => error.failure.is_retryable(),
            EngineError::Threads(_) => true,
            EngineError::State(_)
            | EngineError::Checkpoint(_)
            | EngineError::Plan(_)
            | EngineError::Execution(_)
            | EngineError::NotUndone { .. }
            | EngineError::Memory(_)
            | EngineError::DeadLetters(_)
            | EngineError::Spill(_)
            | EngineError::Incompatible(_) => false,
        }
    }

    /// Whether nobody reads the sink any more, which is no failure.
    pub(crate) fn is_unread(&self) -> bool {
        match self {
            EngineError::Connector(error) => error.is_unread(),
            EngineError::Migration(reason) => reason.is_unread(),
            _ => false,
        }
    }

    pub(crate) fn spill(error: arrow::error::ArrowError) -> EngineError {
        EngineError::Spill(error.to_string())
    }

    /// Finds what lies at the ground of an error of the plan.
    pub(crate) fn from_plan(error: &(dyn Error + 'static)) -> EngineError {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(plugin) = error.downcast_ref::<PluginError>() {
                return EngineError::Plugin(plugin.clone());
            }
            if let Some(state) = error.downcast_ref::<StateError>() {
                return EngineError::State(state.clone());
            }
            if let Some(threads) = error.downcast_ref::<NoThread>() {
                return EngineError::Threads(threads.clone());
            }
            if let Some(memory) = error.downcast_ref::<OutOfMemory>() {
                return EngineError::Memory(memory.clone());
            }
            if let Some(letters) = error.downcast_ref::<TooManyLetters>() {
                return EngineError::DeadLetters(letters.clone());
            }
            if let Some(connector) = error.downcast_ref::<ConnectorError>() {
                let message = chain(connector);
                return EngineError::Connector(if connector.is_retryable() {
                    ConnectorError::retryable(message)
                } else {
                    ConnectorError::fatal(message)
                });
            }
            cause = error.source();
        }
        EngineError::Execution(from_its_class(error.to_string()))
    }
}

/// Without what stands before the class of an error of Spark's, as in `[DIVIDE_BY_ZERO] …`.
fn from_its_class(text: String) -> String {
    const BEFORE: &str = "error: [";
    match text.find(BEFORE) {
        Some(at) => text[at + BEFORE.len() - 1..].to_owned(),
        None => text,
    }
}

/// An error and what lies beneath it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let below = error.to_string();
        if !text.contains(&below) {
            text = format!("{text}: {below}");
        }
        cause = error.source();
    }
    text
}
