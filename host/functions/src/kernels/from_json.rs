//! `from_json(text, schema[, options])`. The parser gives the options as a key and a value each.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_datafusion_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_codec::{JsonOptions, ParseMode};
use tidemill_time::{UTC, Zone};
use tidemill_types::parse_schema_or_type;

use super::session::session_zone;

/// The schema is a literal in Spark's DDL; the rest is the decoder's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct FromJson {
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
            return plan_err!(
                "[INVALID_SCHEMA.NON_STRING_LITERAL] from_json(): the schema has to be a text, like 'id STRING, n INT'"
            );
        };
        options(rest.iter().copied(), UTC)?;
        let data_type = parse_schema_or_type(text)
            .map_err(|error| plan_datafusion_err!("[PARSE_SYNTAX_ERROR] from_json(): {error}"))?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = arguments.args[0].to_array(arguments.number_rows)?;
        let literals = arguments.args.iter().skip(2).map(|argument| match argument {
            ColumnarValue::Scalar(literal) => Some(literal),
            ColumnarValue::Array(_) => None,
        });
        let options = options(literals, session_zone(&arguments.config_options)?)?;
        tidemill_codec::from_json(&texts, arguments.return_field.data_type(), &options)
            .map(ColumnarValue::Array)
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

/// Options as keys and values in turn.
///
/// # Errors
/// They are no literals; an option is unknown, or cannot be followed.
fn options<'a>(
    literals: impl Iterator<Item = Option<&'a ScalarValue>>,
    session: Zone,
) -> Result<JsonOptions> {
    let texts: Option<Vec<&str>> =
        literals.map(|literal| literal.and_then(|l| l.try_as_str().flatten())).collect();
    let Some(texts) = texts else {
        return plan_err!(
            "[INVALID_OPTIONS.NON_MAP_FUNCTION] from_json(): options are a map of literal texts, like map('mode', 'FAILFAST')"
        );
    };
    let (keys, values) = (texts.iter().step_by(2), texts.iter().skip(1).step_by(2));
    let options: BTreeMap<String, String> =
        keys.zip(values).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let options = JsonOptions::parse(&options, session)
        .map_err(|error| plan_datafusion_err!("[INVALID_OPTIONS] from_json(): {error}"))?;
    if options.mode == ParseMode::DropMalformed {
        return plan_err!(
            "[PARSE_MODE_UNSUPPORTED] The function `from_json` doesn't support the DROPMALFORMED mode. Acceptable modes are PERMISSIVE and FAILFAST."
        );
    }
    Ok(options)
}
