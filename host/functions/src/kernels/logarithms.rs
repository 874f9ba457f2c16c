//! Logarithms that keep digits near one.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::Float64Type;
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{double, kernel};

/// `log1p(number)`.
pub(crate) fn log1p() -> Arc<ScalarUDF> {
    kernel("log1p", double, |columns, _| {
        let values: PrimitiveArray<Float64Type> =
            columns[0].as_primitive::<Float64Type>().unary(libm::log1p);
        Ok(Arc::new(values) as ArrayRef)
    })
}
