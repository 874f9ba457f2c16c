//! Calls that are built by the types of their arguments.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use tidemill_types::{IntervalField, format_type_with};

use crate::call::{Call, called};
use crate::interval_fields::{check_alike, fields_here, range_of};
use crate::kernels::batch_time::batch_time;
use crate::kernels::cast::{cast_to, try_cast_to};
use crate::kernels::session::current_timezone;
use crate::kernels::times::patterned::ntz_type;
use crate::kernels::times::{
    bucket, epoch, intervals, make, parts, patterned, shift, units, zoned,
};
use crate::parameters::Takes;
use crate::timestamp_type;

/// The pattern where none is told.
const USUAL: &str = "yyyy-MM-dd HH:mm:ss";

type Made = fn() -> Arc<ScalarUDF>;

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// Checks that an argument is of a type as it stands, as Spark does where it casts nothing.
fn strictly(call: &Call, place: usize, wanted: &str, is: fn(&DataType) -> bool) -> Result<()> {
    let kind = call.kind(place);
    if is(kind) || kind.is_null() { Ok(()) } else { Err(call.wrong(place, wanted)) }
}

/// What the clocks of the session show at a time, in the place of an argument: a TIMESTAMP_NTZ.
pub(super) fn local(call: &mut Call, place: usize) -> Result<()> {
    if *call.kind(place) != ntz_type() {
        call.coerce(place, Takes::Timestamp)?;
        call.set(place, cast_to(call.argument(place), &ntz_type()), ntz_type());
    }
    Ok(())
}

/// A kernel of times, which are not read from texts.
pub(super) fn since(call: &Call, kernel: Made) -> Result<Expr> {
    strictly(call, 0, "TIMESTAMP", |kind| matches!(kind, DataType::Timestamp(..)))?;
    Ok(called(&kernel(), vec![cast_to(call.argument(0), &timestamp_type())]))
}

pub(super) fn unix_date(call: &Call) -> Result<Expr> {
    strictly(call, 0, "DATE", |kind| *kind == DataType::Date32)?;
    Ok(called(&epoch::unix_date(), vec![cast_to(call.argument(0), &DataType::Date32)]))
}

/// A time of so many units, which are not read from texts.
pub(super) fn after(call: &Call, kernel: Made) -> Result<Expr> {
    strictly(call, 0, "INTEGRAL", DataType::is_integer)?;
    Ok(called(&kernel(), vec![cast_to(call.argument(0), &DataType::Int64)]))
}

pub(super) fn timestamp_seconds(call: &Call) -> Result<Expr> {
    strictly(call, 0, "NUMERIC", DataType::is_numeric)?;
    match call.kind(0) {
        DataType::Null => Ok(lit(ScalarValue::try_from(timestamp_type())?)),
        _ => Ok(call.of(&epoch::timestamp_seconds())),
    }
}

/// `date_part(field, source)`.
pub(super) fn date_part(call: &mut Call) -> Result<Expr> {
    if call.is_null(0) {
        return Ok(lit(ScalarValue::Float64(None)));
    }
    let field = match call.text(0) {
        Some(field) => field.to_owned(),
        None => {
            return plan_err!(
                "[NON_FOLDABLE_ARGUMENT] The function `{}` requires the parameter `field` to be a text that is written out",
                call.name()
            );
        }
    };
    let (kernel, takes): (Made, _) = match (field.to_ascii_uppercase().as_str(), call.kind(1)) {
        (name, kind @ (DataType::Interval(_) | DataType::Duration(_))) => {
            let (part, kernel): (_, Made) = match name {
                "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => {
                    (IntervalField::Year, parts::years_of_interval)
                }
                "MONTH" | "MON" | "MONS" | "MONTHS" => {
                    (IntervalField::Month, parts::months_of_interval)
                }
                "DAY" | "D" | "DAYS" => (IntervalField::Day, parts::days_of_interval),
                "HOUR" | "H" | "HOURS" | "HR" | "HRS" => {
                    (IntervalField::Hour, parts::hours_of_interval)
                }
                "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => {
                    (IntervalField::Minute, parts::minutes_of_interval)
                }
                "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => {
                    (IntervalField::Second, parts::seconds_of_interval)
                }
                _ => return no_field(&field, "an interval"),
            };
            let fields = fields_here(&call.argument(1), kind);
            check_alike(fields)?;
            // One of months, days and microseconds has them all.
            if !fields.is_empty() && !range_of(fields, kind).has(part) {
                return no_field(&field, &format!("an {}", format_type_with(kind, fields)));
            }
            (kernel, None)
        }
        (name, _) => match name {
            "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => (parts::year, Some(Takes::Date)),
            "YEAROFWEEK" => (parts::year_of_week, Some(Takes::Date)),
            "QUARTER" | "QTR" => (parts::quarter, Some(Takes::Date)),
            "MONTH" | "MON" | "MONS" | "MONTHS" => (parts::month, Some(Takes::Date)),
            "WEEK" | "W" | "WEEKS" => (parts::weekofyear, Some(Takes::Date)),
            "DAY" | "D" | "DAYS" => (parts::day, Some(Takes::Date)),
            "DAYOFWEEK" | "DOW" => (parts::dayofweek, Some(Takes::Date)),
            "DAYOFWEEK_ISO" | "DOW_ISO" => (parts::dayofweek_iso, Some(Takes::Date)),
            "DOY" => (parts::dayofyear, Some(Takes::Date)),
            "HOUR" | "H" | "HOURS" | "HR" | "HRS" => (parts::hour, Some(Takes::Timestamp)),
            "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => (parts::minute, Some(Takes::Timestamp)),
            "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => {
                (parts::second_with_fraction, Some(Takes::Timestamp))
            }
            _ => return no_field(&field, "a date or time"),
        },
    };
    match takes {
        Some(Takes::Timestamp) => local(call, 1)?,
        Some(takes) => call.coerce(1, takes)?,
        None => {}
    }
    Ok(called(&kernel(), vec![call.argument(1)]))
}

