//! A schema from a guest.
//!
//! Notes on columns and on the schema stay behind: they are the plan's to make.

use std::sync::Arc;

use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, Fields,
    IntervalUnit, Schema, SchemaRef, TimeUnit, validate_decimal_precision_and_scale,
};
use arrow::error::ArrowError;
use arrow::ipc::{self as fb, Message, MessageHeader};

use super::message::framed;
use crate::limits::{SCHEMA_BYTES_MAX, SCHEMA_COLUMNS_MAX};
use crate::text::shortened;

/// A schema of a message of its own.
pub(crate) fn decode_schema(message: &[u8]) -> Result<SchemaRef, String> {
    schema_of(&framed(message, 0)?.message, message.len())
}

/// Dictionaries travel in messages of their own, which the contract does not have.
pub(crate) fn is_encoded(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
}

/// The schema of a message that has so many bytes.
pub(super) fn schema_of(message: &Message<'_>, bytes: usize) -> Result<SchemaRef, String> {
    if bytes > SCHEMA_BYTES_MAX {
        return Err(format!("a schema of {bytes} bytes; the limit is {SCHEMA_BYTES_MAX}"));
    }
    let kind = message.header_type();
    if kind != MessageHeader::Schema {
        return Err(format!("a message of the kind {kind:?} where a schema belongs"));
    }
    let schema = message.header_as_schema().ok_or("a message without its header")?;
    if schema.endianness() != fb::Endianness::Little {
        return Err("columns of big-endian numbers; only little-endian ones cross".to_owned());
    }
    let mut columns = Columns { left: SCHEMA_COLUMNS_MAX };
    let fields = schema.fields().into_iter().flatten().map(|field| columns.field(field));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Fields, String>>()?)))
}

/// Counts columns while they are made.
struct Columns {
    left: usize,
}

impl Columns {
    /// Calls itself for what is inside of a column: as deep as the check of the metadata allows,
    /// which is 64.
    fn field(&mut self, field: fb::Field<'_>) -> Result<Field, String> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            format!("more columns than the limit, which is {SCHEMA_COLUMNS_MAX} with those inside others")
        })?;
        let name = field.name().unwrap_or_default();
        let data_type = match field.dictionary() {
            Some(_) => Err("a dictionary: only plain columns cross the boundary".to_owned()),
            None => self.data_type(field),
        };
        let data_type =
            data_type.map_err(|reason| format!("column \"{}\" is {reason}", shortened(name)))?;
        Ok(Field::new(name, data_type, field.nullable()))
    }

    /// The error completes "the column is …".
    fn data_type(&mut self, field: fb::Field<'_>) -> Result<DataType, String> {
        match field.type_type() {
            fb::Type::List => Ok(DataType::List(Arc::new(self.child(field)?))),
            fb::Type::LargeList => Ok(DataType::LargeList(Arc::new(self.child(field)?))),
            fb::Type::FixedSizeList => {
                let size = field.type_as_fixed_size_list().map(|list| list.listSize());
                let size = size.filter(|size| *size >= 0).ok_or("a list of no size")?;
                Ok(DataType::FixedSizeList(Arc::new(self.child(field)?), size))
            }
            fb::Type::Struct_ => {
                let children = field.children().into_iter().flatten();
                let fields = children.map(|child| self.field(child));
                Ok(DataType::Struct(fields.collect::<Result<Fields, String>>()?))
            }
            fb::Type::Map => {
                let map = field.type_as_map().ok_or("a map without its type")?;
                let entries = self.child(field)?;
                if !is_map_entries(&entries) {
                    return Err("a map whose entries are no pairs of a key and a value".to_owned());
                }
                Ok(DataType::Map(Arc::new(entries), map.keysSorted()))
            }
            _ => simple(field),
        }
    }

    fn child(&mut self, field: fb::Field<'_>) -> Result<Field, String> {
        let children = field.children().filter(|children| children.len() == 1);
        let children = children.ok_or("a list or a map that is not of one column")?;
        self.field(children.get(0))
    }
}

fn is_map_entries(entries: &Field) -> bool {
    match entries.data_type() {
        DataType::Struct(fields) => {
            fields.len() == 2 && !entries.is_nullable() && !fields[0].is_nullable()
        }
        _ => false,
    }
}

