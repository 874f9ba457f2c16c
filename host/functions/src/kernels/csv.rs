//! `from_csv` and `to_csv`: one row of CSV in a text.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, ScalarValue, exec_err, plan_datafusion_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_codec::{
    CsvDecoder, CsvOptions, ParseMode, Shown, WrittenTimes, csv_columns, format_cell,
};
use tidemill_time::{UTC, Zone};
use tidemill_types::IntervalFields;

use super::kernel::{texts, written};
use super::session::session_zone;
use crate::call::Call;

/// Options as they are told.
pub(crate) type Options = BTreeMap<String, String>;

/// The keys and values of a map of texts that is written out; none where it is another one.
fn constant_map(map: &Expr) -> Option<Options> {
    fn literals(expressions: &[Expr]) -> Option<Vec<String>> {
        let text = |expr: &Expr| match expr {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        };
        expressions.iter().map(text).collect()
    }
    let Expr::ScalarFunction(map) = map else { return None };
    if let [Expr::ScalarFunction(keys), Expr::ScalarFunction(values)] = map.args.as_slice() {
        let (keys, values) = (literals(&keys.args)?, literals(&values.args)?);
        return (keys.len() == values.len()).then(|| keys.into_iter().zip(values).collect());
    }
    let texts = literals(&map.args)?;
    let (keys, values) = (texts.iter().step_by(2), texts.iter().skip(1).step_by(2));
    (texts.len() % 2 == 0).then(|| keys.cloned().zip(values.cloned()).collect())
}

/// The options of a call: a map, or keys and values in turn as the parser may give them.
///
/// # Errors
/// They are not written out.
pub(crate) fn options(call: &Call, place: usize) -> Result<Options> {
    let texts: Option<Vec<String>> =
        (place..call.count()).map(|place| call.text(place).map(str::to_owned)).collect();
    let found = match (call.count().saturating_sub(place), texts) {
        (1, _) => constant_map(&call.argument(place)),
        (count, Some(texts)) if count % 2 == 0 => {
            let (keys, values) = (texts.iter().step_by(2), texts.iter().skip(1).step_by(2));
            Some(keys.cloned().zip(values.cloned()).collect())
        }
        _ => None,
    };
    match found {
        Some(options) => Ok(options),
        None => plan_err!(
            "[INVALID_OPTIONS.NON_MAP_FUNCTION] {}(): options are a map of literal texts, like map('key', 'value')",
            call.name()
        ),
    }
}

/// Reads rows of a type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FromCsv {
    kind: DataType,
    options: Options,
    signature: Signature,
}

/// `from_csv` of a struct.
///
/// # Errors
/// An option is unknown, or a column of a type that CSV is not read as.
pub(crate) fn from_csv(kind: DataType, options: Options) -> Result<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    let function = FromCsv { kind, options, signature };
    function.decoder(UTC)?;
    Ok(ScalarUDF::new_from_impl(function))
}

impl FromCsv {
    fn decoder(&self, session: Zone) -> Result<CsvDecoder> {
        let DataType::Struct(fields) = &self.kind else {
            return plan_err!(
                "[DATATYPE_MISMATCH.INVALID_CSV_SCHEMA] from_csv(): the schema has to be of columns, like 'a INT, b STRING'"
            );
        };
        let options = CsvOptions::parse(&self.options, session)
            .map_err(|error| plan_datafusion_err!("[INVALID_OPTIONS] from_csv(): {error}"))?;
        if options.mode == ParseMode::DropMalformed {
            return plan_err!(
                "[PARSE_MODE_UNSUPPORTED] The function `from_csv` doesn't support the DROPMALFORMED mode. Acceptable modes are PERMISSIVE and FAILFAST."
            );
        }
        let all: Vec<usize> = (0..fields.len()).collect();
        CsvDecoder::new(&Arc::new(Schema::new(fields.clone())), &all, options)
            .map_err(|error| plan_datafusion_err!("[UNSUPPORTED_FEATURE] from_csv(): {error}"))
    }
}

impl ScalarUDFImpl for FromCsv {
    fn name(&self) -> &str {
        "from_csv"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = [arguments.args[0].to_array(arguments.number_rows)?];
        let texts = texts(&columns, 0);
        let mut decoder = self.decoder(session_zone(&arguments.config_options)?)?;
        // Which row of the decoder a text is; none has nulls in all columns.
        let mut places = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(text) = text.filter(|text| !text.bytes().all(|byte| byte <= b' ')) else {
                places.push(None);
                continue;
            };
            if text.contains(['\n', '\r']) {
                return exec_err!(
                    "[UNSUPPORTED_FEATURE] from_csv(): a text of more than one line is not supported"
                );
            }
            let before = decoder.len();
            decoder
                .decode_lines(text.as_bytes())
                .map_err(|error| DataFusionError::External(Box::new(error.error)))?;
            places.push((decoder.len() > before).then_some(before as u32));
        }
        let batch = decoder.finish();
        let places = UInt32Array::from(places);
        let fields = batch.schema().fields().clone();
        let values = batch.columns().iter().map(|column| Ok(take(column, &places, None)?));
        let values = values.collect::<Result<Vec<_>>>()?;
        let nulls: Option<NullBuffer> = texts.nulls().cloned();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields, values, nulls)?)))
    }
}

/// Writes rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToCsv {
    delimiter: String,
    null: String,
    quotes_all: bool,
    /// Those for times.
    times: Options,
    intervals: IntervalFields,
    signature: Signature,
}

