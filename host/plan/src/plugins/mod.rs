//! What a plan does with the functions of plugins: what a kind needs is in a file of its own.

mod aggregate;
mod isolate;
mod opened;
mod scalar;
mod scope;
mod stateful;
mod transform;
mod transform_exec;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, Signature, UserDefinedLogicalNode, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use tidemill_core::{FunctionKind, FunctionSignature, PluginModule};
use tidemill_frontend::CatalogFunction;
use tidemill_types::IntervalFields;

use crate::PlanError;

pub(crate) use aggregate::PluginAggregate;
pub(crate) use opened::Opened;
pub(crate) use scalar::PluginScalar;
pub(crate) use scope::{during, with_scopes};
pub(crate) use stateful::{PluginStateful, StatefulStep};
pub(crate) use transform::PluginTransform;

/// What the plan knows of a kind of function. A handler is none of the plan's.
trait PluginKind: Sync {
    /// What the SQL of a step calls, if a function of this kind is called in SQL.
    fn callable(
        &self,
        _module: &Arc<dyn PluginModule>,
        _function: &FunctionSignature,
        _step: &str,
    ) -> Result<Option<CatalogFunction>, PlanError> {
        Ok(None)
    }

    /// The calls in one node of a plan.
    fn uses(&self, node: &LogicalPlan) -> Vec<PluginUse>;

    /// The operator of a node over its inputs, if the kind has a node of its own and this is one.
    fn plan(
        &self,
        _node: &dyn UserDefinedLogicalNode,
        _inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(None)
    }
}

static KINDS: [&dyn PluginKind; 4] =
    [&scalar::Scalars, &transform::Transforms, &aggregate::Aggregates, &stateful::StatefulSteps];

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

/// Two nodes of a plugin's function are one where they have one `identity` and one input.
macro_rules! told_apart {
    ($node:ty, $input:ident) => {
        impl PartialEq for $node {
            fn eq(&self, other: &$node) -> bool {
                self.identity() == other.identity() && self.$input == other.$input
            }
        }

        impl Eq for $node {}

        impl std::hash::Hash for $node {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.identity().hash(state);
                self.$input.hash(state);
            }
        }

        impl PartialOrd for $node {
            fn partial_cmp(&self, other: &$node) -> Option<std::cmp::Ordering> {
                self.identity().partial_cmp(&other.identity())
            }
        }

        impl fmt::Debug for $node {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                UserDefinedLogicalNodeCore::fmt_for_explain(self, f)
            }
        }
    };
}

use told_apart;

/// The columns without what the plan notes on them.
fn without_notes(schema: &Schema) -> SchemaRef {
    let bare = schema.fields().iter().map(|field| IntervalFields::alone(field));
    Arc::new(Schema::new(bare.collect::<Vec<_>>()))
}

/// What SQL sees of declared arguments.
fn signature(arguments: &Schema, volatility: Volatility) -> Signature {
    let kinds: Vec<DataType> =
        arguments.fields().iter().map(|field| field.data_type().clone()).collect();
    match kinds.is_empty() {
        true => Signature::nullary(volatility),
        false => Signature::exact(kinds, volatility),
    }
}

/// The functions of a plugin that are called in the SQL of a step.
pub(crate) fn callables<'m>(
    module: &'m Arc<dyn PluginModule>,
    step: &str,
) -> Result<Vec<(&'m FunctionSignature, CatalogFunction)>, PlanError> {
    let mut callables = Vec::new();
    for function in module.functions() {
        for kind in KINDS {
            let callable = kind.callable(module, function, step)?;
            callables.extend(callable.map(|callable| (function, callable)));
        }
    }
    Ok(callables)
}

/// All calls of a plan, from the sink's side.
pub(crate) fn plugin_uses(plan: &LogicalPlan) -> Result<Vec<PluginUse>> {
    let mut uses = Vec::new();
    plan.apply(|node| {
        uses.extend(uses_of(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(uses)
}

/// The calls in one node.
pub(crate) fn uses_of(node: &LogicalPlan) -> Vec<PluginUse> {
    KINDS.iter().flat_map(|kind| kind.uses(node)).collect()
}

/// The operator of a node that a plugin's function is.
pub(crate) fn plan_node(
    node: &dyn UserDefinedLogicalNode,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    for kind in KINDS {
        if let Some(plan) = kind.plan(node, inputs)? {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}
