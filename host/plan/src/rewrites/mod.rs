//! Rewrites of the whole logical plan, before and after DataFusion's optimiser: what Spark's
//! optimiser does and that one does not, and the nodes that run joins.
//!
//! [`crate::PlannedQuery::plan`] has their order.

mod constraints;
mod filters;
mod joins;
mod subqueries;

pub(crate) use filters::infer_filters;
pub(crate) use joins::plan_joins;
pub(crate) use subqueries::sink_subqueries;
