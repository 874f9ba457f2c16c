//! Why a query cannot be planned.

use datafusion::error::DataFusionError;
use tidemill_core::PluginError;
use tidemill_frontend::without_qualifiers;

/// The job asks for something that cannot be run. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A step's SQL is wrong, or its names and types do not fit.
    #[error("step \"{step}\": {reason}")]
    Sql {
        /// The step.
        step: String,
        /// What the front end says, with Spark's class of the error where it has one.
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
    /// A handler's SQL needs more memory than its call may use.
    #[error("{0}")]
    Memory(String),
    /// Planning broke.
    #[error("the query could not be planned: {0}")]
    Engine(String),
}

impl PlanError {
    /// What our own nodes and operators refuse, while the plan is made of them.
    pub(crate) fn refused_by(error: DataFusionError) -> PlanError {
        match error {
            DataFusionError::Plan(reason) => PlanError::Refused(reason),
            other => PlanError::from(other),
        }
    }
}

/// What is said of queries within expressions that no join can be made of.
pub(crate) fn of_queries_within(error: &DataFusionError) -> Option<&'static str> {
    let said = error.strip_backtrace();
    let is_it = [
        "Subquery",
        "Exists(",
        "OuterReference",
        "outer_ref(",
        "scalar_subquery_to_join",
        "__scalar_sq",
        "__correlated_sq",
    ]
    .into_iter()
    .any(|word| said.contains(word));
    is_it.then_some(
        "a query within an expression reads the query around it in a way that is not supported yet; it may in its WHERE by comparisons with =, and not below LIMIT; write a join",
    )
}

impl From<DataFusionError> for PlanError {
    fn from(error: DataFusionError) -> PlanError {
        if let Some(reason) = of_queries_within(&error) {
            return PlanError::Invalid(reason.to_owned());
        }
        if let DataFusionError::Plan(reason) = error.find_root() {
            return PlanError::Invalid(without_qualifiers(reason));
        }
        PlanError::Engine(without_qualifiers(&error.strip_backtrace()))
    }
}
