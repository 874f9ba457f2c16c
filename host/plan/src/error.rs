//! Why a query cannot be planned.

use datafusion::error::DataFusionError;
use tidemill_core::PluginError;

/// The job asks for something that cannot be run. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A step's SQL is wrong, or its names and types do not fit.
    #[error("step \"{step}\": {reason}")]
    Sql {
        /// The step.
        step: String,
        /// What DataFusion's parser or planner says.
        reason: String,
    },
    /// Spark refuses it too: it has no meaning on a stream.
    #[error("{0}")]
    Refused(String),
    /// Spark runs it; this version does not.
    #[error("{0} is not supported yet")]
    NotYet(String),
    /// A name, column or function does not exist or does not fit.
    #[error("{0}")]
    Invalid(String),
    /// A plugin says no.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Planning broke.
    #[error("the query could not be planned: {0}")]
    Engine(String),
}

impl PlanError {
    /// What DataFusion says of a step, without its own prefixes.
    pub(crate) fn in_step(step: &str, error: &DataFusionError) -> PlanError {
        PlanError::Sql { step: step.to_owned(), reason: error.strip_backtrace() }
    }
}

impl From<DataFusionError> for PlanError {
    fn from(error: DataFusionError) -> PlanError {
        PlanError::Engine(error.strip_backtrace())
    }
}
