//! How large a function's results can be, by its arguments: known before they are made.

use std::ops::RangeInclusive;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;

use crate::memory::column_bytes;

/// What makes a lot of a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// A text so many times.
    Repeated,
    /// A text of so many characters.
    Padded,
    /// So many spaces.
    Spaces,
    /// An array of so many values.
    Filled,
    /// An array of the numbers or times from one to another.
    Series,
    /// An array with a value at such a place, before its beginning or behind its end, too.
    Inserted,
    /// A text by a pattern, which may have widths.
    Formatted,
    /// A time by a pattern, in which two characters stand for up to a whole date.
    Dated,
    /// A text with other ones in the place of parts of it.
    Replaced,
    /// The same by a regular expression.
    Matched,
    /// Everything that goes in, one after the other, with a text between them.
    Joined,
    /// At most so many times what goes in.
    Times(usize),
    /// Not more than what goes in, by places in an array, which are the arguments from that one on.
    Placed(usize),
    /// No result to speak of, but a table of as many cells as both texts have bytes, multiplied.
    Compared,
}

/// Functions that are bounded, by their own names.
pub(super) fn growth_of(function: &str) -> Option<Growth> {
    Some(match function {
        "repeat" => Growth::Repeated,
        "lpad" | "rpad" => Growth::Padded,
        "space" => Growth::Spaces,
        "array_repeat" => Growth::Filled,
        "sequence" => Growth::Series,
        "array_insert" => Growth::Inserted,
        "format_string" => Growth::Formatted,
        "to_char" | "date_format" | "from_unixtime" => Growth::Dated,
        "replace" => Growth::Replaced,
        "regexp_replace" => Growth::Matched,
        "concat" | "concat_ws" | "array_concat" | "array_append" | "array_prepend" | "array"
        | "make_array" | "map" | "map_concat" | "array_join" | "overlay" => Growth::Joined,
        "arrays_zip" | "str_to_map" => Growth::Times(8),
        "hex" | "base64" | "quote" | "soundex" => Growth::Times(2),
        "url_encode" | "upper" | "lower" | "initcap" | "translate" | "encode" => Growth::Times(4),
        // A quote in a text in a text has a backslash before each backslash.
        "to_json" | "split" | "get_json_object" | "regexp_extract_all" | "base32" => {
            Growth::Times(8)
        }
        "slice" => Growth::Placed(1),
        "levenshtein" => Growth::Compared,
        _ => return None,
    })
}

/// Arguments up to which the text between the others is there once.
const JOINED_ONCE: usize = 3;

/// A number of bytes or cells for each row.
pub(super) enum Sizes {
    /// The same for all.
    Constant(u64),
    /// One for each.
    Each(Vec<u64>),
}

impl Sizes {
    pub(super) fn of(&self, row: usize) -> u64 {
        match self {
            Sizes::Constant(size) => *size,
            Sizes::Each(sizes) => sizes.get(row).copied().unwrap_or(0),
        }
    }

    fn each(values: &[&Sizes], rows: usize, size: impl Fn(usize) -> u64) -> Sizes {
        match values.iter().all(|sizes| matches!(sizes, Sizes::Constant(_))) {
            true => Sizes::Constant(size(0)),
            false => Sizes::Each((0..rows).map(size).collect()),
        }
    }
}

