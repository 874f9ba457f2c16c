//! The beginning of the stretch of time that a time is in.

use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano, TimestampMicrosecondType};
use datafusion::common::exec_err;
use datafusion::logical_expr::ScalarUDF;

use super::parts::intervals;
use crate::kernels::intervals::day_time_micros;
use crate::kernels::kernel::zoned_kernel;
use tidemill_time::calendar::{MICROS_PER_DAY, civil, joined, plus_months, split};
use tidemill_time::{UTC, Zone};

/// `time_bucket(width, time, origin)`.
pub(crate) fn time_bucket() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| Ok(kinds[1].clone());
    zoned_kernel("time_bucket", gives, |columns, kind, session| {
        let has_zone = matches!(kind, DataType::Timestamp(_, Some(_)));
        let zone = if has_zone { session } else { UTC };
        let widths = intervals(&columns[0])?;
        let times = columns[1].as_primitive::<TimestampMicrosecondType>();
        let origins = columns[2].as_primitive::<TimestampMicrosecondType>();
        let mut values = TimestampMicrosecondArray::builder(times.len());
        for row in 0..times.len() {
            if columns.iter().any(|column| column.is_null(row)) {
                values.append_null();
                continue;
            }
            match bucket(widths.value(row), times.value(row), origins.value(row), zone) {
                Some(start) => values.append_value(start),
                None => {
                    return exec_err!("[DATETIME_OVERFLOW] time_bucket(): there is no such time");
                }
            }
        }
        Ok(Arc::new(values.finish().with_data_type(kind.clone())))
    })
}

/// Whole days and months are those of the clocks.
fn bucket(width: IntervalMonthDayNano, time: i64, origin: i64, zone: Zone) -> Option<i64> {
    let micros = day_time_micros(width)?;
    if micros % MICROS_PER_DAY == 0 && zone != UTC {
        let (time, origin) = (zone.local(time)?, zone.local(origin)?);
        return zone.moment(bucket(width, time, origin, UTC)?);
    }
    if width.months == 0 {
        return time.checked_sub(time.checked_sub(origin)?.rem_euclid(micros.max(1)));
    }
    let (day, of_day) = split(origin);
    let start = |count: i64| joined(plus_months(day, count * i64::from(width.months)), of_day);
    let (from, to) = (civil(day), civil(split(time).0));
    let months = (to.year - from.year) * 12 + to.month - from.month;
    let count = months.div_euclid(i64::from(width.months));
    match start(count)? {
        // Within the month that it begins in.
        late if late > time => start(count - 1),
        start => Some(start),
    }
}
