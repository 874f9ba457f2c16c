//! Errors that a query asks for.

use std::sync::Arc;

use arrow::array::{Array, new_null_array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
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
