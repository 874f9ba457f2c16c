//! Functions that make a lot of a little, with a bound on what one call may make.
//!
//! `repeat('x', 3000000000)` is a line of SQL. What it would give is reckoned (see `growth`) before
//! memory is asked for, and refused by name. Where the results of a block of rows may together be
//! more than a part of the bound, the function is called for some of the rows at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::growth::{Growth, Sizes, growth_of};
use super::made;
use crate::memory::column_bytes;

/// Bytes of one value: what a plugin, a file and a broker take at once.
pub(super) const VALUE_BYTES_MAX: u64 = 64 << 20;
/// Bytes that one call may give for a block of rows.
pub(super) const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a value that is the same for all rows: it is written out for each of some 8,000.
const CONSTANT_BYTES_MAX: u64 = 64 << 10;
/// Cells of a table that two texts are compared by: of two with 10,000 characters. A tenth of a
/// second, or so.
const CELLS_MAX: u64 = 100_000_000;
/// The same for all rows of a block: some seconds, in which a stop is not noticed.
const BLOCK_CELLS_MAX: u64 = 40 * CELLS_MAX;

/// A function that knows its bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    aliases: Vec<String>,
}

/// Whether a function has its bound.
#[must_use]
pub fn is_bounded(function: &ScalarUDF) -> bool {
    let inner: &dyn std::any::Any = function.inner().as_ref();
    inner.is::<Bounded>()
}

/// The function with a bound, if it needs one and has none yet.
#[must_use]
pub fn bounded(function: &Arc<ScalarUDF>) -> Option<ScalarUDF> {
    if is_bounded(function) {
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
        match self.inner.inner().simplify(arguments, info)? {
            ExprSimplifyResult::Simplified(expr) => {
                Ok(ExprSimplifyResult::Simplified(all_bounded(expr)?))
            }
            original @ ExprSimplifyResult::Original(_) => Ok(original),
        }
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        self.growth.tame(&mut arguments.args)?;
        let are_constant =
            arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let limit = BLOCK_BYTES_MAX.min(made::left());
        // Mostly all values of a block are together less than one may have.
        if !are_constant
            && let Some(most) = self.growth.most(&arguments.args, rows)
            && most <= VALUE_BYTES_MAX.min(limit / 4)
        {
            return self.in_blocks(&arguments, &[rows], limit);
        }
        let sizes = self.growth.sizes(&arguments.args, rows)?;
        if self.growth == Growth::Compared {
            self.check_cells(&sizes, rows)?;
            return self.inner.inner().invoke_with_args(arguments);
        }
        if are_constant {
            return self.constant(sizes.of(0), arguments);
        }
        let blocks = self.blocks(&sizes, rows, limit)?;
        self.in_blocks(&arguments, &blocks, limit)
    }
}

/// What a function becomes must not be the function without its bound, wherever it is in it.
fn all_bounded(expr: Expr) -> Result<Expr> {
    let bounded = expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(mut call) => Ok(match bounded(&call.func) {
            Some(bounded) => {
                call.func = Arc::new(bounded);
                Transformed::yes(Expr::ScalarFunction(call))
            }
            None => Transformed::no(Expr::ScalarFunction(call)),
        }),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(bounded.data)
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

    /// A value that is the same for all rows is made once. How much is needed to make it is reckoned
    /// from above; how long it is shows when it is there.
    fn constant(&self, reckoned: u64, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const WHICH: &str = " that is the same for all rows";
        self.check(reckoned, VALUE_BYTES_MAX, WHICH)?;
        let once = ScalarFunctionArgs { number_rows: 1, ..arguments };
        let value = match self.inner.inner().invoke_with_args(once)? {
            ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0)?,
            ColumnarValue::Scalar(value) => value,
        };
        self.check(value.size() as u64, CONSTANT_BYTES_MAX, WHICH)?;
        Ok(ColumnarValue::Scalar(value))
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
    fn blocks(&self, sizes: &Sizes, rows: usize, limit: u64) -> Result<Vec<usize>> {
        let at_a_time = limit / 4;
        let mut blocks = Vec::new();
        let (mut count, mut bytes) = (0, 0_u64);
        for size in (0..rows).map(|row| sizes.of(row)) {
            self.check(size, VALUE_BYTES_MAX.min(limit), "")?;
            if count > 0 && bytes.saturating_add(size) > at_a_time {
                blocks.push(count);
                (count, bytes) = (0, 0);
            }
            count += 1;
            bytes = bytes.saturating_add(size);
        }
        blocks.push(count);
        Ok(blocks)
    }

    fn in_blocks(
        &self,
        arguments: &ScalarFunctionArgs,
        blocks: &[usize],
        limit: u64,
    ) -> Result<ColumnarValue> {
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
            bytes = bytes.saturating_add(column_bytes(&part));
            if bytes > limit {
                return exec_err!(
                    "{}() gave more than the {limit} bytes that there are for it, for {} rows of a block of {}; ask for less, or let the source give fewer rows at once{}",
                    self.name(),
                    from + rows,
                    arguments.number_rows,
                    made::advice()
                );
            }
            parts.push(part);
            from += rows;
        }
        let values = match parts.as_slice() {
            [all] => Arc::clone(all),
            parts => concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
        };
        made::note(&values, bytes);
        Ok(ColumnarValue::Array(values))
    }
}

