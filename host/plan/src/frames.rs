//! Batch SQL over the rows of one micro-batch, for foreach_batch handlers.
//!
//! A handler sends the same text every batch. So a plan is kept by (text, tables and schemas), and
//! run again over the rows of the day.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, TableReference, internal_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{
    Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, TableType, lit,
};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{EmissionType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
    execute_stream,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use futures::stream::BoxStream;
use tidemill_frontend::{
    Catalog, CatalogFunction, Names, QuerySize, parse_query, resolve, without_qualifiers,
};

use crate::error::of_queries_within;
use crate::logical::{close_large, open_large};
use crate::memory::out_of_memory;
use crate::physical::{leaf, measured, plain};
use crate::stack::on_deep_stack;
use crate::{CallMemory, PlanError, analysis, counters, setup};

/// Plans that are kept; a handler that makes up its texts must not fill the memory.
const KEPT_PLANS: usize = 64;

/// The part of a call's memory that a sort keeps free, so that it can merge what it spilled.
const SORT_SHARE: u64 = 16;

/// A table that batch SQL may read.
#[derive(Clone)]
pub struct FrameTable {
    /// Its name in the text.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: Arc<dyn FrameRows>,
}

/// Rows that can be read any number of times.
pub trait FrameRows: Send + Sync {
    /// All rows, in order.
    fn read(&self)
    -> Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send>;
}

/// The result of batch SQL.
pub struct FrameStream {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows, in order.
    pub rows: BoxStream<'static, std::result::Result<RecordBatch, PlanError>>,
}

/// What DataFusion says of batch SQL that runs.
fn wrong(error: DataFusionError) -> PlanError {
    match out_of_memory(&error) {
        Some(reason) => PlanError::Memory(format!("batch SQL: {reason}")),
        None => {
            let said = without_qualifiers(&error.strip_backtrace());
            PlanError::Invalid(format!("batch SQL: {said}"))
        }
    }
}

/// What DataFusion says of batch SQL while it plans it.
fn not_planned(error: DataFusionError) -> PlanError {
    match of_queries_within(&error) {
        Some(reason) => PlanError::Invalid(format!("batch SQL: {reason}")),
        None => wrong(error),
    }
}

/// Runs batch SQL, and keeps what it planned.
pub struct Frames {
    time_zone: String,
    plans: Mutex<HashMap<PlanKey, Arc<dyn ExecutionPlan>>>,
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct PlanKey {
    text: String,
    tables: Vec<(String, SchemaRef)>,
}

impl Frames {
    /// Of a session with this time zone.
    #[must_use]
    pub fn in_zone(time_zone: &str) -> Frames {
        Frames { time_zone: time_zone.to_owned(), plans: Mutex::default() }
    }

    /// Runs one SELECT over these tables. Its rows come as they are computed; what operators hold
    /// meanwhile counts against `memory`, and is spilled where they can.
    ///
    /// # Errors
    /// The text or what it asks for is wrong. What goes wrong with rows is an error of the stream.
    pub async fn sql(
        &self,
        text: &str,
        tables: &[FrameTable],
        memory: &CallMemory,
    ) -> std::result::Result<FrameStream, PlanError> {
        let key = PlanKey {
            text: text.to_owned(),
            tables: tables.iter().map(|t| (t.name.clone(), Arc::clone(&t.schema))).collect(),
        };
        let kept = self.kept(&key);
        let plan = match kept {
            Some(plan) => plan,
            None => {
                let planned =
                    || futures::executor::block_on(planned(text, tables, &self.time_zone));
                let plan = on_deep_stack(planned)??;
                self.keep(key, &plan);
                plan
            }
        };
        let rows = tables.iter().map(|t| (t.name.clone(), Arc::clone(&t.rows))).collect();
        let mut config = SessionConfig::new().with_extension(Arc::new(Rows(rows)));
        let of_sort = usize::try_from(memory.budget().limit() / SORT_SHARE).unwrap_or(usize::MAX);
        let execution = &mut config.options_mut().execution;
        execution.sort_spill_reservation_bytes =
            execution.sort_spill_reservation_bytes.min(of_sort);
        let task = TaskContext::default().with_session_config(config);
        let task = Arc::new(task.with_runtime(memory.runtime()));
        let plan = reset_plan_states(plan).map_err(wrong)?;
        let schema = plan.schema();
        let rows = execute_stream(plan, task).map_err(wrong)?;
        Ok(FrameStream { schema, rows: Box::pin(rows.map(|rows| rows.map_err(wrong))) })
    }

    fn kept(&self, key: &PlanKey) -> Option<Arc<dyn ExecutionPlan>> {
        let plans = self.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        plans.get(key).cloned()
    }

    fn keep(&self, key: PlanKey, plan: &Arc<dyn ExecutionPlan>) {
        let mut plans = self.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if plans.len() >= KEPT_PLANS {
            plans.clear();
        }
        plans.insert(key, Arc::clone(plan));
    }
}

async fn planned(
    text: &str,
    tables: &[FrameTable],
    time_zone: &str,
) -> std::result::Result<Arc<dyn ExecutionPlan>, PlanError> {
    let (context, logical) = logical_plan(text, tables, time_zone)
        .map_err(|error| PlanError::Invalid(format!("batch SQL: {error}")))?;
    analysis::check_batch_sql(&logical)?;
    physical_plan(&context, &logical).await.map_err(not_planned)
}

fn logical_plan(
    text: &str,
    tables: &[FrameTable],
    time_zone: &str,
) -> tidemill_frontend::Result<(SessionContext, LogicalPlan)> {
    counters::count_parsed();
    let catalog = FrameCatalog(tables);
    let parsed = parse_query(text, &catalog)?;
    Ok((setup::batch_sql(time_zone), resolve(&parsed.relation, &catalog)?))
}

/// The tables that batch SQL may read.
pub(crate) struct FrameCatalog<'t>(pub(crate) &'t [FrameTable]);

impl Names for FrameCatalog<'_> {
    fn size_of(&self, table: &str) -> Option<QuerySize> {
        self.find(table).map(|_| QuerySize::TABLE)
    }
}