impl Growth {
    /// Bytes of each result, and not less. What is no number or text where it should be one is left
    /// to the function to complain of.
    pub(super) fn sizes(self, arguments: &[ColumnarValue], rows: usize) -> Result<Sizes> {
        let bytes = |place: usize| match arguments.get(place) {
            Some(argument) => bytes_of(argument),
            None => Ok(Sizes::Constant(0)),
        };
        let times = |place: usize| match arguments.get(place) {
            Some(argument) => counts_of(argument),
            None => Ok(Sizes::Constant(0)),
        };
        let product = |one: Sizes, other: Sizes| {
            Sizes::each(&[&one, &other], rows, |row| one.of(row).saturating_mul(other.of(row)))
        };
        Ok(match self {
            Growth::Repeated => product(bytes(0)?, times(1)?),
            // A character has four bytes at most.
            Growth::Padded => product(times(1)?, Sizes::Constant(4)),
            Growth::Spaces => times(0)?,
            Growth::Placed(_) => Sizes::Constant(0),
            Growth::Filled => {
                let bytes = bytes(0)?;
                let bytes = Sizes::each(&[&bytes], rows, |row| element(bytes.of(row)));
                product(bytes, times(1)?)
            }
            Growth::Inserted => {
                let value = bytes(2)?;
                let value = Sizes::each(&[&value], rows, |row| element(value.of(row)));
                let array = bytes(0)?;
                let places = match arguments.get(1) {
                    Some(place) => distances_of(place)?,
                    None => Sizes::Constant(0),
                };
                Sizes::each(&[&array, &value, &places], rows, |row| {
                    let added = value.of(row).saturating_mul(places.of(row).max(1));
                    array.of(row).saturating_add(added)
                })
            }
            Growth::Compared => product(bytes(0)?, bytes(1)?),
            Growth::Series => series(arguments, rows)?,
            Growth::Formatted => {
                let widths = mapped(&arguments[0], &|pattern| widths_in(pattern))?;
                let uses = mapped(&arguments[0], &|pattern| pattern.matches('%').count() as u64)?;
                let all = all_bytes(&arguments[1..], rows)?;
                Sizes::each(&[&widths, &uses, &all], rows, |row| {
                    // A number has some hundred digits at most.
                    let values = (all.of(row).saturating_add(400)).saturating_mul(uses.of(row));
                    widths.of(row).saturating_add(values)
                })
            }
            Growth::Dated => {
                let pattern = bytes(1)?;
                // `%+` has 32 characters, and seven more in a year of six digits with a sign.
                Sizes::each(&[&pattern], rows, |row| pattern.of(row).saturating_mul(20) + 40)
            }
            Growth::Replaced | Growth::Matched => self.replaced(arguments, rows)?,
            Growth::Joined => {
                let all = all_bytes(arguments, rows)?;
                let between = match arguments {
                    [_, between, ..] => bytes_of(between)?,
                    _ => Sizes::Constant(0),
                };
                let first = bytes(0)?;
                // The text between stands before or after the others: `concat_ws(between, …)`,
                // `array_to_string(array, between)`.
                let values = arguments.iter().map(elements_of).collect::<Result<Vec<_>>>()?;
                let refs: Vec<&Sizes> =
                    [&all, &between, &first].into_iter().chain(&values).collect();
                Sizes::each(&refs, rows, |row| {
                    let count: u64 = values.iter().map(|sizes| sizes.of(row)).sum();
                    let longest = between.of(row).max(first.of(row));
                    let is_list = values.iter().any(|sizes| sizes.of(row) > 1);
                    let joins_many = is_list || arguments.len() > JOINED_ONCE;
                    let joints = if joins_many { count.saturating_mul(longest) } else { 0 };
                    all.of(row).saturating_mul(2).saturating_add(joints)
                })
            }
            Growth::Times(factor) => {
                let all = all_bytes(arguments, rows)?;
                Sizes::each(&[&all], rows, |row| all.of(row).saturating_mul(factor as u64))
            }
        })
    }

    /// Bytes of all results together, and not less, where the arguments' buffers tell them without a
    /// look at each row.
    pub(super) fn most(self, arguments: &[ColumnarValue], rows: usize) -> Option<u64> {
        let factor = match self {
            Growth::Times(factor) => factor as u64,
            // Of what is no list, each argument is there once, or a second time between two others.
            Growth::Joined if arguments.len() <= JOINED_ONCE => 2,
            _ => return None,
        };
        let bytes = |argument: &ColumnarValue| match argument {
            ColumnarValue::Array(values) => {
                let kind = values.data_type();
                let is_flat = matches!(kind, DataType::Utf8 | DataType::LargeUtf8)
                    || kind.primitive_width().is_some();
                is_flat.then(|| column_bytes(values))
            }
            ColumnarValue::Scalar(value) if value.data_type().is_nested() => None,
            ColumnarValue::Scalar(value) => Some((value.size() as u64).saturating_mul(rows as u64)),
        };
        let all = arguments.iter().map(bytes).sum::<Option<u64>>()?;
        Some(all.saturating_mul(factor))
    }

