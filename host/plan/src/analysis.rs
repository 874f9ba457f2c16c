//! Which plans can run as streams. What has no meaning on a stream is refused as Spark refuses it
//! (UnsupportedOperationChecker); what Spark runs and this version does not is named as not
//! supported yet. Nothing is ignored.

use std::any::Any;
use std::collections::BTreeSet;

use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Distinct, Expr, Extension, Join, LogicalPlan, Volatility};
use tidemill_core::{OutputMode, WatermarkPolicy};

use crate::logical::{
    Deduplicate, EventTimeWatermark, is_event_time, session_columns, spark_name, unbounded,
};
use crate::plugins::{PluginScalar, PluginStateful};
use crate::{PlanError, QueryDefinition};
use tidemill_functions::BatchTime;

/// The streaming tables of a query.
pub(crate) struct Streams {
    sources: Vec<String>,
}

impl Streams {
    pub(crate) fn of(definition: &QueryDefinition) -> Streams {
        Streams { sources: definition.sources.iter().map(|source| source.name.clone()).collect() }
    }

    /// Whether any of them is below a plan.
    pub(crate) fn reach(&self, plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::TableScan(scan) => {
                self.sources.iter().any(|source| source == scan.table_name.table())
            }
            other => other.inputs().into_iter().any(|input| self.reach(input)),
        }
    }

    fn read_by(&self, plan: &LogicalPlan) -> impl Iterator<Item = &String> {
        let mut read = BTreeSet::new();
        // The closure never fails.
        let _ = plan.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                read.insert(scan.table_name.table().to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        self.sources.iter().filter(move |source| read.contains(*source))
    }
}

/// Checks a plan before it is optimised, where it still looks like its text.
pub(crate) fn check(
    plan: &LogicalPlan,
    mode: OutputMode,
    streams: &Streams,
) -> Result<(), PlanError> {
    let check = Check { mode, streams };
    check_repeatable(plan)?;
    check.expressions(plan)?;
    check.output_mode(plan)?;
    check.chains(plan)?;
    check.nodes(plan)
}

struct Check<'a> {
    mode: OutputMode,
    streams: &'a Streams,
}

fn refused(reason: impl Into<String>) -> PlanError {
    PlanError::Refused(reason.into())
}

