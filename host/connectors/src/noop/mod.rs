//! Takes rows and forgets them: for measuring everything before the sink.

use arrow::array::RecordBatch;
use tidemill_core::{Begin, ConnectorError, Delivery, Held, Sink};

use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};

const OPTIONS: Known = Known { built: &[], later: &[] };

/// A noop sink that could be opened.
pub(crate) struct NoopPlan;

impl NoopPlan {
    pub(crate) const DESCRIPTION: &str = "NoopSink";

    pub(crate) fn new(config: &SinkConfig, place: &str) -> Result<NoopPlan, ConfigError> {
        Options::check(place, &config.options, &[OPTIONS])?;
        Ok(NoopPlan)
    }

    pub(crate) fn open(&self) -> NoopSink {
        NoopSink
    }
}

pub(crate) struct NoopSink;

impl Sink for NoopSink {
    fn description(&self) -> String {
        NoopPlan::DESCRIPTION.to_owned()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(Held::Unknown)
    }

    fn begin(&mut self, _: Delivery) -> Result<Begin, ConnectorError> {
        Ok(Begin::Wanted)
    }

    fn write(&mut self, _: &RecordBatch) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
