//! Why a query cannot be planned.

use datafusion::common::SchemaError;
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

    /// What DataFusion says of a step, without its own prefixes.
    pub(crate) fn in_step(step: &str, error: &DataFusionError) -> PlanError {
        PlanError::Sql { step: step.to_owned(), reason: in_sparks_words(error) }
    }
}

/// What DataFusion says, with the class of Spark's error where it is a common one.
fn in_sparks_words(error: &DataFusionError) -> String {
    let root = error.find_root();
    let reason = match root {
        DataFusionError::Plan(reason) => reason.clone(),
        DataFusionError::SchemaError(error, _) => error.to_string(),
        _ => root.strip_backtrace(),
    };
    // Around what a function of ours says, DataFusion tells how it came to ask it.
    if let Some(at) = reason.find("planning: [") {
        let from_class = &reason[at + "planning: ".len()..];
        let end = from_class.find(" No function matches").unwrap_or(from_class.len());
        return from_class[..end].to_owned();
    }
    if reason.starts_with('[') {
        return reason;
    }
    if let Some(rest) = reason.strip_prefix("Invalid function '")
        && let Some((name, hint)) = rest.split_once("'.")
    {
        let hint = hint.trim();
        return format!(
            "[UNRESOLVED_ROUTINE] Cannot resolve routine `{name}`: there is no such function. {hint}"
        );
    }
    if let DataFusionError::SchemaError(error, _) = root {
        return match error.as_ref() {
            SchemaError::AmbiguousReference { field } => format!(
                "[AMBIGUOUS_REFERENCE] Reference `{}` is ambiguous: more than one table has it; write the table before it",
                field.name
            ),
            SchemaError::FieldNotFound { field, .. } => format!(
                "[UNRESOLVED_COLUMN] A column with name `{}` cannot be resolved. {reason}",
                field.flat_name()
            ),
            _ => reason,
        };
    }
    if reason.contains("in GROUP BY or an aggregate") || reason.contains("appear in the GROUP BY") {
        return format!(
            "[MISSING_AGGREGATION] An expression is based on columns which are not participating in the GROUP BY clause: {reason}. Add them to GROUP BY, or aggregate them, as with any_value()"
        );
    }
    reason
}

impl From<DataFusionError> for PlanError {
    fn from(error: DataFusionError) -> PlanError {
        PlanError::Engine(error.strip_backtrace())
    }
}
