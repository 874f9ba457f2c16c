//! A bound on what DataFusion tries to find outer joins that a filter makes inner ones.
//!
//! Its rule writes the filter's predicate out through every projection on the way down to a join, and
//! so doubles it at each column that stands for twice the one below. This one looks first.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Filter, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::share::{CLOSED_FROM, size_of};

/// DataFusion's rule, asked only where there is an outer join and the predicate stays small.
pub(crate) struct OuterJoins(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OuterJoins {
    /// Whether this is DataFusion's rule.
    pub(crate) fn replaces(rule: &Arc<dyn OptimizerRule + Send + Sync>) -> bool {
        rule.name() == "eliminate_outer_join"
    }
}

impl fmt::Debug for OuterJoins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OuterJoins({})", self.0.name())
    }
}

impl OptimizerRule for OuterJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let asks = matches!(&plan, LogicalPlan::Filter(filter) if stays_small(filter));
        if asks { self.0.rewrite(plan, config) } else { Ok(Transformed::no(plan)) }
    }
}

/// Whether the predicate, as the columns of an outer join below have it, is no larger than a column
/// may be.
fn stays_small(filter: &Filter) -> bool {
    let mut projections = Vec::new();
    let mut below = filter.input.as_ref();
    while let LogicalPlan::Projection(projection) = below {
        projections.push(projection);
        below = projection.input.as_ref();
    }
    if !matches!(below, LogicalPlan::Join(join) if join.join_type.is_outer()) {
        return false;
    }
    let mut sizes = vec![1; below.schema().fields().len()];
    for projection in projections.into_iter().rev() {
        let of = |expression| size_of(expression, &projection.input, &sizes);
        sizes = projection.expr.iter().map(of).collect();
    }
    size_of(&filter.predicate, &filter.input, &sizes) <= CLOSED_FROM
}
