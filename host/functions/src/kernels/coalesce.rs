//! `coalesce`, which DataFusion makes a CASE of, in which each argument stands twice: nested, they
//! double. What may be computed for every row (a column, a constant) needs no CASE, and one in another
//! is the same as one with all arguments.

use std::sync::Arc;

use arrow::compute::{is_null, kernels::zip::zip};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::functions::core::coalesce;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// Expressions in the arguments of one that becomes a CASE.
const EXPRESSIONS_MAX: usize = 20_000;

/// Spark's function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Coalesce {
    inner: Arc<ScalarUDF>,
}

impl Default for Coalesce {
    fn default() -> Coalesce {
        Coalesce { inner: coalesce() }
    }
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        "coalesce"
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

    fn conditional_arguments<'a>(
        &self,
        arguments: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        let (first, others) = arguments.split_first()?;
        Some((vec![first], others.iter().collect()))
    }

    fn short_circuits(&self) -> bool {
        true
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let is_nested = |argument: &Expr| of(argument).is_some();
        if let Some((first, others)) = arguments.split_first()
            && is_nested(first)
        {
            let mut flat = of(first).map(<[Expr]>::to_vec).unwrap_or_default();
            flat.extend(others.iter().cloned());
            let flat = ScalarUDF::new_from_impl(Coalesce::default()).call(flat);
            return Ok(ExprSimplifyResult::Simplified(flat));
        }
        if arguments.len() > 1 && arguments[1..].iter().all(costs_nothing) {
            return Ok(ExprSimplifyResult::Original(arguments));
        }
        let mut count = 0;
        for argument in &arguments {
            argument.apply(|_| {
                count += 1;
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if count > EXPRESSIONS_MAX {
            return plan_err!(
                "coalesce() has more than {EXPRESSIONS_MAX} expressions in its arguments, which stand for each twice; put a part of them into a column of a step before"
            );
        }
        self.inner.inner().simplify(arguments, info)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let Some((first, others)) = arguments.args.split_first() else {
            return internal_err!("coalesce() takes arguments");
        };
        let mut found = first.to_array(rows)?;
        for other in others {
            if found.logical_null_count() == 0 {
                break;
            }
            let other = other.to_array(rows)?;
            found = zip(&is_null(&found)?, &other, &found)?;
        }
        Ok(ColumnarValue::Array(found))
    }
}

/// The arguments of another coalesce.
fn of(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let inner: &dyn std::any::Any = func.inner().as_ref();
            inner.is::<Coalesce>().then_some(args.as_slice())
        }
        _ => None,
    }
}

/// Whether an expression can be computed for rows that do not ask for it, and does not fail.
fn costs_nothing(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => costs_nothing(&alias.expr),
        _ => false,
    }
}
