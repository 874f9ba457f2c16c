//! Joins in which streams take part.
//!
//! DataFusion's optimiser works on its own joins: it finds the equalities, and pushes down what
//! concerns one side only. After it, each join with a stream becomes a node of ours:
//! [`StreamJoin`] for two streams, which keeps rows of both, and [`StaticJoin`] for a stream and
//! a table that does not change.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{
    DFSchema, DFSchemaRef, JoinType, NullEquality, Result, internal_err, plan_err,
};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;

use super::time_bounds::{TimeBound, time_bound};
use super::{EventTimeColumn, is_event_time};

/// An equality of both sides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct JoinKey {
    pub(crate) left: Expr,
    pub(crate) right: Expr,
    /// Whether null equals null (`<=>`).
    pub(crate) nulls_are_equal: bool,
}

/// The condition of a join, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct JoinCondition {
    pub(crate) keys: Vec<JoinKey>,
    /// What concerns left rows alone: those that fail meet nothing.
    pub(crate) left_only: Option<Expr>,
    /// The same for right rows.
    pub(crate) right_only: Option<Expr>,
    /// The rest, over the columns of both.
    pub(crate) both: Option<Expr>,
}

impl JoinCondition {
    fn of(join: &Join) -> JoinCondition {
        let (left, right) = (join.left.schema(), join.right.schema());
        let equal = join.null_equality == NullEquality::NullEqualsNull;
        let key = |(left, right): &(Expr, Expr)| JoinKey {
            left: left.clone(),
            right: right.clone(),
            nulls_are_equal: equal,
        };
        let mut keys: Vec<JoinKey> = join.on.iter().map(key).collect();
        let (mut left_only, mut right_only, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for condition in join.filter.iter().cloned().flat_map(split_conjunction_owned) {
            if let Some(key) = null_safe_key(&condition, left, right) {
                keys.push(key);
                continue;
            }
            match (is_over(&condition, left), is_over(&condition, right)) {
                (true, false) => left_only.push(condition),
                (false, true) => right_only.push(condition),
                _ => both.push(condition),
            }
        }
        JoinCondition {
            keys,
            left_only: conjunction(left_only),
            right_only: conjunction(right_only),
            both: conjunction(both),
        }
    }

    /// All expressions, and how to put others in their place.
    fn expressions(&self) -> Vec<Expr> {
        let keys = self.keys.iter().flat_map(|key| [key.left.clone(), key.right.clone()]);
        let rest = [&self.left_only, &self.right_only, &self.both];
        keys.chain(rest.into_iter().flatten().cloned()).collect()
    }

    fn with_expressions(&self, expressions: Vec<Expr>) -> JoinCondition {
        let mut next = expressions.into_iter();
        let mut take = |old: &Expr| next.next().unwrap_or_else(|| old.clone());
        let keys = self.keys.iter().map(|key| JoinKey {
            left: take(&key.left),
            right: take(&key.right),
            nulls_are_equal: key.nulls_are_equal,
        });
        let keys = keys.collect();
        JoinCondition {
            keys,
            left_only: self.left_only.as_ref().map(&mut take),
            right_only: self.right_only.as_ref().map(&mut take),
            both: self.both.as_ref().map(&mut take),
        }
    }
}

/// Whether an expression reads columns, and these are all of `schema`.
fn is_over(expression: &Expr, schema: &DFSchema) -> bool {
    let columns = expression.column_refs();
    !columns.is_empty() && columns.iter().all(|c| schema.maybe_index_of_column(c).is_some())
}

/// `left <=> right`, in either order.
fn null_safe_key(condition: &Expr, left: &DFSchema, right: &DFSchema) -> Option<JoinKey> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::IsNotDistinctFrom, right: b }) =
        condition
    else {
        return None;
    };
    let key =
        |l: &Expr, r: &Expr| JoinKey { left: l.clone(), right: r.clone(), nulls_are_equal: true };
    if is_over(a, left) && is_over(b, right) {
        Some(key(a, b))
    } else if is_over(b, left) && is_over(a, right) {
        Some(key(b, a))
    } else {
        None
    }
}

/// When the rows that a side of a [`StreamJoin`] keeps are of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) enum Retention {
    /// Never: no watermark bounds them.
    Forever,
    /// Once the watermark has reached the event time in the key of this number.
    Key(usize),
    /// Once the watermark has reached the side's event time and so many microseconds.
    Value(i64),
    /// Never, as Spark takes a constant of the condition for a bound of event time. What comes out
    /// has no watermark that moves.
    Stuck,
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::Forever | Retention::Stuck => write!(f, "are kept for ever"),
            Retention::Key(key) => write!(f, "leave at the event time in key {key}"),
            Retention::Value(add) => write!(f, "leave {add} microseconds after their event time"),
        }
    }
}

