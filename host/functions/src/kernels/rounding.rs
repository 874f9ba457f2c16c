//! `round`, `bround`, `ceil` and `floor` as kernels: the digits are a constant, and the type follows
//! from them.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::digits::{Rounding, rounded, rounded_type, to_whole};

/// A way to round, to so many digits behind the point.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Round {
    name: &'static str,
    rounding: Rounding,
    /// None gives whole numbers.
    digits: Option<i32>,
    signature: Signature,
}

/// A function that rounds to so many digits; to whole numbers, where there are none.
pub(crate) fn round_to(
    name: &'static str,
    rounding: Rounding,
    digits: Option<i32>,
) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Round { name, rounding, digits, signature }))
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match (arguments.first(), self.digits) {
            (Some(DataType::Decimal128(precision, scale)), Some(digits)) => {
                rounded_type(*precision, *scale, digits)
            }
            (Some(kind @ DataType::Decimal128(_, 0)), None) => kind.clone(),
            (Some(DataType::Decimal128(precision, scale)), None) => {
                rounded_type(*precision, *scale, 0)
            }
            (Some(kind), Some(_)) => kind.clone(),
            (Some(_), None) => DataType::Int64,
            (None, _) => return internal_err!("{}() has no argument", self.name),
        })
    }

    fn return_field_from_args(
        &self,
        arguments: ReturnFieldArgs<'_>,
    ) -> Result<arrow::datatypes::FieldRef> {
        let kinds: Vec<DataType> =
            arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(arrow::datatypes::Field::new(self.name, self.return_type(&kinds)?, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = arguments.return_field.data_type();
        let round = |values: &ArrayRef| match self.digits {
            Some(digits) => rounded(values, digits, self.rounding, to),
            None => to_whole(values, self.rounding, to),
        };
        match arguments.args.first() {
            Some(ColumnarValue::Scalar(value)) => {
                let values = round(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?))
            }
            Some(ColumnarValue::Array(values)) => round(values).map(ColumnarValue::Array),
            None => internal_err!("{}() has no argument", self.name),
        }
    }
}
