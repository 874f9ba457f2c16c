//! `from_json(text, schema[, options])`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_datafusion_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_codec::{JsonOptions, parse_schema_or_type};

/// The schema is a literal in Spark's DDL; the rest is the decoder's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct FromJson {
    signature: Signature,
}

impl Default for FromJson {
    fn default() -> FromJson {
        FromJson { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FromJson {
    fn name(&self) -> &str {
        "from_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("from_json: the type follows from the schema's text")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let Some((schema, rest)) =
            arguments.scalar_arguments.get(1..).and_then(|a| a.split_first())
        else {
            return plan_err!(
                "from_json() takes a text, a schema, and optionally a map of options"
            );
        };
        let Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) = schema else {
            return plan_err!("from_json(): the schema has to be a text, like 'id STRING, n INT'");
        };
        if !rest.is_empty() {
            return plan_err!("from_json() with options is not supported yet");
        }
        let data_type = parse_schema_or_type(text)
            .map_err(|error| plan_datafusion_err!("from_json(): {error}"))?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = arguments.args[0].to_array(arguments.number_rows)?;
        let options = JsonOptions::default();
        tidemill_codec::from_json(&texts, arguments.return_field.data_type(), &options)
            .map(ColumnarValue::Array)
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
