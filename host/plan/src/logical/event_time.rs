//! Event time: which column holds it, and the node that follows it.
//!
//! As in Spark, the mark sits on the column: field metadata that projections, aliases and grouping
//! carry along. An operator above knows by it what lateness and eviction go by.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

const EVENT_TIME: &str = "tidemill.event_time";
const WINDOW_SIZE: &str = "tidemill.window_size_micros";

/// Whether a column carries the mark.
pub(crate) fn is_event_time(field: &Field) -> bool {
    field.metadata().contains_key(EVENT_TIME)
}

/// The size of the windows whose starts a column holds; its event time is start + size.
pub(crate) fn window_size_micros(field: &Field) -> Option<i64> {
    field.metadata().get(WINDOW_SIZE)?.parse().ok()
}

/// The column with the mark. `window_size`: it holds the starts of windows of that size.
pub(crate) fn with_event_time(field: &Field, window_size: Option<i64>) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.insert(EVENT_TIME.to_owned(), "true".to_owned());
    if let Some(size) = window_size {
        metadata.insert(WINDOW_SIZE.to_owned(), size.to_string());
    }
    Arc::new(field.clone().with_metadata(metadata))
}

/// Spark's `withWatermark`: lets rows pass and notes their event times.
///
/// Predicates that do not read the event-time column are pushed below it, so that rows which they
/// remove do not move the watermark; that is what Spark does.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct EventTimeWatermark {
    pub(crate) input: LogicalPlan,
    /// Name of the column in the input.
    pub(crate) column: String,
    /// Number among the plan's watermarks.
    pub(crate) number: usize,
    schema: DFSchemaRef,
}

impl EventTimeWatermark {
    /// Refuses a column that is not there or is no TIMESTAMP.
    pub(crate) fn try_new(
        input: LogicalPlan,
        column: &str,
        number: usize,
    ) -> Result<EventTimeWatermark> {
        let known = || {
            let names: Vec<&str> =
                input.schema().fields().iter().map(|f| f.name().as_str()).collect();
            names.join(", ")
        };
        let Some(position) = input
            .schema()
            .fields()
            .iter()
            .position(|field| field.name().eq_ignore_ascii_case(column))
        else {
            return plan_err!("watermark: there is no column \"{column}\" among {}", known());
        };
        let field = input.schema().field(position);
        if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
            return plan_err!(
                "watermark: \"{column}\" is {}, and event time has to be a TIMESTAMP",
                tidemill_codec::format_type(field.data_type())
            );
        }
        let column = field.name().clone();
        let schema = schema_with(&input, position)?;
        Ok(EventTimeWatermark { input, column, number, schema })
    }
}

fn schema_with(input: &LogicalPlan, position: usize) -> Result<DFSchemaRef> {
    let fields = input
        .schema()
        .iter()
        .enumerate()
        .map(|(i, (qualifier, field))| {
            let field =
                if i == position { with_event_time(field, None) } else { Arc::clone(field) };
            (qualifier.cloned(), field)
        })
        .collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?))
}

impl fmt::Debug for EventTimeWatermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for EventTimeWatermark {
    fn partial_cmp(&self, other: &EventTimeWatermark) -> Option<std::cmp::Ordering> {
        self.number.partial_cmp(&other.number)
    }
}

impl UserDefinedLogicalNodeCore for EventTimeWatermark {
    fn name(&self) -> &str {
        "EventTimeWatermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.column.clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTimeWatermark: column={}", self.column)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<EventTimeWatermark> {
        EventTimeWatermark::try_new(inputs.swap_remove(0), &self.column, self.number)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut wanted = output_columns.to_vec();
        let event_time = self.schema.fields().iter().position(|f| f.name() == &self.column)?;
        if !wanted.contains(&event_time) {
            wanted.push(event_time);
            wanted.sort_unstable();
        }
        Some(vec![wanted])
    }
}