/// Types without others inside.
fn simple(field: fb::Field<'_>) -> Result<DataType, String> {
    let of_kind = |kind| format!("of the type {kind:?}, which does not cross the boundary");
    let unknown = || of_kind(field.type_type());
    Ok(match field.type_type() {
        fb::Type::Null => DataType::Null,
        fb::Type::Bool => DataType::Boolean,
        fb::Type::Utf8 => DataType::Utf8,
        fb::Type::LargeUtf8 => DataType::LargeUtf8,
        fb::Type::Utf8View => DataType::Utf8View,
        fb::Type::Binary => DataType::Binary,
        fb::Type::LargeBinary => DataType::LargeBinary,
        fb::Type::BinaryView => DataType::BinaryView,
        fb::Type::FixedSizeBinary => {
            let width = field.type_as_fixed_size_binary().map(|binary| binary.byteWidth());
            DataType::FixedSizeBinary(width.filter(|width| *width >= 0).ok_or_else(unknown)?)
        }
        fb::Type::Int => integer(field).ok_or_else(unknown)?,
        fb::Type::FloatingPoint => {
            match field.type_as_floating_point().ok_or_else(unknown)?.precision() {
                fb::Precision::HALF => DataType::Float16,
                fb::Precision::SINGLE => DataType::Float32,
                fb::Precision::DOUBLE => DataType::Float64,
                _ => return Err(unknown()),
            }
        }
        fb::Type::Decimal => decimal(field)?,
        fb::Type::Date => match field.type_as_date().ok_or_else(unknown)?.unit() {
            fb::DateUnit::DAY => DataType::Date32,
            fb::DateUnit::MILLISECOND => DataType::Date64,
            _ => return Err(unknown()),
        },
        fb::Type::Time => {
            let time = field.type_as_time().ok_or_else(unknown)?;
            match (time.bitWidth(), unit(time.unit()).ok_or_else(unknown)?) {
                (32, unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
                (64, unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => {
                    DataType::Time64(unit)
                }
                _ => return Err(unknown()),
            }
        }
        fb::Type::Timestamp => {
            let time = field.type_as_timestamp().ok_or_else(unknown)?;
            let zone = time.timezone().map(Arc::from);
            DataType::Timestamp(unit(time.unit()).ok_or_else(unknown)?, zone)
        }
        fb::Type::Duration => {
            let duration = field.type_as_duration().ok_or_else(unknown)?;
            DataType::Duration(unit(duration.unit()).ok_or_else(unknown)?)
        }
        fb::Type::Interval => match field.type_as_interval().ok_or_else(unknown)?.unit() {
            fb::IntervalUnit::YEAR_MONTH => DataType::Interval(IntervalUnit::YearMonth),
            fb::IntervalUnit::DAY_TIME => DataType::Interval(IntervalUnit::DayTime),
            fb::IntervalUnit::MONTH_DAY_NANO => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    })
}

fn integer(field: fb::Field<'_>) -> Option<DataType> {
    let int = field.type_as_int()?;
    Some(match (int.bitWidth(), int.is_signed()) {
        (8, true) => DataType::Int8,
        (8, false) => DataType::UInt8,
        (16, true) => DataType::Int16,
        (16, false) => DataType::UInt16,
        (32, true) => DataType::Int32,
        (32, false) => DataType::UInt32,
        (64, true) => DataType::Int64,
        (64, false) => DataType::UInt64,
        _ => return None,
    })
}

fn decimal(field: fb::Field<'_>) -> Result<DataType, String> {
    let decimal = field.type_as_decimal().ok_or("a decimal without its type")?;
    let (width, precision, scale) = (decimal.bitWidth(), decimal.precision(), decimal.scale());
    let none = || format!("a decimal of {precision} digits and {scale} decimals in {width} bits");
    let (Ok(digits), Ok(decimals)) = (u8::try_from(precision), i8::try_from(scale)) else {
        return Err(none());
    };
    let checked = match width {
        32 => validate_decimal_precision_and_scale::<Decimal32Type>(digits, decimals),
        64 => validate_decimal_precision_and_scale::<Decimal64Type>(digits, decimals),
        128 => validate_decimal_precision_and_scale::<Decimal128Type>(digits, decimals),
        256 => validate_decimal_precision_and_scale::<Decimal256Type>(digits, decimals),
        _ => return Err(none()),
    };
    checked.map_err(|error: ArrowError| format!("{}: {error}", none()))?;
    Ok(match width {
        32 => DataType::Decimal32(digits, decimals),
        64 => DataType::Decimal64(digits, decimals),
        128 => DataType::Decimal128(digits, decimals),
        _ => DataType::Decimal256(digits, decimals),
    })
}

fn unit(unit: fb::TimeUnit) -> Option<TimeUnit> {
    Some(match unit {
        fb::TimeUnit::SECOND => TimeUnit::Second,
        fb::TimeUnit::MILLISECOND => TimeUnit::Millisecond,
        fb::TimeUnit::MICROSECOND => TimeUnit::Microsecond,
        fb::TimeUnit::NANOSECOND => TimeUnit::Nanosecond,
        _ => return None,
    })
}
