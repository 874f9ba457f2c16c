//! `CAST` and `try_cast` as Spark does them in ANSI mode: what cannot be cast is an error, or null.
//!
//! Text is read as Spark's Cast and UTF8String read it: spaces around it do not count, and what
//! follows a whole number makes it malformed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, MapArray,
    PrimitiveArray, StringArray, StringBuilder, StructArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options, is_null, nullif};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Fields, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use tidemill_codec::{Shown, format_cell, write_cell};
use tidemill_time::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND};
use tidemill_time::{UTC, Zone, parse_date, parse_timestamp, parse_timestamp_ntz};
use tidemill_types::{
    IntervalFields, format_type, format_type_with, parse_type, parse_type_with_fields,
};

use super::bytes;
use super::interval_arithmetic::is_of_one_kind;
use super::interval_casts::{cut, of_number, of_texts, to_number};
use super::session::session_zone;
use crate::interval_fields::{check_alike, interval_fields_said, with_interval_fields};

/// Name of the function that `CAST` is.
pub const CAST: &str = "cast_as";
/// Name of the function that `try_cast` is.
pub const TRY_CAST: &str = "try_cast_as";

/// `cast_as(value, 'TYPE')`, or the form that gives null. The fields of intervals in the value may
/// follow: `cast_as(interval, 'STRING', 'DAY')`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cast {
    tolerant: bool,
    signature: Signature,
}

impl Cast {
    pub(crate) fn new(tolerant: bool) -> Cast {
        Cast { tolerant, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

/// A cast of an expression.
#[must_use]
pub fn cast_to(value: Expr, to: &DataType) -> Expr {
    cast_by(value, to, IntervalFields::default(), false)
}

/// The same; null where it cannot be cast.
#[must_use]
pub fn try_cast_to(value: Expr, to: &DataType) -> Expr {
    cast_by(value, to, IntervalFields::default(), true)
}

/// A cast to a type whose intervals have these fields, where there are some. Where `tolerant`, what
/// cannot be cast is null.
#[must_use]
pub fn cast_by(value: Expr, to: &DataType, fields: IntervalFields, tolerant: bool) -> Expr {
    let text = |text: String| Expr::Literal(ScalarValue::Utf8(Some(text)), None);
    let from = interval_fields_said(&value);
    let mut arguments = vec![value, text(format_type_with(to, fields))];
    arguments.extend(from.map(|from| text(from.to_string())));
    let cast = ScalarUDF::new_from_impl(Cast::new(tolerant)).call(arguments);
    match fields.is_empty() {
        true => cast,
        false => with_interval_fields(cast, fields),
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        if self.tolerant { TRY_CAST } else { CAST }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("a cast's type follows from its text")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let text = arguments.scalar_arguments.get(1).copied().flatten();
        let Some(Some(text)) = text.map(|text| text.try_as_str().flatten()) else {
            return plan_err!("a cast needs the name of a type");
        };
        let from = arguments.arg_fields[0].data_type();
        let (to, fields) = parse_type_with_fields(text)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let said = arguments.scalar_arguments.get(2).copied().flatten();
        if let Some(Some(said)) = said.map(|said| said.try_as_str().flatten())
            && to != DataType::Utf8
        {
            check_alike(IntervalFields::named(said).unwrap_or_default())?;
        }
        if !can_cast(from, &to) {
            return plan_err!(
                "[DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION] Cannot resolve a cast: cannot cast \"{}\" to \"{}\"",
                format_type(from).to_uppercase(),
                text.to_uppercase()
            );
        }
        let nullable = self.tolerant || arguments.arg_fields[0].is_nullable();
        let field = Field::new(self.name(), to, nullable);
        Ok(Arc::new(if fields.is_empty() { field } else { fields.said_by(field) }))
    }

    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let (Some(Expr::Literal(text, _)), from) = (args.get(1), info.get_data_type(&args[0])?)
        else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        // One to fewer fields cuts what they do not count.
        if !IntervalFields::all_of(&from).is_empty() {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let to = text.try_as_str().flatten().and_then(|text| parse_type(text).ok());
        match to {
            Some(to) if to == from => Ok(ExprSimplifyResult::Simplified(args.swap_remove(0))),
            Some(to) if is_widening(&from, &to) => Ok(ExprSimplifyResult::Simplified(
                datafusion::logical_expr::cast(args.swap_remove(0), to),
            )),
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = arguments.return_field.data_type();
        let from = arguments.args[0].data_type();
        let zone = zone_for([&from, to], &arguments.config_options)?;
        let from_fields = match arguments.args.get(2) {
            Some(ColumnarValue::Scalar(text)) => text.try_as_str().flatten(),
            _ => None,
        };
        let by = Casting {
            tolerant: self.tolerant,
            zone,
            from: from_fields.and_then(IntervalFields::named).unwrap_or_default(),
            to: IntervalFields::of_column(&arguments.return_field),
        };
        match &arguments.args[0] {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(converted(values, to, by)?)),
            ColumnarValue::Scalar(value) => {
                let values = converted(&value.to_array()?, to, by)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?))
            }
        }
    }
}

/// Whether there is a cast at all (Spark's Cast.canAnsiCast). What Spark's schemas have no text for
/// is let pass.
fn can_cast(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, Interval, List, Map, Null, Struct, Timestamp, Utf8,
    };
    let is_whole = |kind: &DataType| kind.is_integer() || matches!(kind, Decimal128(..));
    let is_known = |kind: &DataType| {
        kind.is_numeric() || matches!(kind, Boolean | Binary | Date32 | Timestamp(..) | Utf8)
    };
    match (from, to) {
        (Null, _) | (_, Utf8) => true,
        (from, to) if from == to => *from != Interval(IntervalUnit::MonthDayNano),
        (interval, number) if is_of_one_kind(interval) => is_whole(number),
        (number, interval) if is_of_one_kind(interval) => is_whole(number) || *number == Utf8,
        (from, Interval(_)) => *from == Utf8,
        (Interval(_), _) => false,
        (List(from), List(to)) => can_cast(from.data_type(), to.data_type()),
        (Map(from, _), Map(to, _)) => can_cast(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            let pairs = || from.iter().zip(to.iter());
            from.len() == to.len() && pairs().all(|(f, t)| can_cast(f.data_type(), t.data_type()))
        }
        (List(_) | Map(..) | Struct(_), to) => !is_known(to) && !to.is_nested(),
        (from, List(_) | Map(..) | Struct(_)) => !is_known(from),
        (Utf8, _) => true,
        (from, to) if !is_known(from) || !is_known(to) => true,
        (from, Boolean) => from.is_numeric(),
        (Date32 | Timestamp(..), Date32 | Timestamp(..)) => true,
        (from, Timestamp(_, zone)) => from.is_numeric() && zone.is_some(),
        (Boolean, to) => to.is_numeric(),
        (Timestamp(_, zone), to) => to.is_numeric() && zone.is_some(),
        (from, to) => from.is_numeric() && to.is_numeric(),
    }
}