/// A join of two streams.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct StreamJoin {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    /// Inner, Left, Right, Full or LeftSemi.
    pub(crate) kind: JoinType,
    pub(crate) condition: JoinCondition,
    pub(crate) left_retention: Retention,
    pub(crate) right_retention: Retention,
    schema: DFSchemaRef,
}

/// Spark's refusal of a join whose rows could wait for ever.
pub(crate) fn unbounded(kind: JoinType) -> String {
    format!(
        "Stream-stream {} join between two streaming DataFrame/Datasets is not supported without a watermark in the join keys, or a watermark on the nullable side and an appropriate range condition; add an equality of windows or event times to ON, or a range like r.at BETWEEN l.at AND l.at + INTERVAL 1 MINUTE",
        spark_name(kind)
    )
}

impl StreamJoin {
    /// Refuses what Spark refuses: joins without an equality, and outer ones whose rows could wait
    /// for ever.
    pub(crate) fn try_new(join: Join) -> Result<StreamJoin> {
        let condition = JoinCondition::of(&join);
        if condition.keys.is_empty() {
            return plan_err!(
                "Stream-stream join without equality predicate is not supported; add an equality of a column of each side to ON, so that rows can be found by it"
            );
        }
        let (left, right) = (join.left.schema(), join.right.schema());
        let key_time = condition.keys.iter().position(|key| {
            let tagged = |key: &Expr, schema| {
                key.to_field(schema).is_ok_and(|(_, field)| is_event_time(&field))
            };
            tagged(&key.left, left) || tagged(&key.right, right)
        });
        if !is_bounded(&join, key_time.is_some()) {
            return plan_err!("{}", unbounded(join.join_type));
        }
        let (left_retention, right_retention) = match key_time {
            Some(key) => (Retention::Key(key), Retention::Key(key)),
            None => value_retention(&join)?,
        };
        Ok(StreamJoin {
            kind: join.join_type,
            condition,
            left_retention,
            right_retention,
            schema: Arc::clone(&join.schema),
            left: Arc::unwrap_or_clone(join.left),
            right: Arc::unwrap_or_clone(join.right),
        })
    }
}

/// Spark's checkForStreamStreamJoinWatermark.
fn is_bounded(join: &Join, is_time_in_keys: bool) -> bool {
    let left = join.left.schema().fields().len();
    let conditions: Vec<Expr> = join.filter.iter().cloned().collect();
    let Ok(schema) = join.left.schema().join(join.right.schema()) else {
        return false;
    };
    let is_tagged = |column: usize| is_event_time(schema.field(column));
    let keeps = |is_left: bool| {
        let state = |column: usize| (column < left) == is_left;
        let other = |column: usize| (column < left) != is_left && is_tagged(column);
        time_bound(&conditions, &schema, state, other).is_some()
    };
    match join.join_type {
        JoinType::Inner => true,
        _ if is_time_in_keys => true,
        JoinType::Left | JoinType::LeftSemi => keeps(true),
        JoinType::Right => keeps(false),
        _ => keeps(true) || keeps(false),
    }
}

fn value_retention(join: &Join) -> Result<(Retention, Retention)> {
    let conditions: Vec<Expr> = join.filter.iter().cloned().collect();
    let schema = join.left.schema().join(join.right.schema())?;
    let width = join.left.schema().fields().len();
    let left = EventTimeColumn::first(join.left.schema().as_arrow());
    let right = EventTimeColumn::first(join.right.schema().as_arrow())
        .map(|time| EventTimeColumn { column: time.column + width, ..time });
    let retention = |state: Option<EventTimeColumn>, other: Option<EventTimeColumn>| {
        let (Some(state), Some(other)) = (state, other) else {
            return Retention::Forever;
        };
        let is_left = state.column < width;
        let of_side = |column: usize| (column < width) == is_left;
        match time_bound(&conditions, &schema, of_side, |column| column == other.column) {
            None => Retention::Forever,
            Some(TimeBound::Watermark(add)) => Retention::Value(add),
            Some(TimeBound::Constant) => Retention::Stuck,
        }
    };
    Ok((retention(left, right), retention(right, left)))
}

/// Spark's name of a kind of join.
pub(crate) fn spark_name(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Inner => "Inner",
        JoinType::Left => "LeftOuter",
        JoinType::Right => "RightOuter",
        JoinType::Full => "FullOuter",
        JoinType::LeftSemi => "LeftSemi",
        JoinType::LeftAnti => "LeftAnti",
        JoinType::RightSemi => "RightSemi",
        JoinType::RightAnti => "RightAnti",
        JoinType::LeftMark | JoinType::RightMark => "ExistenceJoin",
    }
}