impl FrameCatalog<'_> {
    fn find(&self, name: &str) -> Option<&FrameTable> {
        let exact = self.0.iter().find(|table| table.name == name);
        exact.or_else(|| self.0.iter().find(|table| table.name.eq_ignore_ascii_case(name)))
    }
}

impl Catalog for FrameCatalog<'_> {
    fn table(&self, name: &str) -> Option<(String, LogicalPlan)> {
        let table = self.find(name)?;
        let provider =
            FrameProvider { name: table.name.clone(), schema: Arc::clone(&table.schema) };
        let source = provider_as_source(Arc::new(provider));
        let reference = TableReference::bare(table.name.as_str());
        let scan = LogicalPlanBuilder::scan(reference, source, None);
        let plan = scan.and_then(LogicalPlanBuilder::build).ok()?;
        Some((table.name.clone(), plan))
    }

    fn tables(&self) -> Vec<String> {
        self.0.iter().map(|table| table.name.clone()).collect()
    }

    fn function(&self, _: &str) -> Option<CatalogFunction> {
        None
    }

    fn is_batch(&self) -> bool {
        true
    }
}

async fn physical_plan(
    context: &SessionContext,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>> {
    counters::count_optimised();
    counters::count_planned();
    let state = context.state();
    let plan = without_empty_totals(plan.clone())?;
    let closed = close_large(&plan)?;
    let plan = state.optimize(closed.as_ref().unwrap_or(&plan))?;
    let plan = if closed.is_some() { open_large(plan)? } else { plan };
    tidemill_functions::check_constants(&plan)?;
    let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
    // A join gives rows for long without asking its inputs for more: whoever runs it has to be able
    // to end it.
    let yielding = plan.transform_up(|node| match node.children().len() {
        0 | 1 => Ok(Transformed::no(node)),
        _ => Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)),
    })?;
    measured(yielding.data)
}

/// How many rows are in a group.
const ROWS: &str = "\u{e000}rows";

/// A plan whose grouping sets give nothing for no rows, not even a total.
fn without_empty_totals(plan: LogicalPlan) -> Result<LogicalPlan> {
    let total = |node: LogicalPlan| {
        let LogicalPlan::Aggregate(aggregate) = &node else {
            return Ok(Transformed::no(node.recompute_schema()?));
        };
        let [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] = aggregate.group_expr.as_slice()
        else {
            return Ok(Transformed::no(node));
        };
        if sets.iter().all(Vec::is_empty) || !sets.iter().any(Vec::is_empty) {
            return Ok(Transformed::no(node));
        }
        let mut columns = aggregate.schema.columns();
        columns.retain(|column| column.name != Aggregate::INTERNAL_GROUPING_ID);
        let mut aggregates = aggregate.aggr_expr.clone();
        aggregates.push(count(lit(1_i64)).alias(ROWS));
        let (input, by) = (Arc::clone(&aggregate.input), aggregate.group_expr.clone());
        let counted = LogicalPlan::Aggregate(Aggregate::try_new(input, by, aggregates)?);
        let some = Expr::Column(Column::new_unqualified(ROWS)).gt(lit(0_i64));
        let plan = LogicalPlanBuilder::from(counted).filter(some)?;
        let plan = plan.project(columns.into_iter().map(Expr::Column))?.build()?;
        Ok(Transformed::yes(plan))
    };
    Ok(plan.transform_up_with_subqueries(total)?.data)
}

/// The rows of the day, in the task's context.
struct Rows(HashMap<String, Arc<dyn FrameRows>>);

#[derive(Debug)]
struct FrameProvider {
    name: String,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for FrameProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(FrameScanExec {
            name: self.name.clone(),
            projection: projection.cloned(),
            properties: plain(schema, 1, EmissionType::Incremental),
        }))
    }
}

struct FrameScanExec {
    name: String,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for FrameScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameScan({})", self.name)
    }
}

impl DisplayAs for FrameScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameScan: table={}", self.name)
    }
}

impl ExecutionPlan for FrameScanExec {
    leaf!("FrameScan");

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context
            .session_config()
            .get_extension::<Rows>()
            .and_then(|rows| rows.0.get(&self.name).cloned())
            .ok_or_else(|| internal_datafusion_err!("there are no rows for \"{}\"", self.name))?;
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let projection = self.projection.clone();
        let rows = rows.read().map(move |rows| {
            let rows = rows?;
            Ok(match &projection {
                Some(columns) => rows.project(columns)?,
                None => rows,
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(rows))))
    }
}