/// Whether every value of a type has one in the other, and Arrow finds it.
fn is_widening(from: &DataType, to: &DataType) -> bool {
    let width = |data_type: &DataType| data_type.primitive_width().unwrap_or(0);
    match (from, to) {
        (from, DataType::Float64) => from.is_integer() || *from == DataType::Float32,
        (from, to) => from.is_integer() && to.is_integer() && width(from) <= width(to),
    }
}

/// Whether a text is a value of a type, by the type's name.
#[must_use]
pub fn is_of_type(text: &str, name: &str) -> bool {
    let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
    parse_type(name).is_ok_and(|to| converted(&text, &to, Casting::strict(UTC)).is_ok())
}

/// How values are cast.
#[derive(Clone, Copy)]
pub(crate) struct Casting {
    /// Whether what cannot be cast is null, and no error.
    pub(super) tolerant: bool,
    /// The session's time zone.
    pub(super) zone: Zone,
    /// The fields of intervals in the values.
    pub(super) from: IntervalFields,
    /// The fields of intervals in what they become.
    pub(super) to: IntervalFields,
}

impl Casting {
    /// A cast that gives an error for what cannot be cast.
    pub(crate) fn strict(zone: Zone) -> Casting {
        let fields = IntervalFields::default();
        Casting { tolerant: false, zone, from: fields, to: fields }
    }

    fn shown(self) -> Shown {
        Shown { zone: self.zone, intervals: self.from }
    }
}

