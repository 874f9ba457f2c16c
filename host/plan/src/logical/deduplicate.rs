//! Spark's `dropDuplicates` and `dropDuplicatesWithinWatermark`.

use std::fmt;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{EventTimeWatermark, delay_micros, is_event_time};
use tidemill_functions::contains_map;

/// Lets the first row of each key pass. Nothing is filtered below it that is not above: another
/// row would be the first.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Deduplicate {
    pub(crate) input: LogicalPlan,
    /// Names of the columns that make rows equal.
    pub(crate) columns: Vec<String>,
    /// Microseconds after a key's event time when it is forgotten, for the kind within the
    /// watermark.
    pub(crate) within: Option<i64>,
}

impl Deduplicate {
    /// `columns` empty: all.
    pub(crate) fn try_new(
        input: LogicalPlan,
        columns: &[String],
        within_watermark: bool,
    ) -> Result<Deduplicate> {
        let fields = input.schema().fields();
        let mut resolved = Vec::new();
        for column in columns {
            let mut alike = fields.iter().filter(|field| field.name().eq_ignore_ascii_case(column));
            match (alike.next(), alike.next()) {
                (Some(field), None) => resolved.push(field.name().clone()),
                (Some(_), Some(_)) => {
                    return plan_err!("drop_duplicates: the column \"{column}\" is ambiguous");
                }
                (None, _) => {
                    let known: Vec<&str> =
                        fields.iter().map(|field| field.name().as_str()).collect();
                    return plan_err!(
                        "drop_duplicates: there is no column \"{column}\" among {}",
                        known.join(", ")
                    );
                }
            }
        }
        if resolved.is_empty() {
            resolved = fields.iter().map(|field| field.name().clone()).collect();
        }
        let is_map = |name: &&String| {
            fields.iter().any(|field| field.name() == *name && contains_map(field.data_type()))
        };
        if let Some(name) = resolved.iter().find(is_map) {
            return plan_err!(
                "[UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE] drop_duplicates: the column \"{name}\" is a MAP, and maps cannot be compared; leave it out, or take its entries as an array"
            );
        }
        let within = if within_watermark {
            let tagged = fields.iter().find(|field| is_event_time(field));
            match tagged.and_then(|field| delay_micros(field).or_else(|| first_delay(&input))) {
                Some(delay) => Some(delay),
                None => {
                    return plan_err!(
                        "dropDuplicatesWithinWatermark is not supported on streaming DataFrames/DataSets without watermark; set a watermark on the source or on an earlier step, or leave out within_watermark"
                    );
                }
            }
        } else {
            None
        };
        Ok(Deduplicate { input, columns: resolved, within })
    }

    /// Whether rows can be late for it, and keys are forgotten.
    pub(crate) fn goes_by_event_time(&self) -> bool {
        let fields = self.input.schema().fields();
        let is_key = |name: &String| self.columns.contains(name);
        self.within.is_some()
            || fields.iter().any(|field| is_key(field.name()) && is_event_time(field))
    }
}

/// The delay of the first watermark below, for streams with several that were united: Spark takes
/// the first, too.
fn first_delay(plan: &LogicalPlan) -> Option<i64> {
    let mut delay = None;
    // The closure never fails.
    let _ = plan.apply(|node| {
        let LogicalPlan::Extension(Extension { node }) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        delay = node.as_any().downcast_ref::<EventTimeWatermark>().map(|w| w.delay.micros);
        Ok(if delay.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    delay
}

impl fmt::Debug for Deduplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for Deduplicate {
    fn partial_cmp(&self, other: &Deduplicate) -> Option<std::cmp::Ordering> {
        self.columns.partial_cmp(&other.columns)
    }
}

impl UserDefinedLogicalNodeCore for Deduplicate {
    fn name(&self) -> &str {
        "Deduplicate"
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
        let within = if self.within.is_some() { ", within the watermark" } else { "" };
        write!(f, "Deduplicate: columns=[{}]{within}", self.columns.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Deduplicate> {
        let input = inputs.swap_remove(0);
        Ok(Deduplicate { input, columns: self.columns.clone(), within: self.within })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let fields = self.input.schema().fields();
        let needed = |column: &usize| {
            let field = &fields[*column];
            output_columns.contains(column)
                || self.columns.contains(field.name())
                || is_event_time(field)
        };
        Some(vec![(0..fields.len()).filter(needed).collect()])
    }
}