/// Bytes that a function is reckoned to give for one row of these arguments, if it has a bound.
#[must_use]
pub fn reckoned(function: &ScalarUDF, arguments: &[ColumnarValue]) -> Option<u64> {
    let inner: &dyn std::any::Any = function.inner().as_ref();
    let growth = inner.downcast_ref::<Bounded>()?.growth;
    Some(growth.sizes(arguments, 1).ok()?.of(0))
}

/// Refuses texts and arrays in a plan that would take too much when they are written out for each row.
pub fn check_constants(plan: &LogicalPlan) -> Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use datafusion::common::config::ConfigOptions;
    use datafusion::logical_expr::{Volatility, case, lit};

    use super::*;

    /// A function that becomes another one within an expression.
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Becomes(Signature);

    impl ScalarUDFImpl for Becomes {
        fn name(&self) -> &str {
            "space"
        }

        fn signature(&self) -> &Signature {
            &self.0
        }

        fn return_type(&self, _: &[DataType]) -> Result<DataType> {
            Ok(DataType::Utf8)
        }

        fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
            unreachable!("it becomes another one")
        }

        fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
            let repeat = datafusion::functions::string::repeat();
            let call = repeat.call(vec![lit("x"), lit(3_000_000_000_i64)]);
            let within = case(lit(true)).when(lit(true), call).otherwise(lit(""))?;
            Ok(ExprSimplifyResult::Simplified(within))
        }
    }

    #[test]
    fn what_a_function_becomes_keeps_its_bound_wherever_it_is() {
        let function = ScalarUDF::new_from_impl(Becomes(Signature::any(1, Volatility::Immutable)));
        let function = bounded(&Arc::new(function)).unwrap();
        let info = SimplifyContext::default();
        let became = function.inner().simplify(vec![lit(1)], &info).unwrap();
        let ExprSimplifyResult::Simplified(became) = became else { panic!("it is what it was") };
        let mut calls = 0;
        became
            .apply(|expr| {
                if let Expr::ScalarFunction(call) = expr {
                    calls += 1;
                    assert!(is_bounded(&call.func), "{expr}");
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
        assert_eq!(calls, 1);
    }

    /// What a function gives for columns of so many rows.
    fn called(name: &str, arguments: Vec<ColumnarValue>, rows: usize) -> Result<ColumnarValue> {
        let kernel = match name {
            "array_repeat" => datafusion_spark::function::array::array_repeat(),
            "to_char" => datafusion::functions::datetime::to_char(),
            _ => datafusion::functions::string::repeat(),
        };
        let function = bounded(&kernel).unwrap();
        let fields: Vec<FieldRef> = arguments
            .iter()
            .map(|a| Arc::new(arrow::datatypes::Field::new("a", a.data_type(), true)))
            .collect();
        let return_field = function.return_field_from_args(ReturnFieldArgs {
            arg_fields: &fields,
            scalar_arguments: &vec![None; fields.len()],
        })?;
        function.invoke_with_args(ScalarFunctionArgs {
            args: arguments,
            arg_fields: fields,
            number_rows: rows,
            return_field,
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    fn column(values: impl Array + 'static) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(values))
    }

    fn refusal(name: &str, arguments: Vec<ColumnarValue>, rows: usize) -> String {
        called(name, arguments, rows).err().unwrap().to_string()
    }

    #[test]
    fn an_element_of_an_array_takes_room_though_it_is_empty() {
        let few = |count| column(Int64Array::from(vec![count]));
        for empty in [
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(String::new()))),
            ColumnarValue::Scalar(ScalarValue::Decimal128(None, 38, 0)),
        ] {
            let told = refusal("array_repeat", vec![empty.clone(), few(60_000_000)], 1);
            assert!(told.contains("may have 67108864"), "{told}");
            called("array_repeat", vec![empty, few(1_000_000)], 1).unwrap();
        }
        let constant = |count| ColumnarValue::Scalar(ScalarValue::Int64(Some(count)));
        called("array_repeat", vec![constant(7), constant(5_000)], 8_192).unwrap();
        let told = refusal("array_repeat", vec![constant(7), constant(20_000)], 8_192);
        assert!(told.contains("the same for all rows may have 65536"), "{told}");
    }

    #[test]
    fn a_time_by_a_long_pattern_has_a_bound() {
        let rows = 8_192;
        let times = || column(TimestampMicrosecondArray::from(vec![0; rows]));
        let pattern = "%c".repeat(30_000);
        // Less than there would be, for the test to be short.
        made::open(16 << 20);
        let same = ColumnarValue::Scalar(ScalarValue::Utf8(Some(pattern.clone())));
        let told = refusal("to_char", vec![times(), same], rows);
        assert!(told.contains("to_char() gave more than"), "{told}");
        let each = column(StringArray::from(vec![pattern.as_str(); rows]));
        let told = refusal("to_char", vec![times(), each], rows);
        assert!(told.contains("to_char() gave more than"), "{told}");
        made::close();
    }

    #[test]
    fn what_one_call_gives_for_a_block_is_looked_at_though_it_is_one_row() {
        let account = 1 << 20;
        let counts = || column(Int64Array::from(vec![600_000]));
        let text = || ColumnarValue::Scalar(ScalarValue::Utf8(Some("x".to_owned())));
        made::open(account);
        let first = called("repeat", vec![text(), counts()], 1).unwrap();
        let told = refusal("repeat", vec![text(), counts()], 1);
        assert!(told.contains("repeat() would give"), "{told}");
        drop(first);
        // What is no longer there makes room.
        called("repeat", vec![text(), counts()], 1).unwrap();
        made::close();
    }
}