/// Casts values.
///
/// # Errors
/// A value cannot be cast, in Spark's words.
pub(crate) fn converted(values: &ArrayRef, to: &DataType, by: Casting) -> Result<ArrayRef> {
    let Casting { tolerant, zone, .. } = by;
    let from = values.data_type();
    if from == to && by.to.is_empty() {
        return Ok(Arc::clone(values));
    }
    let result = match (from, to) {
        (from, to) if from == to && !from.is_nested() => {
            return if is_of_one_kind(to) { cut(values, by) } else { Ok(Arc::clone(values)) };
        }
        (interval, number) if is_of_one_kind(interval) && number.is_numeric() => {
            Some(to_number(values, to, by)?)
        }
        (number, interval) if number.is_numeric() && is_of_one_kind(interval) => {
            Some(of_number(values, to, by)?)
        }
        (DataType::Utf8, DataType::Interval(_) | DataType::Duration(_)) => {
            return of_texts(values.as_string::<i32>(), to, by);
        }
        (DataType::Null, _) => return Ok(new_null_array(to, values.len())),
        (DataType::Utf8, _) => parsed(values.as_string::<i32>(), to, zone)?,
        (DataType::LargeUtf8 | DataType::Utf8View, _) => {
            return converted(&cast(values, &DataType::Utf8)?, to, by);
        }
        (bytes, DataType::Utf8) if bytes.is_binary() => {
            let bytes = cast(values, &DataType::Binary)?;
            Some(Arc::new(bytes::text(bytes.as_binary::<i32>())) as ArrayRef)
        }
        (_, DataType::Utf8) => Some(Arc::new(texts_of(values, by.shown())) as ArrayRef),
        (DataType::Timestamp(..), to) if to.is_numeric() => {
            return from_timestamp(values, to, by);
        }
        (from, DataType::Timestamp(_, zone)) if from.is_numeric() => {
            Some(to_timestamp(values, zone.as_ref())?)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Date32, to) => {
            on_clocks(values, to, zone)
        }
        (DataType::Float32 | DataType::Float64, DataType::Decimal128(precision, scale)) => {
            let doubles = cast(values, &DataType::Float64)?;
            // By its digits, as Java's BigDecimal takes it.
            let decimal = |value: f64| {
                tidemill_codec::parse_decimal(&format!("{value:e}"), *precision, *scale)
            };
            let doubles = doubles.as_primitive::<Float64Type>();
            let decimals: PrimitiveArray<Decimal128Type> =
                doubles.iter().map(|value| value.and_then(decimal)).collect();
            // What is no number is null, in ANSI mode too (Spark's `changePrecision`).
            let is_lost = |row: &usize| {
                doubles.is_valid(*row) && doubles.value(*row).is_finite() && decimals.is_null(*row)
            };
            if let Some(row) = (0..doubles.len()).find(is_lost).filter(|_| !tolerant) {
                return refused(values, row, to, by);
            }
            return Ok(Arc::new(decimals.with_data_type(to.clone())));
        }
        (DataType::List(_), DataType::List(field)) => {
            let lists = values.as_list::<i32>();
            let offsets = lists.value_offsets();
            let (first, last) = (offsets[0], offsets[lists.len()]);
            let items = lists.values().slice(first as usize, (last - first) as usize);
            let items = converted(&items, field.data_type(), by)?;
            let offsets = offsets.iter().map(|offset| offset - first).collect();
            let (offsets, nulls) = (OffsetBuffer::new(offsets), lists.nulls().cloned());
            return Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, nulls)?));
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            return members(values.as_struct(), fields, by);
        }
        (DataType::Map(..), DataType::Map(entry, is_sorted)) => {
            let maps = values.as_map();
            let offsets = maps.value_offsets();
            let (first, last) = (offsets[0], offsets[maps.len()]);
            let entries = maps.entries().slice(first as usize, (last - first) as usize);
            let entries: ArrayRef = Arc::new(entries);
            let entries = converted(&entries, entry.data_type(), by)?;
            let entries = of_fields(&entries, entry.data_type())?;
            let offsets = offsets.iter().map(|offset| offset - first).collect();
            let (offsets, nulls) = (OffsetBuffer::new(offsets), maps.nulls().cloned());
            let (entry, entries) = (Arc::clone(entry), entries);
            let maps = MapArray::try_new(entry, offsets, entries, nulls, *is_sorted)?;
            return Ok(Arc::new(maps));
        }
        (DataType::Boolean, DataType::Decimal128(..)) => {
            return converted(&cast(values, &DataType::Int32)?, to, by);
        }
        _ => None,
    };
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let result = match result {
        Some(result) => result,
        None => cast_with_options(values, to, &options)?,
    };
    if tolerant || result.null_count() == values.logical_null_count() || to.is_nested() {
        return Ok(result);
    }
    let is_lost = |row: &usize| result.is_null(*row) && !values.is_null(*row);
    match (0..values.len()).find(is_lost) {
        Some(row) => refused(values, row, to, by),
        None => Ok(result),
    }
}

