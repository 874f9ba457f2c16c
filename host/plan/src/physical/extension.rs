//! Our logical nodes to operators.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::evaluate::{Callee, EvaluateExec};
use super::event_time::EventTimeWatermarkExec;
use super::time_window::TimeWindowExec;
use super::transform::PluginTransformExec;
use crate::logical::{Call, Evaluate, EventTimeWatermark, PluginTransform, TimeWindow};

/// Plans the nodes of `logical`.
pub(crate) struct Extensions;

#[async_trait]
impl ExtensionPlanner for Extensions {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some((input, logical_input)) =
            physical_inputs.first().cloned().zip(logical_inputs.first())
        else {
            return Ok(None);
        };
        let schema = Arc::new(node.schema().as_arrow().clone());
        let expression =
            |e: &_| planner.create_physical_expr(e, logical_input.schema(), session, planning);
        let node = node.as_any();
        if let Some(watermark) = node.downcast_ref::<EventTimeWatermark>() {
            let column = input.schema().index_of(&watermark.column)?;
            let plan = EventTimeWatermarkExec::new(input, schema, column, watermark.number);
            return Ok(Some(Arc::new(plan)));
        }
        if let Some(window) = node.downcast_ref::<TimeWindow>() {
            let time = expression(&window.time)?;
            return Ok(Some(Arc::new(TimeWindowExec::new(input, schema, time, window.shape))));
        }
        if let Some(step) = node.downcast_ref::<PluginTransform>() {
            let module = Arc::clone(&step.module);
            return Ok(Some(Arc::new(PluginTransformExec::new(
                input,
                schema,
                module,
                &step.function,
            ))));
        }
        let Some(evaluate) = node.downcast_ref::<Evaluate>() else {
            return Ok(None);
        };
        let mut callees = Vec::new();
        for call in &evaluate.calls {
            callees.push(match call {
                Call::BatchTime(time) => Callee::BatchTime(time.clone()),
                Call::Plugin(call) => Callee::Plugin {
                    module: Arc::clone(&call.module),
                    function: call.function.clone(),
                    input: Arc::clone(&call.input),
                    arguments: call.arguments.iter().map(expression).collect::<Result<_>>()?,
                },
            });
        }
        Ok(Some(Arc::new(EvaluateExec::new(input, schema, callees))))
    }
}