impl Check<'_> {
    /// Visits the nodes that streams flow through, the sink's side first.
    fn visit(
        &self,
        plan: &LogicalPlan,
        visit: &mut dyn FnMut(&LogicalPlan) -> Result<(), PlanError>,
    ) -> Result<(), PlanError> {
        if !self.streams.reach(plan) {
            return Ok(());
        }
        visit(plan)?;
        plan.inputs().into_iter().try_for_each(|input| self.visit(input, visit))
    }

    fn expressions(&self, plan: &LogicalPlan) -> Result<(), PlanError> {
        self.visit(plan, &mut |node| check_expressions(node, self.streams))
    }

    fn is_aggregation(&self, plan: &LogicalPlan) -> bool {
        matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_))
            && self.streams.reach(plan)
    }

    fn is_stream_join(&self, plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::Join(join) => {
                self.streams.reach(&join.left) && self.streams.reach(&join.right)
            }
            _ => false,
        }
    }

    fn is_stateful(&self, plan: &LogicalPlan) -> bool {
        self.is_aggregation(plan)
            || self.is_stream_join(plan)
            || is_deduplication(plan)
            || is_stateful_step(plan)
    }

    fn aggregations<'p>(&self, plan: &'p LogicalPlan) -> Vec<&'p LogicalPlan> {
        let mut found = Vec::new();
        let mut rest = vec![plan];
        while let Some(node) = rest.pop() {
            if self.is_aggregation(node) {
                found.push(node);
            }
            rest.extend(node.inputs());
        }
        found
    }

    fn output_mode(&self, plan: &LogicalPlan) -> Result<(), PlanError> {
        let invalid = |operation: &str, way_out: &str| {
            refused(format!(
                "Invalid streaming output mode: {}. This output mode is not supported for {operation} on streaming DataFrames/DataSets. {way_out}",
                self.mode
            ))
        };
        let aggregations = self.aggregations(plan);
        match self.mode {
            OutputMode::Complete if aggregations.is_empty() => {
                Err(invalid("no streaming aggregations", "Use append or update"))
            }
            OutputMode::Append if aggregations.iter().any(|a| !has_event_time_key(a)) => {
                Err(invalid(
                    "streaming aggregations without watermark",
                    "Set a watermark on the source and group by window(…) over that column or by the column itself, or use output_mode = \"update\"",
                ))
            }
            OutputMode::Update if aggregations.iter().any(|a| is_by_session(a)) => Err(invalid(
                "session window",
                "Update output mode is not supported for session windows: use append or complete",
            )),
            _ => aggregations.iter().try_for_each(|aggregation| {
                if is_by_session(aggregation) && groups_by_nothing_else(aggregation) {
                    return Err(refused(
                        "Global aggregation with session window in streaming query is not supported; group by another column beside session_window(…)",
                    ));
                }
                Ok(())
            }),
        }
    }

    /// An aggregation that is emitted again and again must not feed another stateful operator:
    /// what it emits is late there (Spark's checkStreamingQueryGlobalWatermarkLimit).
    fn chains(&self, plan: &LogicalPlan) -> Result<(), PlanError> {
        self.visit(plan, &mut |node| {
            let feeds = self.is_stateful(node)
                && node.inputs().iter().any(|input| has_stateful_step(input));
            match feeds {
                false => Ok(()),
                true => Err(refused(
                    "a plugin's stateful function below another stateful operator is not supported: \
                     nobody knows the event time of its rows, which may be late there. Let it be the last \
                     stateful step, and read what the query writes in another query",
                )),
            }
        })?;
        if self.mode == OutputMode::Append {
            return Ok(());
        }
        self.visit(plan, &mut |node| {
            let feeds = self.is_stateful(node)
                && !is_deduplication_without_time(node)
                && node.inputs().iter().any(|input| !self.aggregations(input).is_empty());
            if !feeds {
                return Ok(());
            }
            Err(refused(format!(
                "Detected pattern of possible 'correctness' issue due to global watermark. The query contains stateful operation which can emit rows older than the current watermark plus allowed late record delay, which are \"late rows\" in downstream stateful operations and these rows can be discarded: an aggregation below another stateful operator in output mode {}. Use output_mode = \"append\", or one stateful operator a query",
                self.mode
            )))
        })
    }

    fn nodes(&self, plan: &LogicalPlan) -> Result<(), PlanError> {
        self.visit(plan, &mut |node| match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Aggregate(_) => Ok(()),
            LogicalPlan::Distinct(Distinct::All(_)) => Ok(()),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => {
                match union.inputs.iter().all(|input| self.streams.reach(input)) {
                    true => Ok(()),
                    false => Err(refused(
                        "Union between streaming and batch DataFrames/Datasets is not supported",
                    )),
                }
            }
            LogicalPlan::Sort(_) if !self.has_complete_data(node) => Err(refused(
                "Sorting is not supported on streaming DataFrames/Datasets, unless it is on aggregated DataFrame/Dataset in Complete output mode",
            )),
            LogicalPlan::Sort(_) => Ok(()),
            LogicalPlan::Limit(limit) if limit.skip.is_some() => {
                Err(refused("Offset is not supported on streaming DataFrames/Datasets"))
            }
            LogicalPlan::Limit(_) if self.mode == OutputMode::Update => Err(refused(
                "Limits are not supported on streaming DataFrames/Datasets in Update output mode",
            )),
            LogicalPlan::Limit(_) => Ok(()),
            LogicalPlan::Window(_) => Err(refused(
                "Non-time-based windows are not supported on streaming DataFrames/Datasets",
            )),
            other => Err(PlanError::NotYet(describe(other))),
        })
    }

    /// Whether a node has the whole result of an aggregation in every batch. DISTINCT is none where
    /// Spark asks this.
    fn has_complete_data(&self, plan: &LogicalPlan) -> bool {
        let is_plain = |node: &&LogicalPlan| matches!(node, LogicalPlan::Aggregate(_));
        self.mode == OutputMode::Complete && self.aggregations(plan).iter().any(is_plain)
    }

    fn join(&self, join: &Join) -> Result<(), PlanError> {
        let kind = spark_name(join.join_type);
        let on_side = |stream: &str, table: &str| {
            refused(format!(
                "{kind} joins with streaming DataFrames/Datasets on the {stream} and a static DataFrame/Dataset on the {table} is not supported: which rows of the table meet nothing is never known"
            ))
        };
        match (self.streams.reach(&join.left), self.streams.reach(&join.right)) {
            (true, true) => self.stream_join(join),
            (true, false) => match join.join_type {
                JoinType::Inner
                | JoinType::Left
                | JoinType::LeftSemi
                | JoinType::LeftAnti
                | JoinType::LeftMark => Ok(()),
                _ => Err(on_side("left", "right")),
            },
            _ => match join.join_type {
                JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => {
                    Ok(())
                }
                _ => Err(on_side("right", "left")),
            },
        }
    }

    fn stream_join(&self, join: &Join) -> Result<(), PlanError> {
        let kind = spark_name(join.join_type);
        match join.join_type {
            JoinType::Inner
            | JoinType::Left
            | JoinType::Right
            | JoinType::Full
            | JoinType::LeftSemi => {}
            _ => {
                return Err(refused(format!(
                    "{kind} joins with a streaming DataFrame/Dataset on both sides are not supported"
                )));
            }
        }
        let takes_update = matches!(join.join_type, JoinType::Inner | JoinType::LeftSemi);
        let is_outer = matches!(join.join_type, JoinType::Left | JoinType::Right | JoinType::Full);
        match self.mode {
            // A WHERE may make it an inner join later, and Spark looks before that.
            OutputMode::Append if is_outer && !meets_by_event_time(join) => {
                Err(refused(unbounded(join.join_type)))
            }
            OutputMode::Append => Ok(()),
            OutputMode::Update if takes_update => Ok(()),
            mode => Err(refused(format!(
                "Join between two streaming DataFrames/Datasets is not supported in {mode} output mode, only in Append output mode (inner and left semi joins in Update mode, too); this one is {kind}"
            ))),
        }
    }
}

