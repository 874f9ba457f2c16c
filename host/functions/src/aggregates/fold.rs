//! What the aggregates of ours have in common: a value that is kept for each group, and how rows
//! and states of other batches are folded into it.
//!
//! States are columns that the state store keeps as Arrow rows: whatever is kept of a group has to
//! go out in them and come back by a merge. Rows and states come in the order of (partition,
//! block, row), those of earlier batches first.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

/// An aggregate: its name, its types, and how it folds.
pub(crate) trait Aggregate: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// The types that arguments are cast to.
    ///
    /// # Errors
    /// Spark takes no such arguments.
    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>>;

    /// The result's type, from coerced arguments.
    fn result(&self, arguments: &[DataType]) -> Result<DataType>;

    /// Names and types of the state's columns.
    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)>;

    /// The fold for a call.
    ///
    /// # Errors
    /// An argument that has to be a literal is none, or out of range.
    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>>;

    /// Whether the result may be null.
    fn is_nullable(&self) -> bool {
        true
    }

    /// What can also take rows out again, for windows of rows in batch SQL.
    fn sliding(&self) -> Option<Arc<AggregateUDF>> {
        None
    }

    /// Whether a call may say IGNORE NULLS.
    fn may_ignore_nulls(&self) -> bool {
        false
    }
}

/// A call of an aggregate in a plan.
pub(crate) struct Call {
    pub(super) types: Vec<DataType>,
    /// Values of the arguments that are literals.
    pub(super) literals: Vec<Option<ScalarValue>>,
    pub(super) result: DataType,
    pub(super) ignore_nulls: bool,
}

/// An aggregate as DataFusion's.
pub(crate) fn made<A: Aggregate>(aggregate: A) -> AggregateUDF {
    AggregateUDF::new_from_impl(Function::new(aggregate))
}

/// Which rows belong to which groups.
pub(super) struct Rows<'a> {
    groups: &'a [usize],
    filter: Option<&'a BooleanArray>,
}

impl<'a> Rows<'a> {
    /// All rows, in these groups.
    #[cfg(test)]
    pub(super) fn all(groups: &'a [usize]) -> Rows<'a> {
        Rows { groups, filter: None }
    }

    /// Pairs of row and group.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.groups.iter().copied().enumerate().filter(|(row, _)| {
            self.filter.is_none_or(|filter| filter.is_valid(*row) && filter.value(*row))
        })
    }
}

/// Folds rows, and states, into what is kept.
pub(super) trait Fold: Send + Sync + 'static {
    /// What is kept of a group. The default is a group without rows.
    type Kept: Default + Clone + Send + Sync;

    /// Adds rows. `kept` has all their groups.
    fn update(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
        kept: &mut [Self::Kept],
    ) -> Result<()>;

    /// Adds states.
    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Self::Kept]) -> Result<()>;

    /// States of groups, a row each.
    fn states(&self, kept: Vec<Self::Kept>) -> Result<Vec<ArrayRef>>;

    /// Results of groups, a row each.
    fn evaluate(&self, kept: Vec<Self::Kept>) -> Result<ArrayRef>;

    /// Bytes of a group beyond `Kept` itself, about.
    fn bytes(&self, _kept: &Self::Kept) -> usize {
        0
    }
}

/// A fold as DataFusion wants it.
pub(crate) trait Accumulators {
    fn groups(self: Box<Self>) -> Box<dyn GroupsAccumulator>;
    fn single(self: Box<Self>) -> Box<dyn Accumulator>;
    fn framed(self: Box<Self>) -> Box<dyn Accumulator>;
}

impl<F: Fold> Accumulators for F {
    fn groups(self: Box<F>) -> Box<dyn GroupsAccumulator> {
        Box::new(Groups::new(Arc::new(*self)))
    }

    fn single(self: Box<F>) -> Box<dyn Accumulator> {
        Box::new(Single(Groups::new(Arc::new(*self))))
    }

    fn framed(self: Box<F>) -> Box<dyn Accumulator> {
        Box::new(Framed { fold: Arc::new(*self), blocks: VecDeque::new() })
    }
}

struct Groups<F: Fold> {
    fold: Arc<F>,
    kept: Vec<F::Kept>,
}

impl<F: Fold> Groups<F> {
    fn new(fold: Arc<F>) -> Groups<F> {
        Groups { fold, kept: Vec::new() }
    }

