//! Errors that a query asks for.

use std::sync::Arc;

use arrow::array::{Array, AsArray, new_null_array};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::kernel::texts;

/// Gives an error with the text of the first row. It is not computed before there are rows, and so
/// counts as changing.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Raise {
    signature: Signature,
}

/// `raise_error(text)`.
pub(crate) fn raise() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Raise {
        signature: Signature::user_defined(Volatility::Stable),
    }))
}

impl ScalarUDFImpl for Raise {
    fn name(&self) -> &str {
        "raise_error"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if arguments.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_null_array(&DataType::Utf8, 0)));
        }
        let columns = [arguments.args[0].to_array(arguments.number_rows)?];
        let text = texts(&columns, 0);
        let text = if text.is_valid(0) { text.value(0) } else { "null" };
        exec_err!("[USER_RAISED_EXCEPTION] {text}")
    }
}

/// Gives the first field of a struct, whose second one says of how many rows it is: of one at most.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

/// The value of a query within an expression, and the number of its rows, to the value.
#[must_use]
pub fn only_row() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(OnlyRow {
        signature: Signature::user_defined(Volatility::Stable),
    }))
}

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        "only_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Struct(fields)] if fields.len() == 2 => Ok(fields[0].data_type().clone()),
            _ => plan_err!("only_row() takes a value and a number of rows"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let pairs = arguments.args[0].to_array(arguments.number_rows)?;
        let (Some(pairs), Some(rows)) = (
            pairs.as_struct_opt(),
            pairs.as_struct_opt().and_then(|pairs| pairs.column(1).as_primitive_opt::<Int64Type>()),
        ) else {
            return exec_err!("only_row() takes a value and a number of rows");
        };
        let is_of_many = |row| pairs.is_valid(row) && rows.is_valid(row) && rows.value(row) > 1;
        if (0..pairs.len()).any(is_of_many) {
            return exec_err!(
                "[SCALAR_SUBQUERY_TOO_MANY_ROWS] More than one row returned by a subquery used as an expression."
            );
        }
        // A value of no pair is none.
        let value = nullif(pairs.column(0), &is_null(pairs)?)?;
        Ok(ColumnarValue::Array(value))
    }
}
