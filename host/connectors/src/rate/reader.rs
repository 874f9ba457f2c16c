//! Makes the rows of a rate source's range.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};
use tidemill_core::{ConnectorError, RangeReader, RowStream, Slice, SourceRange};
use tidemill_types::UTC;

use crate::rows::{BATCH_ROWS, record_batch};

/// What a range needs to be read again: everything about its rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RateParts {
    pub(crate) first_value: i64,
    pub(crate) end_value: i64,
    pub(crate) num_partitions: u64,
    /// Time of the first value, in milliseconds since 1970-01-01 UTC.
    pub(crate) first_time_ms: i64,
    /// From one value to the next.
    pub(crate) millis_per_value: f64,
}

impl RateParts {
    fn rows(&self) -> u64 {
        u64::try_from(self.end_value - self.first_value).unwrap_or_default()
    }

    /// The value at `row` of the range: partition after partition, each with every n-th value.
    fn value(&self, row: u64) -> i64 {
        let (rows, partitions) = (self.rows(), self.num_partitions.max(1));
        let (share, longer) = (rows / partitions, rows % partitions);
        let in_longer = longer * (share + 1);
        let (partition, turn) = if row < in_longer {
            (row / (share + 1), row % (share + 1))
        } else {
            let rest = row - in_longer;
            (longer + rest / share.max(1), rest % share.max(1))
        };
        self.first_value + (partition + turn * partitions) as i64
    }

    fn time_micros(&self, value: i64) -> i64 {
        let since_first = (value - self.first_value) as f64 * self.millis_per_value;
        (self.first_time_ms + since_first.round() as i64) * 1_000
    }
}

pub(crate) struct RateReader;

impl RangeReader for RateReader {
    fn may_wait(&self) -> bool {
        false
    }

    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        let parts = RateParts::deserialize(&range.parts).map_err(|error| {
            ConnectorError::fatal(format!("the log has {} as a rate source's range", range.parts))
                .caused_by(error)
        })?;
        let bound = |index: usize| {
            let share = u128::from(parts.rows()) * index as u128 / slice.count as u128;
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let (mut next, end) = (bound(slice.index), bound(slice.index + 1));
        let projection = projection.to_vec();
        let projected = super::schema().project(&projection).map_err(|error| {
            ConnectorError::fatal("the columns asked for are not the source's").caused_by(error)
        })?;
        let projected = Arc::new(projected);
        Ok(Box::new(std::iter::from_fn(move || {
            let last = end.min(next + BATCH_ROWS as u64);
            if next >= last {
                return None;
            }
            let values: Int64Array = (next..last).map(|row| parts.value(row)).collect();
            next = last;
            let column = |index: &usize| -> ArrayRef {
                if *index == 1 {
                    return Arc::new(values.clone());
                }
                let times = values.values().iter().map(|value| parts.time_micros(*value));
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone(UTC))
            };
            let columns = projection.iter().map(column).collect();
            Some(record_batch(&projected, columns, values.len()))
        })))
    }
}