    /// Takes numbers that functions reckon with into a range in which that does not overflow: nothing is
    /// as often as less than nothing, and no array has places beyond.
    pub(super) fn tame(self, arguments: &mut [ColumnarValue]) -> Result<()> {
        const FAR: i64 = 1 << 40;
        let (places, range) = match self {
            Growth::Repeated | Growth::Padded => (1..2, 0..=i64::MAX),
            Growth::Placed(first) => (first..3, -FAR..=FAR),
            _ => return Ok(()),
        };
        for place in places {
            if let Some(argument) = arguments.get_mut(place) {
                within(argument, &range)?;
            }
        }
        Ok(())
    }

    /// Each place that is replaced gives the other text, in which a group may stand for a part of the
    /// text itself.
    fn replaced(self, arguments: &[ColumnarValue], rows: usize) -> Result<Sizes> {
        let [text, part, by, ..] = arguments else {
            return Ok(Sizes::Constant(0));
        };
        let (texts, parts, by_bytes) = (bytes_of(text)?, bytes_of(part)?, bytes_of(by)?);
        let groups = match self {
            Growth::Matched => mapped(by, &|by| by.matches(['\\', '$']).count() as u64)?,
            _ => Sizes::Constant(0),
        };
        Ok(Sizes::each(&[&texts, &parts, &by_bytes, &groups], rows, |row| {
            let text = texts.of(row);
            let places = match self {
                Growth::Matched => text + 1,
                _ => text / parts.of(row).max(1) + 1,
            };
            let kept = text.saturating_mul(1 + groups.of(row));
            kept.saturating_add(places.saturating_mul(by_bytes.of(row)))
        }))
    }
}

/// What an element of an array takes that has so many bytes: while the array is made, two places of
/// eight bytes each say which value it is, and then an offset, a view or a number is there even for
/// what is null or empty.
fn element(bytes: u64) -> u64 {
    const PLACES: u64 = 16;
    const SLOT: u64 = 16;
    bytes.saturating_add(PLACES + SLOT)
}

/// Takes whole numbers into a range.
fn within(argument: &mut ColumnarValue, range: &RangeInclusive<i64>) -> Result<()> {
    let kind = argument.data_type();
    if !kind.is_integer() {
        return Ok(());
    }
    let (values, is_constant) = values_of(argument)?;
    let values = cast(&values, &DataType::Int64)?;
    let values: PrimitiveArray<Int64Type> =
        values.as_primitive::<Int64Type>().unary(|value| value.clamp(*range.start(), *range.end()));
    let values = cast(&values, &kind)?;
    *argument = match is_constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
        false => ColumnarValue::Array(values),
    };
    Ok(())
}

fn all_bytes(arguments: &[ColumnarValue], rows: usize) -> Result<Sizes> {
    let all = arguments.iter().map(bytes_of).collect::<Result<Vec<_>>>()?;
    let refs: Vec<&Sizes> = all.iter().collect();
    Ok(Sizes::each(&refs, rows, |row| {
        all.iter().fold(0, |sum: u64, sizes| sum.saturating_add(sizes.of(row)))
    }))
}

/// The values of an argument, and whether it is the same for all rows.
fn values_of(argument: &ColumnarValue) -> Result<(ArrayRef, bool)> {
    Ok(match argument {
        ColumnarValue::Scalar(value) => (value.to_array()?, true),
        ColumnarValue::Array(values) => (values.clone(), false),
    })
}

fn sized(argument: &ColumnarValue, size: impl Fn(&ArrayRef, usize) -> u64) -> Result<Sizes> {
    let (values, is_constant) = values_of(argument)?;
    let size = |row| if values.is_null(row) { 0 } else { size(&values, row) };
    Ok(match is_constant {
        true => Sizes::Constant(size(0)),
        false => Sizes::Each((0..values.len()).map(size).collect()),
    })
}

