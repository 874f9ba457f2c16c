//! Which plans can run as streams. What has no meaning on a stream is refused as Spark refuses it;
//! what Spark runs and this version does not is named as not supported yet. Nothing is ignored.

use std::any::Any;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use tidemill_core::OutputMode;

use crate::PlanError;
use crate::sql::{BatchTime, PluginScalar};

/// Checks a plan before it is optimised, where it still looks like its text.
pub(crate) fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<(), PlanError> {
    let mut survey = Survey::default();
    survey.visit(plan, false)?;
    match (mode, survey.aggregations) {
        (OutputMode::Complete, 0) => Err(PlanError::Refused(
            "Invalid streaming output mode: complete. This output mode is not supported for no streaming aggregations on streaming DataFrames/DataSets. Use append or update".to_owned(),
        )),
        (_, 0 | 1) => survey.check_order(mode),
        _ => Err(PlanError::NotYet("more than one aggregation in a query".to_owned())),
    }
}

#[derive(Default)]
struct Survey {
    aggregations: usize,
    sorted: bool,
    limited: bool,
    sorted_below_aggregation: bool,
}

impl Survey {
    fn visit(&mut self, plan: &LogicalPlan, under_aggregation: bool) -> Result<(), PlanError> {
        check_expressions(plan)?;
        let mut under = under_aggregation;
        match plan {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Extension(_) => {}
            LogicalPlan::Aggregate(_) => {
                self.aggregations += 1;
                under = true;
            }
            LogicalPlan::Sort(_) => {
                self.sorted = true;
                self.sorted_below_aggregation |= under_aggregation;
            }
            LogicalPlan::Limit(_) => {
                self.limited = true;
                self.sorted_below_aggregation |= under_aggregation;
            }
            other => return Err(PlanError::NotYet(describe(other))),
        }
        plan.inputs().into_iter().try_for_each(|input| self.visit(input, under))
    }

    fn check_order(&self, mode: OutputMode) -> Result<(), PlanError> {
        let complete_aggregation = mode == OutputMode::Complete && self.aggregations == 1;
        if self.sorted && (!complete_aggregation || self.sorted_below_aggregation) {
            return Err(PlanError::Refused(
                "Sorting is not supported on streaming DataFrames/Datasets, unless it is on aggregated DataFrame/Dataset in Complete output mode".to_owned(),
            ));
        }
        if self.limited && mode == OutputMode::Update {
            return Err(PlanError::Refused(
                "Limits are not supported on streaming DataFrames/Datasets in Update output mode"
                    .to_owned(),
            ));
        }
        if self.limited && (!complete_aggregation || self.sorted_below_aggregation) {
            return Err(PlanError::NotYet("LIMIT outside of complete mode".to_owned()));
        }
        Ok(())
    }
}

fn check_expressions(plan: &LogicalPlan) -> Result<(), PlanError> {
    let mut refused = None;
    // The closures never fail.
    let _ = plan.apply_expressions(|expression| {
        expression.apply(|e| {
            refused = match e {
                Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => {
                    Some(PlanError::NotYet("a subquery in an expression".to_owned()))
                }
                Expr::GroupingSet(_) => {
                    Some(PlanError::NotYet("GROUPING SETS, CUBE or ROLLUP".to_owned()))
                }
                Expr::ScalarFunction(function) if is_unrepeatable(function) => {
                    Some(PlanError::Refused(format!(
                        "{}() gives another value each time, and a batch has to give the same rows when it is run again; take the value from the input, or from current_timestamp()",
                        function.func.name()
                    )))
                }
                Expr::WindowFunction(_) => Some(PlanError::Refused(
                    "Non-time-based windows are not supported on streaming DataFrames/Datasets"
                        .to_owned(),
                )),
                Expr::AggregateFunction(function) if function.params.distinct => {
                    Some(PlanError::Refused(
                        "Distinct aggregations are not supported on streaming DataFrames/Datasets. Consider using approx_count_distinct() instead".to_owned(),
                    ))
                }
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            Ok(TreeNodeRecursion::Stop)
        })
    });
    refused.map_or(Ok(()), Err)
}

/// Whether a function is volatile in earnest. Ours only say so to be left alone by the optimiser.
fn is_unrepeatable(function: &ScalarFunction) -> bool {
    let inner: &dyn Any = function.func.inner().as_ref();
    function.func.signature().volatility == Volatility::Volatile
        && !inner.is::<BatchTime>()
        && !inner.is::<PluginScalar>()
}

/// Refuses sources that the plan does not read: their rows would be read past and lost.
pub(crate) fn check_sources(plan: &LogicalPlan, sources: &[String]) -> Result<(), PlanError> {
    let mut read = Vec::new();
    // The closure never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            read.push(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match sources.iter().find(|source| !read.contains(source)) {
        None => Ok(()),
        Some(unread) => Err(PlanError::Invalid(format!(
            "source \"{unread}\" does not reach the sink: no step reads it; use it or take it out"
        ))),
    }
}

/// Refuses the batch's time where nobody can tell it: in a handler's batch SQL.
pub(crate) fn check_batch_sql(plan: &LogicalPlan) -> Result<(), PlanError> {
    let mut found = None;
    // The closures never fail.
    let _ = plan.apply(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|e| {
                if let Expr::ScalarFunction(function) = e {
                    let inner: &dyn Any = function.func.inner().as_ref();
                    if inner.is::<BatchTime>() || is_unrepeatable(function) {
                        found = Some(function.func.name().to_owned());
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    match found {
        None => Ok(()),
        Some(name) => Err(PlanError::Invalid(format!(
            "{name}() is not available in batch SQL; the batch's time is in the handler's context"
        ))),
    }
}

fn describe(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Join(_) => "a join".to_owned(),
        LogicalPlan::Union(_) => "UNION".to_owned(),
        LogicalPlan::Distinct(_) => "SELECT DISTINCT".to_owned(),
        LogicalPlan::Unnest(_) => "explode()".to_owned(),
        LogicalPlan::Window(_) => "a window function".to_owned(),
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
            "a SELECT without a source".to_owned()
        }
        other => other.display().to_string(),
    }
}
