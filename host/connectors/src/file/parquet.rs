//! Parquet files. Columns go by name, in any case; only those asked for are read.
//!
//! A row group belongs to the slice in whose bytes it begins.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::RowGroupMetaData;
use tidemill_codec::UTC;
use tidemill_core::ConnectorError;

use super::parts::{FilePart, FileSpan, open};
use crate::rows::{BATCH_ROWS, cast_column, record_batch};

/// Columns of a file, in the types that Spark would give them.
pub(crate) fn schema_of(part: &FilePart) -> Result<Schema, ConnectorError> {
    let builder = builder(part)?;
    let physical = builder.parquet_schema();
    let fields = builder.schema().fields().iter().map(|field| {
        // Spark's old timestamps are instants, which their physical type alone says.
        let is_int96 = physical.columns().iter().any(|column| {
            column.physical_type() == PhysicalType::INT96
                && column.path().parts() == [field.name().clone()]
        });
        let data_type = if is_int96 { instant() } else { spark_type(field.data_type()) };
        Field::new(field.name(), data_type, true)
    });
    Ok(Schema::new(fields.collect::<Fields>()))
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

fn spark_type(found: &DataType) -> DataType {
    let field = |field: &Field| Field::new(field.name(), spark_type(field.data_type()), true);
    match found {
        DataType::Timestamp(_, Some(_)) => instant(),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, value) => spark_type(value),
        DataType::List(item) | DataType::LargeList(item) => DataType::List(Arc::new(field(item))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| field(f)).collect()),
        other => other.clone(),
    }
}

fn builder(
    part: &FilePart,
) -> Result<ParquetRecordBatchReaderBuilder<std::fs::File>, ConnectorError> {
    let file = open(part)?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
        ConnectorError::fatal(format!("{} is no Parquet file that can be read", part.path))
            .caused_by(error)
    })
}

/// The rows of the row groups that begin in some spans.
pub(crate) struct ParquetRows {
    spans: std::vec::IntoIter<FileSpan>,
    current: Option<(FilePart, ParquetRecordBatchReader)>,
    schema: SchemaRef,
}

impl ParquetRows {
    pub(crate) fn new(spans: Vec<FileSpan>, schema: SchemaRef) -> ParquetRows {
        ParquetRows { spans: spans.into_iter(), current: None, schema }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        loop {
            if let Some((part, reader)) = &mut self.current {
                if let Some(rows) = reader.next() {
                    let rows = rows.map_err(|error| {
                        ConnectorError::fatal(format!("could not read the file {}", part.path))
                            .caused_by(error)
                    })?;
                    return fit(&rows, &self.schema, part).map(Some);
                }
            }
            let Some(span) = self.spans.next() else {
                return Ok(None);
            };
            self.current = Some((span.part.clone(), open_span(&span, &self.schema)?));
        }
    }
}

impl Iterator for ParquetRows {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

fn open_span(span: &FileSpan, wanted: &Schema) -> Result<ParquetRecordBatchReader, ConnectorError> {
    let builder = builder(&span.part)?;
    let roots: Vec<usize> =
        wanted.fields().iter().filter_map(|field| find(builder.schema(), field.name())).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let groups = builder.metadata().row_groups().iter().enumerate();
    let begins_here = |group: &RowGroupMetaData| (span.start..span.end).contains(&begin(group));
    let groups = groups.filter(|(_, group)| begins_here(group)).map(|(index, _)| index).collect();
    builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| {
            ConnectorError::fatal(format!("could not read the file {}", span.part.path))
                .caused_by(error)
        })
}

/// Where the bytes of a row group begin.
fn begin(group: &RowGroupMetaData) -> u64 {
    let of_column = |column: &parquet::file::metadata::ColumnChunkMetaData| {
        column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset())
    };
    let first = group.columns().iter().map(of_column).min().unwrap_or_default();
    u64::try_from(first).unwrap_or_default()
}

fn find(schema: &Schema, name: &str) -> Option<usize> {
    schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))
}

/// The columns that are wanted, in their order and types; those that the file lacks are null.
fn fit(
    rows: &RecordBatch,
    wanted: &SchemaRef,
    part: &FilePart,
) -> Result<RecordBatch, ConnectorError> {
    let columns = wanted.fields().iter().map(|field| {
        let Some(index) = find(&rows.schema(), field.name()) else {
            return Ok(new_null_array(field.data_type(), rows.num_rows()));
        };
        let column = rows.column(index);
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        cast_column(column, field.data_type(), true).map_err(|error| {
            ConnectorError::fatal(format!(
                "column \"{}\" of the file {} has the type {} and cannot be read as {}",
                field.name(),
                part.path,
                column.data_type(),
                field.data_type()
            ))
            .caused_by(error)
        })
    });
    record_batch(wanted, columns.collect::<Result<Vec<ArrayRef>, _>>()?, rows.num_rows())
}
