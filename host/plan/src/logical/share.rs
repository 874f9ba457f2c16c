//! Columns that stand for a lot are computed once.
//!
//! The optimiser puts filters below projections, and with them what the columns in them stand for. A
//! column that stands for twice the one below it, which stands for twice …, would grow without an end.
//! So what has become large is closed for the optimiser, and opened again when it is done.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Expressions that a column stands for, with those that the columns in it stand for.
pub(super) const CLOSED_FROM: usize = 1_000;

/// Closes columns that have become large. Nothing, where there are none.
pub(crate) fn close_large(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let (plan, _) = closed(plan)?;
    Ok(plan)
}

/// Opens what was closed.
pub(crate) fn open_large(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expression| {
            let name = names.save(&expression);
            let opened = expression.transform_up(|e| match e {
                Expr::ScalarFunction(ScalarFunction { func, mut args }) if is_closed(&func) => {
                    Ok(Transformed::yes(args.swap_remove(0)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(opened.update_data(|e| name.restore(e)))
        })
    })
    .map(|transformed| transformed.data)
}

fn is_closed(function: &ScalarUDF) -> bool {
    let inner: &dyn std::any::Any = function.inner().as_ref();
    inner.is::<Closed>()
}

/// A plan with large columns closed, if it has any, and what each of its columns stands for.
fn closed(plan: &LogicalPlan) -> Result<(Option<LogicalPlan>, Vec<usize>)> {
    let mut changed = false;
    let mut inputs = Vec::new();
    let mut below: Vec<Vec<usize>> = Vec::new();
    for input in plan.inputs() {
        let (new, sizes) = closed(input)?;
        changed |= new.is_some();
        inputs.push(new.unwrap_or_else(|| input.clone()));
        below.push(sizes);
    }
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::Projection(projection) => {
            let mut sizes = Vec::with_capacity(width);
            let mut expressions = projection.expr.clone();
            let names = NamePreserver::new(plan);
            for expression in &mut expressions {
                let mut size = size_of(expression, &projection.input, &below[0]);
                if size > CLOSED_FROM && !is_column(expression) {
                    let name = names.save(expression);
                    let open = std::mem::take(expression).unalias();
                    *expression =
                        name.restore(ScalarUDF::new_from_impl(Closed::default()).call(vec![open]));
                    (size, changed) = (1, true);
                }
                sizes.push(size);
            }
            let new = match changed {
                true => Some(LogicalPlan::Projection(Projection::try_new(
                    expressions,
                    Arc::new(inputs.swap_remove(0)),
                )?)),
                false => None,
            };
            Ok((new, sizes))
        }
        _ => {
            let sizes = match (plan, below.as_slice()) {
                (LogicalPlan::Aggregate(Aggregate { group_expr, input, .. }), [below]) => {
                    let mut sizes: Vec<usize> =
                        group_expr.iter().map(|group| size_of(group, input, below)).collect();
                    sizes.resize(width, 1);
                    sizes
                }
                (_, [one]) if one.len() == width => one.clone(),
                (LogicalPlan::Join(_), [left, right]) if left.len() + right.len() == width => {
                    [left.as_slice(), right.as_slice()].concat()
                }
                (LogicalPlan::Union(_), inputs) => (0..width)
                    .map(|column| inputs.iter().filter_map(|i| i.get(column)).max().copied())
                    .map(|size| size.unwrap_or(1))
                    .collect(),
                _ => vec![1; width],
            };
            let new = match changed {
                true => Some(plan.with_new_exprs(plan.expressions(), inputs)?),
                false => None,
            };
            Ok((new, sizes))
        }
    }
}

fn is_column(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_column(&alias.expr),
        _ => false,
    }
}

/// The expressions in one, with those that its columns stand for.
pub(super) fn size_of(expression: &Expr, input: &LogicalPlan, below: &[usize]) -> usize {
    let mut size = 0_usize;
    // The closure never fails.
    let _ = expression.apply(|e| {
        let of = match e {
            Expr::Column(column) => {
                let place = input.schema().maybe_index_of_column(column);
                place.and_then(|place| below.get(place)).copied().unwrap_or(1)
            }
            _ => 1,
        };
        size = size.saturating_add(of);
        Ok(TreeNodeRecursion::Continue)
    });
    size
}

/// Its argument. It says that it is another each time, so that it stays where it is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Closed {
    signature: Signature,
}

impl Default for Closed {
    fn default() -> Closed {
        Closed { signature: Signature::any(1, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Closed {
    fn name(&self) -> &str {
        "closed"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&arguments.arg_fields[0]))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("closed() was left in an expression")
    }
}
