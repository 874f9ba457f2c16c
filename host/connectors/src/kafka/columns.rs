//! The columns of Kafka's rows, built from records.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use tidemill_types::UTC;

use super::native::Record;
use super::offsets::TopicPartition;
use crate::rows::BATCH_ROWS;

/// Bytes that a builder of keys or values begins with, for each row.
const BYTES_A_ROW: usize = 16;

const MICROS_PER_MILLI: i64 = 1000;

/// The columns of every Kafka source; the last one only with `includeHeaders`.
pub(super) fn schema(has_headers: bool) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; 2]> = LazyLock::new(|| {
        let mut fields = vec![
            Field::new("key", DataType::Binary, true),
            Field::new(VALUE, DataType::Binary, true),
            Field::new("topic", DataType::Utf8, false),
            Field::new("partition", DataType::Int32, false),
            Field::new("offset", DataType::Int64, false),
            Field::new(
                "timestamp",
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
                true,
            ),
            Field::new("timestampType", DataType::Int32, false),
        ];
        let plain = Arc::new(Schema::new(fields.clone()));
        fields.push(Field::new("headers", DataType::List(header_item()), true));
        [plain, Arc::new(Schema::new(fields))]
    });
    Arc::clone(&SCHEMAS[usize::from(has_headers)])
}

pub(super) const VALUE: &str = "value";

fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Binary, true),
    ])
}

fn header_item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), true))
}

/// A column that is being built.
enum Column {
    Key(BinaryBuilder),
    Value(BinaryBuilder),
    Topic(StringBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampType(Int32Builder),
    Headers(ListBuilder<StructBuilder>),
}

impl Column {
    fn new(field: &Field) -> Column {
        let bytes = || BinaryBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * BYTES_A_ROW);
        match field.name().as_str() {
            "key" => Column::Key(bytes()),
            VALUE => Column::Value(bytes()),
            "topic" => {
                Column::Topic(StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * BYTES_A_ROW))
            }
            "partition" => Column::Partition(Int32Builder::with_capacity(BATCH_ROWS)),
            "offset" => Column::Offset(Int64Builder::with_capacity(BATCH_ROWS)),
            "timestamp" => Column::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(BATCH_ROWS).with_timezone(UTC),
            ),
            "timestampType" => Column::TimestampType(Int32Builder::with_capacity(BATCH_ROWS)),
            _ => {
                let item = StructBuilder::from_fields(header_fields(), 0);
                Column::Headers(ListBuilder::new(item).with_field(header_item()))
            }
        }
    }

    /// Gives the bytes of the headers that it took: key and value the caller knows.
    #[inline]
    fn push(&mut self, place: &TopicPartition, record: Record<'_>) -> usize {
        let mut of_headers = 0;
        match self {
            Column::Key(column) => column.append_option(record.key()),
            Column::Value(column) => column.append_option(record.value()),
            Column::Topic(column) => column.append_value(&place.topic),
            Column::Partition(column) => column.append_value(place.partition),
            Column::Offset(column) => column.append_value(record.offset()),
            Column::Timestamp(column) => {
                let millis = record.timestamp().0;
                column.append_option(millis.map(|millis| millis.saturating_mul(MICROS_PER_MILLI)));
            }
            Column::TimestampType(column) => column.append_value(record.timestamp().1 as i32),
            Column::Headers(column) => {
                let item = column.values();
                let has_some = record.headers(|name, value| {
                    of_headers += name.len() + value.map_or(0, <[u8]>::len);
                    if let Some(names) = item.field_builder::<StringBuilder>(0) {
                        names.append_value(name);
                    }
                    if let Some(values) = item.field_builder::<BinaryBuilder>(1) {
                        values.append_option(value);
                    }
                    item.append(true);
                });
                column.append(has_some);
            }
        }
        of_headers
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Key(column) | Column::Value(column) => Arc::new(column.finish()),
            Column::Topic(column) => Arc::new(column.finish()),
            Column::Partition(column) | Column::TimestampType(column) => Arc::new(column.finish()),
            Column::Offset(column) => Arc::new(column.finish()),
            Column::Timestamp(column) => Arc::new(column.finish()),
            Column::Headers(column) => Arc::new(column.finish()),
        }
    }
}

/// Some columns of the rows to come.
pub(super) struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
}

impl Columns {
    /// Those of `schema`, which is a projection of [`schema`].
    pub(super) fn new(schema: SchemaRef) -> Columns {
        let columns = schema.fields().iter().map(|field| Column::new(field)).collect();
        Columns { schema, columns }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Gives the bytes that it took, about.
    #[inline]
    pub(super) fn push(&mut self, place: &TopicPartition, record: Record<'_>) -> usize {
        let of_headers: usize =
            self.columns.iter_mut().map(|column| column.push(place, record)).sum();
        record.size() + of_headers
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}
