//! A source as a table: its columns, and the operator that reads the running batch's range.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{self, BoxStream, StreamExt};
use tidemill_core::{
    BatchId, ConnectorError, MemoryBudget, RangeReader, Slice, SourceRange, TRACE_TARGET,
};
use tidemill_functions::session_zone;
use tracing::debug_span;

use super::decode::{JsonValue, without_malformed};
use super::properties::{leaf, plain};
use super::read_ahead::{Blocks, ReadAhead, read_blocking, read_here};
use crate::definition::ValueFormat;
use crate::letters::Refusals;
use crate::{PlanError, RunningBatch, SourceTable};

/// A source, with its `value` column taken apart if the job says so.
pub(crate) struct StreamTable {
    source: SourceTable,
    slices: usize,
    schema: SchemaRef,
    /// How often the plan scans it.
    scans: AtomicUsize,
}

impl StreamTable {
    pub(crate) fn try_new(source: SourceTable, slices: usize) -> Result<StreamTable, PlanError> {
        let schema = source.columns()?;
        Ok(StreamTable { source, slices, schema, scans: AtomicUsize::new(0) })
    }
}

impl SourceTable {
    /// The columns of the table: those of the source, or those that its `value` is taken apart into.
    ///
    /// # Errors
    /// A column that is to be kept beside them is not there.
    pub fn columns(&self) -> Result<SchemaRef, PlanError> {
        match &self.value {
            Some(value) => decoded_schema(self, value),
            None => Ok(Arc::clone(&self.schema)),
        }
    }
}

fn decoded_schema(source: &SourceTable, value: &ValueFormat) -> Result<SchemaRef, PlanError> {
    let mut fields = value.schema.fields().to_vec();
    for name in value.keep.iter().map(String::as_str).chain(["value"]) {
        let Some((_, field)) = source.schema.fields().find(name) else {
            let known: Vec<&str> =
                source.schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(PlanError::Invalid(format!(
                "source \"{}\": there is no column \"{name}\" among {}",
                source.name,
                known.join(", ")
            )));
        };
        if value.keep.iter().any(|keep| keep == name) {
            fields.push(Arc::clone(field));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

impl fmt::Debug for StreamTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamTable({})", self.source.name)
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let value = match &self.source.value {
            Some(value) => {
                let zone = session_zone(session.config_options())?;
                let table = (&self.schema, wanted.as_slice());
                let value = JsonValue::try_new(&self.source.schema, value, table, zone)?;
                Some(Arc::new(value))
            }
            None => None,
        };
        let schema = Arc::new(self.schema.project(&wanted)?);
        let read_schema = match &value {
            Some(value) => value.read_schema(&self.source.schema, &schema)?,
            None => Arc::clone(&schema),
        };
        Ok(Arc::new(StreamScanExec {
            read_schema,
            properties: plain(schema, self.slices, EmissionType::Incremental),
            source: self.source.name.clone(),
            reader: Arc::clone(&self.source.reader),
            projection: value.as_ref().map_or(wanted, |value| value.kept.clone()),
            value,
            slices: self.slices,
            number: self.scans.fetch_add(1, Ordering::Relaxed),
        }))
    }
}

/// Reads the running batch's range of one source, a slice a partition.
pub(crate) struct StreamScanExec {
    source: String,
    reader: Arc<dyn RangeReader>,
    /// Columns of the source; where a value is decoded, those that are kept beside it.
    projection: Vec<usize>,
    value: Option<Arc<JsonValue>>,
    /// Columns as they are read: those of the plan, and what dead letters have beside them.
    read_schema: SchemaRef,
    slices: usize,
    /// Which of the plan's scans of the source it is. A source that is joined with itself is
    /// scanned twice, and its rows count once.
    number: usize,
    properties: Arc<PlanProperties>,
}

impl StreamScanExec {
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn read_schema(&self) -> SchemaRef {
        Arc::clone(&self.read_schema)
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Begins to read all partitions of `range`, which belongs to `batch`.
    pub(crate) fn read_ahead(
        &self,
        batch: BatchId,
        range: &SourceRange,
        ahead: &ReadAhead,
        memory: &MemoryBudget,
    ) -> Result<()> {
        (0..self.slices)
            .try_for_each(|partition| ahead.begin(self, batch, range, partition, memory))
    }

    /// Opens a partition and reads it block by block. It may block.
    pub(super) fn read(
        &self,
        range: &SourceRange,
        partition: usize,
    ) -> impl FnOnce() -> Result<Blocks> + Send + use<> {
        let slice = Slice { index: partition, count: self.slices };
        let (reader, range) = (Arc::clone(&self.reader), range.clone());
        let (projection, value) = (self.projection.clone(), self.value.clone());
        let schema = self.read_schema();
        let external = |error: ConnectorError| DataFusionError::External(Box::new(error));
        move || -> Result<Blocks> {
            let Some(value) = value else {
                let rows = reader.read(&range, slice, &projection).map_err(external)?;
                return Ok(Box::new(rows.map(move |rows| rows.map_err(external))));
            };
            let decoder =
                value.decoder().map_err(|error| DataFusionError::External(Box::new(error)))?;
            let rows = reader
                .read_decoded(&range, slice, &projection, value.payload, decoder)
                .map_err(external)?;
            Ok(Box::new(rows.map(move |rows| value.arrange(&schema, &rows.map_err(external)?))))
        }
    }

    /// The rows of a partition in the running batch: those that were read ahead, or read now.
    fn rows(
        &self,
        batch: &RunningBatch,
        partition: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Some(range) = batch.spec().ranges.get(&self.source) else {
            return Ok(stream::empty().boxed());
        };
        if let Some(rows) = batch.ahead().take(self, range, partition) {
            return Ok(rows.boxed());
        }
        let (number, source) = (batch.spec().batch.0, self.source.clone());
        let span = debug_span!(target: TRACE_TARGET, "read", batch = number, source, partition);
        let read = self.read(range, partition);
        if !self.reader.may_wait() {
            return Ok(read_here(self.read_schema(), read, span).boxed());
        }
        Ok(read_blocking(self.read_schema(), read, span, batch.memory())?.boxed())
    }
}

impl fmt::Debug for StreamScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamScanExec({})", self.source)
    }
}

impl DisplayAs for StreamScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        let columns: Vec<&str> =
            schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "StreamScan: source={}, columns=[{}]", self.source, columns.join(", "))?;
        self.value.iter().try_for_each(|value| write!(f, ", value={value}"))
    }
}

impl ExecutionPlan for StreamScanExec {
    leaf!("StreamScan");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let (source, counts) = (self.source.clone(), self.number == 0);
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let keeps_malformed = self.value.as_ref().is_some_and(|value| value.keeps_malformed());
        let mut refusals = counts.then(|| Refusals::of_source(&batch, partition, &source));
        let wanted = Arc::clone(&schema);
        let counted = self.rows(&batch, partition)?.map(move |rows| {
            let rows = rows?;
            if counts {
                batch.count_rows(&source, rows.num_rows() as u64);
            }
            match keeps_malformed {
                true => without_malformed(&rows, &wanted, refusals.as_mut()),
                false => Ok(rows),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}
