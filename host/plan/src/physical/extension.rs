//! Our logical nodes to operators.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::deduplicate::DeduplicateExec;
use super::evaluate::{Callee, EvaluateExec};
use super::event_time::EventTimeWatermarkExec;
use super::generate::GenerateExec;
use super::join_keys::{JoinKeys, key_types};
use super::limit::StreamLimitExec;
use super::session_window::SessionWindowExec;
use super::static_join::{StaticJoinExec, StaticJoinPlan};
use super::stream_join::{SideExpressions, StreamJoinExec};
use super::time_window::TimeWindowExec;
use tidemill_frontend::Generate;

use crate::logical::{
    Call, Deduplicate, Evaluate, EventTimeWatermark, JoinKey, SessionWindow, StaticJoin,
    StreamJoin, StreamLimit, TimeWindow,
};
use crate::plugins::plan_node;

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
        if let Some(plan) = plan_node(node, physical_inputs)? {
            return Ok(Some(plan));
        }
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
        if let Some(session) = node.downcast_ref::<SessionWindow>() {
            let (time, gap) = (expression(&session.time)?, expression(&session.gap)?);
            return Ok(Some(Arc::new(SessionWindowExec::new(input, schema, time, gap))));
        }
        if let Some(generate) = node.downcast_ref::<Generate>() {
            let values = expression(&generate.values)?;
            let (is_outer, has_position) = (generate.is_outer, generate.has_position);
            let plan = GenerateExec::new(input, schema, values, is_outer, has_position);
            return Ok(Some(Arc::new(plan)));
        }
        if let Some(deduplicate) = node.downcast_ref::<Deduplicate>() {
            let (columns, within) = (&deduplicate.columns, deduplicate.within);
            return Ok(Some(Arc::new(DeduplicateExec::try_new(input, columns, within)?)));
        }
        if let Some(limit) = node.downcast_ref::<StreamLimit>() {
            return Ok(Some(Arc::new(StreamLimitExec::new(input, limit.rows))));
        }
        if let Some(join) = node.downcast_ref::<StreamJoin>() {
            let [_, right] = physical_inputs else {
                return internal_err!("a join of streams has two inputs");
            };
            let expressions = |e: &Expr, schema: &DFSchema| {
                planner.create_physical_expr(e, schema, session, planning)
            };
            let plan = stream_join(join, (input, Arc::clone(right)), &expressions)?;
            return Ok(Some(Arc::new(plan)));
        }
        if let Some(join) = node.downcast_ref::<StaticJoin>() {
            let expressions = |e: &Expr, schema: &DFSchema| {
                planner.create_physical_expr(e, schema, session, planning)
            };
            return Ok(Some(Arc::new(static_join(join, input, &expressions)?)));
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
                    step: call.step.clone(),
                    function: call.function.clone(),
                    input: Arc::clone(&call.input),
                    shape: call.shape.clone(),
                    arguments: call.arguments.iter().map(expression).collect::<Result<_>>()?,
                },
            });
        }
        Ok(Some(Arc::new(EvaluateExec::new(input, schema, callees))))
    }
}

/// Makes a physical expression over a schema.
type Expressions<'a> = dyn Fn(&Expr, &DFSchema) -> Result<Arc<dyn PhysicalExpr>> + 'a;

fn stream_join(
    join: &StreamJoin,
    inputs: (Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>),
    expression: &Expressions<'_>,
) -> Result<StreamJoinExec> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let condition = &join.condition;
    let optional =
        |e: &Option<Expr>, schema: &DFSchema| e.as_ref().map(|e| expression(e, schema)).transpose();
    let nulls_are_equal: Vec<bool> = condition.keys.iter().map(|key| key.nulls_are_equal).collect();
    let left_side = SideExpressions {
        keys: condition.keys.iter().map(|k| expression(&k.left, left)).collect::<Result<_>>()?,
        nulls_are_equal: nulls_are_equal.clone(),
        only: optional(&condition.left_only, left)?,
        retention: join.left_retention,
    };
    let right_side = SideExpressions {
        keys: condition.keys.iter().map(|k| expression(&k.right, right)).collect::<Result<_>>()?,
        nulls_are_equal,
        only: optional(&condition.right_only, right)?,
        retention: join.right_retention,
    };
    let both = optional(&condition.both, &left.join(right)?)?;
    let output = Arc::new(UserDefinedLogicalNode::schema(join).as_arrow().clone());
    StreamJoinExec::try_new(join.kind, inputs, (left_side, right_side), both, output)
}

fn static_join(
    join: &StaticJoin,
    input: Arc<dyn ExecutionPlan>,
    expression: &Expressions<'_>,
) -> Result<StaticJoinExec> {
    let (stream, table) = (join.stream.schema(), &join.table.schema);
    let pair = if join.stream_is_left { stream.join(table)? } else { table.join(stream)? };
    let optional =
        |e: &Option<Expr>, schema: &DFSchema| e.as_ref().map(|e| expression(e, schema)).transpose();
    let condition = &join.condition;
    let keys = |key: fn(&JoinKey) -> &Expr, schema: &DFSchema| -> Result<Vec<_>> {
        condition.keys.iter().map(|k| expression(key(k), schema)).collect()
    };
    let (stream_keys, table_keys) = (keys(|k| &k.left, stream)?, keys(|k| &k.right, table)?);
    let types = key_types(&table_keys, &join.table.plan.schema())?;
    let nulls_are_equal: Vec<bool> = condition.keys.iter().map(|key| key.nulls_are_equal).collect();
    let plan = StaticJoinPlan {
        kind: join.kind,
        stream_is_left: join.stream_is_left,
        stream_keys: JoinKeys::try_new(stream_keys, &types, nulls_are_equal.clone())?,
        table_keys: JoinKeys::try_new(table_keys, &types, nulls_are_equal)?,
        stream_only: optional(&condition.left_only, stream)?,
        table_only: optional(&condition.right_only, table)?,
        both: optional(&condition.both, &pair)?,
        null_aware: join.null_aware,
        pair: nullable(&pair),
        output: Arc::new(UserDefinedLogicalNode::schema(join).as_arrow().clone()),
        table: Arc::clone(&join.table.plan),
    };
    Ok(StaticJoinExec::new(input, plan))
}

/// The columns, each of which may be null: beside a row that met nothing they are.
fn nullable(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<_> =
        fields.map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect();
    Arc::new(Schema::new(fields))
}
