//! Rows seen as records: which columns are the key, the value and the rest.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, RecordBatch};
use arrow::compute::{CastOptions, cast, cast_with_options, min};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use rdkafka::message::{Header, OwnedHeaders};
use tidemill_core::ConnectorError;

use super::native::{ANY_PARTITION, Outgoing};

/// Where the columns of a record are among a query's.
pub(super) struct OutgoingColumns {
    key: Option<usize>,
    value: usize,
    topic: Option<usize>,
    partition: Option<usize>,
    headers: Option<usize>,
}

impl OutgoingColumns {
    /// Finds them by name in any case, as Spark does, and refuses any other column, which would be
    /// lost.
    pub(super) fn find(
        schema: &SchemaRef,
        has_topic: bool,
        takes_headers: bool,
    ) -> Result<OutgoingColumns, String> {
        let known = ["key", "value", "topic", "partition", "headers"];
        for field in schema.fields() {
            if !known.iter().any(|known| field.name().eq_ignore_ascii_case(known)) {
                return Err(format!(
                    "a Kafka record has no place for column \"{}\"; its columns are key, value, topic, partition and headers. Put the rest into value: SELECT CAST(id AS STRING) AS key, to_json(struct(*)) AS value",
                    field.name()
                ));
            }
        }
        let find = |name: &str, takes: fn(&DataType) -> bool, wanted: &str| {
            let fields = schema.fields().iter().enumerate();
            let mut fields = fields.filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
            match (fields.next(), fields.next()) {
                (None, _) => Ok(None),
                (Some((_, one)), Some((_, other))) => Err(format!(
                    "columns \"{}\" and \"{}\" are both the record's {name}; keep one",
                    one.name(),
                    other.name()
                )),
                (Some((index, field)), None) if takes(field.data_type()) => Ok(Some(index)),
                (Some((_, field)), None) => Err(format!(
                    "column \"{}\" is {}; it has to be {wanted}",
                    field.name(),
                    field.data_type()
                )),
            }
        };
        let value = find("value", is_bytes, "STRING or BINARY")?
            .ok_or("the rows have no column \"value\", which a Kafka record needs; for example to_json(struct(*)) AS value")?;
        let topic = find("topic", DataType::is_string, "STRING")?;
        if !has_topic && topic.is_none() {
            return Err(
                "no topic is named: set the option topic, or give the rows a column \"topic\""
                    .to_owned(),
            );
        }
        let headers = find("headers", is_headers, "ARRAY<STRUCT<key: STRING, value: BINARY>>")?;
        if headers.is_some() && !takes_headers {
            return Err("the rows have a column \"headers\", which includeHeaders = false forbids to send; remove one of the two".to_owned());
        }
        Ok(OutgoingColumns {
            key: find("key", is_bytes, "STRING or BINARY")?,
            value,
            topic: topic.filter(|_| !has_topic),
            partition: find("partition", DataType::is_signed_integer, "INT")?,
            headers,
        })
    }
}

fn is_bytes(kind: &DataType) -> bool {
    kind.is_string()
        || matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_headers(kind: &DataType) -> bool {
    let DataType::List(item) = kind else {
        return false;
    };
    matches!(item.data_type(), DataType::Struct(fields)
        if fields.len() == 2 && fields[0].data_type().is_string() && is_bytes(fields[1].data_type()))
}

/// The rows of a record batch, as records.
pub(super) struct OutgoingRows<'a> {
    count: usize,
    key: Option<Bytes<'a>>,
    value: Bytes<'a>,
    topic: Option<Bytes<'a>>,
    partition: Option<Int32Array>,
    headers: Option<(&'a ListArray, ArrayRef, ArrayRef)>,
}

/// Some rows of a record batch, in its order.
pub(super) enum Picked<'a> {
    /// So many from the first on.
    First(usize),
    These(&'a [usize]),
}

impl Picked<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Picked::First(count) => *count,
            Picked::These(rows) => rows.len(),
        }
    }

    #[inline]
    pub(super) fn row(&self, index: usize) -> usize {
        match self {
            Picked::First(_) => index,
            Picked::These(rows) => rows[index],
        }
    }
}

