//! A plugin's transform as a step.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use tidemill_core::PluginModule;

use super::{is_event_time, with_event_time_of};
use crate::PlanError;

/// Rows through a plugin. It sees all columns of its input, and nothing is pushed below it.
pub(crate) struct PluginTransform {
    pub(crate) input: LogicalPlan,
    pub(crate) module: Arc<dyn PluginModule>,
    pub(crate) function: String,
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
        function: &str,
    ) -> Result<PluginTransform, PlanError> {
        let given = Arc::new(input.schema().as_arrow().clone());
        let output = module.output_schema(function, Arc::clone(&given))?;
        let fields = output
            .fields()
            .iter()
            .map(|field| {
                let kept = given.fields().iter().find(|before| {
                    is_event_time(before)
                        && before.name() == field.name()
                        && before.data_type() == field.data_type()
                });
                let field = match kept {
                    Some(before) => with_event_time_of(field, before, None),
                    None => Arc::clone(field),
                };
                (None, field)
            })
            .collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(PluginTransform { input, module, function: function.to_owned(), schema })
    }

    /// What the function gives, without the tags of event time.
    pub(crate) fn declared(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_metadata(HashMap::new()))
            .collect();
        Arc::new(Schema::new(fields))
    }

    fn identity(&self) -> (&str, tidemill_core::Digest, &str) {
        (self.module.name(), self.module.digest(), &self.function)
    }
}

impl PartialEq for PluginTransform {
    fn eq(&self, other: &PluginTransform) -> bool {
        self.identity() == other.identity() && self.input == other.input
    }
}

impl Eq for PluginTransform {}

impl Hash for PluginTransform {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for PluginTransform {
    fn partial_cmp(&self, other: &PluginTransform) -> Option<std::cmp::Ordering> {
        self.identity().partial_cmp(&other.identity())
    }
}

impl fmt::Debug for PluginTransform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

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
        write!(f, "PluginTransform: {}.{}", self.module.name(), self.function)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<PluginTransform> {
        // The optimiser keeps the input's columns (see `necessary_children_exprs`), so the
        // schema stays.
        Ok(PluginTransform {
            input: inputs.swap_remove(0),
            module: Arc::clone(&self.module),
            function: self.function.clone(),
            schema: Arc::clone(&self.schema),
        })
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}
