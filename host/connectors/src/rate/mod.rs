//! Sources that make their rows up: `rate` by the clock, `rate-micro-batch` by the batch.
//!
//! Both give `timestamp TIMESTAMP, value BIGINT` with values from 0 on. Spark deals the values to
//! `numPartitions` partitions in turn and reads one partition after the other; so does
//! [`reader::RateReader`], whatever the number of threads that read.

mod by_batch;
mod by_clock;
mod reader;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::Value;
use tidemill_core::ConnectorError;
use tidemill_types::UTC;

use crate::options::Options;
use crate::{ConfigError, SourceConfig};

pub(crate) use by_batch::RateMicroBatchPlan;
pub(crate) use by_clock::RatePlan;

/// The columns of both sources.
pub(crate) fn schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("timestamp", instant, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

/// Spark's default is the number of cores; a constant gives the same order on every machine.
const DEFAULT_PARTITIONS: u64 = 1;

fn partitions(options: &Options) -> Result<u64, ConfigError> {
    Ok(options.number("numPartitions", 1)?.unwrap_or(DEFAULT_PARTITIONS))
}

/// These sources have no path and know their columns.
fn refuse_surplus(config: &SourceConfig, place: &str) -> Result<(), ConfigError> {
    let surplus = match (&config.path, &config.schema) {
        (Some(_), _) => "path",
        (None, Some(_)) => "schema",
        (None, None) => return Ok(()),
    };
    Err(ConfigError::Schema {
        place: place.to_owned(),
        reason: format!("the format \"{}\" takes no {surplus}; leave it out", config.format),
    })
}

/// A whole number out of a position or offset of the log.
fn whole(value: &Value, key: &str) -> Result<i64, ConnectorError> {
    value.get(key).and_then(Value::as_i64).ok_or_else(|| {
        ConnectorError::fatal(format!(
            "the checkpoint has {value} as a rate source's position, without a whole number \"{key}\"; was the source's format changed?"
        ))
    })
}
