//! `rate`: a number of rows a second, for tests and trials.
//!
//! Spark's RateStreamMicroBatchStream: offsets are whole seconds since the query began, and the
//! rows of a second are spread over it. When the query began is part of every range, so that a
//! restart goes on with the same numbers.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use tidemill_core::{AskAgain, ConnectorError, RangeReader, ReadLimit, Source, SourceRange};

use super::reader::{RateParts, RateReader};
use crate::options::{Known, Options};
use crate::{Clock, ConfigError, SourceConfig};

const OPTIONS: Known =
    Known { built: &["rowsPerSecond", "rampUpTime", "numPartitions"], later: &["useManualClock"] };

const MILLIS_A_SECOND: i64 = 1000;

/// A rate source that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct RatePlan {
    rows_per_second: i64,
    ramp_up_seconds: i64,
    num_partitions: u64,
}

impl RatePlan {
    pub(crate) fn new(config: &SourceConfig, place: &str) -> Result<RatePlan, ConfigError> {
        super::refuse_surplus(config, place)?;
        let options = Options::check(place, &config.options, &[OPTIONS])?;
        Ok(RatePlan {
            rows_per_second: options.number("rowsPerSecond", 1)?.unwrap_or(1),
            ramp_up_seconds: options.millis("rampUpTime", "seconds")?.unwrap_or(0)
                / MILLIS_A_SECOND,
            num_partitions: super::partitions(&options)?,
        })
    }

    pub(crate) fn open(&self, clock: Clock) -> RateSource {
        RateSource { plan: self.clone(), clock, began_ms: None, seconds: 0, fixed_end: None }
    }

    /// How many values the first `seconds` seconds have.
    ///
    /// While it ramps up, second number s has s × speed rows, where speed grows to the full rate.
    fn values_until(&self, seconds: i64) -> Option<i64> {
        let speed = (self.rows_per_second / (self.ramp_up_seconds + 1)).max(1);
        let ramped = seconds.min(self.ramp_up_seconds);
        let ramp = i64::try_from(i128::from(ramped) * i128::from(ramped + 1) / 2).ok()?;
        let full = (seconds - ramped).checked_mul(self.rows_per_second)?;
        ramp.checked_mul(speed)?.checked_add(full)
    }
}

/// A running rate source.
pub(crate) struct RateSource {
    plan: RatePlan,
    clock: Clock,
    /// When the query began; set by the first range, by the log or by a snapshot.
    began_ms: Option<i64>,
    /// Whole seconds that were given out.
    seconds: i64,
    fixed_end: Option<i64>,
}

impl RateSource {
    fn began_ms(&mut self) -> i64 {
        let clock = &self.clock;
        *self.began_ms.get_or_insert_with(|| clock())
    }

    fn present_end(&mut self) -> i64 {
        let began_ms = self.began_ms();
        ((self.clock)() - began_ms).max(0) / MILLIS_A_SECOND
    }

    fn values_until(&self, seconds: i64) -> Result<i64, ConnectorError> {
        self.plan.values_until(seconds).ok_or_else(|| {
            ConnectorError::fatal(format!(
                "after {seconds} seconds at rowsPerSecond = {} the values no longer fit 64 bits; lower the rate",
                self.plan.rows_per_second
            ))
        })
    }
}

impl Source for RateSource {
    fn description(&self) -> String {
        format!(
            "RateStreamV2[rowsPerSecond={}, rampUpTimeSeconds={}, numPartitions={}]",
            self.plan.rows_per_second, self.plan.ramp_up_seconds, self.plan.num_partitions
        )
    }

    fn schema(&self) -> SchemaRef {
        super::schema()
    }

    fn next_range(&mut self, _: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        let end = self.present_end();
        let end = self.fixed_end.map_or(end, |fixed| fixed.min(end));
        if end <= self.seconds {
            return Ok(None);
        }
        let (first_value, end_value) = (self.values_until(self.seconds)?, self.values_until(end)?);
        let rows = (end_value - first_value).max(1);
        let parts = RateParts {
            first_value,
            end_value,
            num_partitions: self.plan.num_partitions,
            first_time_ms: self.began_ms() + self.seconds * 1000,
            millis_per_value: ((end - self.seconds) * 1000) as f64 / rows as f64,
        };
        let mut parts = json!(parts);
        parts["beganMs"] = json!(self.began_ms());
        let range = SourceRange { start: json!(self.seconds), end: json!(end), parts };
        self.seconds = end;
        Ok(Some(range))
    }

    fn ask_again(&self) -> AskAgain {
        let Some(began_ms) = self.began_ms else {
            return AskAgain::NowAndThen;
        };
        let next_ms = began_ms.saturating_add((self.seconds + 1).saturating_mul(MILLIS_A_SECOND));
        let wait = next_ms.saturating_sub((self.clock)()).max(1);
        AskAgain::After(Duration::from_millis(wait.unsigned_abs()))
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        self.fixed_end = Some(self.present_end());
        Ok(())
    }

    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError> {
        self.began_ms = Some(super::whole(&range.parts, "beganMs")?);
        self.seconds = super::whole(&json!({ "end": range.end }), "end")?;
        Ok(())
    }

    fn position(&self) -> Value {
        json!({ "beganMs": self.began_ms, "seconds": self.seconds })
    }

    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError> {
        self.seconds = super::whole(position, "seconds")?;
        self.began_ms = match position.get("beganMs") {
            // The query was stopped before its first range.
            Some(Value::Null) => None,
            _ => Some(super::whole(position, "beganMs")?),
        };
        Ok(())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Arc::new(RateReader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_rate_ramps_up_as_sparks_does() {
        let plan = RatePlan { rows_per_second: 10, ramp_up_seconds: 4, num_partitions: 1 };
        let values: Vec<i64> = (0..7).map(|seconds| plan.values_until(seconds).unwrap()).collect();
        assert_eq!(values, [0, 2, 6, 12, 20, 30, 40]);
        let overflow =
            RatePlan { rows_per_second: i64::MAX, ramp_up_seconds: 0, num_partitions: 1 };
        assert_eq!(overflow.values_until(2), None);
    }
}
