//! A job's targets, as the engine hands them to handlers.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_connectors::{PlannedSink, SinkConfig, SinkContext, plan_sink};
use tidemill_core::{ConnectorError, Sink};
use tidemill_engine::TargetFactory;

/// One `[target.NAME]`.
pub(super) struct Target {
    pub(super) config: SinkConfig,
    pub(super) context: SinkContext,
}

impl Target {
    /// What the options say was checked at the start; only the columns are new.
    fn planned(&self, schema: Option<SchemaRef>) -> Result<PlannedSink, ConnectorError> {
        plan_sink(SinkConfig { schema, ..self.config.clone() })
            .map_err(|error| ConnectorError::fatal(error.to_string()))
    }
}

impl TargetFactory for Target {
    fn open(&self, schema: SchemaRef) -> Result<Box<dyn Sink>, ConnectorError> {
        self.planned(Some(schema))?.open(&self.context)
    }

    fn execute(
        &self,
        statement: &str,
        parameters: Option<&RecordBatch>,
    ) -> Result<Option<u64>, ConnectorError> {
        match self.planned(None)?.open_sql() {
            None => Ok(None),
            Some(target) => target?.execute(statement, parameters).map(Some),
        }
    }
}
