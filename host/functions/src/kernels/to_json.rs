//! `to_json(value)`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_codec::EncodeOptions;
use tidemill_types::IntervalFields;

use super::csv::{Options, is_of_times, written_times};
use super::json_shape::{Shape, check_keys, shaped};
use super::session::session_zone;

/// The text is the encoder's, without fields that are null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ToJson {
    ignore_null_fields: bool,
    shape: Shape,
    /// Those for times.
    times: Options,
    intervals: IntervalFields,
    signature: Signature,
}

impl Default for ToJson {
    fn default() -> ToJson {
        ToJson {
            ignore_null_fields: true,
            shape: Shape::default(),
            times: Options::new(),
            intervals: IntervalFields::default(),
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ToJson {
    /// The function with options, of a value whose intervals have these fields.
    ///
    /// # Errors
    /// One is not known here.
    pub(crate) fn with(options: &Options, intervals: IntervalFields) -> Result<ToJson> {
        let mut function = ToJson { intervals, ..ToJson::default() };
        for (key, value) in options {
            match (key.to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
                ("ignorenullfields", "true") => function.ignore_null_fields = true,
                ("ignorenullfields", "false") => function.ignore_null_fields = false,
                ("sortkeys", "true") => function.shape.sorts = true,
                ("sortkeys", "false") => function.shape.sorts = false,
                _ if is_of_times("to_json", key, value)? => {
                    function.times.insert(key.clone(), value.clone());
                }
                _ => {
                    return plan_err!(
                        "[UNSUPPORTED_FEATURE] to_json(): the option {key} = '{value}' is not supported; known are ignoreNullFields, sortKeys, timestampFormat, timestampNTZFormat, dateFormat and timeZone"
                    );
                }
            }
        }
        Ok(function)
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
            [kind @ (DataType::Struct(_) | DataType::List(_) | DataType::Map(..))] => {
                check_keys(kind)?;
                Ok(DataType::Utf8)
            }
            [other] => plan_err!(
                "[DATATYPE_MISMATCH.INVALID_JSON_SCHEMA] to_json() takes a struct, an array or a map, and this is {other}; write to_json(struct(…))"
            ),
            _ => plan_err!("to_json() takes one value"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = arguments.args.as_slice() else {
            return exec_err!("to_json() takes one value");
        };
        let values = shaped(&value.to_array(arguments.number_rows)?, &self.shape)?;
        let options = EncodeOptions {
            ignore_null_fields: self.ignore_null_fields,
            times: written_times(&self.times, session_zone(&arguments.config_options)?)?,
            intervals: self.intervals,
        };
        tidemill_codec::to_json(&values, &options)
            .map(|texts| ColumnarValue::Array(Arc::new(texts)))
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
