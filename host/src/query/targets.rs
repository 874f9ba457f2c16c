//! A job's targets, as the engine hands them to handlers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_connectors::{PlannedSink, SinkConfig, SinkContext, plan_sink};
use tidemill_core::{Abandoned, ConnectorError, Held, Sink};
use tidemill_engine::TargetFactory;

/// One `[target.NAME]`.
pub(super) struct Target {
    config: SinkConfig,
    context: SinkContext,
    /// The sink of the last delivery, and the columns that it takes.
    kept: Mutex<Option<(SchemaRef, Box<dyn Sink>)>>,
}

impl Target {
    pub(super) fn new(config: SinkConfig, context: SinkContext) -> Target {
        Target { config, context, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Option<(SchemaRef, Box<dyn Sink>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the target holds of the query, with its description before it. Creates nothing.
    pub(super) fn held(&self) -> Result<(String, Held), ConnectorError> {
        let planned = self.planned(None)?;
        Ok((planned.description(), planned.held(&self.context)?))
    }

    /// What the options say was checked at the start; only the columns are new.
    fn planned(&self, schema: Option<SchemaRef>) -> Result<PlannedSink, ConnectorError> {
        plan_sink(SinkConfig { schema, ..self.config.clone() })
            .map_err(|error| ConnectorError::fatal(error.to_string()))
    }
}

impl TargetFactory for Target {
    fn open(&self, schema: SchemaRef) -> Result<Box<dyn Sink>, ConnectorError> {
        match self.kept().take() {
            Some((kept, sink)) if kept == schema => Ok(sink),
            _ => self.planned(Some(schema))?.open(&self.context),
        }
    }

    fn keep(&self, schema: SchemaRef, sink: Box<dyn Sink>) {
        *self.kept() = Some((schema, sink));
    }

    fn execute(
        &self,
        statement: &str,
        parameters: Option<&RecordBatch>,
        abandoned: &Abandoned,
    ) -> Result<Option<u64>, ConnectorError> {
        match self.planned(None)?.open_sql() {
            None => Ok(None),
            Some(target) => target?.execute(statement, parameters, abandoned).map(Some),
        }
    }
}
