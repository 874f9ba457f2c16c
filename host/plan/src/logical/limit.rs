//! `LIMIT` of a stream whose rows are appended.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

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
