//! Event time: which column holds it, and the node that follows it.
//!
//! As in Spark, the tag sits on the column: field metadata that projections, aliases and grouping
//! carry along. An operator above knows by it what lateness and eviction go by. The tag is on a
//! TIMESTAMP, or on a window, whose event time is its end.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimestampMicrosecondType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore,
};
use tidemill_types::Interval;

use super::WINDOW_TIME;
use crate::definition::WatermarkSpec;

const EVENT_TIME: &str = "tidemill.event_time";
/// Beside the tag: how far the watermark stays behind. Where streams with other delays are united
/// it is gone, and the tag stays.
const DELAY: &str = "tidemill.watermark_delay_micros";
const WINDOW_SIZE: &str = "tidemill.window_size_micros";

/// Whether a column carries the tag.
pub(crate) fn is_event_time(field: &Field) -> bool {
    field.metadata().contains_key(EVENT_TIME)
}

/// The size of the windows whose starts a column holds; its event time is start + size.
pub(crate) fn window_size_micros(field: &Field) -> Option<i64> {
    field.metadata().get(WINDOW_SIZE)?.parse().ok()
}

/// A column without the tag.
pub(crate) fn without_event_time(field: &Field) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.remove(EVENT_TIME);
    metadata.remove(DELAY);
    metadata.remove(WINDOW_SIZE);
    Arc::new(field.clone().with_metadata(metadata))
}

/// The column of a schema that holds event time, and how to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EventTimeColumn {
    /// Its number.
    pub(crate) column: usize,
    /// Microseconds from what the column holds to the event time: a window's size where it holds
    /// starts, 0 otherwise.
    pub(crate) add: i64,
}

impl EventTimeColumn {
    /// The tagged column.
    ///
    /// # Errors
    /// There are several: none can be preferred (Spark's MULTIPLE_EVENT_TIME_COLUMNS).
    pub(crate) fn of(schema: &Schema) -> Result<Option<EventTimeColumn>> {
        let mut tagged =
            schema.fields().iter().enumerate().filter(|(_, field)| is_event_time(field));
        let Some((column, field)) = tagged.next() else {
            return Ok(None);
        };
        if let Some((_, other)) = tagged.next() {
            return plan_err!(
                "More than one event time columns are available: {} and {}. Keep one of them above the join (leave the other out, or make it plain by an expression), so that the operator knows by which its rows are late",
                field.name(),
                other.name()
            );
        }
        Ok(Some(EventTimeColumn { column, add: window_size_micros(field).unwrap_or(0) }))
    }

    /// The first tagged column, where several are in order.
    pub(crate) fn first(schema: &Schema) -> Option<EventTimeColumn> {
        let column = schema.fields().iter().position(|field| is_event_time(field))?;
        let add = window_size_micros(schema.field(column)).unwrap_or(0);
        Some(EventTimeColumn { column, add })
    }

    /// Event times in microseconds since 1970-01-01 UTC; `None` where there is none.
    pub(crate) fn times(self, columns: &[ArrayRef]) -> Result<Vec<Option<i64>>> {
        let times = times_of(&columns[self.column])?;
        Ok(times.iter().map(|time| Some(time?.saturating_add(self.add))).collect())
    }
}

/// The times that a column holds: its values, or the ends of its windows.
pub(crate) fn times_of(values: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let times = match values.data_type() {
        DataType::Struct(_) => window_ends(values)?,
        _ => Arc::clone(values),
    };
    let times = times.as_primitive_opt::<TimestampMicrosecondType>();
    times.cloned().ok_or_else(|| exec_datafusion_err!("event times have to be microseconds"))
}

/// The ends of windows. A window that is null has none, whatever its field holds.
pub(crate) fn window_ends(windows: &ArrayRef) -> Result<ArrayRef> {
    let structs = windows.as_struct_opt();
    let ends = structs.and_then(|windows| windows.column_by_name("end"));
    let (Some(structs), Some(ends)) = (structs, ends) else {
        return exec_err!("a window is a struct with a start and an end");
    };
    if structs.null_count() == 0 {
        return Ok(Arc::clone(ends));
    }
    let nulls = NullBuffer::union(structs.nulls(), ends.nulls());
    Ok(make_array(ends.to_data().into_builder().nulls(nulls).build()?))
}

/// How far the watermark stays behind a tagged column's largest time, in microseconds.
pub(crate) fn delay_micros(field: &Field) -> Option<i64> {
    field.metadata().get(DELAY)?.parse().ok()
}

