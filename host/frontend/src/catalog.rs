//! What a query may read and call beside Spark's functions, and what its streaming relations become.

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, LogicalPlan, ScalarUDF};

use crate::error::{Error, Result};
use crate::spec::{Deduplicate, PluginStateful, SetOperation, WithWatermark};

/// Tables and functions, and nodes that the resolver does not know.
pub trait Catalog {
    /// A table by its name, whatever its case: its name as it is defined, and its plan.
    fn table(&self, name: &str) -> Option<(String, LogicalPlan)>;

    /// The names of all tables.
    fn tables(&self) -> Vec<String>;

    /// A function that is none of Spark's batch SQL: a plugin's, or a window over event time.
    fn function(&self, name: &str) -> Option<CatalogFunction>;

    /// Whether all rows are there at once: a result may have two columns of one name, as in Spark, and
    /// its plan does not outlive it.
    fn is_batch(&self) -> bool {
        false
    }

    /// Refuses a set operation that this plan must not have.
    ///
    /// # Errors
    /// It has no meaning on streams.
    fn check_set_operation(
        &self,
        _: &SetOperation,
        _left: &LogicalPlan,
        _right: &LogicalPlan,
    ) -> Result<()> {
        Ok(())
    }

    /// A plan that has event time.
    ///
    /// # Errors
    /// There is no such column, or it is no time.
    fn with_watermark(&self, _: LogicalPlan, _: &WithWatermark) -> Result<LogicalPlan> {
        no_stream("withWatermark")
    }

    /// A plan of which rows are taken once.
    ///
    /// # Errors
    /// There is no such column.
    fn deduplicate(&self, _: LogicalPlan, _: &Deduplicate) -> Result<LogicalPlan> {
        no_stream("dropDuplicates")
    }

    /// A plan whose rows a plugin makes others of.
    ///
    /// # Errors
    /// There is no such plugin or transform, or it takes other rows.
    fn transform(&self, _: LogicalPlan, _plugin: &str, _function: &str) -> Result<LogicalPlan> {
        no_stream("a plugin's transform")
    }

    /// A plan whose rows go through a plugin's function that keeps state for each key.
    ///
    /// # Errors
    /// There is no such plugin or function, or it takes other rows, another key or another initial state.
    fn stateful(
        &self,
        _: LogicalPlan,
        _initial: Option<LogicalPlan>,
        _: &PluginStateful,
    ) -> Result<LogicalPlan> {
        no_stream("a plugin's stateful function")
    }
}

fn no_stream<T>(what: &str) -> Result<T> {
    Err(Error::new(format!("{what} is for streaming queries, and this is none"), None))
}

/// A function that a [`Catalog`] has.
#[derive(Clone)]
pub enum CatalogFunction {
    /// A plugin's scalar.
    Scalar {
        /// What is called, with the types of its arguments.
        function: Arc<ScalarUDF>,
        /// Whether two calls with equal arguments may give two values.
        varies: bool,
    },
    /// A plugin's aggregate, with the types of its arguments.
    Aggregate(Arc<AggregateUDF>),
    /// It cuts time into windows, which are grouped by, and its arguments are durations.
    Window(Arc<ScalarUDF>),
    /// Any other that the plan knows.
    Plain(Arc<ScalarUDF>),
}
