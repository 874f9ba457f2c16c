//! Parquet files. Columns go by name, in any case; only those asked for are read.
//!
//! A row group belongs to the slice in whose bytes it begins. What a column's values become is in
//! `parquet/fit.rs`; what is done so that damage in a file stays in it, in `parquet/damage.rs`.

mod damage;
mod depth;
mod fit;

use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use tidemill_core::ConnectorError;
use tidemill_types::UTC;

use super::parts::{FilePart, FileSpan, open};
use crate::malformed::Tally;
use crate::rows::{BATCH_ROWS, record_batch};
use damage::contained;
use fit::{Fit, INT96_ZONE, find};

/// Columns of a file, in the types that Spark would give them.
pub(crate) fn schema_of(part: &FilePart) -> Result<Schema, ConnectorError> {
    let file = open(part)?;
    depth::check(part, &file)?;
    contained(part, || {
        let found = ArrowReaderMetadata::load(&file, options())?;
        let fields = mark_int96(found.schema().fields(), found.parquet_schema(), &mut 0);
        Ok(Schema::new(fields.iter().map(spark_field).collect::<Fields>()))
    })
}

/// What the schema of Arrow says that some writers put beside Parquet's own is not looked at:
/// Spark does not, and it may be damaged.
fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_skip_arrow_metadata(true)
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

fn spark_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), spark_type(field.data_type()), true))
}

fn spark_type(found: &DataType) -> DataType {
    match found {
        DataType::Timestamp(_, Some(_)) => instant(),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::List(item) => DataType::List(spark_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(spark_field).collect()),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return found.clone() };
            let pair = pair.iter().map(|field| {
                let data_type = spark_type(field.data_type());
                Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
            });
            let pair = DataType::Struct(pair.collect());
            let entries = Field::new(entries.name(), pair, entries.is_nullable());
            DataType::Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    }
}

/// The fields, in which Spark's old timestamps (INT96) are in microseconds with a zone that names
/// them: what they are only their physical type says, and in nanoseconds only the years 1677 to
/// 2262 have room. `leaf` counts the columns that were passed.
fn mark_int96(fields: &Fields, physical: &SchemaDescriptor, leaf: &mut usize) -> Fields {
    fields.iter().map(|field| mark_field(field, physical, leaf)).collect()
}

fn mark_field(field: &FieldRef, physical: &SchemaDescriptor, leaf: &mut usize) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(mark_int96(fields, physical, leaf)),
        DataType::List(item) => DataType::List(mark_field(item, physical, leaf)),
        DataType::Map(entries, sorted) => {
            DataType::Map(mark_field(entries, physical, leaf), *sorted)
        }
        other => {
            let is_int96 = *leaf < physical.num_columns()
                && physical.column(*leaf).physical_type() == PhysicalType::INT96;
            *leaf += 1;
            match is_int96 {
                true => DataType::Timestamp(TimeUnit::Microsecond, Some(INT96_ZONE.into())),
                false => other.clone(),
            }
        }
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// How a file is read: INT96 as above, and texts as bytes, which they may be.
fn reading(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let found = ArrowReaderMetadata::load(file, options())?;
    let about = found.metadata().file_metadata();
    let bytes = FileMetaData::new(
        about.version(),
        about.num_rows(),
        about.created_by().map(str::to_owned),
        None,
        Arc::new(SchemaDescriptor::new(without_texts(about.schema())?)),
        None,
    );
    let groups = found.metadata().row_groups().to_vec();
    let metadata = Arc::new(ParquetMetaData::new(bytes, groups));
    let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options())?;
    let marked = mark_int96(plain.schema().fields(), plain.parquet_schema(), &mut 0);
    if marked == *plain.schema().fields() {
        return Ok(plain);
    }
    let schema = Schema::new_with_metadata(marked, plain.schema().metadata().clone());
    ArrowReaderMetadata::try_new(metadata, options().with_schema(Arc::new(schema)))
}

/// The schema with texts as bytes. The reader would refuse a page for one text that is no UTF-8.
fn without_texts(found: &Type) -> Result<TypePtr, ParquetError> {
    let info = found.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match found {
        Type::PrimitiveType { physical_type: PhysicalType::BYTE_ARRAY, .. }
            if matches!(
                info.logical_type_ref(),
                Some(LogicalType::String | LogicalType::Enum | LogicalType::Json)
            ) || matches!(
                info.converted_type(),
                ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
            ) =>
        {
            let bytes = Type::primitive_type_builder(found.name(), PhysicalType::BYTE_ARRAY);
            bytes.with_repetition(info.repetition()).with_id(id).build().map(Arc::new)
        }
        Type::PrimitiveType { .. } => Ok(Arc::new(found.clone())),
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| without_texts(field));
            let mut group = Type::group_type_builder(found.name())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_fields(fields.collect::<Result<_, _>>()?)
                .with_id(id);
            if info.has_repetition() {
                group = group.with_repetition(info.repetition());
            }
            group.build().map(Arc::new)
        }
    }
}

/// The rows of the row groups that begin in some spans.
pub(crate) struct ParquetRows {
    spans: std::vec::IntoIter<FileSpan>,
    current: Option<(FilePart, ParquetRecordBatchReader)>,
    schema: SchemaRef,
    tally: Arc<Tally>,
}

impl ParquetRows {
    pub(crate) fn new(spans: Vec<FileSpan>, schema: SchemaRef, tally: Arc<Tally>) -> ParquetRows {
        ParquetRows { spans: spans.into_iter(), current: None, schema, tally }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        loop {
            if let Some((part, reader)) = &mut self.current {
                let rows = contained(part, || Ok(reader.next().transpose()?))?;
                if let Some(rows) = rows {
                    // What is wrong with a type is told as such, and what breaks as damage.
                    let fitted =
                        contained(part, || Ok(fit_rows(&rows, &self.schema, part, &self.tally)));
                    return fitted?.map(Some);
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
        let rows = self.next_batch();
        if rows.is_err() {
            // What is left of a damaged file is not asked for again.
            self.current = None;
        }
        rows.transpose()
    }
}

fn open_span(span: &FileSpan, wanted: &Schema) -> Result<ParquetRecordBatchReader, ConnectorError> {
    let file = open(&span.part)?;
    depth::check(&span.part, &file)?;
    let reading = contained(&span.part, || Ok(reading(&file)?))?;
    let mut roots = Vec::new();
    for field in wanted.fields() {
        roots.extend(find(reading.schema().fields(), field.name(), &span.part)?);
    }
    contained(&span.part, || {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, reading);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let groups = builder.metadata().row_groups().iter().enumerate();
        let begins_here = |group: &RowGroupMetaData| (span.start..span.end).contains(&begin(group));
        let groups = groups.filter(|(_, group)| begins_here(group)).map(|(index, _)| index);
        let groups = groups.collect();
        let builder = builder.with_projection(mask).with_row_groups(groups);
        Ok(builder.with_batch_size(BATCH_ROWS).build()?)
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

/// The columns that are wanted, in their order and types; those that the file lacks are null.
fn fit_rows(
    rows: &RecordBatch,
    wanted: &SchemaRef,
    part: &FilePart,
    tally: &Tally,
) -> Result<RecordBatch, ConnectorError> {
    let mut fit = Fit::new(part);
    let columns =
        fit.children(rows.schema().fields(), rows.columns(), wanted.fields(), rows.num_rows())?;
    fit.tell(tally);
    let rows = record_batch(wanted, columns, rows.num_rows());
    contained(part, || Ok(rows?))
}
