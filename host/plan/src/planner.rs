//! From a definition to a plan that is kept.
//!
//! [`PlannedQuery::plan`] has the order in which a plan is rewritten; the rewrites are elsewhere.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionContext;
use tidemill_core::OutputMode;
use tidemill_frontend::spec::{self, Relation};
use tidemill_frontend::{
    Error, Names, Parsed, QuerySize, parse_query, resolve, without_qualifiers,
};

use tidemill_time::Zone;

use crate::definition::{StaticTable, Step, StepKind, WatermarkSpec};
use crate::logical::{
    close_large, distinct_last, expand_windows, extract_calls, gives_rows_once, grouping_columns,
    limit_streams, number_watermarks, open_large,
};
use crate::physical::{
    Extensions, StatefulSettings, StaticRows, StreamTable, gather_partitions, make_stateful,
    measured, without_failing_rows,
};
use crate::plugins::with_scopes;
use crate::rewrites::{infer_filters, plan_joins, sink_subqueries};
use crate::stack::on_deep_stack;
use crate::tables::Tables;
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
        let zone = Zone::named(&definition.time_zone)
            .map_err(|error| PlanError::Invalid(error.to_string()))?;
        let mut planner = Planner::new(definition)?;
        for source in &definition.sources {
            planner.add_source(source)?;
        }
        for table in &definition.statics {
            planner.add_static(table)?;
        }
        for step in &definition.steps {
            planner.add_step(step)?;
        }
        let result = planner.output()?;
        let streams = planner.tables.streams();
        analysis::check(&result, definition.output_mode, streams)?;
        analysis::check_sources(&result, streams)?;
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
        let logical = plan_joins(logical, streams, &definition.time_zone).await?;
        let (logical, watermarks) = number_watermarks(logical)?;
        analysis::check_watermarks(&logical, definition)?;
        let settings = StatefulSettings {
            mode: definition.output_mode,
            shards: definition.shuffle_partitions,
            keeps_late: definition.keeps_late,
        };
        let keeps_failing = definition.keeps_failing;
        let (plan, operators) = make_physical(&state, &logical, settings, keeps_failing).await?;
        Ok(PlannedQuery {
            context: planner.context,
            plan,
            logical,
            sources: definition.sources.iter().map(|source| source.name.clone()).collect(),
            watermarks,
            operators,
            key,
            zone,
        })
    }
}

/// Builds the tables of a query, one on the other.
struct Planner<'d> {
    context: SessionContext,
    tables: Tables,
    definition: &'d QueryDefinition,
    last: Option<String>,
}