/// Whether an option is one for times that are written.
///
/// # Errors
/// Its value cannot be followed.
pub(crate) fn is_of_times(function: &str, key: &str, value: &str) -> Result<bool> {
    match WrittenTimes::default().set(key, value) {
        None => Ok(false),
        Some(Ok(())) => Ok(true),
        Some(Err(reason)) => {
            plan_err!("[INVALID_OPTIONS] {reason}; it is the option {key} of {function}()")
        }
    }
}

/// How times are written, in a session's time zone unless the options name another one.
///
/// # Errors
/// An option cannot be followed.
pub(crate) fn written_times(options: &Options, session: Zone) -> Result<WrittenTimes> {
    let mut times = WrittenTimes::in_millis(session);
    for (key, value) in options {
        if let Some(Err(reason)) = times.set(key, value) {
            return plan_err!("[INVALID_OPTIONS] the option {key}: {reason}");
        }
    }
    Ok(times)
}

/// `to_csv`.
///
/// # Errors
/// An option is not known here.
pub(crate) fn to_csv(options: &Options, intervals: IntervalFields) -> Result<ScalarUDF> {
    let mut function = ToCsv {
        delimiter: ",".to_owned(),
        null: String::new(),
        quotes_all: false,
        times: Options::new(),
        intervals,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    for (key, value) in options {
        match (key.to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
            ("sep" | "delimiter", _) if value.chars().count() == 1 && value != "\"" => {
                function.delimiter.clone_from(value);
            }
            ("nullvalue", _) => function.null.clone_from(value),
            ("quoteall", "true") => function.quotes_all = true,
            ("quoteall", "false") | ("header", _) => {}
            _ if is_of_times("to_csv", key, value)? => {
                function.times.insert(key.clone(), value.clone());
            }
            _ => {
                return plan_err!(
                    "[UNSUPPORTED_FEATURE] to_csv(): the option {key} = '{value}' is not supported; known are sep, nullValue, quoteAll, timestampFormat, timestampNTZFormat, dateFormat and timeZone"
                );
            }
        }
    }
    Ok(ScalarUDF::new_from_impl(function))
}

impl ToCsv {
    fn push(&self, value: Option<String>, is_first: bool, out: &mut String) {
        let Some(value) = value else {
            return match self.quotes_all {
                true => out.extend(["\"", &self.null, "\""]),
                false => out.push_str(&self.null),
            };
        };
        let value = value.trim_matches(|c: char| c <= ' ');
        let is_quoted = self.quotes_all
            || value.is_empty()
            || (is_first && value.starts_with('#'))
            || value.contains(['"', '\n', '\r'])
            || value.contains(&self.delimiter);
        if !is_quoted {
            return out.push_str(value);
        }
        out.push('"');
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
}

/// A value in a cell.
fn cell(values: &ArrayRef, row: usize, shown: Shown) -> Option<String> {
    let is_there = values.is_valid(row) && !values.data_type().is_null();
    is_there.then(|| format_cell(values, row, shown))
}

impl ScalarUDFImpl for ToCsv {
    fn name(&self) -> &str {
        "to_csv"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let Some(DataType::Struct(fields)) = arguments.first() else {
            return plan_err!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] to_csv(): the first parameter requires the \"STRUCT\" type; write to_csv(struct(…))"
            );
        };
        if fields.iter().any(|field| field.data_type().is_nested()) {
            return plan_err!(
                "[UNSUPPORTED_FEATURE] to_csv(): arrays, maps and structs in columns are not supported"
            );
        }
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.args[0].to_array(arguments.number_rows)?;
        let session = session_zone(&arguments.config_options)?;
        let times = written_times(&self.times, session)?;
        let shown = |column: &ArrayRef| {
            let texts = times.texts(column).map_err(super::patterns::failed)?;
            Ok(texts.map_or_else(|| Arc::clone(column), |texts| Arc::new(texts) as ArrayRef))
        };
        let columns = rows.as_struct().columns().iter().map(shown);
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let shown = Shown { zone: times.zone(), intervals: self.intervals };
        let texts = written(rows.len(), |row, out| {
            if rows.is_null(row) {
                return Ok(false);
            }
            for (place, column) in columns.iter().enumerate() {
                if place > 0 {
                    out.push_str(&self.delimiter);
                }
                self.push(cell(column, row, shown), place == 0, out);
            }
            // A row of one null is no row.
            Ok(!out.is_empty())
        })?;
        Ok(ColumnarValue::Array(texts))
    }
}

/// The schema of a row, as it is told.
///
/// # Errors
/// There is no row, or an option is unknown.
pub(crate) fn schema_of(text: &str, options: &Options) -> Result<String> {
    if text.contains(['\n', '\r']) {
        return plan_err!(
            "[UNSUPPORTED_FEATURE] schema_of_csv(): more lines than one are not supported"
        );
    }
    let options = CsvOptions::parse(options, UTC)
        .map_err(|error| plan_datafusion_err!("[INVALID_OPTIONS] schema_of_csv(): {error}"))?;
    let columns = csv_columns(text, &options)
        .map_err(|error| plan_datafusion_err!("[UNSUPPORTED_FEATURE] schema_of_csv(): {error}"))?;
    if columns.fields().is_empty() {
        return plan_err!("[UNSUPPORTED_FEATURE] schema_of_csv(): an empty text is not supported");
    }
    Ok(tidemill_types::sql_name(&DataType::Struct(columns.fields().clone())))
}

/// A literal of a text.
pub(crate) fn literal(text: String) -> Expr {
    Expr::Literal(ScalarValue::Utf8(Some(text)), None)
}