impl<'a> OutgoingRows<'a> {
    pub(super) fn new(
        rows: &'a RecordBatch,
        columns: &OutgoingColumns,
    ) -> Result<OutgoingRows<'a>, ConnectorError> {
        let bytes = |index: usize| Bytes::of(rows.column(index));
        let headers = columns.headers.map(|index| {
            let lists = rows.column(index).as_list::<i32>();
            let items = lists.values().as_struct();
            let part = |index: usize, kind| {
                cast(items.column(index), &kind).map_err(|error| {
                    ConnectorError::fatal("headers cannot be sent").caused_by(error)
                })
            };
            Ok::<_, ConnectorError>((lists, part(0, DataType::Utf8)?, part(1, DataType::Binary)?))
        });
        Ok(OutgoingRows {
            count: rows.num_rows(),
            key: columns.key.map(bytes),
            value: bytes(columns.value),
            topic: columns.topic.map(bytes),
            partition: columns.partition.map(|i| partitions(rows.column(i))).transpose()?,
            headers: headers.transpose()?,
        })
    }

    pub(super) fn all(&self) -> Picked<'static> {
        Picked::First(self.count)
    }

    /// The rows of each topic that they name.
    pub(super) fn by_topic(&self) -> Result<BTreeMap<&'a [u8], Vec<usize>>, ConnectorError> {
        let mut topics: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for row in 0..self.count {
            let topic = self.topic.as_ref().and_then(|topics| topics.get(row));
            let topic = topic.ok_or_else(|| {
                ConnectorError::fatal(
                    "a row's topic is null; give it one, or set the option topic for all rows",
                )
            })?;
            topics.entry(topic).or_default().push(row);
        }
        Ok(topics)
    }

    /// The largest partition that some rows name; `None` where they leave the choice.
    pub(super) fn largest_partition(&self, picked: &Picked<'_>) -> Option<i32> {
        let named = self.partition.as_ref()?;
        let rows = (0..picked.len()).map(|index| picked.row(index));
        rows.filter(|row| named.is_valid(*row)).map(|row| named.value(row)).max()
    }

    pub(super) fn has_headers(&self) -> bool {
        self.headers.is_some()
    }

    #[inline]
    pub(super) fn record(&self, row: usize) -> Outgoing<'a> {
        let partition = self
            .partition
            .as_ref()
            .and_then(|partitions| partitions.is_valid(row).then(|| partitions.value(row)));
        Outgoing {
            key: self.key.as_ref().and_then(|key| key.get(row)),
            value: self.value.get(row),
            partition: partition.unwrap_or(ANY_PARTITION),
        }
    }

    pub(super) fn headers(&self, row: usize) -> OwnedHeaders {
        let mut owned = OwnedHeaders::new();
        if let Some((lists, keys, values)) = &self.headers
            && lists.is_valid(row)
        {
            let (keys, values) = (keys.as_string::<i32>(), values.as_binary::<i32>());
            for item in offset(lists, row)..offset(lists, row + 1) {
                let value = values.is_valid(item).then(|| values.value(item));
                owned = owned.insert(Header { key: keys.value(item), value });
            }
        }
        owned
    }
}

/// The partitions that rows name; null leaves it to the partitioner.
fn partitions(column: &ArrayRef) -> Result<Int32Array, ConnectorError> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let partitions = cast_with_options(column, &DataType::Int32, &exact)
        .map_err(|error| ConnectorError::fatal("a row names no partition").caused_by(error))?;
    let partitions = partitions.as_primitive::<Int32Type>().clone();
    match min(&partitions) {
        Some(least) if least < 0 => Err(ConnectorError::fatal(format!(
            "a row names partition {least}; partitions begin at 0, and null leaves the choice to the partitioner"
        ))),
        _ => Ok(partitions),
    }
}

fn offset(lists: &ListArray, row: usize) -> usize {
    usize::try_from(lists.value_offsets()[row]).unwrap_or(0)
}

