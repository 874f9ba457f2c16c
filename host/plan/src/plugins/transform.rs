//! A plugin's transform as a step.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::{
    Column, DFSchema, DFSchemaRef, DataFusionError, Result, internal_datafusion_err,
};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use tidemill_core::{
    Assembly, BatchId, FunctionKind, Origin, PluginError, PluginFailure, PluginModule, Shape,
};

use super::transform_exec::PluginTransformExec;
use super::{PluginKind, PluginUse, told_apart, without_notes};
use crate::PlanError;
use crate::logical::{is_event_time, with_event_time_of};

/// Transforms: steps of their own.
pub(super) struct Transforms;

impl PluginKind for Transforms {
    fn uses(&self, node: &LogicalPlan) -> Vec<PluginUse> {
        let LogicalPlan::Extension(Extension { node }) = node else { return Vec::new() };
        let step = node.as_any().downcast_ref::<PluginTransform>();
        step.map(|step| step.called.as_used()).into_iter().collect()
    }

    fn plan(
        &self,
        node: &dyn UserDefinedLogicalNode,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(step), [input]) = (node.as_any().downcast_ref::<PluginTransform>(), inputs)
        else {
            return Ok(None);
        };
        let schema = Arc::new(step.schema.as_arrow().clone());
        let called = &step.called;
        let reads = called.shape.reads.iter().map(|read| step.place(*read));
        let reads = reads.collect::<Option<Vec<usize>>>().ok_or_else(|| {
            internal_datafusion_err!("a column that {} reads is gone", called.function)
        })?;
        let assembly =
            Assembly::new(&called.shape, &step.kept, Arc::clone(&schema), |read| step.place(read));
        let called = Arc::clone(called);
        let plan = PluginTransformExec::new(Arc::clone(input), schema, called, reads, assembly);
        Ok(Some(Arc::new(plan)))
    }
}

/// A function, for the columns that its step has.
pub(super) struct Called {
    pub(super) module: Arc<dyn PluginModule>,
    /// The step that it is.
    pub(super) step: String,
    pub(super) function: String,
    /// The columns of the step's input, as it was when the plugin was asked.
    pub(super) given: SchemaRef,
    pub(super) shape: Shape,
    /// By which the input's columns are found when others of them are gone.
    columns: Vec<Column>,
    /// The output's columns, with the tags of event time.
    output: Vec<Arc<Field>>,
}

impl Called {
    /// What it gave cannot be used.
    pub(super) fn unusable(&self, batch: BatchId, reason: &str) -> DataFusionError {
        DataFusionError::External(Box::new(PluginError {
            plugin: self.module.name().to_owned(),
            function: self.function.clone(),
            batch: Some(batch),
            failure: PluginFailure::BadOutput(reason.to_owned()),
        }))
    }

    fn as_used(&self) -> PluginUse {
        PluginUse {
            plugin: self.module.name().to_owned(),
            function: self.function.clone(),
            kind: FunctionKind::Transform,
            input: Arc::clone(&self.given),
            output: Arc::clone(&self.shape.output),
        }
    }
}

/// Rows through a plugin. Nothing is pushed below it; of its input's columns those stay that it reads,
/// and those that it lets through and somebody wants.
pub(crate) struct PluginTransform {
    input: LogicalPlan,
    called: Arc<Called>,
    /// Which columns of the function's output the input has what is needed for.
    kept: Vec<usize>,
    schema: DFSchemaRef,
}

impl PluginTransform {
    /// Asks the plugin what it gives for these rows.
    ///
    /// A column that leaves under the name and type of the event-time column that went in is still
    /// event time: the function is given rows, not a way to say so.
    pub(crate) fn try_new(
        input: LogicalPlan,
        module: Arc<dyn PluginModule>,
        step: &str,
        function: &str,
    ) -> Result<PluginTransform, PlanError> {
        let given = Arc::new(input.schema().as_arrow().clone());
        let named = module.functions().iter().find(|known| known.name == function);
        if named.is_some_and(|known| known.kind == FunctionKind::Stateful) {
            return Err(PlanError::Invalid(format!(
                "plugin \"{}\", function \"{function}\": it keeps something for each key; name the \
                 columns of the key in the step, as in key = [\"user_id\"]",
                module.name()
            )));
        }
        let shape = module.shape(function, Arc::clone(&given))?;
        let output = shape.output.fields().iter().map(|field| {
            let kept = given.fields().iter().find(|before| {
                is_event_time(before)
                    && before.name() == field.name()
                    && before.data_type() == field.data_type()
            });
            match kept {
                Some(before) => with_event_time_of(field, before, None),
                None => Arc::clone(field),
            }
        });
        let called = Called {
            output: output.collect(),
            columns: input.schema().columns(),
            step: step.to_owned(),
            function: function.to_owned(),
            module,
            given: without_notes(&given),
            shape,
        };
        Ok(PluginTransform::over(input, Arc::new(called))?)
    }

    fn over(input: LogicalPlan, called: Arc<Called>) -> Result<PluginTransform> {
        let columns: HashSet<Column> = input.schema().columns().into_iter().collect();
        let is_there = |origin: &Origin| match origin {
            Origin::Made => true,
            Origin::Passed(place) => columns.contains(&called.columns[*place]),
        };
        let origins = called.shape.origins.iter().enumerate();
        let kept: Vec<usize> =
            origins.filter(|(_, origin)| is_there(origin)).map(|(number, _)| number).collect();
        let fields = kept.iter().map(|number| (None, Arc::clone(&called.output[*number])));
        let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new())?;
        Ok(PluginTransform { input, called, kept, schema: Arc::new(schema) })
    }

    /// Where a column of the input that the plugin was asked with is now.
    fn place(&self, column: usize) -> Option<usize> {
        self.input.schema().maybe_index_of_column(self.called.columns.get(column)?)
    }

    fn identity(&self) -> (&str, tidemill_core::Digest, &str) {
        (self.called.module.name(), self.called.module.digest(), &self.called.function)
    }
}

told_apart!(PluginTransform, input);

impl UserDefinedLogicalNodeCore for PluginTransform {
    fn name(&self) -> &str {
        "PluginTransform"
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

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginTransform: {}.{}", self.called.module.name(), self.called.function)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<PluginTransform> {
        PluginTransform::over(inputs.swap_remove(0), Arc::clone(&self.called))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let shape = &self.called.shape;
        let passed = output_columns.iter().filter_map(|column| {
            match shape.origins.get(*self.kept.get(*column)?)? {
                Origin::Passed(place) => Some(*place),
                Origin::Made => None,
            }
        });
        let wanted = shape.reads.iter().copied().chain(passed);
        let mut wanted: Vec<usize> = wanted.filter_map(|column| self.place(column)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}
