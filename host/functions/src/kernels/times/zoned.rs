//! Times as the clocks of other time zones show them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::patterned::ntz_type;
use crate::kernels::kernel::{kernel, texts};
use crate::kernels::session::zone;
use crate::timestamp_type;
use tidemill_time::Zone;

/// Times in zones, whose names stand in the columns at `names`.
fn converted<const N: usize>(
    times: &ArrayRef,
    columns: &[ArrayRef],
    names: [usize; N],
    convert: fn(i64, [Zone; N]) -> Option<i64>,
) -> Result<TimestampMicrosecondArray> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut values = TimestampMicrosecondArray::builder(times.len());
    for row in 0..times.len() {
        let is_null = |name: &usize| columns[*name].is_null(row);
        if times.is_null(row) || names.iter().any(is_null) {
            values.append_null();
            continue;
        }
        let mut zones = [Zone::Fixed(0); N];
        for (of, name) in zones.iter_mut().zip(names) {
            *of = zone(texts(columns, name).value(row))?;
        }
        match convert(times.value(row), zones) {
            Some(time) => values.append_value(time),
            None => return exec_err!("[DATETIME_OVERFLOW] long overflow: there is no such time"),
        }
    }
    Ok(values.finish())
}

/// `from_utc_timestamp(time, zone)`.
pub(crate) fn from_utc_timestamp() -> Arc<ScalarUDF> {
    kernel(
        "from_utc_timestamp",
        |_| Ok(timestamp_type()),
        |columns, kind| {
            let times = converted(&columns[0], columns, [1], |time, [zone]| zone.local(time))?;
            Ok(Arc::new(times.with_data_type(kind.clone())))
        },
    )
}

/// `to_utc_timestamp(time, zone)`.
pub(crate) fn to_utc_timestamp() -> Arc<ScalarUDF> {
    kernel(
        "to_utc_timestamp",
        |_| Ok(timestamp_type()),
        |columns, kind| {
            let times = converted(&columns[0], columns, [1], |time, [zone]| zone.moment(time))?;
            Ok(Arc::new(times.with_data_type(kind.clone())))
        },
    )
}

/// `convert_timezone(from, to, time)`.
pub(crate) fn convert_timezone() -> Arc<ScalarUDF> {
    kernel(
        "convert_timezone",
        |_| Ok(ntz_type()),
        |columns, _| {
            let times = converted(&columns[2], columns, [0, 1], |time, [from, to]| {
                to.local(from.moment(time)?)
            })?;
            Ok(Arc::new(times))
        },
    )
}