/// Bytes of each value.
fn bytes_of(argument: &ColumnarValue) -> Result<Sizes> {
    sized(argument, bytes_in)
}

/// Bytes of one value of a column.
#[must_use]
pub fn value_bytes(values: &ArrayRef, row: usize) -> u64 {
    if values.is_null(row) { 0 } else { bytes_in(values, row) }
}

fn bytes_in(values: &ArrayRef, row: usize) -> u64 {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value_length(row) as u64,
        DataType::LargeUtf8 => values.as_string::<i64>().value_length(row) as u64,
        DataType::Utf8View => values.as_string_view().value(row).len() as u64,
        DataType::Binary => values.as_binary::<i32>().value_length(row) as u64,
        DataType::LargeBinary => values.as_binary::<i64>().value_length(row) as u64,
        DataType::BinaryView => values.as_binary_view().value(row).len() as u64,
        DataType::Struct(_) => {
            let columns = values.as_struct().columns();
            columns.iter().map(|c| if c.is_null(row) { 1 } else { bytes_in(c, row) }).sum()
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) => {
            let (start, end, items) = items_in(values, row);
            // Where all are as wide as each other, they need not be gone through.
            match items.data_type().primitive_width() {
                Some(width) => (end - start) as u64 * width as u64,
                None => (start..end)
                    .map(|item| if items.is_null(item) { 4 } else { 4 + bytes_in(&items, item) })
                    .sum(),
            }
        }
        other => other.primitive_width().unwrap_or(8) as u64,
    }
}

fn items_in(values: &ArrayRef, row: usize) -> (usize, usize, ArrayRef) {
    if let Some(lists) = values.as_list_opt::<i32>() {
        let offsets = lists.value_offsets();
        return (offsets[row] as usize, offsets[row + 1] as usize, lists.values().clone());
    }
    if let Some(lists) = values.as_list_opt::<i64>() {
        let offsets = lists.value_offsets();
        return (offsets[row] as usize, offsets[row + 1] as usize, lists.values().clone());
    }
    if let Some(maps) = values.as_map_opt() {
        let offsets = maps.value_offsets();
        let entries: ArrayRef = std::sync::Arc::new(maps.entries().clone());
        return (offsets[row] as usize, offsets[row + 1] as usize, entries);
    }
    (0, 0, values.clone())
}

/// How many values are in each list, with those of lists in it; one, in what is none.
fn elements_of(argument: &ColumnarValue) -> Result<Sizes> {
    fn elements(values: &ArrayRef, row: usize) -> u64 {
        let (start, end, items) = items_in(values, row);
        match values.data_type() {
            DataType::List(_) | DataType::LargeList(_) if items.data_type().is_nested() => {
                (start..end).map(|item| elements(&items, item)).sum()
            }
            DataType::List(_) | DataType::LargeList(_) => (end - start) as u64,
            _ => 1,
        }
    }
    sized(argument, elements)
}

/// How often, by a whole number; never, by one that is negative.
fn counts_of(argument: &ColumnarValue) -> Result<Sizes> {
    if !argument.data_type().is_numeric() {
        return Ok(Sizes::Constant(0));
    }
    let argument = match argument {
        ColumnarValue::Array(values) => ColumnarValue::Array(cast(values, &DataType::Int64)?),
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.cast_to(&DataType::Int64)?),
    };
    sized(&argument, |values, row| {
        u64::try_from(values.as_primitive::<Int64Type>().value(row)).unwrap_or(0)
    })
}

/// How far a place is from the beginning or the end.
fn distances_of(argument: &ColumnarValue) -> Result<Sizes> {
    let argument = match argument {
        ColumnarValue::Array(values) => ColumnarValue::Array(cast(values, &DataType::Int64)?),
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.cast_to(&DataType::Int64)?),
    };
    sized(&argument, |values, row| values.as_primitive::<Int64Type>().value(row).unsigned_abs())
}