fn no_field<T>(field: &str, of: &str) -> Result<T> {
    plan_err!("[INVALID_EXTRACT_FIELD] Cannot extract `{field}` from {of}")
}

/// A time of a text by a pattern, or what is a time already.
fn by_pattern(call: &mut Call, to: &DataType, kernel: Made) -> Result<Expr> {
    if is_time(call.kind(0)) {
        return Ok(cast_to(call.argument(0), to));
    }
    if !call.kind(0).is_string() && !call.kind(0).is_null() {
        return Err(call.wrong(0, "STRING\" or \"DATE\" or \"TIMESTAMP"));
    }
    call.coerce(0, Takes::Text)?;
    call.coerce(1, Takes::Text)?;
    Ok(call.of(&kernel()))
}

fn plain(call: &Call, to: &DataType, cast: fn(Expr, &DataType) -> Expr) -> Result<Expr> {
    if call.kind(0).is_nested() {
        return Err(call.wrong(0, "STRING\" or \"DATE\" or \"TIMESTAMP"));
    }
    Ok(cast(call.argument(0), to))
}

pub(super) fn to_timestamp(call: &mut Call) -> Result<Expr> {
    match call.count() {
        1 => plain(call, &timestamp_type(), cast_to),
        _ => by_pattern(call, &timestamp_type(), patterned::parsed_time),
    }
}

pub(super) fn try_to_timestamp(call: &mut Call) -> Result<Expr> {
    match call.count() {
        1 => plain(call, &timestamp_type(), try_cast_to),
        _ => by_pattern(call, &timestamp_type(), patterned::try_parsed_time),
    }
}

pub(super) fn to_timestamp_ntz(call: &mut Call) -> Result<Expr> {
    match call.count() {
        1 => plain(call, &ntz_type(), cast_to),
        _ => by_pattern(call, &ntz_type(), patterned::parsed_local_time),
    }
}

pub(super) fn to_date(call: &mut Call) -> Result<Expr> {
    match call.count() {
        1 => plain(call, &DataType::Date32, cast_to),
        _ => {
            let time = by_pattern(call, &timestamp_type(), patterned::parsed_time)?;
            Ok(cast_to(time, &DataType::Date32))
        }
    }
}

pub(super) fn try_to_date(call: &mut Call) -> Result<Expr> {
    match call.count() {
        1 => plain(call, &DataType::Date32, try_cast_to),
        _ => {
            let time = by_pattern(call, &timestamp_type(), patterned::try_parsed_time)?;
            Ok(cast_to(time, &DataType::Date32))
        }
    }
}

