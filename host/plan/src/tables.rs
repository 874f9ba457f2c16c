//! The tables and functions that the steps of a streaming query can name, and the nodes that their
//! relations become.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::logical_expr::{Extension, LogicalPlan};
use tidemill_core::{FunctionSignature, PluginModule};
use tidemill_frontend::spec::{self, SetKind, SetOperation};
use tidemill_frontend::{Catalog, CatalogFunction, Error, Names, QuerySize, Result};
use tidemill_types::Interval;

use crate::analysis::Streams;
use crate::definition::WatermarkSpec;
use crate::logical::{Deduplicate, EventTimeWatermark, window_functions};
use crate::plugins::{PluginStateful, PluginTransform, StatefulStep, callables};
use crate::{PlanError, QueryDefinition};

/// What steps can name. A name is found whatever its case.
pub(crate) struct Tables {
    /// By their names in lower case: the name as it is written, its plan, and what it brings into
    /// the plan of who reads it.
    tables: BTreeMap<String, (String, LogicalPlan, QuerySize)>,
    /// By their names in lower case.
    functions: BTreeMap<String, CatalogFunction>,
    plugins: Vec<Arc<dyn PluginModule>>,
    /// The step that names them at the moment.
    step: String,
    streams: Streams,
    /// How many watermarks have been declared.
    watermarks: Cell<usize>,
    /// How many stateful steps of plugins there have been.
    stateful: Cell<usize>,
}

impl Tables {
    /// No tables yet, and the functions of a query's plugins.
    ///
    /// # Errors
    /// A plugin's function has the name of another one.
    pub(crate) fn of(definition: &QueryDefinition) -> std::result::Result<Tables, PlanError> {
        let mut tables = Tables {
            tables: BTreeMap::new(),
            functions: BTreeMap::new(),
            plugins: definition.plugins.clone(),
            step: String::new(),
            streams: Streams::of(definition),
            watermarks: Cell::new(0),
            stateful: Cell::new(0),
        };
        for (name, function) in window_functions() {
            tables.functions.insert(name.to_owned(), function);
        }
        for module in &definition.plugins {
            for (signature, function) in callables(module, "")? {
                tables.add_function(module, signature, function)?;
            }
        }
        Ok(tables)
    }

    fn add_function(
        &mut self,
        module: &Arc<dyn PluginModule>,
        signature: &FunctionSignature,
        function: CatalogFunction,
    ) -> std::result::Result<(), PlanError> {
        let name = signature.name.to_lowercase();
        if self.functions.contains_key(&name)
            || tidemill_functions::find(&name).is_some_and(|known| !known.is_left_out())
        {
            return Err(PlanError::Invalid(format!(
                "plugin \"{}\": there is a function {}() already, built in or of another plugin; give the {} another name",
                module.name(),
                signature.name,
                signature.kind.name()
            )));
        }
        self.functions.insert(name, function);
        Ok(())
    }

    /// From here on a step of this name calls the plugins' functions.
    pub(crate) fn enter(&mut self, step: &str) -> std::result::Result<(), PlanError> {
        step.clone_into(&mut self.step);
        for module in &self.plugins {
            for (signature, function) in callables(module, step)? {
                self.functions.insert(signature.name.to_lowercase(), function);
            }
        }
        Ok(())
    }

    /// Adds a table, or puts it in the place of the one that has its name.
    pub(crate) fn add(&mut self, name: &str, plan: LogicalPlan, size: QuerySize) {
        self.tables.insert(name.to_lowercase(), (name.to_owned(), plan, size));
    }

    fn plugin(&self, name: &str) -> Result<Arc<dyn PluginModule>> {
        let module = self.plugins.iter().find(|module| module.name() == name);
        module.cloned().ok_or_else(|| Error::new(format!("there is no plugin \"{name}\""), None))
    }

    /// Which tables stream.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }
}

fn in_words(error: &datafusion::error::DataFusionError) -> Error {
    Error::new(error.strip_backtrace(), None)
}

impl Names for Tables {
    fn size_of(&self, table: &str) -> Option<QuerySize> {
        self.tables.get(&table.to_lowercase()).map(|(_, _, size)| *size)
    }

    fn is_aggregate(&self, function: &str) -> bool {
        matches!(self.function(function), Some(CatalogFunction::Aggregate(_)))
    }
}

impl Catalog for Tables {
    fn table(&self, name: &str) -> Option<(String, LogicalPlan)> {
        let table = self.tables.get(&name.to_lowercase());
        table.map(|(name, plan, _)| (name.clone(), plan.clone()))
    }

    fn tables(&self) -> Vec<String> {
        self.tables.values().map(|(name, ..)| name.clone()).collect()
    }

    fn function(&self, name: &str) -> Option<CatalogFunction> {
        self.functions.get(&name.to_lowercase()).cloned()
    }

    /// INTERSECT and EXCEPT become joins, which are not refused. EXCEPT of a stream and a table that
    /// does not change may run; with ALL it would have to count.
    fn check_set_operation(
        &self,
        operation: &SetOperation,
        left: &LogicalPlan,
        right: &LogicalPlan,
    ) -> Result<()> {
        let (left, right) = (self.streams.reach(left), self.streams.reach(right));
        let (name, is_refused) = match operation.kind {
            SetKind::Union => return Ok(()),
            SetKind::Intersect => ("Intersect", left || right),
            SetKind::Except => ("Except", right || (left && operation.is_all)),
        };
        match is_refused {
            false => Ok(()),
            true => Err(Error::new(
                format!(
                    "{name} of streaming DataFrames/Datasets is not supported; write a left semi or left anti join with what does not stream"
                ),
                None,
            )),
        }
    }

    fn with_watermark(
        &self,
        input: LogicalPlan,
        watermark: &spec::WithWatermark,
    ) -> Result<LogicalPlan> {
        let spec = WatermarkSpec {
            column: watermark.column.clone(),
            delay: Interval { micros: watermark.delay_micros },
            idle: watermark.idle_micros.map(|micros| Interval { micros }),
        };
        let node = EventTimeWatermark::try_new(input, &spec).map_err(|error| in_words(&error))?;
        let number = self.watermarks.get();
        self.watermarks.set(number + 1);
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node.numbered(number)) }))
    }

    fn deduplicate(&self, input: LogicalPlan, spec: &spec::Deduplicate) -> Result<LogicalPlan> {
        let node = Deduplicate::try_new(input, &spec.columns, spec.within_watermark)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn transform(&self, input: LogicalPlan, plugin: &str, function: &str) -> Result<LogicalPlan> {
        let module = self.plugin(plugin)?;
        let node = PluginTransform::try_new(input, module, &self.step, function)
            .map_err(|error| Error::new(error.to_string(), None))?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn stateful(
        &self,
        input: LogicalPlan,
        initial: Option<LogicalPlan>,
        spec: &spec::PluginStateful,
    ) -> Result<LogicalPlan> {
        if initial.as_ref().is_some_and(|rows| self.streams.reach(rows)) {
            return Err(Error::new(
                "initial_state is a stream, and the state begins with rows that are all there; name a \
                 [static.*] table"
                    .to_owned(),
                None,
            ));
        }
        self.stateful.set(self.stateful.get() + 1);
        let step = StatefulStep {
            name: &self.step,
            number: self.stateful.get(),
            function: &spec.function,
            key: &spec.key,
            mode: spec.time_mode,
        };
        let node = PluginStateful::try_new(input, initial, self.plugin(&spec.plugin)?, &step)
            .map_err(|error| Error::new(error.to_string(), None))?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}
