//! Which functions of plugins a plan calls.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Extension, LogicalPlan};
use tidemill_core::FunctionKind;

use super::{Call, Evaluate, PluginTransform};

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

/// All calls of a plan, from the sink's side.
pub(crate) fn plugin_uses(plan: &LogicalPlan) -> Result<Vec<PluginUse>> {
    let mut uses = Vec::new();
    plan.apply(|node| {
        uses.extend(uses_of(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(uses)
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
