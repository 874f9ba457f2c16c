//! Functions that make a lot of a little, with a bound on what one call may make.
//!
//! `repeat('x', 3000000000)` is a line of SQL. What it would give is reckoned (see `growth`) before
//! memory is asked for, and refused by name. Where the results of a block of rows may together be
//! more than a part of the bound, the function is called for some of the rows at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::growth::{Growth, Sizes, growth_of};

/// Bytes of one value: what a plugin, a file and a broker take at once.
const VALUE_BYTES_MAX: u64 = 64 << 20;
/// Bytes that one call may give for a block of rows.
const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a value that is the same for all rows: it is written out for each of some 8,000.
const CONSTANT_BYTES_MAX: u64 = 64 << 10;
/// Cells of a table that two texts are compared by: of two with 10,000 characters. A tenth of a
/// second, or so.
const CELLS_MAX: u64 = 100_000_000;
/// The same for all rows of a block: some seconds, in which a stop is not noticed.
const BLOCK_CELLS_MAX: u64 = 40 * CELLS_MAX;

/// A function that knows its bound.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    aliases: Vec<String>,
}

/// The function with a bound, if it needs one and has none yet.
pub(crate) fn bounded(function: &Arc<ScalarUDF>) -> Option<ScalarUDF> {
    let inner: &dyn std::any::Any = function.inner().as_ref();
    if inner.is::<Bounded>() {
        return None;
    }
    let growth = growth_of(function.name())?;
    let (inner, aliases) = (Arc::clone(function), function.aliases().to_vec());
    Some(ScalarUDF::new_from_impl(Bounded { inner, growth, aliases }))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(arguments)
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        self.inner.inner().schema_name(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // What the function becomes must not be the function without its bound.
        match self.inner.inner().simplify(arguments, info)? {
            ExprSimplifyResult::Original(arguments) => Ok(ExprSimplifyResult::Original(arguments)),
            ExprSimplifyResult::Simplified(Expr::ScalarFunction(mut call)) => {
                if let Some(bounded) = bounded(&call.func) {
                    call.func = Arc::new(bounded);
                }
                Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)))
            }
            other => Ok(other),
        }
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        if matches!(self.growth, Growth::Repeated | Growth::Padded)
            && let Some(times) = arguments.args.get_mut(1)
        {
            not_negative(times)?;
        }
        let sizes = self.growth.sizes(&arguments.args, rows)?;
        let are_constant =
            arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        if self.growth == Growth::Compared {
            self.check_cells(&sizes, rows)?;
            return self.inner.inner().invoke_with_args(arguments);
        }
        if are_constant {
            self.check(sizes.of(0), CONSTANT_BYTES_MAX, " that is the same for all rows")?;
            return self.inner.inner().invoke_with_args(arguments);
        }
        let blocks = self.blocks(&sizes, rows)?;
        if blocks.len() <= 1 {
            return self.inner.inner().invoke_with_args(arguments);
        }
        self.in_blocks(&arguments, &blocks)
    }
}

impl Bounded {
    fn check(&self, size: u64, limit: u64, which: &str) -> Result<()> {
        if size <= limit {
            return Ok(());
        }
        exec_err!(
            "{}() would give a value of up to {size} bytes, and one{which} may have {limit}; ask for less",
            self.name()
        )
    }

    fn check_cells(&self, sizes: &Sizes, rows: usize) -> Result<()> {
        let mut all = 0_u64;
        for cells in (0..rows).map(|row| sizes.of(row)) {
            all = all.saturating_add(cells);
            if cells > CELLS_MAX || all > BLOCK_CELLS_MAX {
                return exec_err!(
                    "{}() compares texts whose lengths, multiplied, are {cells} ({all} in this block of rows), and may be {CELLS_MAX} ({BLOCK_CELLS_MAX}); compare parts of them",
                    self.name()
                );
            }
        }
        Ok(())
    }

    /// How many rows the function is called for at a time.
    fn blocks(&self, sizes: &Sizes, rows: usize) -> Result<Vec<usize>> {
        const AT_A_TIME: u64 = BLOCK_BYTES_MAX / 4;
        let mut blocks = Vec::new();
        let (mut count, mut bytes) = (0, 0_u64);
        for size in (0..rows).map(|row| sizes.of(row)) {
            self.check(size, VALUE_BYTES_MAX, "")?;
            if count > 0 && bytes.saturating_add(size) > AT_A_TIME {
                blocks.push(count);
                (count, bytes) = (0, 0);
            }
            count += 1;
            bytes = bytes.saturating_add(size);
        }
        blocks.push(count);
        Ok(blocks)
    }

    fn in_blocks(&self, arguments: &ScalarFunctionArgs, blocks: &[usize]) -> Result<ColumnarValue> {
        let mut parts: Vec<ArrayRef> = Vec::with_capacity(blocks.len());
        let (mut from, mut bytes) = (0, 0_u64);
        for rows in blocks.iter().copied() {
            let slice = |argument: &ColumnarValue| match argument {
                ColumnarValue::Array(values) => ColumnarValue::Array(values.slice(from, rows)),
                scalar => scalar.clone(),
            };
            let part = self.inner.inner().invoke_with_args(ScalarFunctionArgs {
                args: arguments.args.iter().map(slice).collect(),
                number_rows: rows,
                ..arguments.clone()
            })?;
            let part = part.into_array(rows)?;
            bytes = bytes.saturating_add(part.get_array_memory_size() as u64);
            if bytes > BLOCK_BYTES_MAX {
                return exec_err!(
                    "{}() gave more than {BLOCK_BYTES_MAX} bytes for {} rows of a block of {}; ask for less, or let the source give fewer rows at once",
                    self.name(),
                    from + rows,
                    arguments.number_rows
                );
            }
            parts.push(part);
            from += rows;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

/// Refuses texts and arrays in a plan that would take too much when they are written out for each row.
pub(crate) fn check_constants(plan: &LogicalPlan) -> Result<()> {
    let mut largest = 0;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|e| {
                if let Expr::Literal(value, _) = e {
                    largest = largest.max(value.size());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match largest as u64 > CONSTANT_BYTES_MAX {
        true => plan_err!(
            "a constant of the query has {largest} bytes, and may have {CONSTANT_BYTES_MAX}: it is written out for each row; put it into a table, and join that"
        ),
        false => Ok(()),
    }
}

/// Nothing is as often as less than nothing.
fn not_negative(times: &mut ColumnarValue) -> Result<()> {
    if !times.data_type().is_integer() {
        return Ok(());
    }
    let kind = times.data_type();
    let (values, is_constant) = match times {
        ColumnarValue::Scalar(value) => (value.to_array()?, true),
        ColumnarValue::Array(values) => (Arc::clone(values), false),
    };
    let values = cast(&values, &DataType::Int64)?;
    let values: PrimitiveArray<Int64Type> =
        values.as_primitive::<Int64Type>().unary(|times| times.max(0));
    let values = cast(&values, &kind)?;
    *times = match is_constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
        false => ColumnarValue::Array(values),
    };
    Ok(())
}
