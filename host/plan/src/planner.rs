//! From a definition to a plan that is kept.
//!
//! [`PlannedQuery::plan`] has the order in which a plan is rewritten; the rewrites are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionContext;
use tidemill_core::{OutputMode, PluginModule};

use crate::analysis::Streams;
use crate::definition::{StaticTable, Step, StepKind, WatermarkSpec};
use crate::logical::{
    Deduplicate, EventTimeWatermark, PluginTransform, as_spark, close_large, distinct_last,
    expand_generators, expand_windows, extract_calls, gives_rows_once, grouping_columns,
    limit_streams, number_watermarks, open_large,
};
use crate::physical::{
    Extensions, StatefulSettings, StaticRows, StreamTable, gather_partitions, make_stateful,
    measured,
};
use crate::rewrites::{infer_filters, plan_joins, sink_subqueries};
use crate::sql::{self, Names, Parsed, QuerySize, Refusals};
use crate::stack::on_deep_stack;
use crate::{
    PlanError, PlannedQuery, QueryDefinition, SourceTable, StatefulOperator, analysis, counters,
    setup,
};

impl PlannedQuery {
    /// Plans a query. Starts nothing and reads no row. Takes the thread for as long as it works.
    pub async fn plan(definition: &QueryDefinition) -> Result<PlannedQuery, PlanError> {
        on_deep_stack(|| futures::executor::block_on(PlannedQuery::planned(definition)))?
    }

    async fn planned(definition: &QueryDefinition) -> Result<PlannedQuery, PlanError> {
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
            OutputMode::Append => limit_streams(result, |input| streams.reach(input)),
            // What an aggregation gives is complete in each batch; what goes into it is not.
            OutputMode::Complete => {
                limit_streams(result, |input| streams.reach(input) && gives_rows_once(input))
            }
            OutputMode::Update => Ok(result),
        }
        .map_err(|error| PlanError::Invalid(error.strip_backtrace()))?;
        let state = setup::state(&planner.context);
        let closed = close_large(&result)?;
        let has_closed = closed.is_some();
        // Outer joins that a filter above makes inner ones have to be known before.
        let result = sink_subqueries(closed.unwrap_or(result))?;
        let result = infer_filters(optimise(&state, &result)?)?;
        let result = optimise(&state, &result)?;
        let result = if has_closed { open_large(result)? } else { result };
        tidemill_functions::check_constants(&result)
            .map_err(|error| PlanError::Invalid(error.strip_backtrace()))?;
        let logical = extract_calls(result)?;
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
}

/// Builds the tables of a query, one on the other.
struct Planner {
    context: SessionContext,
    names: Names,
    refusals: Refusals,
    streams: Streams,
    /// How many watermarks have been declared.
    watermarks: usize,
    /// How the columns of a table were written, where they are spelled otherwise in the plan.
    written: BTreeMap<String, Vec<String>>,
    last: Option<String>,
}

impl Planner {
    fn new(definition: &QueryDefinition) -> Planner {
        let context = setup::streaming(definition.scan_partitions);
        setup::register_functions(&context);
        let streams = Streams::of(definition);
        let refusals = Refusals::of_mode(definition.output_mode == OutputMode::Complete);
        let (names, written) = (Names::default(), BTreeMap::new());
        Planner { context, names, refusals, streams, watermarks: 0, written, last: None }
    }

    fn add_plugin(&mut self, module: &Arc<dyn PluginModule>) -> Result<(), PlanError> {
        for function in module.functions().iter().filter(|function| !function.deterministic) {
            self.names.add_varying(&function.name);
        }
        for function in sql::plugin_functions(module)? {
            let name = function.name();
            let is_known = self.context.state().scalar_functions().contains_key(name);
            if is_known || tidemill_functions::find(name).is_some() {
                return Err(PlanError::Invalid(format!(
                    "plugin \"{}\": there is a function {name}() already, built in or of another plugin; give the scalar another name",
                    module.name()
                )));
            }
            self.names.add_plugin_function(name);
            self.context.register_udf(function);
        }
        Ok(())
    }

    fn add_source(&mut self, source: &SourceTable) -> Result<(), PlanError> {
        if let Some(name) = twice(&source.schema) {
            return Err(PlanError::Invalid(format!(
                "source \"{}\": [COLUMN_ALREADY_EXISTS] The column `{name}` already exists: names are the same in upper and lower case. Rename one of them",
                source.name
            )));
        }
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
        self.add_table(&source.name, scan, source.watermark.as_ref(), QuerySize::TABLE, &place)
    }

