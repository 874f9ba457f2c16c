//! `LIMIT` of a stream whose rows are appended.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{
    Expr, Extension, FetchType, LogicalPlan, UserDefinedLogicalNodeCore,
};

/// Makes LIMIT count over the life of the query, above the inputs that it `is_of`: streams whose rows
/// are appended.
pub(crate) fn limit_streams(
    plan: LogicalPlan,
    is_of: impl Fn(&LogicalPlan) -> bool,
) -> Result<LogicalPlan> {
    let limited = plan.transform_up(|node| {
        let LogicalPlan::Limit(limit) = node else {
            return Ok(Transformed::no(node));
        };
        if !is_of(&limit.input) {
            return Ok(Transformed::no(LogicalPlan::Limit(limit)));
        }
        let FetchType::Literal(Some(rows)) = limit.get_fetch_type()? else {
            return plan_err!("LIMIT takes a number");
        };
        let node = Arc::new(StreamLimit::over(limit.input, rows as u64));
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    });
    limited.map(|limited| limited.data)
}

/// Whether no aggregation is below.
pub(crate) fn gives_rows_once(plan: &LogicalPlan) -> bool {
    let gives_again = |node: &LogicalPlan| {
        Ok(matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_)))
    };
    // The closure never fails.
    !plan.exists(gives_again).unwrap_or(true)
}

/// So many rows over the life of a query.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct StreamLimit {
    pub(crate) input: LogicalPlan,
    pub(crate) rows: u64,
}

impl StreamLimit {
    pub(crate) fn over(input: Arc<LogicalPlan>, rows: u64) -> StreamLimit {
        StreamLimit { input: Arc::unwrap_or_clone(input), rows }
    }
}

impl fmt::Debug for StreamLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for StreamLimit {
    fn partial_cmp(&self, other: &StreamLimit) -> Option<std::cmp::Ordering> {
        self.rows.partial_cmp(&other.rows)
    }
}

impl UserDefinedLogicalNodeCore for StreamLimit {
    fn name(&self) -> &str {
        "StreamLimit"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamLimit: rows={}", self.rows)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<StreamLimit> {
        Ok(StreamLimit { input: inputs.swap_remove(0), rows: self.rows })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}
