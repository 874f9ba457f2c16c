//! From a definition to a plan that is kept, and a run of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Extension, FetchType, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream, displayable,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionContext;
use tidemill_core::{
    Attempt, BatchId, BatchSpec, FunctionKind, OutputMode, PluginModule, QueryId, SourceRange,
    StateStore,
};

use crate::analysis::Streams;
use crate::definition::{StaticTable, Step, StepKind, WatermarkSpec};
use crate::joins::{infer_not_null, plan_joins};
use crate::logical::{
    Call, Deduplicate, Evaluate, EventTimeWatermark, PluginTransform, StreamLimit, as_spark,
    expand_windows, extract_calls,
};
use crate::physical::{
    Extensions, ReadAhead, StatefulSettings, StaticRows, StreamScanExec, StreamTable, make_stateful,
};
use crate::sql::{self, Names};
use crate::subqueries::sink_subqueries;
use crate::{
    PlanError, QueryDefinition, RunningBatch, SourceTable, StatefulOperator, analysis, counters,
    session,
};

/// A query, ready to run any number of micro-batches.
pub struct PlannedQuery {
    context: SessionContext,
    plan: Arc<dyn ExecutionPlan>,
    logical: LogicalPlan,
    sources: Vec<String>,
    watermarks: Vec<WatermarkSpec>,
    operators: Vec<StatefulOperator>,
    key: Vec<String>,
}

impl PlannedQuery {
    /// Plans a query. Starts nothing and reads no row.
    pub async fn plan(definition: &QueryDefinition) -> Result<PlannedQuery, PlanError> {
        let mut planner = Planner::new(definition);
        for module in &definition.plugins {
            planner.add_plugin(module)?;
        }
        for source in &definition.sources {
            planner.add_source(source)?;
        }
        for table in &definition.statics {
            planner.add_static(table)?;
        }
        for step in &definition.steps {
            planner.add_step(step, &definition.plugins).await?;
        }
        let result = planner.output(definition).await?;
        let streams = planner.streams;
        analysis::check(&result, definition.output_mode, &streams)?;
        analysis::check_sources(&result, &streams)?;
        let key = grouping_columns(&result);
        let result = match definition.output_mode {
            OutputMode::Append => limit_streams(result, &streams, |_| true)?,
            // What an aggregation gives is complete in each batch; what goes into it is not.
            OutputMode::Complete => limit_streams(result, &streams, gives_rows_once)?,
            OutputMode::Update => result,
        };
        let state = session::state(&planner.context);
        // Outer joins that a filter above makes inner ones have to be known before.
        let result = sink_subqueries(result)?;
        let result = infer_not_null(optimise(&state, &result)?)?;
        let logical = extract_calls(optimise(&state, &result)?)?;
        let logical = plan_joins(logical, &streams).await?;
        let (logical, watermarks) = number_watermarks(logical)?;
        analysis::check_watermarks(&logical, definition)?;
        let settings = StatefulSettings {
            mode: definition.output_mode,
            shards: definition.shuffle_partitions,
        };
        let (plan, operators) = make_physical(&state, &logical, settings).await?;
        Ok(PlannedQuery {
            context: planner.context,
            plan,
            logical,
            sources: definition.sources.iter().map(|source| source.name.clone()).collect(),
            watermarks,
            operators,
            key,
        })
    }

