//! A job's targets, as the engine hands them to handlers.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_connectors::{SinkConfig, SinkContext, SqlTarget, plan_sink};
use tidemill_core::{ConnectorError, Sink};
use tidemill_engine::{RawTarget, TargetFactory};

/// One `[target.NAME]`.
pub(super) struct Target {
    pub(super) config: SinkConfig,
    pub(super) context: SinkContext,
}

impl TargetFactory for Target {
    fn open(&self, schema: SchemaRef) -> Result<Box<dyn Sink>, ConnectorError> {
        let config = SinkConfig { schema: Some(schema), ..self.config.clone() };
        // What the options say was checked at the start; only the columns are new.
        let planned =
            plan_sink(config).map_err(|error| ConnectorError::fatal(error.to_string()))?;
        planned.open(&self.context)
    }

    fn raw(&self) -> Option<Arc<dyn RawTarget>> {
        let planned = plan_sink(self.config.clone()).ok()?;
        let opened = planned.open_sql()?.ok()?;
        Some(Arc::new(Statements { target: Mutex::new(opened) }))
    }
}

struct Statements {
    target: Mutex<Box<dyn SqlTarget>>,
}

impl RawTarget for Statements {
    fn execute(
        &self,
        statement: &str,
        parameters: Option<&RecordBatch>,
    ) -> Result<u64, ConnectorError> {
        let mut target = self.target.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        target.execute(statement, parameters)
    }
}
