//! Rows to JSON text, as Spark's `to_json` writes them with the formats that scripts rely on:
//! timestamps with their offset from UTC and milliseconds (microseconds where there are any),
//! TIMESTAMP_NTZ without the offset, intervals as INTERVAL literals, NaN and infinities as strings, DECIMAL as a number with its scale, BINARY as
//! base64, MAP as an object.

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringBuilder, StructArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Fields, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Schema, TimeUnit, TimestampMicrosecondType,
};

use crate::text::{
    Fraction, encode_base64, write_calendar, write_date, write_decimal, write_json_f32,
    write_json_f64, write_json_string, write_time, write_zoned_time,
};
use crate::times::WrittenTimes;
use tidemill_time::{TimeError, Zone};
use tidemill_types::{IntervalFields, UTC, format_type};

/// What may be chosen about the text.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// Leave out fields that are null (`ignoreNullFields`), as `to_json` does without options.
    pub ignore_null_fields: bool,
    /// How dates and times are written.
    pub times: WrittenTimes,
    /// The fields that [`to_json`] writes intervals by; a [`JsonEncoder`] asks its columns.
    pub intervals: IntervalFields,
}

/// Why rows cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A type has no JSON.
    #[error("column \"{column}\" is {data_type}, which cannot be written as JSON")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A time cannot be written by the pattern for times.
    #[error(transparent)]
    Time(#[from] TimeError),
}

#[derive(Debug)]
struct Column {
    /// With quotes and colon.
    name: Vec<u8>,
    /// The type that it is written from.
    written: DataType,
    intervals: IntervalFields,
}

/// Writes rows of one schema.
#[derive(Debug)]
pub struct JsonEncoder {
    options: EncodeOptions,
    columns: Vec<Column>,
}

impl JsonEncoder {
    /// An encoder for batches with these columns.
    pub fn new(schema: &Schema, options: EncodeOptions) -> Result<JsonEncoder, EncodeError> {
        let columns = schema.fields().iter().map(|field| {
            let written = written_type(field.data_type()).ok_or_else(|| EncodeError::Type {
                column: field.name().clone(),
                data_type: format_type(field.data_type()),
            })?;
            let intervals = IntervalFields::of_column(field);
            Ok(Column { name: written_name(field.name()), written, intervals })
        });
        Ok(JsonEncoder { options, columns: columns.collect::<Result<_, EncodeError>>()? })
    }

    /// Appends the rows, one line each. `batch` has the encoder's columns.
    ///
    /// # Errors
    /// A time cannot be written by the pattern for times; then nothing is appended.
    pub fn encode_rows(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let rows = self.rows(batch)?;
        for row in 0..batch.num_rows() {
            rows.write(row, out);
            out.push(b'\n');
        }
        Ok(())
    }

    /// The rows of a batch, to be written one by one. `batch` has the encoder's columns.
    ///
    /// # Errors
    /// A time cannot be written by the pattern for times.
    pub fn rows<'a>(&'a self, batch: &RecordBatch) -> Result<EncodeRows<'a>, EncodeError> {
        let columns = self.columns.iter().zip(batch.columns());
        let writers = columns.map(|(column, array)| {
            let array = normalised(array, &column.written);
            let writer = Writer::new(&array, &self.options, column.intervals)?;
            Ok((column.name.as_slice(), writer))
        });
        let columns = writers.collect::<Result<_, EncodeError>>()?;
        Ok(EncodeRows { leaves_nulls: self.options.ignore_null_fields, columns })
    }
}

/// Rows of one batch that can be written.
pub struct EncodeRows<'a> {
    leaves_nulls: bool,
    columns: Vec<(&'a [u8], Writer)>,
}

impl EncodeRows<'_> {
    /// Appends row `row` as an object.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        let fields = self.columns.iter().map(|(name, writer)| (*name, writer));
        write_fields(fields, row, self.leaves_nulls, out);
    }
}

/// What the texts of a column are first given room for, each.
const BYTES_A_TEXT: usize = 64;