    /// Schema of the result.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let plain: Vec<_> = self.plan.schema().fields().iter().map(without_marks).collect();
        Arc::new(Schema::new(plain))
    }

    /// Columns of the result that identify a row over batches: those that the query groups by.
    /// Empty where it does not group, or does not keep the groups in its result.
    #[must_use]
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The plan's watermarks, in the order of [`crate::BatchReport::event_times`].
    #[must_use]
    pub fn watermarks(&self) -> &[WatermarkSpec] {
        &self.watermarks
    }

    /// The plan's stateful operators, the sink's side first.
    #[must_use]
    pub fn operators(&self) -> &[StatefulOperator] {
        &self.operators
    }

    /// The plugins' functions that the plan calls.
    pub fn uses(&self) -> Result<Vec<PluginUse>, PlanError> {
        let mut uses = Vec::new();
        self.logical.apply(|node| {
            uses.extend(uses_of(node));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(uses)
    }

    /// Both plans as text.
    #[must_use]
    pub fn explain(&self) -> String {
        format!(
            "{}\n\n{}",
            self.logical.display_indent(),
            displayable(self.plan.as_ref()).indent(false)
        )
    }

    /// Begins to read ranges, by source, of `batch`, which has not begun.
    ///
    /// Has to be called where a tokio runtime is entered.
    ///
    /// # Errors
    /// A range is none of its source's.
    pub fn read_ahead(
        &self,
        batch: BatchId,
        ranges: &BTreeMap<String, SourceRange>,
    ) -> Result<ReadAhead, PlanError> {
        let ahead = ReadAhead::default();
        self.plan.apply(|node| {
            if let Some(scan) = node.downcast_ref::<StreamScanExec>()
                && let Some(range) = ranges.get(scan.source())
            {
                scan.read_ahead(batch, range, &ahead)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(ahead)
    }

    /// A batch to run on this plan.
    #[must_use]
    pub fn batch(
        &self,
        query: &str,
        query_id: &QueryId,
        spec: BatchSpec,
        attempt: Attempt,
        state: Arc<dyn StateStore>,
        ahead: ReadAhead,
    ) -> Arc<RunningBatch> {
        let sources = self.sources.iter().cloned();
        let watermarks = self.watermarks.len();
        let batch = RunningBatch::new(query, query_id, spec, attempt, state, sources, watermarks);
        Arc::new(batch.with_ahead(ahead))
    }

    /// Starts a batch. Gives one stream a partition of the result; rows are in the query's order
    /// when the partitions are read one after the other.
    pub fn run(
        &self,
        batch: &Arc<RunningBatch>,
    ) -> Result<Vec<SendableRecordBatchStream>, PlanError> {
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let state = self.context.task_ctx();
        let config = state.session_config().clone().with_extension(Arc::clone(batch));
        let task = Arc::new(TaskContext::default().with_session_config(config));
        let partitions = plan.output_partitioning().partition_count();
        Ok((0..partitions)
            .map(|partition| plan.execute(partition, Arc::clone(&task)))
            .collect::<Result<_, _>>()?)
    }
}

/// Builds the tables of a query, one on the other.
struct Planner {
    context: SessionContext,
    names: Names,
    streams: Streams,
    /// How many watermarks have been declared.
    watermarks: usize,
    last: Option<String>,
}

impl Planner {
    fn new(definition: &QueryDefinition) -> Planner {
        let context = session::streaming(definition.scan_partitions);
        session::register_functions(&context);
        let streams = Streams::of(definition);
        Planner { context, names: Names::default(), streams, watermarks: 0, last: None }
    }

    fn add_plugin(&mut self, module: &Arc<dyn PluginModule>) -> Result<(), PlanError> {
        for function in sql::plugin_functions(module)? {
            let name = function.name();
            if self.context.state().scalar_functions().contains_key(name) {
                return Err(PlanError::Invalid(format!(
                    "plugin \"{}\": there is a function {name}() already, built in or of another plugin; give the scalar another name",
                    module.name()
                )));
            }
            self.context.register_udf(function);
        }
        Ok(())
    }

    fn add_source(&mut self, source: &SourceTable) -> Result<(), PlanError> {
        let table = StreamTable::try_new(
            source.clone(),
            self.context.state().config().target_partitions(),
        )?;
        let scan = LogicalPlanBuilder::scan(
            source.name.as_str(),
            provider_as_source(Arc::new(table)),
            None,
        )?
        .build()?;
        let place = format!("source \"{}\"", source.name);
        self.add_table(&source.name, scan, source.watermark.as_ref(), &place)
    }

    fn add_static(&mut self, table: &StaticTable) -> Result<(), PlanError> {
        let last = self.last.take();
        let provider = provider_as_source(Arc::new(StaticRows(table.clone())));
        let scan = LogicalPlanBuilder::scan(table.name.as_str(), provider, None)?.build()?;
        self.add_table(&table.name, scan, None, "")?;
        self.last = last;
        Ok(())
    }

    async fn add_step(
        &mut self,
        step: &Step,
        plugins: &[Arc<dyn PluginModule>],
    ) -> Result<(), PlanError> {
        let plan = match &step.kind {
            StepKind::Sql(text) => self.sql(&step.name, text).await?,
            StepKind::Same { from } => self.table(from, &step.name).await?,
            StepKind::Transform { from, plugin, function } => {
                let input = self.table(from, &step.name).await?;
                let Some(module) = plugins.iter().find(|module| module.name() == plugin) else {
                    return Err(PlanError::Invalid(format!(
                        "step \"{}\": there is no plugin \"{plugin}\"",
                        step.name
                    )));
                };
                let node = PluginTransform::try_new(input, Arc::clone(module), function)?;
                LogicalPlan::Extension(Extension { node: Arc::new(node) })
            }
            StepKind::DropDuplicates { from, columns, within_watermark } => {
                let input = self.table(from, &step.name).await?;
                let node = Deduplicate::try_new(input, columns, *within_watermark)
                    .map_err(|error| PlanError::in_step(&step.name, &error))?;
                LogicalPlan::Extension(Extension { node: Arc::new(node) })
            }
        };
        let place = format!("step \"{}\"", step.name);
        self.add_table(&step.name, plan, step.watermark.as_ref(), &place)
    }

    async fn sql(&self, step: &str, text: &str) -> Result<LogicalPlan, PlanError> {
        let in_step = |error| PlanError::in_step(step, &error);
        let statement = sql::parse_query(text, &self.names).map_err(in_step)?;
        let plan = self.context.state().statement_to_plan(statement).await.map_err(in_step)?;
        expand_windows(as_spark(plan).map_err(in_step)?).map_err(in_step)
    }

    async fn table(&self, name: &str, step: &str) -> Result<LogicalPlan, PlanError> {
        let missing =
            || PlanError::Invalid(format!("step \"{step}\": there is no table \"{name}\""));
        let state = self.context.state();
        let schema = state.schema_for_ref(name)?;
        let provider = schema.table(name).await?.ok_or_else(missing)?;
        Ok(LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?.build()?)
    }

    fn add_table(
        &mut self,
        name: &str,
        plan: LogicalPlan,
        watermark: Option<&WatermarkSpec>,
        place: &str,
    ) -> Result<(), PlanError> {
        let plan = match watermark {
            None => plan,
            Some(watermark) => {
                let node = EventTimeWatermark::try_new(plan, watermark).map_err(|error| {
                    PlanError::Invalid(format!("{place}: {}", error.strip_backtrace()))
                })?;
                let node = Arc::new(node.numbered(self.watermarks));
                self.watermarks += 1;
                LogicalPlan::Extension(Extension { node })
            }
        };
        self.names.add_table(name, plan.schema().as_arrow());
        if self.streams.reach(&plan) {
            self.names.mark_streaming(name);
        }
        let view: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
        self.context.register_table(name, view)?;
        self.last = Some(name.to_owned());
        Ok(())
    }

    async fn output(&self, definition: &QueryDefinition) -> Result<LogicalPlan, PlanError> {
        let name = definition.output.as_ref().or(self.last.as_ref());
        let Some(name) = name else {
            return Err(PlanError::Invalid("the query has no source".to_owned()));
        };
        self.table(name, "sink").await
    }
}

/// Columns of the result that hold what the topmost aggregation groups by.
fn grouping_columns(plan: &LogicalPlan) -> Vec<String> {
    let mut groups: Option<Vec<String>> = None;
    let mut node = plan;
    loop {
        if let LogicalPlan::Aggregate(aggregate) = node {
            let count = aggregate.group_expr_len().unwrap_or(aggregate.group_expr.len());
            let names = aggregate.schema.fields().iter().take(count);
            groups = Some(names.map(|field| field.name().clone()).collect());
            break;
        }
        if let LogicalPlan::Distinct(distinct) = node {
            let names = distinct.input().schema().fields().iter();
            groups = Some(names.map(|field| field.name().clone()).collect());
            break;
        }
        match node.inputs().as_slice() {
            [input] => node = input,
            _ => break,
        }
    }
    let Some(groups) = groups else {
        return Vec::new();
    };
    // A column of the result stands for a group where it is computed from nothing but groups. A
    // window counts by its start.
    let mut found = Vec::new();
    let mut covered = Vec::new();
    for (column, field) in plan.schema().fields().iter().enumerate() {
        let origins = origins_of(plan, column);
        if !origins.is_empty() && origins.iter().all(|origin| groups.contains(origin)) {
            covered.extend(origins);
            found.push(field.name().clone());
        }
    }
    if groups.iter().all(|group| covered.contains(group)) { found } else { Vec::new() }
}

/// Names of the columns of the topmost aggregation that a column is computed from.
fn origins_of(plan: &LogicalPlan, column: usize) -> Vec<String> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            vec![aggregate.schema.field(column).name().clone()]
        }
        LogicalPlan::Distinct(distinct) => {
            vec![distinct.input().schema().field(column).name().clone()]
        }
        LogicalPlan::Projection(projection) => projection.expr[column]
            .column_refs()
            .into_iter()
            .filter_map(|origin| projection.input.schema().maybe_index_of_column(origin))
            .flat_map(|origin| origins_of(&projection.input, origin))
            .collect(),
        other => match other.inputs().as_slice() {
            [input] if input.schema().fields().len() == other.schema().fields().len() => {
                origins_of(input, column)
            }
            _ => Vec::new(),
        },
    }
}

/// A plugin's function as a plan calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginUse {
    /// The plugin.
    pub plugin: String,
    /// The function.
    pub function: String,
    /// What it is used as.
    pub kind: FunctionKind,
    /// Columns that go in.
    pub input: SchemaRef,
    /// Columns that the plan relies on.
    pub output: SchemaRef,
}