impl fmt::Debug for StreamJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for StreamJoin {
    fn partial_cmp(&self, other: &StreamJoin) -> Option<std::cmp::Ordering> {
        self.condition.partial_cmp(&other.condition)
    }
}

impl UserDefinedLogicalNodeCore for StreamJoin {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.condition.expressions()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamJoin: {}, ", spark_name(self.kind))?;
        fmt_condition(&self.condition, f)?;
        write!(f, ", state={:?}/{:?}", self.left_retention, self.right_retention)
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<StreamJoin> {
        let right = inputs.swap_remove(1);
        Ok(StreamJoin {
            left: inputs.swap_remove(0),
            right,
            kind: self.kind,
            condition: self.condition.with_expressions(exprs),
            left_retention: self.left_retention,
            right_retention: self.right_retention,
            schema: Arc::clone(&self.schema),
        })
    }
}

fn fmt_condition(condition: &JoinCondition, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, key) in condition.keys.iter().enumerate() {
        let and = if i == 0 { "" } else { " AND " };
        let equals = if key.nulls_are_equal { "<=>" } else { "=" };
        write!(f, "{and}{} {equals} {}", key.left, key.right)?;
    }
    let rest = [&condition.left_only, &condition.right_only, &condition.both];
    rest.into_iter().flatten().try_for_each(|condition| write!(f, " AND {condition}"))
}

/// A table that does not change, as the plan that gives its rows.
#[derive(Clone)]
pub(crate) struct StaticInput {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) schema: DFSchemaRef,
}

/// A join of a stream with a table that does not change.
pub(crate) struct StaticJoin {
    pub(crate) stream: LogicalPlan,
    pub(crate) table: StaticInput,
    pub(crate) stream_is_left: bool,
    /// Inner, or Left, LeftSemi, LeftAnti or LeftMark with the stream for the left side.
    pub(crate) kind: JoinType,
    /// Its left side is the stream.
    pub(crate) condition: JoinCondition,
    /// Whether a null in the table lets nothing pass (`NOT IN`).
    pub(crate) null_aware: bool,
    schema: DFSchemaRef,
}

impl StaticJoin {
    pub(crate) fn try_new(
        join: Join,
        table: StaticInput,
        stream_is_left: bool,
    ) -> Result<StaticJoin> {
        let mut condition = JoinCondition::of(&join);
        if !stream_is_left {
            for key in &mut condition.keys {
                std::mem::swap(&mut key.left, &mut key.right);
            }
            std::mem::swap(&mut condition.left_only, &mut condition.right_only);
        }
        let kind = match (join.join_type, stream_is_left) {
            (kind @ (JoinType::Inner | JoinType::Left), true)
            | (kind @ (JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark), true)
            | (kind @ JoinType::Inner, false) => kind,
            (JoinType::Right, false) => JoinType::Left,
            (JoinType::RightSemi, false) => JoinType::LeftSemi,
            (JoinType::RightAnti, false) => JoinType::LeftAnti,
            (JoinType::RightMark, false) => JoinType::LeftMark,
            (kind, _) => return internal_err!("a {kind} join of a stream and a table"),
        };
        Ok(StaticJoin {
            stream: Arc::unwrap_or_clone(if stream_is_left { join.left } else { join.right }),
            table,
            stream_is_left,
            kind,
            condition,
            null_aware: join.null_aware,
            schema: join.schema,
        })
    }
}

impl PartialEq for StaticJoin {
    fn eq(&self, other: &StaticJoin) -> bool {
        self.kind == other.kind
            && self.condition == other.condition
            && Arc::ptr_eq(&self.table.plan, &other.table.plan)
            && self.stream == other.stream
    }
}

impl Eq for StaticJoin {}

impl Hash for StaticJoin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
        self.stream.hash(state);
    }
}

impl fmt::Debug for StaticJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for StaticJoin {
    fn partial_cmp(&self, other: &StaticJoin) -> Option<std::cmp::Ordering> {
        self.condition.partial_cmp(&other.condition)
    }
}

impl UserDefinedLogicalNodeCore for StaticJoin {
    fn name(&self) -> &str {
        "StaticJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.stream]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.condition.expressions()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticJoin: {}, ", spark_name(self.kind))?;
        fmt_condition(&self.condition, f)
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<StaticJoin> {
        Ok(StaticJoin {
            stream: inputs.swap_remove(0),
            table: self.table.clone(),
            stream_is_left: self.stream_is_left,
            kind: self.kind,
            condition: self.condition.with_expressions(exprs),
            null_aware: self.null_aware,
            schema: Arc::clone(&self.schema),
        })
    }
}