/// Spark's `to_json` of one column: text, or null where the value is null.
pub fn to_json(
    values: &ArrayRef,
    options: &EncodeOptions,
) -> Result<arrow::array::StringArray, EncodeError> {
    let written = written_type(values.data_type()).ok_or_else(|| EncodeError::Type {
        column: "value".to_owned(),
        data_type: format_type(values.data_type()),
    })?;
    let writer = Writer::new(&normalised(values, &written), options, options.intervals)?;
    let mut texts = StringBuilder::with_capacity(values.len(), values.len() * BYTES_A_TEXT);
    let mut text = Vec::new();
    for row in 0..values.len() {
        text.clear();
        if writer.is_valid(row) {
            writer.write(row, &mut text);
            texts.append_value(String::from_utf8_lossy(&text));
        } else {
            texts.append_null();
        }
    }
    Ok(texts.finish())
}

/// The type of a column once it is one of the few that values are written from, or `None` where
/// it has no JSON.
fn written_type(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    let field = |field: &arrow::datatypes::FieldRef| {
        let written = written_type(field.data_type())?;
        Some(Arc::new(field.as_ref().clone().with_data_type(written)))
    };
    Some(match data_type {
        T::Utf8View | T::LargeUtf8 => T::Utf8,
        T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_) => T::Binary,
        T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => T::Int64,
        T::Date64 => T::Date32,
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        T::Duration(_) => T::Duration(TimeUnit::Microsecond),
        T::Interval(IntervalUnit::YearMonth) => data_type.clone(),
        T::Interval(_) => T::Interval(IntervalUnit::MonthDayNano),
        T::Decimal32(p, s) | T::Decimal64(p, s) => T::Decimal128(*p, *s),
        T::Dictionary(_, value) => written_type(value)?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => T::List(field(item)?),
        T::Struct(fields) => T::Struct(fields.iter().map(field).collect::<Option<Fields>>()?),
        T::Map(entries, ordered) => T::Map(field(entries)?, *ordered),
        T::Null | T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 => data_type.clone(),
        T::Float32 | T::Float64 | T::Utf8 | T::Binary | T::Date32 | T::Decimal128(..) => {
            data_type.clone()
        }
        _ => return None,
    })
}

/// The array as an array of its written type. Where Arrow cannot cast a value it is null.
fn normalised(array: &ArrayRef, written: &DataType) -> ArrayRef {
    if array.data_type() == written {
        return array.clone();
    }
    cast(array, written).unwrap_or_else(|_| new_null_array(written, array.len()))
}

fn written_name(name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    write_json_string(name, &mut text);
    text.push(b':');
    text
}

/// Writes the values of one array: its type is found out once, not for each row.
struct Writer {
    array: ArrayRef,
    leaves_nulls: bool,
    zone: Zone,
    fraction: Fraction,
    intervals: IntervalFields,
    children: Vec<(Vec<u8>, Writer)>,
}

impl Writer {
    fn new(
        array: &ArrayRef,
        options: &EncodeOptions,
        intervals: IntervalFields,
    ) -> Result<Writer, EncodeError> {
        let of_struct = |array: &StructArray| {
            let fields = array.fields().iter().zip(array.columns());
            let children = fields.map(|(field, array)| {
                Ok((written_name(field.name()), Writer::new(array, options, intervals)?))
            });
            children.collect::<Result<_, EncodeError>>()
        };
        let children = match array.data_type() {
            DataType::Struct(_) => of_struct(array.as_struct())?,
            DataType::Map(..) => of_struct(array.as_map().entries())?,
            DataType::List(_) => {
                vec![(
                    Vec::new(),
                    Writer::new(array.as_list::<i32>().values(), options, intervals)?,
                )]
            }
            _ => Vec::new(),
        };
        let array = match options.times.by_pattern(array)? {
            Some(texts) => Arc::new(texts),
            None => Arc::clone(array),
        };
        let (leaves_nulls, times) = (options.ignore_null_fields, &options.times);
        let (zone, fraction) = (times.zone(), times.fraction());
        Ok(Writer { array, leaves_nulls, zone, fraction, intervals, children })
    }

