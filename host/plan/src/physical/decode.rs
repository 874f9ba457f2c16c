//! Takes a JSON column apart: only the fields that the plan reads.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::plan_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::StreamExt;
use tidemill_codec::{DecodeError, JsonDecoder, JsonOptions};

use super::properties::{one_input, plain};
use crate::definition::ValueFormat;

/// `from_json(value)` and the kept columns beside it.
pub(super) struct Decode {
    input: Arc<dyn ExecutionPlan>,
    /// Fields that are decoded, in the order of the output.
    fields: SchemaRef,
    options: JsonOptions,
    /// For each column of the output: where it comes from.
    columns: Vec<Origin>,
    properties: Arc<PlanProperties>,
}

#[derive(Clone, Copy)]
enum Origin {
    Decoded(usize),
    Kept(usize),
}

impl Decode {
    /// `table` is the whole decoded table, `wanted` its columns that the plan reads. The input
    /// has `value` and the kept columns.
    pub(super) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        value: &ValueFormat,
        table: &SchemaRef,
        wanted: &[usize],
    ) -> Result<Decode> {
        let options = JsonOptions::parse(&value.options)
            .map_err(|error| plan_datafusion_err!("value: {error}"))?;
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for column in wanted {
            if let Some(field) = value.schema.fields().get(*column) {
                columns.push(Origin::Decoded(fields.len()));
                fields.push(Arc::clone(field));
            } else {
                columns.push(Origin::Kept(input.schema().index_of(table.field(*column).name())?));
            }
        }
        let schema = Arc::new(table.project(wanted)?);
        let partitions = input.output_partitioning().partition_count();
        Ok(Decode {
            input,
            fields: Arc::new(Schema::new(fields)),
            options,
            columns,
            properties: plain(schema, partitions, EmissionType::Incremental),
        })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Decode {
        Decode {
            input,
            fields: Arc::clone(&self.fields),
            options: self.options.clone(),
            columns: self.columns.clone(),
            properties: Arc::clone(&self.properties),
        }
    }
}

impl fmt::Debug for Decode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for Decode {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> =
            self.fields.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "DecodeJson: fields=[{}]", fields.join(", "))
    }
}

impl ExecutionPlan for Decode {
    one_input!("DecodeJson");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let external = |error: DecodeError| DataFusionError::External(Box::new(error));
        let mut decoder =
            JsonDecoder::new(Arc::clone(&self.fields), self.options.clone()).map_err(external)?;
        let payload = self.input.schema().index_of("value")?;
        let columns = self.columns.clone();
        let schema = self.schema();
        let output = Arc::clone(&schema);
        let stream = self.input.execute(partition, context)?.map(move |rows| {
            let rows = rows?;
            decoder.decode_array(rows.column(payload)).map_err(external)?;
            let decoded = decoder.finish();
            let columns: Vec<ArrayRef> = columns
                .iter()
                .map(|origin| match origin {
                    Origin::Decoded(field) => Arc::clone(decoded.column(*field)),
                    Origin::Kept(column) => Arc::clone(rows.column(*column)),
                })
                .collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&output), columns, &options)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