    fn grow(&mut self, total: usize) {
        if self.kept.len() < total {
            self.kept.resize_with(total, F::Kept::default);
        }
    }
}

impl<F: Fold> GroupsAccumulator for Groups<F> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        self.fold.update(values, &Rows { groups, filter }, &mut self.kept)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        self.fold.merge(states, &Rows { groups, filter: None }, &mut self.kept)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.fold.states(emit_to.take_needed(&mut self.kept))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.fold.evaluate(emit_to.take_needed(&mut self.kept))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |values| values.len());
        let each: Vec<usize> = (0..rows).collect();
        let mut groups = Groups::new(Arc::clone(&self.fold));
        groups.update_batch(values, &each, filter, rows)?;
        groups.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let inner: usize = self.kept.iter().map(|kept| self.fold.bytes(kept)).sum();
        self.kept.capacity() * size_of::<F::Kept>() + inner
    }
}

/// The groups of an aggregation without keys: one.
struct Single<F: Fold>(Groups<F>);

impl<F: Fold> std::fmt::Debug for Single<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Single")
    }
}

impl<F: Fold> Accumulator for Single<F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |states| states.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.grow(1);
        let states = self.0.state(EmitTo::All)?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.grow(1);
        // A window function goes on after it was evaluated.
        let result = self.0.fold.evaluate(self.0.kept.clone())?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// The rows of a frame that both ends of move, which are folded anew for each row, as in Spark: a fold
/// takes no row out again.
struct Framed<F: Fold> {
    fold: Arc<F>,
    /// The arguments, the oldest rows first.
    blocks: VecDeque<Vec<ArrayRef>>,
}

impl<F: Fold> std::fmt::Debug for Framed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Framed")
    }
}

impl<F: Fold> Accumulator for Framed<F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if values.first().is_some_and(|values| !values.is_empty()) {
            self.blocks.push_back(values.to_vec());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut left = values.first().map_or(0, |values| values.len());
        while left > 0 {
            let Some(first) = self.blocks.front_mut() else {
                return internal_err!("more rows leave a frame than it has");
            };
            let rows = first.first().map_or(0, |values| values.len());
            if rows <= left {
                left -= rows;
                self.blocks.pop_front();
                continue;
            }
            for values in first.iter_mut() {
                *values = values.slice(left, rows - left);
            }
            left = 0;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a frame has no state")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a frame has no state")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut single = Single(Groups::new(Arc::clone(&self.fold)));
        for block in &self.blocks {
            single.update_batch(block)?;
        }
        single.evaluate()
    }

    fn size(&self) -> usize {
        let arrays = self.blocks.iter().flatten();
        arrays.map(|values| values.get_array_memory_size()).sum()
    }
}

/// An aggregate of ours as a function of DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Function<A> {
    aggregate: A,
    signature: Signature,
}

impl<A: Aggregate> Function<A> {
    pub(super) fn new(aggregate: A) -> Function<A> {
        Function { aggregate, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn fold(&self, args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulators>> {
        let literal = |expr: &Arc<dyn PhysicalExpr>| {
            expr.downcast_ref::<Literal>().map(|literal| literal.value().clone())
        };
        self.aggregate.fold(&Call {
            types: args.expr_fields.iter().map(|field| field.data_type().clone()).collect(),
            literals: args.exprs.iter().map(literal).collect(),
            result: args.return_type().clone(),
            ignore_nulls: args.ignore_nulls,
        })
    }
}

impl<A: Aggregate> AggregateUDFImpl for Function<A> {
    fn name(&self) -> &str {
        self.aggregate.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.aggregate.coerce(arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.aggregate.result(&self.aggregate.coerce(arguments)?)
    }

    fn is_nullable(&self) -> bool {
        self.aggregate.is_nullable()
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.aggregate.may_ignore_nulls()
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let types: Vec<DataType> =
            args.input_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = |(part, data_type)| {
            Arc::new(Field::new(format_state_name(args.name, part), data_type, true))
        };
        Ok(self.aggregate.states(&types).into_iter().map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("{}(DISTINCT …)", self.name());
        }
        Ok(self.fold(&args)?.single())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(self.fold(&args)?.groups())
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        match self.aggregate.sliding() {
            Some(function) => function.create_sliding_accumulator(args),
            None => Ok(self.fold(&args)?.framed()),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