/// A struct whose columns are of the fields of a type, nullable or not as these are.
fn of_fields(values: &ArrayRef, kind: &DataType) -> Result<StructArray> {
    let DataType::Struct(fields) = kind else { return internal_err!("{kind} has no fields") };
    let (columns, nulls) = (values.as_struct().columns().to_vec(), values.nulls().cloned());
    Ok(StructArray::try_new_with_length(fields.clone(), columns, nulls, values.len())?)
}

/// A struct with other types of its fields, which keep their places. What is in a struct that is null
/// is no value.
fn members(values: &StructArray, fields: &Fields, by: Casting) -> Result<ArrayRef> {
    if fields.len() != values.num_columns() {
        return exec_err!(
            "a struct of {} fields cannot be cast to one of {}",
            values.num_columns(),
            fields.len()
        );
    }
    let absent = match values.nulls() {
        Some(_) => Some(is_null(values)?),
        None => None,
    };
    let member = |(column, field): (&ArrayRef, &FieldRef)| {
        let column = match &absent {
            Some(absent) => nullif(column, absent)?,
            None => Arc::clone(column),
        };
        converted(&column, field.data_type(), by)
    };
    let columns = values.columns().iter().zip(fields).map(member).collect::<Result<Vec<_>>>()?;
    let fields: Fields =
        fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let members =
        StructArray::try_new_with_length(fields, columns, values.nulls().cloned(), values.len())?;
    Ok(Arc::new(members))
}

/// Spark's words for a value that cannot be cast.
fn refused<T>(values: &ArrayRef, row: usize, to: &DataType, by: Casting) -> Result<T> {
    let (value, from) = (format_cell(values, row, by.shown()), values.data_type());
    let name = |kind: &DataType, fields| format_type_with(kind, fields).to_uppercase();
    match (from, to) {
        (DataType::Utf8, DataType::Decimal128(precision, scale))
            if tidemill_codec::parse_decimal(value.trim(), 38, 0).is_some() =>
        {
            out_of_range(&value, *precision, *scale)
        }
        (DataType::Utf8, _) => exec_err!(
            "[CAST_INVALID_INPUT] The value '{value}' of the type \"STRING\" cannot be cast to \"{}\" because it is malformed. Correct the value as per the syntax, or change its target type. Use `try_cast` to tolerate malformed input and return NULL instead",
            name(to, by.to)
        ),
        (_, DataType::Decimal128(precision, scale)) => out_of_range(&value, *precision, *scale),
        _ => exec_err!(
            "[CAST_OVERFLOW] The value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow. Use `try_cast` to tolerate overflow and return NULL instead",
            name(from, by.from),
            name(to, by.to)
        ),
    }
}

fn out_of_range<T>(value: &str, precision: u8, scale: i8) -> Result<T> {
    exec_err!(
        "[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION] {value} cannot be represented as Decimal({precision}, {scale}). Cast to a type with more digits, or use `try_cast` to get NULL instead"
    )
}