/// Whole seconds of a text by a pattern, or of a time.
pub(super) fn unix_timestamp(call: &mut Call) -> Result<Expr> {
    let time = match call.count() {
        0 => batch_time(),
        // As it is, in UTC, whatever the session's time zone.
        _ if *call.kind(0) == ntz_type() => call.argument(0),
        1 => {
            call.set(1, lit(USUAL), DataType::Utf8);
            by_pattern(call, &timestamp_type(), patterned::parsed_time)?
        }
        _ => by_pattern(call, &timestamp_type(), patterned::parsed_time)?,
    };
    Ok(called(&patterned::cut_seconds(), vec![time]))
}

pub(super) fn from_unixtime(call: &mut Call) -> Result<Expr> {
    let pattern = call.argument_or(1, USUAL);
    Ok(called(&patterned::from_unixtime(), vec![call.argument(0), pattern]))
}

/// The argument that stands for the usual pattern, in a column's name.
pub(super) fn with_usual(name: &str, mut arguments: Vec<String>) -> String {
    match arguments.len() {
        0 => arguments.extend(["current_timestamp()".to_owned(), USUAL.to_owned()]),
        1 => arguments.push(USUAL.to_owned()),
        _ => {}
    }
    format!("{name}({})", arguments.join(", "))
}

/// A time of its parts, of a date and a time of the day, or of a date alone.
pub(super) fn make_timestamp(call: &mut Call, kernel: Made, to: &DataType) -> Result<Expr> {
    let is_local = *to == ntz_type();
    match call.count() {
        1 if !call.name().contains("tz") => {
            call.coerce(0, Takes::Date)?;
            return Ok(cast_to(call.argument(0), to));
        }
        2 | 3 => {
            strictly(call, 0, "DATE", |kind| *kind == DataType::Date32)?;
            strictly(call, 1, "TIME", |kind| matches!(kind, DataType::Time64(_)))?;
            call.coerce(0, Takes::Date)?;
            call.coerce(2, Takes::Text)?;
            return Ok(call.of(&match (is_local, call.kind(1).is_null()) {
                (_, true) => return Ok(lit(ScalarValue::try_from(to)?)),
                (true, _) => make::local_timestamp_of_date_and_time(),
                (false, _) => make::timestamp_of_date_and_time(),
            }));
        }
        6 | 7 => {}
        count => {
            return plan_err!(
                "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `{}` requires 6 or 7 parameters, or a DATE and a TIME, but the actual number is {count}",
                call.name()
            );
        }
    }
    for place in 0..5 {
        call.coerce(place, Takes::Int)?;
    }
    call.coerce(5, Takes::Decimal(16, 6))?;
    call.coerce(6, Takes::Text)?;
    Ok(call.of(&kernel()))
}

pub(super) fn make_timestamp_of_zone(call: &mut Call) -> Result<Expr> {
    make_timestamp(call, make::make_timestamp, &timestamp_type())
}

pub(super) fn try_make_timestamp_of_zone(call: &mut Call) -> Result<Expr> {
    make_timestamp(call, make::try_make_timestamp, &timestamp_type())
}

/// An interval of whole numbers, and maybe seconds, which are 0 where they are left out.
fn interval(call: &mut Call, wholes: usize, seconds: Option<u8>, kernel: Made) -> Expr {
    for place in call.count()..wholes {
        call.set(place, lit(0_i32), DataType::Int32);
    }
    if let (Some(digits), true) = (seconds, call.count() <= wholes) {
        let zero = ScalarValue::Decimal128(Some(0), digits, 6);
        call.set(wholes, lit(zero), DataType::Decimal128(digits, 6));
    }
    call.of(&kernel())
}

/// The parts of an interval that are left out, in a column's name.
pub(super) fn with_zeros(
    name: &str,
    mut arguments: Vec<String>,
    wholes: usize,
    has_seconds: bool,
) -> String {
    arguments.extend((arguments.len()..wholes).map(|_| "0".to_owned()));
    if has_seconds && arguments.len() == wholes {
        arguments.push("0.000000".to_owned());
    }
    format!("{name}({})", arguments.join(", "))
}

pub(super) fn make_interval(call: &mut Call) -> Result<Expr> {
    Ok(interval(call, 6, Some(18), intervals::make_interval))
}

pub(super) fn try_make_interval(call: &mut Call) -> Result<Expr> {
    Ok(interval(call, 6, Some(18), intervals::try_make_interval))
}

pub(super) fn make_dt_interval(call: &mut Call) -> Result<Expr> {
    Ok(interval(call, 3, Some(18), intervals::make_dt_interval))
}

pub(super) fn make_ym_interval(call: &mut Call) -> Result<Expr> {
    Ok(interval(call, 2, None, intervals::make_ym_interval))
}

