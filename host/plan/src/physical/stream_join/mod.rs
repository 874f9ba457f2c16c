//! Joins two streams, whose rows wait for each other in the state.
//!
//! A batch runs as Spark's does (StreamingSymmetricHashJoinExec): late rows are left out; then the
//! left rows meet the right rows of earlier batches and are kept; then the right rows meet all
//! left rows, those of this batch too, and are kept (in a left semi join the right rows come first,
//! so that fewer left rows have to be kept); at last the watermark evicts what cannot meet
//! anything any more, and an outer join gives those rows that met nothing beside nulls.

mod run;
mod side;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{JoinType, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
    SendableRecordBatchStream,
};

use self::run::{Of, Run};
use self::side::Side;
use super::forms::TakesOver;
use super::inputs::Inputs;
use super::join_keys::key_types;
use super::output::Output;
use super::properties::{debug_as_shown, plain};
use super::stateful::{Placement, Stateful, StatefulOperator, placement};
use crate::RunningBatch;
use crate::logical::{Retention, spark_name};

/// Spark's name for the operator.
const NAME: &str = "symmetricHashJoin";

/// Microseconds that no watermark makes up: 100,000 years.
const STUCK: i64 = 100_000 * 365 * 86_400_000_000;

/// All that stays the same from batch to batch.
struct JoinPlan {
    kind: JoinType,
    left: Side,
    right: Side,
    /// What a pair of rows with equal keys has to fulfil, over the columns of both.
    condition: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of both.
    pair: SchemaRef,
    output: SchemaRef,
}

/// What a side of a join is planned from.
pub(super) struct SideExpressions {
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) nulls_are_equal: Vec<bool>,
    /// What its rows have to fulfil by themselves.
    pub(super) only: Option<Arc<dyn PhysicalExpr>>,
    pub(super) retention: Retention,
}

/// Joins two streams.
pub(super) struct StreamJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    plan: Arc<JoinPlan>,
    placement: Option<Placement>,
    properties: Arc<PlanProperties>,
}

impl StreamJoinExec {
    pub(super) fn try_new(
        kind: JoinType,
        (left, right): (Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>),
        (mut left_side, mut right_side): (SideExpressions, SideExpressions),
        condition: Option<Arc<dyn PhysicalExpr>>,
        output: SchemaRef,
    ) -> Result<StreamJoinExec> {
        let (left_schema, right_schema) = (left.schema(), right.schema());
        let fields = left_schema.fields().iter().chain(right_schema.fields());
        let pair = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let keeps_left = matches!(kind, JoinType::Left | JoinType::Full);
        let keeps_right = matches!(kind, JoinType::Right | JoinType::Full);
        // Spark drops null keys by a filter below the join, and what passes it is compared as
        // bytes: so where there is no such filter, as in a full outer join, nulls are equal.
        left_side.nulls_are_equal.fill(true);
        right_side.nulls_are_equal.fill(true);
        let key_types = key_types(&left_side.keys, &left_schema)?;
        let plan = JoinPlan {
            left: Side::try_new(0, left_schema, left_side, &key_types, keeps_left)?,
            right: Side::try_new(1, right_schema, right_side, &key_types, keeps_right)?,
            kind,
            condition,
            pair,
            output: Arc::clone(&output),
        };
        Ok(StreamJoinExec {
            properties: plain(output, 1, EmissionType::Incremental),
            plan: Arc::new(plan),
            placement: None,
            left,
            right,
        })
    }

    fn over(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<StreamJoinExec> {
        let [left, right] = inputs
            .try_into()
            .map_err(|_| internal_datafusion_err!("a join of streams has two inputs"))?;
        Ok(StreamJoinExec {
            left,
            right,
            plan: Arc::clone(&self.plan),
            placement: self.placement,
            properties: Arc::clone(&self.properties),
        })
    }
}

impl Stateful for StreamJoinExec {
    fn drops_late(&self) -> bool {
        true
    }

    fn placed(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        placement: Placement,
    ) -> Result<(Arc<dyn ExecutionPlan>, StatefulOperator)> {
        let JoinPlan { left, right, .. } = self.plan.as_ref();
        let is_bounded = [left, right].iter().any(|side| side.retention != Retention::Forever);
        let kind = spark_name(self.plan.kind);
        let description = StatefulOperator {
            id: placement.operator,
            name: NAME.to_owned(),
            details: format!(
                "{kind}; left rows {}; right rows {}",
                left.retention, right.retention
            ),
            key: left.key_schema(),
            value: Arc::clone(&self.plan.pair),
            follows: placement.lag.filter(|_| is_bounded),
            timers: None,
            takes_over: TakesOver::Nothing,
        };
        let placed = StreamJoinExec { placement: Some(placement), ..self.over(inputs)? };
        Ok((Arc::new(placed), description))
    }

    /// Rows wait for the other side. The right rows of a semi join never leave it.
    fn holds_back(&self) -> i64 {
        let wait = |side: &Side| match side.retention {
            Retention::Value(add) => add,
            Retention::Forever | Retention::Key(_) => 0,
            Retention::Stuck => STUCK,
        };
        let left = wait(&self.plan.left);
        let widest = match self.plan.kind {
            JoinType::LeftSemi => left,
            _ => left.max(wait(&self.plan.right)),
        };
        widest.max(0)
    }
}

debug_as_shown!(StreamJoinExec);

impl DisplayAs for StreamJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StreamJoin: {}, {}",
            spark_name(self.plan.kind),
            self.plan.left.describe_keys()
        )?;
        write!(f, " = {}", self.plan.right.describe_keys())?;
        self.plan.condition.iter().try_for_each(|condition| write!(f, ", on {condition}"))?;
        write!(f, ", state={:?}/{:?}", self.plan.left.retention, self.plan.right.retention)
    }
}

impl ExecutionPlan for StreamJoinExec {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(
            &Arc<dyn PhysicalExpr>,
        ) -> Result<datafusion::common::tree_node::TreeNodeRecursion>,
    ) -> Result<datafusion::common::tree_node::TreeNodeRecursion> {
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
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
        let batch = RunningBatch::of(&context)?;
        let mut run =
            Run::new(Arc::clone(&self.plan), placement(self.placement, partition)?, batch);
        // Both sides are read at once, the one that comes last as far ahead as its queue goes.
        let mut left = Inputs::start(&self.left, &context)?;
        let mut right = Inputs::start(&self.right, &context)?;
        let right_is_first = self.plan.right_is_first();
        Ok(Output::of(self.schema(), async move |output| {
            for is_right in [right_is_first, !right_is_first] {
                let (of, input) =
                    if is_right { (Of::Right, &mut right) } else { (Of::Left, &mut left) };
                while let Some(block) = input.next().await? {
                    run.join(of, &block, &output).await?;
                }
            }
            run.finish(&output).await
        }))
    }
}
