//! `ln`, `log10` and `log2`: what has no logarithm gives null (Spark's UnaryLogExpression).

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// One of them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Logarithm {
    name: &'static str,
    signature: Signature,
}

impl Logarithm {
    pub(crate) fn named(name: &'static str) -> Logarithm {
        Logarithm { name, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn of(&self, value: f64) -> Option<f64> {
        // NaN is neither above nor below, and its logarithm is NaN.
        if value <= 0.0 {
            return None;
        }
        Some(match self.name {
            "log10" => value.log10(),
            // As Spark divides them, and with Java's digits.
            "log2" => libm::log(value) / std::f64::consts::LN_2,
            _ => libm::log(value),
        })
    }
}

impl ScalarUDFImpl for Logarithm {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [value] if value.is_numeric() || value.is_string() || value.is_null() => {
                Ok(vec![DataType::Float64])
            }
            _ => plan_err!("{}() takes one number", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [values] = arguments.args.as_slice() else {
            return internal_err!("{}() takes one argument", self.name);
        };
        let values = values.to_array(arguments.number_rows)?;
        let values = values.as_primitive::<Float64Type>();
        let logarithms: Float64Array =
            values.iter().map(|value| value.and_then(|value| self.of(value))).collect();
        Ok(ColumnarValue::Array(Arc::new(logarithms)))
    }
}
