//! What a text must not ask of streams, where the plan would not show it any more.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Query, Select, SetExpr, SetOperator, SetQuantifier, TableFactor, Visit, Visitor,
    visit_relations,
};

/// What is refused depends on which tables stream, and on the output mode.
#[derive(Default, Clone)]
pub(crate) struct Refusals {
    streaming: BTreeSet<String>,
    /// Whether each batch gives the whole result, which can be sorted.
    is_complete: bool,
}

impl Refusals {
    /// Of a query in complete mode or another one, that reads no stream yet.
    pub(crate) fn of_mode(is_complete: bool) -> Refusals {
        Refusals { is_complete, streaming: BTreeSet::new() }
    }

    /// Says that a table streams.
    pub(crate) fn add_streaming(&mut self, name: &str) {
        self.streaming.insert(name.to_owned());
    }

    /// Refuses a query in Spark's words.
    pub(super) fn check(&self, query: &Query) -> Result<()> {
        match query.visit(&mut Check { refusals: self, depth: 0 }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(reason) => Err(DataFusionError::Plan(reason)),
        }
    }

    /// Whether a query reads a table that streams.
    fn reach(&self, query: &SetExpr) -> bool {
        let mut reads = false;
        let _ = visit_relations(query, |relation| {
            let name = relation.0.last().map(ToString::to_string).unwrap_or_default();
            let name = name.trim_matches('`');
            reads |= self.streaming.iter().any(|table| table.eq_ignore_ascii_case(name));
            ControlFlow::<()>::Continue(())
        });
        reads
    }

    /// INTERSECT and EXCEPT would become joins, which are not refused. EXCEPT of a stream and a table
    /// that does not change may run; with ALL it would have to count.
    fn check_set_operation(&self, body: &SetExpr) -> ControlFlow<String> {
        let SetExpr::SetOperation { op, left, right, set_quantifier } = body else {
            return ControlFlow::Continue(());
        };
        let (left_streams, right_streams) = (self.reach(left), self.reach(right));
        let is_counting = *set_quantifier == SetQuantifier::All;
        let (name, is_refused) = match op {
            SetOperator::Union => ("Union", false),
            SetOperator::Intersect => ("Intersect", left_streams || right_streams),
            _ => ("Except", right_streams || (left_streams && is_counting)),
        };
        if is_refused {
            return ControlFlow::Break(format!(
                "{name} of streaming DataFrames/Datasets is not supported; write a left semi or left anti join with what does not stream"
            ));
        }
        self.check_set_operation(left)?;
        self.check_set_operation(right)
    }
}

struct Check<'a> {
    refusals: &'a Refusals,
    /// Queries around the place that is looked at.
    depth: usize,
}

impl Visitor for Check<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let can_be_sorted = || {
            !self.refusals.reach(&query.body) || (self.refusals.is_complete && groups(&query.body))
        };
        // The planner takes the order out of a query within another one.
        if self.depth > 0
            && query.order_by.is_some()
            && query.limit_clause.is_none()
            && !can_be_sorted()
        {
            return ControlFlow::Break(
                "Sorting is not supported on streaming DataFrames/Datasets, unless it is on aggregated DataFrame/Dataset in Complete output mode; leave out the ORDER BY of the inner query, whose order means nothing to the outer one".to_owned(),
            );
        }
        self.depth += 1;
        self.refusals.check_set_operation(&query.body)
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<String> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<String> {
        match table {
            TableFactor::Table { sample: Some(_), .. } => ControlFlow::Break(
                "Sampling is not supported on streaming DataFrames/Datasets: TABLESAMPLE gives other rows each time, and a batch has to give the same when it is run again".to_owned(),
            ),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a query groups somewhere.
fn groups(query: &SetExpr) -> bool {
    struct Groups;
    impl Visitor for Groups {
        type Break = ();

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            match &select.group_by {
                GroupByExpr::Expressions(by, _) if by.is_empty() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        }
    }
    query.visit(&mut Groups).is_break()
}
