//! `rate-micro-batch`: the same rows for every batch number, whatever the timing.
//!
//! Spark's RatePerMicroBatchStream: batch n has the values `n * rowsPerBatch ..`, all with the
//! time `startTimestamp + n * advanceMillisPerBatch`.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use tidemill_core::{ConnectorError, RangeReader, ReadLimit, Source, SourceRange};

use super::reader::{RateParts, RateReader};
use crate::options::{Known, Options};
use crate::{ConfigError, SourceConfig};

const OPTIONS: Known = Known {
    built: &["rowsPerBatch", "numPartitions", "startTimestamp", "advanceMillisPerBatch"],
    later: &[],
};

/// A rate-micro-batch source that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct RateMicroBatchPlan {
    rows_per_batch: i64,
    num_partitions: u64,
    start_ms: i64,
    advance_ms: i64,
}

impl RateMicroBatchPlan {
    pub(crate) fn new(
        config: &SourceConfig,
        place: &str,
    ) -> Result<RateMicroBatchPlan, ConfigError> {
        super::refuse_surplus(config, place)?;
        let options = Options::check(place, &config.options, &[OPTIONS])?;
        let rows_per_batch = options.number("rowsPerBatch", 1)?;
        Ok(RateMicroBatchPlan {
            rows_per_batch: rows_per_batch.ok_or_else(|| ConfigError::Missing {
                place: place.to_owned(),
                what: "option rowsPerBatch".to_owned(),
                hint: "write options = { rowsPerBatch = 10 }".to_owned(),
            })?,
            num_partitions: super::partitions(&options)?,
            start_ms: options.number("startTimestamp", 0)?.unwrap_or(0),
            advance_ms: options.number("advanceMillisPerBatch", 0)?.unwrap_or(1000),
        })
    }

    pub(crate) fn open(&self) -> RateMicroBatchSource {
        let at = At { offset: 0, timestamp_ms: self.start_ms };
        RateMicroBatchSource { plan: self.clone(), at, batches_left: None }
    }
}

/// Spark's RatePerMicroBatchStreamOffset.
#[derive(Clone, Copy, Debug)]
struct At {
    offset: i64,
    timestamp_ms: i64,
}

impl At {
    fn json(self) -> Value {
        json!({ "offset": self.offset, "timestamp": self.timestamp_ms })
    }

    fn from_json(value: &Value) -> Result<At, ConnectorError> {
        Ok(At {
            offset: super::whole(value, "offset")?,
            timestamp_ms: super::whole(value, "timestamp")?,
        })
    }
}

/// A running rate-micro-batch source.
pub(crate) struct RateMicroBatchSource {
    plan: RateMicroBatchPlan,
    at: At,
    /// Set once the input's end is fixed: as in Spark, one more batch.
    batches_left: Option<u64>,
}

impl Source for RateMicroBatchSource {
    fn description(&self) -> String {
        format!(
            "RatePerMicroBatchStream[rowsPerBatch={}, numPartitions={}, startTimestamp={}, advanceMsPerBatch={}]",
            self.plan.rows_per_batch,
            self.plan.num_partitions,
            self.plan.start_ms,
            self.plan.advance_ms
        )
    }

    fn schema(&self) -> SchemaRef {
        super::schema()
    }

    fn next_range(&mut self, _: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        match &mut self.batches_left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None => {}
        }
        let start = self.at;
        self.at = At {
            offset: start.offset.saturating_add(self.plan.rows_per_batch),
            timestamp_ms: start.timestamp_ms.saturating_add(self.plan.advance_ms),
        };
        let parts = RateParts {
            first_value: start.offset,
            end_value: self.at.offset,
            num_partitions: self.plan.num_partitions,
            first_time_ms: start.timestamp_ms,
            millis_per_value: 0.0,
        };
        Ok(Some(SourceRange { start: start.json(), end: self.at.json(), parts: json!(parts) }))
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        self.batches_left = Some(1);
        Ok(())
    }

    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError> {
        self.at = At::from_json(&range.end)?;
        Ok(())
    }

    fn position(&self) -> Value {
        self.at.json()
    }

    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError> {
        self.at = At::from_json(position)?;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Arc::new(RateReader)
    }
}