/// Whether the condition of a join reads event time.
fn meets_by_event_time(join: &Join) -> bool {
    let keys = join.on.iter().flat_map(|(left, right)| [left, right]);
    let mut columns = keys.chain(&join.filter).flat_map(Expr::column_refs);
    let sides = [join.left.schema(), join.right.schema()];
    let is_tagged = |column| {
        let mut fields = sides
            .iter()
            .filter_map(|side| side.maybe_index_of_column(column).map(|index| side.field(index)));
        fields.any(|field| is_event_time(field))
    };
    columns.any(is_tagged)
}

fn is_deduplication(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().is::<Deduplicate>(),
        _ => false,
    }
}

fn is_stateful_step(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().is::<PluginStateful>(),
        _ => false,
    }
}

/// Whether a stateful function is anywhere in a plan.
fn has_stateful_step(plan: &LogicalPlan) -> bool {
    is_stateful_step(plan) || plan.inputs().into_iter().any(has_stateful_step)
}

/// Whether it is one that no row is too late for, and may be given rows again and again.
fn is_deduplication_without_time(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(Extension { node }) = plan else {
        return false;
    };
    node.as_any().downcast_ref::<Deduplicate>().is_some_and(|node| !node.goes_by_event_time())
}

/// The fields that an aggregation groups by.
fn group_fields(plan: &LogicalPlan) -> Vec<arrow::datatypes::FieldRef> {
    let fields = plan.schema().fields();
    let count = match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr_len().unwrap_or_default(),
        _ => fields.len(),
    };
    fields.iter().take(count).cloned().collect()
}

fn has_event_time_key(aggregation: &LogicalPlan) -> bool {
    group_fields(aggregation).iter().any(|field| is_event_time(field))
}

/// Whether sessions are all that rows are grouped by: what is the same for all rows does not count.
fn groups_by_nothing_else(aggregation: &LogicalPlan) -> bool {
    match aggregation {
        LogicalPlan::Aggregate(aggregate) => {
            let varies = |group: &&Expr| !group.column_refs().is_empty();
            aggregate.group_expr.iter().filter(varies).count() == 2
        }
        _ => group_fields(aggregation).len() == 2,
    }
}

fn is_by_session(aggregation: &LogicalPlan) -> bool {
    let fields = group_fields(aggregation);
    session_columns(&arrow::datatypes::Schema::new(fields)).is_some()
}

fn check_expressions(plan: &LogicalPlan, streams: &Streams) -> Result<(), PlanError> {
    let mut found = None;
    // The closures never fail.
    let _ = plan.apply_expressions(|expression| {
        expression.apply(|e| {
            found = check_expression(e, streams).err();
            Ok(match found {
                Some(_) => TreeNodeRecursion::Stop,
                None => TreeNodeRecursion::Continue,
            })
        })
    });
    found.map_or(Ok(()), Err)
}

fn check_expression(expression: &Expr, streams: &Streams) -> Result<(), PlanError> {
    let subquery = |plan: &LogicalPlan| match streams.reach(plan) {
        true => Err(refused(
            "Invalid subquery: Streaming query is not allowed in subquery expressions; write a join of the two streams",
        )),
        false => Ok(()),
    };
    match expression {
        Expr::Exists(exists) => subquery(&exists.subquery.subquery),
        Expr::InSubquery(within) => subquery(&within.subquery.subquery),
        Expr::ScalarSubquery(scalar) => subquery(&scalar.subquery),
        Expr::WindowFunction(window) => Err(refused(format!(
            "Window function is not supported in {} on streaming DataFrames/Datasets. Structured Streaming only supports time-window aggregation using the WINDOW function: Non-time-based windows are not supported",
            window.fun
        ))),
        Expr::AggregateFunction(function) if function.params.distinct => Err(refused(
            "Distinct aggregations are not supported on streaming DataFrames/Datasets. Consider using approx_count_distinct() instead",
        )),
        _ => Ok(()),
    }
}

