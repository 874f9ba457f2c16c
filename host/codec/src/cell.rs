//! A value as Spark's `show()` prints it: `{a, 1}`, `[1, 2]`, `{k -> v}`, `NULL`,
//! `2026-01-01 10:00:00.5`.

use std::io::Write as _;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, Float32Type, Float64Type,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;

use crate::text::{
    Fraction, write_calendar, write_date, write_decimal, write_f32, write_f64, write_time,
};
use tidemill_time::Zone;
use tidemill_types::{IntervalFields, UTC};

/// What the text of a value depends on, besides the value.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Whose clocks show timestamps.
    pub zone: Zone,
    /// The fields that intervals are written by.
    pub intervals: IntervalFields,
}

impl Shown {
    /// What the texts of a column's values depend on.
    #[must_use]
    pub fn of_column(column: &Field, zone: Zone) -> Shown {
        Shown { zone, intervals: IntervalFields::of_column(column) }
    }
}

impl From<Zone> for Shown {
    /// Intervals with all fields.
    fn from(zone: Zone) -> Shown {
        Shown { zone, intervals: IntervalFields::default() }
    }
}

/// The text of one value.
#[must_use]
pub fn format_cell(array: &dyn Array, row: usize, shown: impl Into<Shown>) -> String {
    let mut text = Vec::new();
    write_cell(array, row, shown.into(), &mut text);
    match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Appends the text of one value.
pub fn write_cell(array: &dyn Array, row: usize, shown: Shown, out: &mut Vec<u8>) {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.extend_from_slice(b"NULL");
        return;
    }
    match array.data_type() {
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Float64 => write_f64(array.as_primitive::<Float64Type>().value(row), out),
        DataType::Float32 => write_f32(array.as_primitive::<Float32Type>().value(row), out),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            write_decimal(value, *scale, out);
        }
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            write_date(days, out);
        }
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, kind) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let local = kind.as_ref().and_then(|_| shown.zone.local(micros));
            let micros = local.unwrap_or(micros);
            write_time(micros, b' ', Fraction::AsNeeded, out);
        }
        DataType::Timestamp(_, kind) => {
            let kind = kind.as_ref().map(|_| UTC.into());
            let wanted = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, kind);
            write_as(array, row, &wanted, shown, out);
        }
        DataType::Duration(arrow::datatypes::TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
            shown.intervals.of_micros().write(micros, out);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            shown.intervals.of_months().write(months.into(), out);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let interval = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            write_calendar(interval, out);
        }
        DataType::Duration(_) => {
            let wanted = DataType::Duration(arrow::datatypes::TimeUnit::Microsecond);
            write_as(array, row, &wanted, shown, out);
        }
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row);
            let digits = bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>();
            // Writing to a Vec cannot fail.
            let _ = write!(out, "[{}]", digits.join(" "));
        }
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            write_as(array, row, &DataType::Binary, shown, out);
        }
        DataType::Dictionary(_, value) => write_as(array, row, value, shown, out),
        DataType::Struct(_) => {
            let fields = array.as_struct().columns();
            write_items(out, (b'{', b'}'), fields.len(), |i, out| {
                write_cell(&fields[i], row, shown, out)
            });
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            write_items(out, (b'[', b']'), items.len(), |i, out| write_cell(&items, i, shown, out));
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            write_items(out, (b'{', b'}'), entries.len(), |i, out| {
                write_cell(keys, i, shown, out);
                out.extend_from_slice(b" -> ");
                write_cell(values, i, shown, out);
            });
        }
        // Whole numbers, booleans and strings of other layouts look the same everywhere.
        _ => {
            out.extend_from_slice(array_value_to_string(array, row).unwrap_or_default().as_bytes())
        }
    }
}

fn write_items(
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    len: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>),
) {
    out.push(open);
    for i in 0..len {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write(i, out);
    }
    out.push(close);
}

/// Writes the value by way of another type.
fn write_as(array: &dyn Array, row: usize, wanted: &DataType, shown: Shown, out: &mut Vec<u8>) {
    match cast(&array.slice(row, 1), wanted) {
        Ok(one) => write_cell(&one, 0, shown, out),
        Err(_) => {
            out.extend_from_slice(array_value_to_string(array, row).unwrap_or_default().as_bytes())
        }
    }
}