fn uses_of(node: &LogicalPlan) -> Vec<PluginUse> {
    let LogicalPlan::Extension(Extension { node }) = node else {
        return Vec::new();
    };
    if let Some(step) = node.as_any().downcast_ref::<PluginTransform>() {
        return vec![PluginUse {
            plugin: step.module.name().to_owned(),
            function: step.function.clone(),
            kind: FunctionKind::Transform,
            input: Arc::new(step.input.schema().as_arrow().clone()),
            output: step.declared(),
        }];
    }
    let calls = node.as_any().downcast_ref::<Evaluate>().map_or(&[][..], |node| &node.calls);
    calls
        .iter()
        .filter_map(|call| match call {
            Call::BatchTime(_) => None,
            Call::Plugin(call) => Some(PluginUse {
                plugin: call.module.name().to_owned(),
                function: call.function.clone(),
                kind: FunctionKind::Scalar,
                input: Arc::clone(&call.input),
                output: Arc::clone(&call.output),
            }),
        })
        .collect()
}

/// Whether no aggregation is below.
fn gives_rows_once(plan: &LogicalPlan) -> bool {
    let gives_again = |node: &LogicalPlan| {
        Ok(matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_)))
    };
    // The closure never fails.
    !plan.exists(gives_again).unwrap_or(true)
}

