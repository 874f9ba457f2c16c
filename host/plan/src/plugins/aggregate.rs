//! A plugin's aggregate functions, callable in SQL by their names.
//!
//! A plugin holds the groups of one partition of one batch. Between batches their states are columns
//! of the host, like those of every aggregate.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{FilterBuilder, filter, prep_null_mask_filter};
use arrow::datatypes::{DataType, FieldRef, SchemaRef, UInt32Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, LogicalPlan,
    Signature, Volatility,
};
use tidemill_core::{
    AggregateInstance, BatchContext, FunctionKind, FunctionSignature, PluginModule,
    variable_columns,
};
use tidemill_frontend::CatalogFunction;

use super::scope::{failed, running};
use super::{PluginKind, PluginUse, signature};
use crate::PlanError;
use crate::letters::Refusals;

/// Aggregates: called in SQL, a value for a group.
pub(super) struct Aggregates;

impl PluginKind for Aggregates {
    fn callable(
        &self,
        module: &Arc<dyn PluginModule>,
        function: &FunctionSignature,
        step: &str,
    ) -> Result<Option<CatalogFunction>, PlanError> {
        if function.kind != FunctionKind::Aggregate {
            return Ok(None);
        }
        let function = PluginAggregate::try_new(module, function, step)?;
        let function = AggregateUDF::new_from_impl(function);
        Ok(Some(CatalogFunction::Aggregate(Arc::new(function))))
    }

    fn uses(&self, node: &LogicalPlan) -> Vec<PluginUse> {
        let LogicalPlan::Aggregate(aggregate) = node else { return Vec::new() };
        let mut uses = Vec::new();
        for expression in &aggregate.aggr_expr {
            // The closure never fails.
            let _ = expression.apply(|expression| {
                if let Expr::AggregateFunction(call) = expression
                    && let Some(function) = call.func.inner().downcast_ref::<PluginAggregate>()
                {
                    uses.push(function.called.as_used());
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        uses
    }
}

/// A function and what it declares.
struct Called {
    module: Arc<dyn PluginModule>,
    /// The step that calls it. It is no part of what the call is.
    step: String,
    name: String,
    input: SchemaRef,
    output: SchemaRef,
    state: SchemaRef,
    /// Of earlier forms.
    earlier: Vec<SchemaRef>,
}

impl Called {
    fn as_used(&self) -> PluginUse {
        PluginUse {
            plugin: self.module.name().to_owned(),
            function: self.name.clone(),
            kind: FunctionKind::Aggregate,
            input: Arc::clone(&self.input),
            output: Arc::clone(&self.output),
        }
    }
}

/// An aggregate in a plan.
pub(crate) struct PluginAggregate {
    called: Arc<Called>,
    signature: Signature,
}

impl PluginAggregate {
    fn try_new(
        module: &Arc<dyn PluginModule>,
        function: &FunctionSignature,
        step: &str,
    ) -> Result<PluginAggregate, PlanError> {
        let (Some(input), Some(output)) = (&function.input, &function.output) else {
            return Err(PlanError::Invalid(format!(
                "plugin \"{}\": the aggregate \"{}\" does not declare its arguments and its result",
                module.name(),
                function.name
            )));
        };
        let signature = signature(input, Volatility::Immutable);
        let called = Called {
            module: Arc::clone(module),
            step: step.to_owned(),
            name: function.name.clone(),
            input: Arc::clone(input),
            output: Arc::clone(output),
            state: variable_columns(&function.state),
            earlier: function.migrations.clone(),
        };
        Ok(PluginAggregate { called: Arc::new(called), signature })
    }

    fn identity(&self) -> (&str, tidemill_core::Digest, &str) {
        let called = &self.called;
        (called.module.name(), called.module.digest(), &called.name)
    }

    /// The columns of the earlier forms of its state, as those of a call of this name.
    pub(crate) fn earlier_columns(&self, call: &str) -> Vec<Vec<FieldRef>> {
        let of_form = |form: &SchemaRef| state_columns(call, form);
        self.called.earlier.iter().map(of_form).collect()
    }

    /// States of an earlier form, as they are now.
    pub(crate) fn migrated(
        &self,
        context: &BatchContext,
        migration: u32,
        states: &[ArrayRef],
    ) -> Result<Vec<ArrayRef>> {
        let called = &self.called;
        let opened = called.module.open_aggregate(&called.name, context);
        opened.and_then(|mut opened| opened.migrate(migration, states)).map_err(failed)
    }

    fn groups(&self) -> Result<PluginGroups> {
        let (batch, partition) = running()?;
        let called = Arc::clone(&self.called);
        let (number, module) = (partition as usize, called.module.as_ref());
        let refusals = Refusals::new(&batch, number, &called.step, module, &called.name);
        let context = batch.context(partition);
        Ok(PluginGroups { called, context, refusals, opened: None, groups: 0 })
    }
}

/// Columns of a state, by the names that they have in a plan.
fn state_columns(call: &str, state: &SchemaRef) -> Vec<FieldRef> {
    let named = state.fields().iter().map(|field| {
        let name = format_state_name(call, field.name());
        Arc::new(field.as_ref().clone().with_name(name).with_nullable(true))
    });
    named.collect()
}

impl PartialEq for PluginAggregate {
    fn eq(&self, other: &PluginAggregate) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PluginAggregate {}

impl Hash for PluginAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for PluginAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.called.module.name(), self.called.name)
    }
}

impl AggregateUDFImpl for PluginAggregate {
    fn name(&self) -> &str {
        &self.called.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.called.output.field(0).data_type().clone())
    }

    /// With the fields of an interval, where it is one.
    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        let declared = self.called.output.field(0).clone();
        Ok(Arc::new(declared.with_name(self.name()).with_nullable(true)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(state_columns(args.name, &self.called.state))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.groups()?)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        _: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.groups()?))
    }
}