/// Refuses functions that give another value each time: in static tables and subqueries too, which
/// are read again after a crash.
fn check_repeatable(plan: &LogicalPlan) -> Result<(), PlanError> {
    match find_call(plan, is_unrepeatable) {
        None => Ok(()),
        Some(name) => Err(refused(format!(
            "{name}() gives another value each time, and a batch has to give the same rows when it is run again; take the value from the input, or from current_timestamp()"
        ))),
    }
}

/// The name of a function that is called somewhere in a plan, and of which `is_it` is true.
fn find_call(plan: &LogicalPlan, is_it: impl Fn(&ScalarFunction) -> bool) -> Option<String> {
    let mut found = None;
    // The closures never fail.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|e| {
                if let Expr::ScalarFunction(function) = e
                    && is_it(function)
                {
                    found = Some(function.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found
}

/// Whether a function is volatile in earnest. Ours only say so to be left alone by the optimiser.
fn is_unrepeatable(function: &ScalarFunction) -> bool {
    let inner: &dyn Any = function.func.inner().as_ref();
    function.func.signature().volatility == Volatility::Volatile
        && !inner.is::<BatchTime>()
        && !inner.is::<PluginScalar>()
}

/// Refuses sources that the plan does not read: their rows would be read past and lost.
pub(crate) fn check_sources(plan: &LogicalPlan, streams: &Streams) -> Result<(), PlanError> {
    let read: BTreeSet<&String> = streams.read_by(plan).collect();
    match streams.sources.iter().find(|source| !read.contains(source)) {
        None => Ok(()),
        Some(unread) => Err(PlanError::Invalid(format!(
            "source \"{unread}\" does not reach the sink: no step reads it; use it or take it out"
        ))),
    }
}

/// Refuses a watermark above another one: an operator would not know which of them counts. Spark
/// refuses it once the watermark moves. It never does, with the policy `min`, where the lower one
/// feeds an aggregation in append mode, which gives nothing before: such a query is taken, as
/// Spark takes it, and told that nothing will come out.
pub(crate) fn check_watermarks(
    plan: &LogicalPlan,
    definition: &QueryDefinition,
) -> Result<(), PlanError> {
    let waits = definition.output_mode == OutputMode::Append
        && definition.watermark_policy == WatermarkPolicy::Min;
    redefined(plan, waits).map(drop)
}

/// Whether a watermark comes out of a plan: `Some(true)` if rows come with it at once.
fn redefined(plan: &LogicalPlan, waits: bool) -> Result<Option<bool>, PlanError> {
    let mut below = None;
    for input in plan.inputs() {
        below = below.max(redefined(input, waits)?);
    }
    let LogicalPlan::Extension(Extension { node }) = plan else {
        let is_aggregation = matches!(plan, LogicalPlan::Aggregate(_));
        return Ok(below.map(|comes| comes && !(is_aggregation && waits)));
    };
    let Some(watermark) = node.as_any().downcast_ref::<EventTimeWatermark>() else {
        return Ok(below);
    };
    match below {
        None => Ok(Some(true)),
        Some(false) => {
            tracing::warn!(
                column = watermark.column,
                "a watermark above an aggregation that has one already: the query's watermark is the least of both, so it stays at 1970 and nothing comes out; leave the upper one out"
            );
            Ok(Some(false))
        }
        Some(true) => Err(refused(format!(
            "Redefining watermark is disallowed: there is one on \"{}\" above another one of the same rows; keep the one that is nearer to the source",
            watermark.column
        ))),
    }
}

/// Refuses the batch's time where nobody can tell it: in a handler's batch SQL.
pub(crate) fn check_batch_sql(plan: &LogicalPlan) -> Result<(), PlanError> {
    let is_refused = |function: &ScalarFunction| {
        let inner: &dyn Any = function.func.inner().as_ref();
        inner.is::<BatchTime>() || is_unrepeatable(function)
    };
    match find_call(plan, is_refused) {
        None => Ok(()),
        Some(name) => Err(PlanError::Invalid(format!(
            "{name}() is not available in batch SQL; the batch's time is in the handler's context"
        ))),
    }
}

fn describe(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Distinct(_) => "DISTINCT ON".to_owned(),
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
            "a SELECT without a source".to_owned()
        }
        other => other.display().to_string(),
    }
}
