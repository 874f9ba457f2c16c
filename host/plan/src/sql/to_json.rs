//! `to_json(value)`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_codec::EncodeOptions;

/// The text is the encoder's, without fields that are null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToJson {
    signature: Signature,
}

impl Default for ToJson {
    fn default() -> ToJson {
        ToJson { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ToJson {
    fn name(&self) -> &str {
        "to_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Struct(_) | DataType::List(_) | DataType::Map(..)] => Ok(DataType::Utf8),
            [other] => plan_err!(
                "to_json() takes a struct, an array or a map, and this is {other}; write to_json(struct(…))"
            ),
            _ => plan_err!("to_json() takes one value; its options are not supported yet"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = arguments.args.as_slice() else {
            return exec_err!("to_json() takes one value");
        };
        let values = value.to_array(arguments.number_rows)?;
        tidemill_codec::to_json(&values, EncodeOptions { ignore_null_fields: true })
            .map(|texts| ColumnarValue::Array(Arc::new(texts)))
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