/// Texts as values; none where the type is not one that is read from text here.
fn parsed(texts: &StringArray, to: &DataType, zone: Zone) -> Result<Option<ArrayRef>> {
    fn all<T: ArrowPrimitiveType>(
        texts: &StringArray,
        to: &DataType,
        value: impl Fn(&str) -> Option<T::Native>,
    ) -> Option<ArrayRef> {
        let values: PrimitiveArray<T> =
            texts.iter().map(|text| text.and_then(|text| value(trim(text)))).collect();
        Some(Arc::new(values.with_data_type(to.clone())))
    }
    Ok(match to {
        DataType::Int8 => all::<Int8Type>(texts, to, whole),
        DataType::Int16 => all::<Int16Type>(texts, to, whole),
        DataType::Int32 => all::<Int32Type>(texts, to, whole),
        DataType::Int64 => all::<Int64Type>(texts, to, whole),
        DataType::Float32 => all::<Float32Type>(texts, to, |text| real(text).map(|v| v as f32)),
        DataType::Float64 => all::<Float64Type>(texts, to, real),
        DataType::Decimal128(precision, scale) => all::<Decimal128Type>(texts, to, |text| {
            tidemill_codec::parse_decimal(text, *precision, *scale)
        }),
        DataType::Date32 => all::<Date32Type>(texts, to, parse_date),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            all::<TimestampMicrosecondType>(texts, to, |text| parse_timestamp(text, zone))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            all::<TimestampMicrosecondType>(texts, to, parse_timestamp_ntz)
        }
        DataType::Boolean => {
            let values = texts.iter().map(|text| text.and_then(|text| truth(trim(text))));
            Some(Arc::new(values.collect::<BooleanArray>()))
        }
        _ => None,
    })
}

/// Without the spaces and control characters that Spark does not look at.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

fn whole<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.parse().ok()
}

/// As Java reads a double: `1d` and `Infinity` are some, hexadecimal digits are not taken.
fn real(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "nan" => return Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => return Some(f64::INFINITY),
        "-inf" | "-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = lower.strip_suffix(['d', 'f']).unwrap_or(&lower);
    let is_number = digits.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_number { digits.parse().ok() } else { None }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Seconds since 1970: whole ones rounded down.
fn from_timestamp(values: &ArrayRef, to: &DataType, by: Casting) -> Result<ArrayRef> {
    let micros = cast(values, &DataType::Int64)?;
    let micros = micros.as_primitive::<Int64Type>();
    let seconds: ArrayRef = match to {
        DataType::Decimal128(..) => {
            let micros: PrimitiveArray<Decimal128Type> = micros.unary(i128::from);
            Arc::new(micros.with_data_type(DataType::Decimal128(38, 6)))
        }
        whole if whole.is_integer() => {
            let seconds: PrimitiveArray<Int64Type> =
                micros.unary(|micros| micros.div_euclid(MICROS_PER_SECOND));
            Arc::new(seconds)
        }
        _ => {
            let seconds: PrimitiveArray<Float64Type> =
                micros.unary(|micros| micros as f64 / MICROS_PER_SECOND as f64);
            Arc::new(seconds)
        }
    };
    converted(&seconds, to, by)
}

/// The zone of the clocks that casts between these types ask. What has no clock is cast where no
/// session is, too: a number in LIMIT.
///
/// # Errors
/// The session has no time zone, and one of the types has clocks.
pub(crate) fn zone_for<'k>(
    kinds: impl IntoIterator<Item = &'k DataType>,
    session: &ConfigOptions,
) -> Result<Zone> {
    match kinds.into_iter().any(has_clock) {
        true => session_zone(session),
        false => Ok(UTC),
    }
}

/// Whether a type has TIMESTAMPs, which clocks show.
fn has_clock(kind: &DataType) -> bool {
    match kind {
        DataType::Timestamp(_, zone) => zone.is_some(),
        DataType::List(item) | DataType::Map(item, _) => has_clock(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_clock(field.data_type())),
        _ => false,
    }
}

