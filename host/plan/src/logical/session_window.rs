//! `session_window(time, gap)`: each row as a session of its own, from which the aggregation makes
//! the longer ones.
//!
//! Spark's SessionWindowing: a row's session is `[time, time + gap)`. Rows without a time or a gap,
//! or with a gap that is not positive, belong to none.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{tagged_field, with_event_time_of};
use tidemill_functions::timestamp_type;

/// Names of the columns that hold a row's own session.
pub(super) const SESSION_START: &str = "__session_start";
pub(super) const SESSION_END: &str = "__session_end";

/// Field metadata: which bound of a session a column holds.
const SESSION: &str = "tidemill.session";

/// What the metadata says of a struct with both bounds.
const BOTH: &str = "both";

/// Whether a column holds sessions, as structs.
pub(crate) fn holds_sessions(field: &Field) -> bool {
    field.metadata().get(SESSION).is_some_and(|bound| bound == BOTH)
}

/// The struct that a bound of a session becomes a part of, with the tag of sessions.
pub(crate) fn with_session_of(window: FieldRef, bound: &Field) -> FieldRef {
    match bound.metadata().contains_key(SESSION) {
        true => with_session(&window, BOTH),
        false => window,
    }
}

/// A column with the tag of the bounds that it holds: `start`, `end` or both.
pub(crate) fn with_session(field: &Field, bound: &str) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.insert(SESSION.to_owned(), bound.to_owned());
    Arc::new(field.clone().with_metadata(metadata))
}

/// Numbers of the columns that hold the bounds of sessions, if the rows are grouped by any.
pub(crate) fn session_columns(schema: &Schema) -> Option<(usize, usize)> {
    let bound = |which: &str| {
        let mut fields = schema.fields().iter();
        fields.position(|field| field.metadata().get(SESSION).is_some_and(|bound| bound == which))
    };
    Some((bound("start")?, bound("end")?))
}

fn bound(name: &str, which: &str) -> Field {
    let metadata = HashMap::from([(SESSION.to_owned(), which.to_owned())]);
    Field::new(name, timestamp_type(), false).with_metadata(metadata)
}

/// Adds the bounds of each row's own session; leaves out rows that have none.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct SessionWindow {
    pub(crate) input: LogicalPlan,
    pub(crate) time: Expr,
    /// An interval as a text, or a number of microseconds where it is fixed.
    pub(crate) gap: Expr,
    schema: DFSchemaRef,
}

impl SessionWindow {
    /// The time has to be a TIMESTAMP.
    pub(super) fn try_new(input: LogicalPlan, time: Expr, gap: Expr) -> Result<SessionWindow> {
        let gap_type = gap.get_type(input.schema())?;
        if !gap_type.is_string() && gap_type != DataType::Int64 {
            return plan_err!(
                "session_window(): the gap is a text like '5 minutes', or an expression that gives one; found {gap}, which is {}",
                tidemill_types::format_type(&gap_type)
            );
        }
        let mut end = Arc::new(bound(SESSION_END, "end"));
        if let Some(tagged) = tagged_field(&time, input.schema())? {
            end = with_event_time_of(&end, &tagged, None);
        }
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.push((None, Arc::new(bound(SESSION_START, "start"))));
        fields.push((None, end));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(SessionWindow { input, time, gap, schema })
    }
}

impl fmt::Debug for SessionWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for SessionWindow {
    fn partial_cmp(&self, other: &SessionWindow) -> Option<std::cmp::Ordering> {
        self.time.partial_cmp(&other.time)
    }
}

impl UserDefinedLogicalNodeCore for SessionWindow {
    fn name(&self) -> &str {
        "SessionWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone(), self.gap.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([SESSION_START.to_owned(), SESSION_END.to_owned()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionWindow: {}, gap={}", self.time, self.gap)
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<SessionWindow> {
        let gap = exprs.swap_remove(1);
        SessionWindow::try_new(inputs.swap_remove(0), exprs.swap_remove(0), gap)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut wanted: Vec<usize> =
            output_columns.iter().copied().filter(|column| *column < width).collect();
        for column in self.time.column_refs().into_iter().chain(self.gap.column_refs()) {
            wanted.push(self.input.schema().maybe_index_of_column(column)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}