/// Groups of a plugin's aggregate. The plugin is opened at the first of them.
struct PluginGroups {
    called: Arc<Called>,
    context: BatchContext,
    refusals: Refusals,
    opened: Option<Box<dyn AggregateInstance>>,
    groups: usize,
}

impl fmt::Debug for PluginGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} groups of {}", self.groups, self.called.name)
    }
}

impl PluginGroups {
    fn opened(&mut self) -> Result<&mut (dyn AggregateInstance + 'static)> {
        if self.opened.is_none() {
            let called = &self.called;
            let opened = called.module.open_aggregate(&called.name, &self.context);
            self.opened = Some(opened.map_err(failed)?);
        }
        let opened = self.opened.as_deref_mut();
        opened.ok_or_else(|| internal_datafusion_err!("it was just opened"))
    }

    /// How many groups leave.
    fn taken(&mut self, emit: EmitTo) -> Result<u32> {
        let count = match emit {
            EmitTo::All => self.groups,
            EmitTo::First(count) => count,
        };
        self.groups -= count.min(self.groups);
        numbered(count)
    }
}

fn numbered(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| exec_datafusion_err!("{count} groups in one aggregation"))
}

/// The rows that the filter leaves, and the group of each.
fn filtered(
    columns: &[ArrayRef],
    groups: &[usize],
    condition: Option<&BooleanArray>,
) -> Result<(Vec<ArrayRef>, Vec<u32>)> {
    // Groups are fewer than 2³²: they are numbered so before.
    let numbers = groups.iter().map(|group| *group as u32);
    let Some(condition) = condition else { return Ok((columns.to_vec(), numbers.collect())) };
    let condition = match condition.null_count() {
        0 => condition.clone(),
        _ => prep_null_mask_filter(condition),
    };
    let chosen = FilterBuilder::new(&condition).optimize().build();
    let columns = columns.iter().map(|column| chosen.filter(column));
    let numbers = arrow::array::UInt32Array::from_iter_values(numbers);
    let numbers = filter(&numbers, &condition)?;
    let numbers = arrow::array::AsArray::as_primitive::<UInt32Type>(&numbers);
    Ok((columns.collect::<Result<_, _>>()?, numbers.values().to_vec()))
}

impl GroupsAccumulator for PluginGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups = self.groups.max(total_num_groups);
        let total = numbered(total_num_groups)?;
        let (columns, groups) = filtered(values, group_indices, opt_filter)?;
        let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
        let schema = Arc::clone(&self.called.input);
        let arguments = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let refused = self.opened()?.update(&groups, total, &arguments).map_err(failed)?;
        self.refusals.take(&arguments, refused)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups = self.groups.max(total_num_groups);
        let total = numbered(total_num_groups)?;
        let (states, groups) = filtered(values, group_indices, None)?;
        self.opened()?.merge(&groups, total, &states).map_err(failed)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = self.taken(emit_to)?;
        self.opened()?.results(count).map_err(failed)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = self.taken(emit_to)?;
        self.opened()?.states(count).map_err(failed)
    }

    /// A group of each row, in an instance of its own.
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |column| column.len());
        let each: Vec<usize> = (0..rows).collect();
        let (called, context) = (Arc::clone(&self.called), self.context.clone());
        let refusals = self.refusals.again();
        let mut fresh = PluginGroups { called, context, refusals, opened: None, groups: 0 };
        fresh.update_batch(values, &each, opt_filter, rows)?;
        fresh.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let held = self.opened.as_ref().map_or(0, |opened| opened.memory());
        size_of_val(self) + usize::try_from(held).unwrap_or(usize::MAX)
    }
}

/// All rows as one group, where nothing is grouped by.
#[derive(Debug)]
struct OneGroup(PluginGroups);

impl OneGroup {
    /// The group is there also where no row was.
    fn at_least_once(&mut self) -> Result<()> {
        if self.0.groups > 0 {
            return Ok(());
        }
        let fields = self.0.called.input.fields().iter();
        let nothing: Vec<ArrayRef> =
            fields.map(|field| arrow::array::new_empty_array(field.data_type())).collect();
        self.0.update_batch(&nothing, &[], None, 1)
    }
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |column| column.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |column| column.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.at_least_once()?;
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.at_least_once()?;
        let states = self.0.state(EmitTo::All)?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }
}