/// Makes LIMIT count over the life of the query, where its rows are `appended`.
fn limit_streams(
    plan: LogicalPlan,
    streams: &Streams,
    appended: impl Fn(&LogicalPlan) -> bool,
) -> Result<LogicalPlan, PlanError> {
    let limited = plan.transform_up(|node| {
        let LogicalPlan::Limit(limit) = node else {
            return Ok(Transformed::no(node));
        };
        if !streams.reach(&limit.input) || !appended(&limit.input) {
            return Ok(Transformed::no(LogicalPlan::Limit(limit)));
        }
        let FetchType::Literal(Some(rows)) = limit.get_fetch_type()? else {
            return plan_err!("LIMIT takes a number");
        };
        let node = Arc::new(StreamLimit::over(limit.input, rows as u64));
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    });
    limited.map(|limited| limited.data).map_err(|error| PlanError::Invalid(error.strip_backtrace()))
}

/// Numbers the watermarks that an optimised plan has. One that was declared once is one, also where
/// its table is read twice: its time is the largest of all its rows, as in Spark.
fn number_watermarks(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<WatermarkSpec>), PlanError> {
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

fn optimise(state: &SessionState, plan: &LogicalPlan) -> Result<LogicalPlan, PlanError> {
    counters::count_optimised();
    state.optimize(plan).map_err(|error| match error.find_root() {
        DataFusionError::Plan(reason) => PlanError::Invalid(reason.clone()),
        _ => PlanError::from(error),
    })
}

async fn make_physical(
    state: &SessionState,
    plan: &LogicalPlan,
    settings: StatefulSettings,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<StatefulOperator>), PlanError> {
    counters::count_planned();
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Extensions)]);
    let plan = planner.create_physical_plan(plan, state).await?;
    make_stateful(plan, settings).map_err(PlanError::refused_by)
}

fn without_marks(field: &arrow::datatypes::FieldRef) -> arrow::datatypes::FieldRef {
    Arc::new(field.as_ref().clone().with_metadata(std::collections::HashMap::new()))
}