/// The column with the tag of another one. `window_size`: it holds the starts of windows of that
/// size.
pub(crate) fn with_event_time_of(
    field: &Field,
    tagged: &Field,
    window_size: Option<i64>,
) -> FieldRef {
    if !is_event_time(tagged) {
        return Arc::new(field.clone());
    }
    let mut metadata = field.metadata().clone();
    for key in [EVENT_TIME, DELAY] {
        metadata.extend(tagged.metadata().get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(size) = window_size {
        metadata.insert(WINDOW_SIZE.to_owned(), size.to_string());
    }
    Arc::new(field.clone().with_metadata(metadata))
}

/// The tag that the value of an expression has: that of a column, also under another name, or of
/// its window's time. Any other expression loses it, as in Spark.
pub(crate) fn tagged_field(expression: &Expr, schema: &DFSchema) -> Result<Option<FieldRef>> {
    let field = match expression {
        Expr::Alias(alias) => return tagged_field(&alias.expr, schema),
        Expr::Column(_) => expression.to_field(schema)?.1,
        Expr::ScalarFunction(function) if function.func.name() == WINDOW_TIME => {
            expression.to_field(schema)?.1
        }
        _ => return Ok(None),
    };
    Ok(is_event_time(&field).then_some(field))
}

/// Spark's `withWatermark`: lets rows pass and notes their event times. Takes the tag from all
/// other columns.
///
/// Predicates that do not read the event-time column are pushed below it, so that rows which they
/// remove do not move the watermark; that is what Spark does.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct EventTimeWatermark {
    pub(crate) input: LogicalPlan,
    /// Name of the column in the input.
    pub(crate) column: String,
    /// How far behind the largest event time the watermark stays.
    pub(crate) delay: Interval,
    /// How long without rows until it no longer holds the query's watermark back.
    pub(crate) idle: Option<Interval>,
    /// Which of the declared watermarks; in the end, which of those that the optimised plan has.
    pub(crate) number: usize,
    schema: DFSchemaRef,
}

impl EventTimeWatermark {
    /// Refuses a column that is not there or is no TIMESTAMP.
    pub(crate) fn try_new(input: LogicalPlan, spec: &WatermarkSpec) -> Result<EventTimeWatermark> {
        let column = spec.column.as_str();
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
        // Of a window that is not event time already, Spark reads no time: nothing ever leaves.
        let is_window = matches!(field.data_type(), DataType::Struct(_)) && is_event_time(field);
        if !is_window && !matches!(field.data_type(), DataType::Timestamp(_, Some(_))) {
            return plan_err!(
                "watermark: The event time \"{column}\" has the invalid type {}, but expected TIMESTAMP",
                tidemill_types::format_type(field.data_type())
            );
        }
        let column = field.name().clone();
        let schema = schema_with(&input, position, spec.delay)?;
        let (delay, idle) = (spec.delay, spec.idle);
        Ok(EventTimeWatermark { input, column, delay, idle, number: 0, schema })
    }

    /// As a job says it.
    pub(crate) fn spec(&self) -> WatermarkSpec {
        WatermarkSpec { column: self.column.clone(), delay: self.delay, idle: self.idle }
    }

    /// The same as number so and so of its plan.
    pub(crate) fn numbered(&self, number: usize) -> EventTimeWatermark {
        EventTimeWatermark {
            input: self.input.clone(),
            column: self.column.clone(),
            delay: self.delay,
            idle: self.idle,
            number,
            schema: Arc::clone(&self.schema),
        }
    }
}

fn schema_with(input: &LogicalPlan, position: usize, delay: Interval) -> Result<DFSchemaRef> {
    let fields = input
        .schema()
        .iter()
        .enumerate()
        .map(|(i, (qualifier, field))| {
            let field = if i == position {
                let mut metadata = field.metadata().clone();
                metadata.insert(EVENT_TIME.to_owned(), "true".to_owned());
                metadata.insert(DELAY.to_owned(), delay.micros.to_string());
                Arc::new(field.as_ref().clone().with_metadata(metadata))
            } else {
                without_event_time(field)
            };
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
        (self.number, &self.column).partial_cmp(&(other.number, &other.column))
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
        write!(f, "EventTimeWatermark: column={}, delay={}", self.column, self.delay)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<EventTimeWatermark> {
        let node = EventTimeWatermark::try_new(inputs.swap_remove(0), &self.spec())?;
        Ok(node.numbered(self.number))
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

/// Numbers the watermarks that an optimised plan has. One that was declared once is one, also where
/// its table is read twice: its time is the largest of all its rows, as in Spark.
pub(crate) fn number_watermarks(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<WatermarkSpec>)> {
    let (mut declared, mut specs) = (Vec::new(), Vec::new());
    let numbered = plan.transform_up(|node| {
        let LogicalPlan::Extension(Extension { node: extension }) = &node else {
            return Ok(Transformed::no(node));
        };
        let Some(watermark) = extension.as_any().downcast_ref::<EventTimeWatermark>() else {
            return Ok(Transformed::no(node));
        };
        let known = declared.iter().position(|number| *number == watermark.number);
        let number = known.unwrap_or_else(|| {
            declared.push(watermark.number);
            specs.push(watermark.spec());
            declared.len() - 1
        });
        let node = Arc::new(watermark.numbered(number));
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    })?;
    Ok((numbered.data, specs))
}