/// A column of texts or bytes.
#[derive(Clone)]
enum Bytes<'a> {
    Text(&'a arrow::array::StringArray),
    LargeText(&'a arrow::array::LargeStringArray),
    TextView(&'a arrow::array::StringViewArray),
    Binary(&'a arrow::array::BinaryArray),
    LargeBinary(&'a arrow::array::LargeBinaryArray),
    BinaryView(&'a arrow::array::BinaryViewArray),
}

impl<'a> Bytes<'a> {
    fn of(column: &'a ArrayRef) -> Bytes<'a> {
        match column.data_type() {
            DataType::Utf8 => Bytes::Text(column.as_string()),
            DataType::LargeUtf8 => Bytes::LargeText(column.as_string()),
            DataType::Utf8View => Bytes::TextView(column.as_string_view()),
            DataType::LargeBinary => Bytes::LargeBinary(column.as_binary()),
            DataType::BinaryView => Bytes::BinaryView(column.as_binary_view()),
            _ => Bytes::Binary(column.as_binary()),
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Bytes::Text(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Bytes::LargeText(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Bytes::TextView(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Bytes::Binary(column) => column.is_valid(row).then(|| column.value(row)),
            Bytes::LargeBinary(column) => column.is_valid(row).then(|| column.value(row)),
            Bytes::BinaryView(column) => column.is_valid(row).then(|| column.value(row)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
        let fields: Vec<Field> =
            columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn rows_that_are_no_records_are_refused_with_what_to_write() {
        let refused = |columns: &[(&str, DataType)], has_topic| {
            OutgoingColumns::find(&schema(columns), has_topic, false).err().unwrap()
        };
        let text = DataType::Utf8;
        assert!(refused(&[("key", text.clone())], true).contains("no column \"value\""));
        assert!(refused(&[("value", DataType::Int64)], true).contains("STRING or BINARY"));
        assert!(refused(&[("value", text.clone())], false).contains("no topic is named"));
        let more = [("value", text.clone()), ("amount", DataType::Int64)];
        assert!(refused(&more, true).contains("no place for column \"amount\""));
    }

    #[test]
    fn columns_are_found_in_any_case_and_once() {
        let text = DataType::Utf8;
        let found = schema(&[("KEY", text.clone()), ("Value", text.clone())]);
        let found = OutgoingColumns::find(&found, true, false).unwrap();
        assert_eq!((found.key, found.value), (Some(0), 1));
        let twice = schema(&[("value", text.clone()), ("VALUE", text)]);
        let refused = OutgoingColumns::find(&twice, true, false).err().unwrap();
        assert!(refused.contains("\"value\" and \"VALUE\" are both"), "{refused}");
    }

    #[test]
    fn rows_are_dealt_to_their_topics_in_order() {
        let schema = schema(&[
            ("topic", DataType::Utf8),
            ("value", DataType::Utf8),
            ("partition", DataType::Int32),
        ]);
        let rows = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(StringArray::from(vec!["a", "a", "b", "a"])),
                Arc::new(StringArray::from(vec![Some("1"), None, Some("3"), Some("4")])),
                Arc::new(Int32Array::from(vec![Some(2), None, Some(0), None])),
            ],
        )
        .unwrap();
        let columns = OutgoingColumns::find(&schema, false, false).unwrap();
        let rows = OutgoingRows::new(&rows, &columns).unwrap();
        let expected = [(&b"a"[..], vec![0, 1, 3]), (&b"b"[..], vec![2])];
        assert_eq!(rows.by_topic().unwrap(), expected.into());
        let record = rows.record(1);
        assert_eq!((record.value, record.partition), (None, ANY_PARTITION));
        assert_eq!((rows.record(0).value, rows.record(0).partition), (Some(&b"1"[..]), 2));
    }

    #[test]
    fn a_partition_is_a_small_whole_number_or_null() {
        let column = |numbers: Vec<Option<i64>>| Arc::new(Int64Array::from(numbers)) as ArrayRef;
        let some = partitions(&column(vec![Some(3), None])).unwrap();
        assert_eq!(some, Int32Array::from(vec![Some(3), None]));
        let error = partitions(&column(vec![Some(-1)])).unwrap_err().to_string();
        assert!(error.contains("partitions begin at 0"), "{error}");
        assert!(partitions(&column(vec![Some(1 << 40)])).is_err());
    }
}