impl<'d> Planner<'d> {
    fn new(definition: &'d QueryDefinition) -> Result<Planner<'d>, PlanError> {
        let context = setup::streaming(definition.scan_partitions, &definition.time_zone);
        Ok(Planner { context, tables: Tables::of(definition)?, definition, last: None })
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
        self.add_scan(&source.name, Arc::new(table))?;
        if let Some(watermark) = &source.watermark {
            let relation = with_watermark(read(&source.name), watermark);
            let plan = resolve(&relation, &self.tables).map_err(|error| {
                PlanError::Invalid(format!("source \"{}\": {error}", source.name))
            })?;
            self.tables.add(&source.name, plan, QuerySize::TABLE);
        }
        self.last = Some(source.name.clone());
        Ok(())
    }

    fn add_static(&mut self, table: &StaticTable) -> Result<(), PlanError> {
        self.add_scan(&table.name, Arc::new(StaticRows(table.clone())))
    }

    fn add_scan(&mut self, name: &str, table: Arc<dyn TableProvider>) -> Result<(), PlanError> {
        let table_name = TableReference::bare(name);
        let scan = LogicalPlanBuilder::scan(table_name, provider_as_source(table), None)?;
        self.tables.add(name, scan.build()?, QuerySize::TABLE);
        Ok(())
    }

    fn add_step(&mut self, step: &Step) -> Result<(), PlanError> {
        let in_step = |error: &dyn fmt::Display| PlanError::Sql {
            step: step.name.clone(),
            reason: error.to_string(),
        };
        self.tables.enter(&step.name)?;
        let Parsed { relation, size } = self.relation(step).map_err(|error| in_step(&error))?;
        let plan = resolve(&relation, &self.tables).map_err(|error| in_step(&error))?;
        let plan = distinct_last(plan)
            .and_then(expand_windows)
            .map_err(|error| in_step(&Error::from(error)))?;
        let plan = match &step.watermark {
            None => plan,
            Some(watermark) => {
                // Of the windows' columns, which are there now.
                self.tables.add(&step.name, plan, size);
                let relation = with_watermark(read(&step.name), watermark);
                resolve(&relation, &self.tables).map_err(|error| in_step(&error))?
            }
        };
        self.tables.add(&step.name, plan, size);
        self.last = Some(step.name.clone());
        Ok(())
    }

    /// What a step asks for.
    fn relation(&self, step: &Step) -> Result<Parsed, Error> {
        let from = |name: &str| {
            let size = self.tables.size_of(name).unwrap_or(QuerySize::TABLE).and_one();
            size.check().map(|()| size)
        };
        match &step.kind {
            StepKind::Sql(text) => {
                counters::count_parsed();
                parse_query(text, &self.tables)
            }
            StepKind::Same { from: name } => Ok(Parsed { relation: read(name), size: from(name)? }),
            StepKind::Transform { from: name, plugin, function } => Ok(Parsed {
                relation: Relation::PluginTransform {
                    input: Box::new(read(name)),
                    plugin: plugin.clone(),
                    function: function.clone(),
                },
                size: from(name)?,
            }),
            StepKind::Stateful { from: name, plugin, function, key, time_mode, initial_state } => {
                let size = from(name)?;
                let stateful = spec::PluginStateful {
                    input: read(name),
                    plugin: plugin.clone(),
                    function: function.clone(),
                    key: key.clone(),
                    time_mode: *time_mode,
                    initial_state: initial_state.as_deref().map(read),
                };
                Ok(Parsed { relation: Relation::PluginStateful(Box::new(stateful)), size })
            }
            StepKind::DropDuplicates { from: name, columns, within_watermark } => Ok(Parsed {
                relation: Relation::Deduplicate(Box::new(spec::Deduplicate {
                    input: read(name),
                    columns: columns.clone(),
                    within_watermark: *within_watermark,
                })),
                size: from(name)?,
            }),
        }
    }

    fn output(&self) -> Result<LogicalPlan, PlanError> {
        let name = self.definition.output.as_ref().or(self.last.as_ref());
        let Some(name) = name else {
            return Err(PlanError::Invalid("the query has no source".to_owned()));
        };
        resolve(&read(name), &self.tables)
            .map_err(|error| PlanError::Sql { step: "sink".to_owned(), reason: error.to_string() })
    }
}

/// A table by its name.
fn read(name: &str) -> Relation {
    Relation::Read { name: name.to_owned(), at: None }
}

fn with_watermark(input: Relation, watermark: &WatermarkSpec) -> Relation {
    Relation::WithWatermark(Box::new(spec::WithWatermark {
        input,
        column: watermark.column.clone(),
        delay_micros: watermark.delay.micros,
        idle_micros: watermark.idle.map(|idle| idle.micros),
    }))
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
        DataFusionError::Plan(reason) if reason.starts_with('[') => {
            PlanError::Invalid(without_qualifiers(reason))
        }
        _ => PlanError::from(error),
    })
}

async fn make_physical(
    state: &SessionState,
    plan: &LogicalPlan,
    settings: StatefulSettings,
    keeps_failing: bool,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<StatefulOperator>), PlanError> {
    counters::count_planned();
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Extensions)]);
    let plan = planner.create_physical_plan(plan, state).await?;
    let plan = if keeps_failing { without_failing_rows(plan)? } else { plan };
    let (plan, operators) = make_stateful(plan, settings).map_err(PlanError::refused_by)?;
    Ok((with_scopes(measured(gather_partitions(plan)?)?)?, operators))
}