    fn is_valid(&self, row: usize) -> bool {
        !self.array.is_null(row) && self.array.data_type() != &DataType::Null
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if !self.is_valid(row) {
            out.extend_from_slice(b"null");
            return;
        }
        let array = &self.array;
        match array.data_type() {
            DataType::Boolean => write_bool(array.as_boolean(), row, out),
            DataType::Int8 => write_int(array.as_primitive::<Int8Type>().value(row), out),
            DataType::Int16 => write_int(array.as_primitive::<Int16Type>().value(row), out),
            DataType::Int32 => write_int(array.as_primitive::<Int32Type>().value(row), out),
            DataType::Int64 => write_int(array.as_primitive::<Int64Type>().value(row), out),
            DataType::Float32 => {
                write_json_f32(array.as_primitive::<Float32Type>().value(row), out);
            }
            DataType::Float64 => {
                write_json_f64(array.as_primitive::<Float64Type>().value(row), out);
            }
            DataType::Decimal128(_, scale) => {
                write_decimal(array.as_primitive::<Decimal128Type>().value(row), *scale, out);
            }
            DataType::Utf8 => write_json_string(array.as_string::<i32>().value(row), out),
            DataType::Binary => {
                out.push(b'"');
                out.extend(encode_base64(array.as_binary::<i32>().value(row)).into_bytes());
                out.push(b'"');
            }
            DataType::Date32 => {
                out.push(b'"');
                write_date(i64::from(array.as_primitive::<Date32Type>().value(row)), out);
                out.push(b'"');
            }
            DataType::Timestamp(_, kind) => {
                out.push(b'"');
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                match kind {
                    Some(_) => write_zoned_time(micros, self.zone, self.fraction, out),
                    None => write_time(micros, b'T', self.fraction, out),
                }
                out.push(b'"');
            }
            DataType::Interval(IntervalUnit::YearMonth) => {
                out.push(b'"');
                let months = array.as_primitive::<IntervalYearMonthType>().value(row);
                self.intervals.of_months().write(months.into(), out);
                out.push(b'"');
            }
            DataType::Interval(_) => {
                out.push(b'"');
                write_calendar(array.as_primitive::<IntervalMonthDayNanoType>().value(row), out);
                out.push(b'"');
            }
            DataType::Duration(_) => {
                out.push(b'"');
                let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
                self.intervals.of_micros().write(micros, out);
                out.push(b'"');
            }
            DataType::List(_) => self.write_list(row, out),
            DataType::Map(..) => self.write_map(row, out),
            _ => {
                let fields = self.children.iter().map(|(name, child)| (name.as_slice(), child));
                write_fields(fields, row, self.leaves_nulls, out);
            }
        }
    }

    fn write_list(&self, row: usize, out: &mut Vec<u8>) {
        let range = range(self.array.as_list::<i32>().value_offsets(), row);
        let [(_, items)] = self.children.as_slice() else { return };
        out.push(b'[');
        for (i, item) in range.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            items.write(item, out);
        }
        out.push(b']');
    }

    /// An object. A null value stays, whatever the options say: the entry is data.
    fn write_map(&self, row: usize, out: &mut Vec<u8>) {
        let range = range(self.array.as_map().value_offsets(), row);
        let [(_, keys), (_, values)] = self.children.as_slice() else { return };
        out.push(b'{');
        for (i, entry) in range.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match keys.array.data_type() {
                DataType::Utf8 => keys.write(entry, out),
                // The number that it is.
                DataType::Duration(_) => {
                    let micros = keys.array.as_primitive::<DurationMicrosecondType>().value(entry);
                    write_json_string(&micros.to_string(), out);
                }
                DataType::Interval(IntervalUnit::YearMonth) => {
                    let months = keys.array.as_primitive::<IntervalYearMonthType>().value(entry);
                    write_json_string(&months.to_string(), out);
                }
                _ => {
                    let text = crate::cell::format_cell(&keys.array, entry, keys.zone);
                    write_json_string(&text, out);
                }
            }
            out.push(b':');
            values.write(entry, out);
        }
        out.push(b'}');
    }
}

fn write_fields<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a Writer)>,
    row: usize,
    leaves_nulls: bool,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    let mut is_first = true;
    for (name, writer) in fields {
        if leaves_nulls && !writer.is_valid(row) {
            continue;
        }
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.extend_from_slice(name);
        writer.write(row, out);
    }
    out.push(b'}');
}

fn write_bool(array: &BooleanArray, row: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
}

fn write_int(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}