/// What a text says.
fn mapped(argument: &ColumnarValue, says: &dyn Fn(&str) -> u64) -> Result<Sizes> {
    let says = |values: &ArrayRef, row: usize| match values.data_type() {
        DataType::Utf8 => says(values.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => says(values.as_string::<i64>().value(row)),
        DataType::Utf8View => says(values.as_string_view().value(row)),
        _ => 0,
    };
    sized(argument, says)
}

/// The widths and precisions of a printf pattern, summed up.
fn widths_in(pattern: &str) -> u64 {
    let is_digit = |c: char| c.is_ascii_digit();
    let numbers = pattern.split(|c| !is_digit(c)).filter(|digits| !digits.is_empty());
    numbers.fold(0, |sum: u64, digits| sum.saturating_add(digits.parse().unwrap_or(u64::MAX)))
}

/// Eight bytes for each number or time of a series.
fn series(arguments: &[ColumnarValue], rows: usize) -> Result<Sizes> {
    let zero = ColumnarValue::Scalar(ScalarValue::Int64(Some(0)));
    let one = ColumnarValue::Scalar(ScalarValue::Int64(Some(1)));
    let (start, stop, step) = match arguments {
        [stop] => (&zero, stop, &one),
        [start, stop] => (start, stop, &one),
        [start, stop, step, ..] => (start, stop, step),
        [] => return Ok(Sizes::Constant(0)),
    };
    let [start, stop, step] = [start, stop, step].map(|argument| steps(argument, rows));
    let (start, stop, step) = (start?, stop?, step?);
    let size = |row: usize| {
        let step = step(row).unsigned_abs().max(1);
        let span = (stop(row) - start(row)).unsigned_abs();
        u64::try_from((span / step).saturating_add(1)).unwrap_or(u64::MAX).saturating_mul(8)
    };
    let are_constant =
        arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    Ok(match are_constant {
        true => Sizes::Constant(size(0)),
        false => Sizes::Each((0..rows).map(size).collect()),
    })
}

/// A number as it is, and times and intervals as nanoseconds.
fn steps(argument: &ColumnarValue, rows: usize) -> Result<Box<dyn Fn(usize) -> i128>> {
    use arrow::datatypes::{
        Date32Type, DurationMicrosecondType, IntervalMonthDayNanoType, IntervalYearMonthType,
        TimeUnit,
    };
    const DAY: i128 = 86_400_000_000_000;
    // The shortest there is.
    const MONTH: i128 = 28 * DAY;
    let (values, is_constant) = values_of(argument)?;
    let place = move |row: usize| if is_constant { 0 } else { row.min(rows) };
    let nanos: Box<dyn Fn(usize) -> i128> = match values.data_type() {
        whole if whole.is_integer() => {
            let values = cast(&values, &DataType::Int64)?;
            Box::new(move |row| i128::from(values.as_primitive::<Int64Type>().value(place(row))))
        }
        DataType::Date32 => Box::new(move |row| {
            i128::from(values.as_primitive::<Date32Type>().value(place(row))) * DAY
        }),
        DataType::Timestamp(unit, _) => {
            let scale: i128 = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            let values = cast(&values, &DataType::Int64)?;
            Box::new(move |row| {
                i128::from(values.as_primitive::<Int64Type>().value(place(row))) * scale
            })
        }
        DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth) => Box::new(move |row| {
            i128::from(values.as_primitive::<IntervalYearMonthType>().value(place(row))) * MONTH
        }),
        DataType::Duration(TimeUnit::Microsecond) => Box::new(move |row| {
            let step = values.as_primitive::<DurationMicrosecondType>().value(place(row));
            i128::from(step) * 1_000
        }),
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano) => Box::new(move |row| {
            let step = values.as_primitive::<IntervalMonthDayNanoType>().value(place(row));
            i128::from(step.months) * MONTH
                + i128::from(step.days) * DAY
                + i128::from(step.nanoseconds)
        }),
        _ => Box::new(|_| 0),
    };
    Ok(nanos)
}
