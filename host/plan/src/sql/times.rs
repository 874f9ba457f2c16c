//! `to_timestamp(text, pattern)` and `to_date(text, pattern)`: times by a pattern (see `patterns`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use chrono::format::{Item, Parsed, StrftimeItems, parse};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_types::UTC;

use super::window::timestamp_type;

/// Name of the function that both become: of a text, and of a pattern as chrono has it.
pub(super) const PARSED_TIME: &str = "time_by_pattern";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ParsedTime {
    signature: Signature,
}

impl Default for ParsedTime {
    fn default() -> ParsedTime {
        ParsedTime { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ParsedTime {
    fn name(&self) -> &str {
        PARSED_TIME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [time @ (DataType::Timestamp(..) | DataType::Date32), _] => {
                Ok(vec![time.clone(), DataType::Utf8])
            }
            [text, _] if text.is_string() || text.is_null() => {
                Ok(vec![DataType::Utf8, DataType::Utf8])
            }
            _ => plan_err!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] to_timestamp() and to_date() by a pattern take a STRING, a DATE or a TIMESTAMP"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamp_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times, ColumnarValue::Scalar(pattern)] = arguments.args.as_slice() else {
            return internal_err!("{PARSED_TIME}() takes times and one pattern");
        };
        let Some(Some(pattern)) = pattern.try_as_str() else {
            return internal_err!("{PARSED_TIME}() takes a pattern");
        };
        match times {
            ColumnarValue::Array(times) => Ok(ColumnarValue::Array(parsed(times, pattern)?)),
            ColumnarValue::Scalar(time) => {
                let times = parsed(&time.to_array()?, pattern)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?))
            }
        }
    }
}

fn parsed(times: &ArrayRef, pattern: &str) -> Result<ArrayRef> {
    let Some(texts) = times.as_string_opt::<i32>() else {
        return Ok(cast(times, &timestamp_type())?);
    };
    let items: Vec<Item<'_>> = StrftimeItems::new(pattern).collect();
    let mut micros = Vec::with_capacity(texts.len());
    for text in texts {
        micros.push(match text {
            None => None,
            Some(text) => match time(text, &items) {
                None => {
                    return exec_err!(
                        "[CANNOT_PARSE_TIMESTAMP] Text '{text}' could not be parsed by the pattern (here: {pattern}). Use `try_cast` of a text in the usual form to get NULL instead"
                    );
                }
                time => time,
            },
        });
    }
    Ok(Arc::new(TimestampMicrosecondArray::from(micros).with_timezone(UTC)))
}

/// Microseconds since 1970. What a pattern does not say is as in 1970-01-01 00:00:00, and a year of
/// two digits is one of this century (Spark's TimestampFormatter).
fn time(text: &str, items: &[Item<'_>]) -> Option<i64> {
    let mut found = Parsed::new();
    parse(&mut found, text.trim_matches(' '), items.iter()).ok()?;
    let mut full = Parsed::new();
    let year = match (found.year(), found.year_mod_100()) {
        (Some(year), _) => year,
        (None, Some(year)) => 2000 + year,
        (None, None) => 1970,
    };
    full.set_year(i64::from(year)).ok()?;
    match (found.ordinal(), found.month(), found.day()) {
        (Some(day), None, None) => {
            full.set_ordinal(i64::from(day)).ok()?;
        }
        (_, month, day) => {
            full.set_month(i64::from(month.unwrap_or(1))).ok()?;
            full.set_day(i64::from(day.unwrap_or(1))).ok()?;
        }
    }
    let hour = match (found.hour_div_12(), found.hour_mod_12()) {
        (half, Some(hour)) => half.unwrap_or(0) * 12 + hour,
        (half, None) => half.unwrap_or(0) * 12,
    };
    full.set_hour(i64::from(hour)).ok()?;
    full.set_minute(i64::from(found.minute().unwrap_or(0))).ok()?;
    full.set_second(i64::from(found.second().unwrap_or(0))).ok()?;
    full.set_nanosecond(i64::from(found.nanosecond().unwrap_or(0))).ok()?;
    let offset = found.offset().unwrap_or(0);
    let time = full.to_naive_datetime_with_offset(0).ok()?.and_utc().timestamp_micros();
    time.checked_sub(i64::from(offset) * 1_000_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::array::StringArray;

    use super::super::patterns::to_chrono;
    use super::*;

    fn by(pattern: &str, text: &str) -> Result<i64> {
        let pattern = to_chrono(pattern).unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let times = parsed(&texts, &pattern)?;
        let times = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        Ok(times.value(0) / 1_000_000)
    }

    #[test]
    fn what_a_pattern_does_not_say_is_as_at_the_start_of_1970() {
        assert_eq!(by("yyyy-MM-dd HH:mm:ss", "1970-01-02 00:00:01").unwrap(), 86_401);
        assert_eq!(by("yyyy-MM", "1970-02").unwrap(), 31 * 86_400);
        assert_eq!(by("HH:mm", "01:00").unwrap(), 3_600);
        assert_eq!(by("hh:mm a", "01:00 PM").unwrap(), 13 * 3_600);
        assert_eq!(by("dd/MM/yy", "01/01/99").unwrap(), by("yyyy", "2099").unwrap());
        assert_eq!(by("yyyy-MM-dd", "0001-01-01").unwrap(), -62_135_596_800);
        let error = by("yyyy-MM-dd", "x").unwrap_err().to_string();
        assert!(error.contains("[CANNOT_PARSE_TIMESTAMP] Text 'x'"), "{error}");
    }
}
