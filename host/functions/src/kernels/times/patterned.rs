//! Times by a pattern: `date_format`, `to_timestamp(text, pattern)` and their kin.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;
use tidemill_time::{Parsed, Use, Zone};
use tidemill_types::UTC;

use crate::kernels::kernel::{kernel, text, texts, written, zoned_kernel};
use crate::kernels::patterns::{failed, pattern};
use crate::timestamp_type;

/// TIMESTAMP_NTZ.
pub(crate) fn ntz_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// A time as a text by a pattern.
pub(crate) fn date_format() -> Arc<ScalarUDF> {
    zoned_kernel("date_format", text, |columns, _, zone| {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let values = times.values();
        formatted(columns, zone, |row| values[row])
    })
}

/// So many seconds after 1970 as a text by a pattern.
pub(crate) fn from_unixtime() -> Arc<ScalarUDF> {
    zoned_kernel("from_unixtime", text, |columns, _, zone| {
        let values = columns[0].as_primitive::<Int64Type>().values();
        // As Spark multiplies them.
        formatted(columns, zone, |row| values[row].wrapping_mul(1_000_000))
    })
}

fn formatted(columns: &[ArrayRef], zone: Zone, micros: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    let patterns = texts(columns, 1);
    written(columns[0].len(), |row, text| {
        if columns[0].is_null(row) || patterns.is_null(row) {
            return Ok(false);
        }
        let pattern = pattern(patterns.value(row), Use::Writing)?;
        pattern.write(micros(row), zone, text).map_err(failed)?;
        Ok(true)
    })
}

/// TIMESTAMP of a text by a pattern.
pub(crate) fn parsed_time() -> Arc<ScalarUDF> {
    zoned_kernel(
        "time_by_pattern",
        |_| Ok(timestamp_type()),
        |columns, _, zone| {
            let times = parsed(columns, |parsed| parsed.moment(zone), false)?;
            Ok(Arc::new(times.with_timezone(UTC)))
        },
    )
}

/// The same; null where the text is not of that form.
pub(crate) fn try_parsed_time() -> Arc<ScalarUDF> {
    zoned_kernel(
        "try_time_by_pattern",
        |_| Ok(timestamp_type()),
        |columns, _, zone| {
            let times = parsed(columns, |parsed| parsed.moment(zone), true)?;
            Ok(Arc::new(times.with_timezone(UTC)))
        },
    )
}

/// TIMESTAMP_NTZ of a text by a pattern.
pub(crate) fn parsed_local_time() -> Arc<ScalarUDF> {
    kernel(
        "local_time_by_pattern",
        |_| Ok(ntz_type()),
        |columns, _| Ok(Arc::new(parsed(columns, Parsed::local, false)?)),
    )
}

fn parsed(
    columns: &[ArrayRef],
    time: impl Fn(Parsed) -> Option<i64>,
    is_tolerant: bool,
) -> Result<TimestampMicrosecondArray> {
    let (times, patterns) = (texts(columns, 0), texts(columns, 1));
    let mut micros = TimestampMicrosecondArray::builder(times.len());
    for (text, by) in times.iter().zip(patterns) {
        let (Some(text), Some(by)) = (text, by) else {
            micros.append_null();
            continue;
        };
        let value = pattern(by, Use::Reading)?.read(text).and_then(&time);
        if value.is_none() && !is_tolerant {
            return exec_err!(
                "[CANNOT_PARSE_TIMESTAMP] Text '{text}' could not be parsed by the pattern '{by}'. Use `try_to_timestamp` to tolerate invalid input string and return NULL instead"
            );
        }
        micros.append_option(value);
    }
    Ok(micros.finish())
}

/// Seconds after 1970, cut and not rounded down, as `unix_timestamp` has them.
pub(crate) fn cut_seconds() -> Arc<ScalarUDF> {
    kernel("unix_timestamp", crate::kernels::kernel::long, |columns, _| {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        Ok(Arc::new(times.unary::<_, Int64Type>(|micros| micros / 1_000_000)))
    })
}
