//! Rows through a plugin's stateful function, which keeps state for each key (Spark's
//! TransformWithStateExec).
//!
//! A batch goes over each shard by itself: its rows, by key; then the timers that are due; then what is to
//! be forgotten is. The operator has three numbers, as each has entries by a time of its own: what is kept
//! (for ever), when timers are due, and when what has a time to live is forgotten.

mod codec;
mod conversion;
mod run;
mod store;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::row::RowConverter;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
    SendableRecordBatchStream,
};
use tidemill_core::{Assembly, OperatorId, PluginModule, Shape, Variable, variable_columns};
use tidemill_frontend::spec::TimeMode;

use super::encoding::encoding;
use super::forms::TakesOver;
use super::inputs::Inputs;
use super::output::Output;
use super::properties::{debug_as_shown, plain};
use super::stateful::{Placement, Stateful, StatefulOperator, placement};
use crate::RunningBatch;
use crate::logical::EventTimeColumn;
use codec::Stored;

/// Spark's name for the operator.
const NAME: &str = "transformWithStateExec";

/// Numbers that the operator takes: for what is kept, timers, and what is to be forgotten.
const NUMBERS: u32 = 3;

/// A function, and the columns that it is called with.
pub(crate) struct KeyedFunction {
    pub(crate) module: Arc<dyn PluginModule>,
    pub(crate) step: String,
    /// Which one it is of the job's stateful steps, from 1 on.
    pub(crate) number: usize,
    pub(crate) function: String,
    /// The columns of the input that the plugin was asked with.
    pub(crate) given: SchemaRef,
    pub(crate) shape: Shape,
    pub(crate) mode: TimeMode,
    pub(crate) variables: Vec<Variable>,
    /// The columns of earlier forms of them that it takes over.
    pub(crate) migrations: Vec<SchemaRef>,
    /// Where the columns are that it reads.
    pub(crate) reads: Vec<usize>,
    /// Where those of the key are.
    pub(crate) key: Vec<usize>,
    /// Where they are in the initial state, if there is one: the columns that it reads, and the key.
    pub(crate) initial: Option<(Vec<usize>, Vec<usize>)>,
}

/// What does not change from batch to batch.
struct Plan {
    function: KeyedFunction,
    kept: Arc<[Stored]>,
    keys: RowConverter,
    key_schema: SchemaRef,
    /// Of the input: by it rows are late.
    time: Option<EventTimeColumn>,
    assembly: Assembly,
    input_schema: SchemaRef,
}

/// Rows for the rows and timers of keys.
pub(crate) struct KeyedExec {
    input: Arc<dyn ExecutionPlan>,
    /// The rows of the initial state.
    initial: Option<Arc<dyn ExecutionPlan>>,
    plan: Arc<Plan>,
    placement: Option<Placement>,
    properties: Arc<PlanProperties>,
}

impl KeyedExec {
    pub(crate) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        initial: Option<Arc<dyn ExecutionPlan>>,
        function: KeyedFunction,
        output: SchemaRef,
    ) -> Result<KeyedExec> {
        let schema = input.schema();
        let key_schema = Arc::new(schema.project(&function.key)?);
        let keys = encoding(key_schema.fields().iter().map(|field| field.data_type()))?;
        let all: Vec<usize> = (0..output.fields().len()).collect();
        let plan = Plan {
            keys,
            key_schema,
            time: EventTimeColumn::of(&schema)?,
            kept: function.variables.iter().map(Stored::of).collect::<Result<_>>()?,
            assembly: Assembly::new(&function.shape, &all, Arc::clone(&output), Some),
            input_schema: schema,
            function,
        };
        let properties = plain(output, 1, EmissionType::Incremental);
        Ok(KeyedExec { input, initial, plan: Arc::new(plan), placement: None, properties })
    }

    fn over(&self, mut inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<KeyedExec> {
        if inputs.len() != 1 + usize::from(self.initial.is_some()) {
            return internal_err!("a stateful function has {} inputs", inputs.len());
        }
        let initial = self.initial.is_some().then(|| inputs.remove(1));
        Ok(KeyedExec {
            input: inputs.remove(0),
            initial,
            plan: Arc::clone(&self.plan),
            placement: self.placement,
            properties: Arc::clone(&self.properties),
        })
    }
}

impl Stateful for KeyedExec {
    fn drops_late(&self) -> bool {
        true
    }

    fn placed(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        placement: Placement,
    ) -> Result<(Arc<dyn ExecutionPlan>, StatefulOperator)> {
        let function = &self.plan.function;
        let by_batch_time = function.mode == TimeMode::ProcessingTime;
        let description = StatefulOperator {
            id: placement.operator,
            name: NAME.to_owned(),
            details: self.plan.details(),
            key: Arc::clone(&self.plan.key_schema),
            value: variable_columns(&function.variables),
            follows: placement.lag.filter(|_| function.mode == TimeMode::EventTime),
            timers: by_batch_time.then(|| timers_of(placement.operator)),
            takes_over: TakesOver::Keys(
                function.variables.clone().into(),
                function.migrations.iter().map(|form| form.fields().to_vec()).collect(),
            ),
        };
        let placed = KeyedExec { placement: Some(placement), ..self.over(inputs)? };
        Ok((Arc::new(placed), description))
    }

    fn numbers(&self) -> u32 {
        NUMBERS
    }
}

/// Where the timers of an operator are.
fn timers_of(operator: OperatorId) -> OperatorId {
    OperatorId(operator.0 + 1)
}

/// Where it has when values with a time to live are forgotten.
fn expiries_of(operator: OperatorId) -> OperatorId {
    OperatorId(operator.0 + 2)
}

impl Plan {
    /// What of the function has to stay while a checkpoint lives, beside what it keeps.
    fn details(&self) -> String {
        let function = &self.function;
        let (name, number, mode) = (&function.function, function.number, function.mode.name());
        let initial = if function.initial.is_some() { "; initial_state" } else { "" };
        format!("{name} (stateful step {number}); time_mode {mode}{initial}")
    }
}

debug_as_shown!(KeyedExec);

impl DisplayAs for KeyedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyedFunction { module, function, mode, .. } = &self.plan.function;
        let key = self.plan.key_schema.fields().iter();
        let key: Vec<&str> = key.map(|field| field.name().as_str()).collect();
        let (key, mode) = (key.join(", "), mode.name());
        write!(f, "PluginStateful: {}.{function}, key=[{key}], time_mode={mode}", module.name())
    }
}

impl ExecutionPlan for KeyedExec {
    fn name(&self) -> &str {
        "PluginStateful"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(&self.initial).collect()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.over(children)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let placement = placement(self.placement, partition)?;
        let batch = RunningBatch::of(&context)?;
        let run = run::Run::try_new(Arc::clone(&self.plan), placement, batch)?;
        // Before all else, and so in the first batch that was not skipped.
        let initial = match &self.initial {
            Some(rows) if !run.take_initial()? => Some(Inputs::start(rows, &context)?),
            _ => None,
        };
        let input = Inputs::start(&self.input, &context)?;
        Ok(Output::of(self.schema(), async move |output| run.all(input, initial, &output).await))
    }
}