/// Texts as `show()` prints them.
fn texts_of(values: &ArrayRef, shown: Shown) -> StringArray {
    const BYTES_A_TEXT: usize = 16;
    let mut texts = StringBuilder::with_capacity(values.len(), values.len() * BYTES_A_TEXT);
    let mut text = Vec::new();
    for row in 0..values.len() {
        if values.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        write_cell(values, row, shown, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    texts.finish()
}

/// A date or time as one of another type, by the clocks of a zone; none where no clock is asked.
fn on_clocks(values: &ArrayRef, to: &DataType, zone: Zone) -> Option<ArrayRef> {
    let has_zone = |kind: &DataType| matches!(kind, DataType::Timestamp(_, Some(_)));
    let (from_zoned, to_zoned) = (has_zone(values.data_type()), has_zone(to));
    if from_zoned == to_zoned {
        let local = values.as_primitive_opt::<TimestampMicrosecondType>()?;
        let day = |micros: i64| i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok();
        let is_day = *to == DataType::Date32;
        return is_day.then(|| Arc::new(local.unary_opt::<_, Date32Type>(day)) as ArrayRef);
    }
    if let Some(days) = values.as_primitive_opt::<Date32Type>() {
        let moment = |day: i32| zone.moment(i64::from(day).checked_mul(MICROS_PER_DAY)?);
        let times = days.unary_opt::<_, TimestampMicrosecondType>(moment);
        return Some(Arc::new(times.with_data_type(to.clone())));
    }
    let times = values.as_primitive_opt::<TimestampMicrosecondType>()?;
    if let DataType::Date32 = to {
        let day = |micros: i64| i32::try_from(zone.local(micros)?.div_euclid(MICROS_PER_DAY)).ok();
        return Some(Arc::new(times.unary_opt::<_, Date32Type>(day)));
    }
    let other = match from_zoned {
        true => times.unary_opt::<_, TimestampMicrosecondType>(|micros| zone.local(micros)),
        false => times.unary_opt::<_, TimestampMicrosecondType>(|micros| zone.moment(micros)),
    };
    Some(Arc::new(other.with_data_type(to.clone())))
}

/// From seconds since 1970. What is no number, or too large, is null.
fn to_timestamp(values: &ArrayRef, zone: Option<&Arc<str>>) -> Result<ArrayRef> {
    let micros: PrimitiveArray<TimestampMicrosecondType> = if values.data_type().is_integer() {
        let seconds = cast(values, &DataType::Int64)?;
        let seconds = seconds.as_primitive::<Int64Type>();
        seconds.iter().map(|s| s.map(|s| s.saturating_mul(MICROS_PER_SECOND))).collect()
    } else {
        let seconds = cast(values, &DataType::Float64)?;
        let micros = |seconds: f64| {
            let micros = seconds * MICROS_PER_SECOND as f64;
            (micros.abs() < i64::MAX as f64).then_some(micros as i64)
        };
        seconds.as_primitive::<Float64Type>().iter().map(|s| s.and_then(micros)).collect()
    };
    Ok(Arc::new(micros.with_timezone_opt(zone.cloned())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn text_is_read_as_spark_reads_it() {
        let values = texts(&[" 12 ", "+5", "-7"]);
        let whole = converted(&values, &DataType::Int32, Casting::strict(UTC)).unwrap();
        assert_eq!(whole.as_primitive::<Int32Type>().values().as_ref(), &[12, 5, -7]);
        let values = texts(&["1e3", "Infinity", "1d", ".5"]);
        let real = converted(&values, &DataType::Float64, Casting::strict(UTC)).unwrap();
        let expected = [1e3, f64::INFINITY, 1.0, 0.5];
        assert_eq!(real.as_primitive::<Float64Type>().values().as_ref(), &expected);
    }

    #[test]
    fn what_cannot_be_cast_is_an_error_or_null() {
        for (text, to, class) in [
            ("1.5", DataType::Int32, "[CAST_INVALID_INPUT] The value '1.5'"),
            ("", DataType::Int32, "[CAST_INVALID_INPUT] The value ''"),
            ("x", DataType::Float64, "cannot be cast to \"DOUBLE\" because it is malformed"),
            ("12345.678", DataType::Decimal128(5, 2), "cannot be represented as Decimal(5, 2)"),
        ] {
            let error =
                converted(&texts(&[text]), &to, Casting::strict(UTC)).unwrap_err().to_string();
            assert!(error.contains(class), "{error}");
            let tolerant = Casting { tolerant: true, ..Casting::strict(UTC) };
            assert_eq!(converted(&texts(&[text]), &to, tolerant).unwrap().null_count(), 1);
        }
        let large: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from_value(3_000_000_000, 1));
        let error =
            converted(&large, &DataType::Int32, Casting::strict(UTC)).unwrap_err().to_string();
        assert!(error.contains("[CAST_OVERFLOW] The value 3000000000"), "{error}");
    }

    #[test]
    fn a_double_becomes_the_decimal_that_it_is_written_as() {
        let double: ArrayRef = Arc::new(PrimitiveArray::<Float64Type>::from_value(1.005, 1));
        let decimal =
            converted(&double, &DataType::Decimal128(5, 2), Casting::strict(UTC)).unwrap();
        assert_eq!(decimal.as_primitive::<Decimal128Type>().value(0), 101);
    }
}
