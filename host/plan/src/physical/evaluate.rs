//! Adds the results of calls as columns, and takes out the rows that a call refuses.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use tidemill_core::{PluginModule, PluginRows, Shape};

use super::properties::{debug_as_shown, one_input, plain};
use crate::RunningBatch;
use crate::plugins::Opened;
use tidemill_functions::BatchTime;

/// A call, ready to run.
#[derive(Clone)]
pub(super) enum Callee {
    /// A plugin's scalar.
    Plugin {
        module: Arc<dyn PluginModule>,
        /// The step that calls it.
        step: String,
        function: String,
        /// The arguments, as the plugin names them.
        input: SchemaRef,
        shape: Shape,
        arguments: Vec<Arc<dyn PhysicalExpr>>,
    },
    /// A constant of the batch.
    BatchTime(BatchTime),
}

/// The input's columns, and one for each call.
pub(super) struct EvaluateExec {
    input: Arc<dyn ExecutionPlan>,
    callees: Vec<Callee>,
    properties: Arc<PlanProperties>,
}

impl EvaluateExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        callees: Vec<Callee>,
    ) -> EvaluateExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        EvaluateExec { input, callees, properties }
    }

    /// The arguments of all calls of plugins.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.callees.iter().flat_map(|callee| match callee {
            Callee::Plugin { arguments, .. } => arguments.as_slice(),
            Callee::BatchTime(_) => &[],
        })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> EvaluateExec {
        EvaluateExec::new(input, self.schema(), self.callees.clone())
    }
}

/// A call in one partition of one batch. Plugins are opened at their first rows.
struct Running {
    callee: Callee,
    opened: Option<Opened>,
    partition: usize,
    context: Arc<TaskContext>,
}

impl Running {
    /// A value for each row. Rows that are refused leave `kept`.
    fn column(
        &mut self,
        rows: &RecordBatch,
        batch: &RunningBatch,
        kept: &mut Kept,
    ) -> Result<ArrayRef> {
        match &self.callee {
            Callee::BatchTime(time) => {
                time.value(batch.spec().batch_time_ms).to_array_of_size(rows.num_rows())
            }
            Callee::Plugin { module, step, function, input, shape, arguments } => {
                let arguments = argument_rows(rows, arguments, input)?;
                if self.opened.is_none() {
                    let schema = Arc::clone(input);
                    self.opened = Some(Opened::open(
                        module,
                        step,
                        function,
                        schema,
                        shape,
                        self.partition,
                        &self.context,
                    )?);
                }
                let given = match &mut self.opened {
                    Some(opened) => {
                        let PluginRows { given, mut refused } = opened.call(&arguments)?;
                        // A row that several calls refuse is one dead letter.
                        refused.retain(|refused| kept.leaves(refused.row as usize));
                        opened.refuse(rows, refused)?;
                        given
                    }
                    None => Vec::new(),
                };
                match given.first().map(|given| given.made.as_slice()) {
                    Some([result]) if result.len() == rows.num_rows() => Ok(Arc::clone(result)),
                    _ => Err(exec_datafusion_err!(
                        "plugin \"{}\": {function}() did not give one value a row",
                        module.name()
                    )),
                }
            }
        }
    }
}

/// Which rows of a block stay.
struct Kept {
    rows: usize,
    /// A mark for each row, once one has left.
    marks: Option<Vec<bool>>,
}

impl Kept {
    fn all(rows: usize) -> Kept {
        Kept { rows, marks: None }
    }

    /// Takes a row out. Whether it was still there.
    fn leaves(&mut self, row: usize) -> bool {
        let marks = self.marks.get_or_insert_with(|| vec![true; self.rows]);
        marks.get_mut(row).is_some_and(|is_kept| std::mem::replace(is_kept, false))
    }

    fn of(self, rows: RecordBatch) -> Result<RecordBatch> {
        match self.marks {
            None => Ok(rows),
            Some(marks) => Ok(filter_record_batch(&rows, &BooleanArray::from(marks))?),
        }
    }
}

/// The arguments as the plugin named them.
fn argument_rows(
    rows: &RecordBatch,
    arguments: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(arguments.len());
    for argument in arguments {
        columns.push(argument.evaluate(rows)?.into_array(rows.num_rows())?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

debug_as_shown!(EvaluateExec);

impl DisplayAs for EvaluateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<String> = self
            .callees
            .iter()
            .map(|callee| match callee {
                Callee::Plugin { module, function, .. } => format!("{}.{function}", module.name()),
                Callee::BatchTime(time) => format!("{time:?}"),
            })
            .collect();
        write!(f, "Evaluate: {}", calls.join(", "))
    }
}

impl ExecutionPlan for EvaluateExec {
    one_input!("Evaluate");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let mut running: Vec<Running> = self
            .callees
            .iter()
            .map(|callee| Running {
                callee: callee.clone(),
                opened: None,
                partition,
                context: Arc::clone(&context),
            })
            .collect();
        let schema = self.schema();
        let output = Arc::clone(&schema);
        let stream = self.input.execute(partition, context)?.map(move |rows| {
            let rows = rows?;
            let mut columns = rows.columns().to_vec();
            let mut kept = Kept::all(rows.num_rows());
            for call in &mut running {
                columns.push(call.column(&rows, &batch, &mut kept)?);
            }
            kept.of(RecordBatch::try_new(Arc::clone(&output), columns)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