/// Days later or before: of an INT, or a smaller number.
pub(super) fn days(call: &mut Call, kernel: Made) -> Result<Expr> {
    strictly(call, 1, "INT\" or \"SMALLINT\" or \"TINYINT", |kind| {
        kind.is_string() || matches!(kind, DataType::Int32 | DataType::Int16 | DataType::Int8)
    })?;
    call.coerce(0, Takes::Date)?;
    call.coerce(1, Takes::Int)?;
    Ok(call.of(&kernel()))
}

/// `timestampadd(unit, quantity, time)`.
pub(super) fn timestampadd(call: &mut Call) -> Result<Expr> {
    units::Unit::named(call.name(), call.constant_text(0)?)?;
    call.coerce(1, Takes::Long)?;
    if !matches!(call.kind(2), DataType::Timestamp(..)) {
        call.coerce(2, Takes::Timestamp)?;
    }
    Ok(call.of(&units::timestampadd()))
}

/// `timestampdiff(unit, start, end)`.
pub(super) fn timestampdiff(call: &mut Call) -> Result<Expr> {
    units::Unit::named(call.name(), call.constant_text(0)?)?;
    local(call, 1)?;
    local(call, 2)?;
    Ok(call.of(&units::timestampdiff()))
}

/// `dateadd(date, days)`, or `dateadd(unit, quantity, time)`.
pub(super) fn dateadd(call: &mut Call) -> Result<Expr> {
    match call.count() {
        2 => days(call, shift::date_add),
        _ => timestampadd(call),
    }
}

/// `datediff(end, start)`, or `datediff(unit, start, end)`.
pub(super) fn datediff(call: &mut Call) -> Result<Expr> {
    match call.count() {
        2 => {
            call.coerce(0, Takes::Date)?;
            call.coerce(1, Takes::Date)?;
            Ok(call.of(&shift::date_diff()))
        }
        _ => timestampdiff(call),
    }
}

/// `convert_timezone([from, ]to, time)`: from the session's, where it is left out.
pub(super) fn convert_timezone(call: &mut Call) -> Result<Expr> {
    let (from, to, time) = match call.count() {
        2 => (current_timezone(), 0, 1),
        _ => {
            call.coerce(0, Takes::Text)?;
            (call.argument(0), 1, 2)
        }
    };
    call.coerce(to, Takes::Text)?;
    if call.kind(time).is_nested() || call.kind(time).is_numeric() {
        return Err(call.wrong(time, "TIMESTAMP_NTZ"));
    }
    let time = cast_to(call.argument(time), &ntz_type());
    Ok(called(&zoned::convert_timezone(), vec![from, call.argument(to), time]))
}

/// `time_bucket(width, time[, origin])`, of a width that is written out.
pub(super) fn time_bucket(call: &mut Call) -> Result<Expr> {
    let is_positive = match call.argument(0) {
        Expr::Literal(ScalarValue::IntervalYearMonth(Some(months)), _) => months > 0,
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(micros)), _) => micros > 0,
        _ => return Err(call.wrong(0, "INTERVAL\", written out, \"")),
    };
    if !is_positive {
        return plan_err!(
            "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] time_bucket(): the `bucket_width` must be positive, and of months, or of days and shorter units"
        );
    }
    let is_time = |kind: &DataType| matches!(kind, DataType::Timestamp(..));
    if !is_time(call.kind(1)) {
        return Err(call.wrong(1, "TIMESTAMP"));
    }
    let origin = match call.count() {
        2 => cast_to(lit("1970-01-01 00:00:00"), call.kind(1)),
        _ if call.kind(2).is_null() || call.kind(2) == call.kind(1) => {
            cast_to(call.argument(2), call.kind(1))
        }
        _ => return Err(call.wrong(2, "TIMESTAMP")),
    };
    let arguments = vec![call.argument(0), call.argument(1), origin];
    Ok(called(&bucket::time_bucket(), arguments))
}

/// `date_format(time, pattern)`, also of a time of the day.
pub(super) fn date_format(call: &mut Call) -> Result<Expr> {
    if matches!(call.kind(0), DataType::Time64(_)) {
        let day = lit(ScalarValue::Date32(Some(0)));
        let time = called(&make::timestamp_of_date_and_time(), vec![day, call.argument(0)]);
        return Ok(called(&patterned::date_format(), vec![time, call.argument(1)]));
    }
    call.coerce(0, Takes::Timestamp)?;
    Ok(call.of(&patterned::date_format()))
}
