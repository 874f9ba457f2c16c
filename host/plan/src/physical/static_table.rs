//! A table that does not change, as DataFusion scans it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use tidemill_core::{ConnectorError, TRACE_TARGET};
use tracing::debug_span;

use super::properties::{debug_as_shown, leaf, plain};
use super::read_ahead::{Blocks, read_blocking};
use crate::{RunningBatch, StaticTable};

/// A static table in a plan.
pub(crate) struct StaticRows(pub(crate) StaticTable);

impl fmt::Debug for StaticRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticRows({})", self.0.name)
    }
}

#[async_trait]
impl TableProvider for StaticRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns =
            projection.cloned().unwrap_or_else(|| (0..self.0.schema.fields().len()).collect());
        let schema = Arc::new(self.0.schema.project(&columns)?);
        Ok(Arc::new(StaticScanExec {
            table: self.0.clone(),
            properties: plain(schema, 1, EmissionType::Incremental),
            columns,
        }))
    }
}

/// Reads a static table.
struct StaticScanExec {
    table: StaticTable,
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

debug_as_shown!(StaticScanExec);

impl DisplayAs for StaticScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticScan: table={}", self.table.name)
    }
}

impl ExecutionPlan for StaticScanExec {
    leaf!("StaticScan");

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let (reader, columns) = (Arc::clone(&self.table.reader), self.columns.clone());
        let read = move || -> Result<Blocks> {
            let external = |error: ConnectorError| DataFusionError::External(Box::new(error));
            let rows = reader.read(&columns).map_err(external)?;
            Ok(Box::new(rows.map(move |rows| rows.map_err(external))))
        };
        let (number, table) = (batch.spec().batch.0, self.table.name.clone());
        let span = debug_span!(target: TRACE_TARGET, "read", batch = number, source = table);
        let schema = Arc::clone(self.properties.eq_properties.schema());
        read_blocking(schema, read, span, batch.memory())
    }
}