    fn add_static(&mut self, table: &StaticTable) -> Result<(), PlanError> {
        let last = self.last.take();
        let provider = provider_as_source(Arc::new(StaticRows(table.clone())));
        let scan = LogicalPlanBuilder::scan(table.name.as_str(), provider, None)?.build()?;
        self.add_table(&table.name, scan, None, QuerySize::TABLE, "")?;
        self.last = last;
        Ok(())
    }

    async fn add_step(
        &mut self,
        step: &Step,
        plugins: &[Arc<dyn PluginModule>],
    ) -> Result<(), PlanError> {
        let mut size = match &step.kind {
            StepKind::Sql(_) => QuerySize::TABLE,
            StepKind::Same { from }
            | StepKind::Transform { from, .. }
            | StepKind::DropDuplicates { from, .. } => {
                self.names.size_of(from).unwrap_or(QuerySize::TABLE).and_one()
            }
        };
        size.check().map_err(|error| PlanError::in_step(&step.name, &error))?;
        let plan = match &step.kind {
            StepKind::Sql(text) => {
                let (plan, of_query) = self.sql(&step.name, text).await?;
                size = of_query;
                plan
            }
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
        if let StepKind::Same { from } | StepKind::DropDuplicates { from, .. } = &step.kind
            && let Some(written) = self.written.get(from)
        {
            self.written.insert(step.name.clone(), written.clone());
        }
        let plan = self.as_known(&step.name, plan)?;
        let place = format!("step \"{}\"", step.name);
        self.add_table(&step.name, plan, step.watermark.as_ref(), size, &place)
    }

    async fn sql(&self, step: &str, text: &str) -> Result<(LogicalPlan, QuerySize), PlanError> {
        let in_step = |error| PlanError::in_step(step, &error);
        let Parsed { statement, size } =
            sql::parse_query(text, &self.names, &self.refusals).map_err(in_step)?;
        let plan = self.context.state().statement_to_plan(statement).await.map_err(in_step)?;
        let plan = as_spark(plan)
            .and_then(expand_generators)
            .and_then(distinct_last)
            .and_then(expand_windows);
        Ok((plan.map_err(in_step)?, size))
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
        size: QuerySize,
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
        self.names.add_table(name, plan.schema().as_arrow(), size);
        if self.streams.reach(&plan) {
            self.refusals.add_streaming(name);
        }
        let view: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
        self.context.register_table(name, view)?;
        self.last = Some(name.to_owned());
        Ok(())
    }

    /// A plan whose columns are spelled as in the tables before it, so that every name has one
    /// spelling in all of them.
    fn as_known(&mut self, table: &str, plan: LogicalPlan) -> Result<LogicalPlan, PlanError> {
        let written: Vec<String> =
            plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let known: Vec<String> = written.iter().map(|name| self.names.known(name)).collect();
        let is_once: BTreeSet<&String> = known.iter().collect();
        if known == written || is_once.len() < known.len() {
            return Ok(plan);
        }
        self.written.insert(table.to_owned(), written);
        Ok(renamed(plan, &known)?)
    }

    async fn output(&self, definition: &QueryDefinition) -> Result<LogicalPlan, PlanError> {
        let name = definition.output.as_ref().or(self.last.as_ref());
        let Some(name) = name else {
            return Err(PlanError::Invalid("the query has no source".to_owned()));
        };
        let plan = self.table(name, "sink").await?;
        Ok(match self.written.get(name) {
            Some(written) => renamed(plan, written)?,
            None => plan,
        })
    }
}

/// A plan with other names for its columns.
fn renamed(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan, DataFusionError> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = columns.zip(names).map(|(column, name)| column.alias(name)).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// A name that two columns have, whatever its case.
fn twice(schema: &Schema) -> Option<String> {
    let mut names = BTreeSet::new();
    let mut all = schema.fields().iter().map(|field| field.name().to_lowercase());
    all.find(|name| !names.insert(name.clone()))
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
    let (plan, operators) = make_stateful(plan, settings).map_err(PlanError::refused_by)?;
    Ok((measured(gather_partitions(plan)?)?, operators))
}
