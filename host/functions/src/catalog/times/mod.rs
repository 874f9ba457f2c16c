//! Dates, times and intervals.

mod build;

use arrow::datatypes::DataType;

use super::{of, optional, required};
use crate::call::called;
use crate::function::{Determinism, Function};
use crate::kernels::batch_time::batch_time;
use crate::kernels::cast::cast_to;
use crate::kernels::session::current_timezone;
use crate::kernels::times::patterned::ntz_type;
use crate::kernels::times::{epoch, make, parts, shift, truncate, zoned};
use crate::parameters::Takes::{self, Any, Boolean, Date, Int, Long, Text, Timestamp};

/// A part of a date or time.
macro_rules! part {
    ($name:literal, $usage:literal, $aliases:expr, $takes:expr, $kernel:expr, $cell:literal) => {
        Function::scalar($name, $usage, &[required("date", $takes)], of!($kernel))
            .called($aliases)
            .null_intolerant()
            .example(concat!("SELECT ", $name, "('2026-07-30 10:58:59')"), $cell)
    };
}

/// A part of what clocks show.
macro_rules! of_clock {
    ($name:literal, $usage:literal, $kernel:expr, $cell:literal) => {
        Function::scalar($name, $usage, &[required("time", Any)], |call| {
            build::local(call, 0)?;
            Ok(call.of(&$kernel()))
        })
        .null_intolerant()
        .example(concat!("SELECT ", $name, "('2026-07-30 10:58:59')"), $cell)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "add_months",
        "The date that is so many months later; the last day of a month where there is no such day.",
        &[required("start_date", Date), required("num_months", Int)],
        of!(shift::add_months),
    )
    .null_intolerant()
    .example("SELECT add_months('2016-08-31', 1)", "2016-09-30"),
    Function::scalar(
        "convert_timezone",
        "What clocks of another time zone show when those of one show a time.",
        &[required("sourceTz or targetTz", Any), required("targetTz or sourceTs", Any), optional("sourceTs", Any)],
        build::convert_timezone,
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.insert(0, "current_timezone()".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT convert_timezone('Europe/Brussels', '2021-12-05 15:00:00')", "2021-12-05 16:00:00"),
    Function::scalar("current_date", "The date of the batch.", &[], |_| {
        Ok(cast_to(batch_time(), &DataType::Date32))
    })
    .called(&["curdate"])
    .determined(Determinism::OfBatch),
    Function::scalar("current_timestamp", "The time of the batch.", &[], |_| Ok(batch_time()))
    .called(&["now"])
    .determined(Determinism::OfBatch),
    Function::scalar("current_timezone", "The time zone of the session.", &[], |_| {
        Ok(current_timezone())
    })
    .example("SELECT current_timezone()", "UTC"),
    Function::scalar(
        "date_add",
        "The date that is so many days later; or by a unit, as timestampadd().",
        &[required("start_date or unit", Any).or_word(), required("num_days", Any), optional("timestamp", Any)],
        build::dateadd,
    )
    .called(&["dateadd"])
    .spelled(|name, arguments| match arguments.len() {
        3 => format!("timestampadd({})", arguments.join(", ")),
        _ => format!("{name}({})", arguments.join(", ")),
    })
    .null_intolerant()
    .example("SELECT dateadd('2016-07-30', 1)", "2016-07-31"),
    Function::scalar(
        "date_diff",
        "How many days are between two dates; or by a unit, as timestampdiff().",
        &[required("endDate or unit", Any).or_word(), required("startDate", Any), optional("end", Any)],
        build::datediff,
    )
    .called(&["datediff"])
    .spelled(|name, arguments| match arguments.len() {
        3 => format!("timestampdiff({})", arguments.join(", ")),
        _ => format!("{name}({})", arguments.join(", ")),
    })
    .null_intolerant()
    .example("SELECT datediff('2009-07-31', '2009-07-30')", "1"),
    Function::scalar(
        "date_format",
        "A time by a pattern of Java.",
        &[required("timestamp", Any), required("fmt", Text)],
        build::date_format,
    )
    .null_intolerant()
    .example("SELECT date_format('2016-04-08', 'y')", "2016"),
    Function::scalar(
        "date_from_unix_date",
        "The date that is so many days after 1970.",
        &[required("days", Int)],
        of!(epoch::date_from_unix_date),
    )
    .null_intolerant()
    .example("SELECT date_from_unix_date(1)", "1970-01-02"),
    Function::scalar(
        "date_part",
        "A part of a date, a time or an interval, by its name.",
        &[required("field", Text), required("source", Any)],
        build::date_part,
    )
    .called(&["datepart", "extract"])
    .spelled(|name, arguments| match (name, arguments.as_slice()) {
        ("datepart" | "extract", [field, source]) => format!("{name}({field} FROM {source})"),
        _ => format!("{name}({})", arguments.join(", ")),
    })
    .example("SELECT date_part('week', '2019-08-12')", "33"),
    Function::scalar(
        "date_sub",
        "The date that is so many days before.",
        &[required("start_date", Any), required("num_days", Any)],
        |call| build::days(call, shift::date_sub),
    )
    .null_intolerant()
    .example("SELECT date_sub('2016-07-30', 1)", "2016-07-29"),
    Function::scalar(
        "date_trunc",
        "A time with its smaller parts set to their beginning: to a YEAR, MONTH, DAY, HOUR and so on.",
        &[required("fmt", Text), required("ts", Timestamp)],
        of!(truncate::date_trunc),
    )
    .example("SELECT date_trunc('YEAR', '2015-03-05T09:32:05.359')", "2015-01-01 00:00:00"),
    part!("day", "The day of a date's month.", &["dayofmonth"], Date, parts::day, "30"),
    part!("dayname", "The short English name of a date's day of the week.", &[], Date, parts::dayname, "Thu"),
    part!("dayofweek", "The day of a date's week: 1 is a Sunday, and 7 a Saturday.", &[], Date, parts::dayofweek, "5"),
    part!("dayofyear", "The day of a date's year.", &[], Date, parts::dayofyear, "211"),
    Function::scalar(
        "from_unixtime",
        "The time that is so many seconds after 1970, by a pattern of Java.",
        &[required("unix_time", Long), optional("fmt", Text)],
        build::from_unixtime,
    )
    .null_intolerant()
    .spelled(build::with_usual)
    .example("SELECT from_unixtime(0)", "1970-01-01 00:00:00"),
    Function::scalar(
        "from_utc_timestamp",
        "A time of UTC as the clocks of a time zone show it.",
        &[required("timestamp", Timestamp), required("timezone", Text)],
        of!(zoned::from_utc_timestamp),
    )
    .null_intolerant()
    .example("SELECT from_utc_timestamp('2016-08-31', 'Asia/Seoul')", "2016-08-31 09:00:00"),
    of_clock!("hour", "The hour of a time.", parts::hour, "10"),
    Function::scalar(
        "last_day",
        "The last day of a date's month.",
        &[required("date", Date)],
        of!(shift::last_day),
    )
    .null_intolerant()
    .example("SELECT last_day('2009-01-12')", "2009-01-31"),
    Function::scalar("localtimestamp", "The time of the batch, without a zone.", &[], |_| {
        Ok(cast_to(batch_time(), &ntz_type()))
    })
    .determined(Determinism::OfBatch),
    Function::scalar(
        "make_date",
        "A date of its year, month and day.",
        &[required("year", Int), required("month", Int), required("day", Int)],
        of!(make::make_date),
    )
    .null_intolerant()
    .example("SELECT make_date(2013, 7, 15)", "2013-07-15"),
    Function::scalar(
        "make_dt_interval",
        "An interval of days, hours, minutes and seconds.",
        &[optional("days", Int), optional("hours", Int), optional("mins", Int), optional("secs", Takes::Decimal(18, 6))],
        build::make_dt_interval,
    )
    .spelled(|name, arguments| build::with_zeros(name, arguments, 3, true))
    .null_intolerant()
    .example("SELECT TIMESTAMP'2020-01-01 00:00:00' + make_dt_interval(1)", "2020-01-02 00:00:00"),
    Function::scalar(
        "make_interval",
        "An interval of years, months, weeks, days, hours, minutes and seconds.",
        &[optional("years", Int), optional("months", Int), optional("weeks", Int), optional("days", Int), optional("hours", Int), optional("mins", Int), optional("secs", Takes::Decimal(18, 6))],
        build::make_interval,
    )
    .spelled(|name, arguments| build::with_zeros(name, arguments, 6, true))
    .null_intolerant()
    .example("SELECT TIMESTAMP'2020-01-31 00:00:00' + make_interval(0, 1)", "2020-02-29 00:00:00"),
    Function::scalar(
        "make_timestamp",
        "A time of its year, month, day, hour, minute and seconds, on the clocks of a time zone.",
        &[required("year or date", Any), optional("month", Any), optional("day", Any), optional("hour", Any), optional("min", Any), optional("sec", Any), optional("timezone", Any)],
        build::make_timestamp_of_zone,
    )
    .null_intolerant()
    .example("SELECT make_timestamp(2014, 12, 28, 6, 30, 45.887)", "2014-12-28 06:30:45.887"),
    Function::scalar(
        "make_timestamp_ltz",
        "As `make_timestamp`.",
        &[required("year or date", Any), required("month or time", Any), optional("day", Any), optional("hour", Any), optional("min", Any), optional("sec", Any), optional("timezone", Any)],
        build::make_timestamp_of_zone,
    )
    .null_intolerant()
    .example("SELECT make_timestamp_ltz(2014, 12, 28, 6, 30, 45.887, 'CET')", "2014-12-28 05:30:45.887"),
    Function::scalar(
        "make_timestamp_ntz",
        "A time without a zone of its year, month, day, hour, minute and seconds.",
        &[required("year or date", Any), required("month or time", Any), optional("day", Any), optional("hour", Any), optional("min", Any), optional("sec", Any)],
        |call| build::make_timestamp(call, make::make_timestamp_ntz, &ntz_type()),
    )
    .null_intolerant()
    .example("SELECT make_timestamp_ntz(2014, 12, 28, 6, 30, 45.887)", "2014-12-28 06:30:45.887"),
    Function::scalar(
        "make_ym_interval",
        "An interval of years and months.",
        &[optional("years", Int), optional("months", Int)],
        build::make_ym_interval,
    )
    .spelled(|name, arguments| build::with_zeros(name, arguments, 2, false))
    .null_intolerant()
    .example("SELECT TIMESTAMP'2020-01-31 00:00:00' + make_ym_interval(0, 1)", "2020-02-29 00:00:00"),
    of_clock!("minute", "The minute of a time.", parts::minute, "58"),
    part!("month", "The month of a date.", &[], Date, parts::month, "7"),
    part!("monthname", "The short English name of a date's month.", &[], Date, parts::monthname, "Jul"),
    Function::scalar(
        "months_between",
        "How many months are between two times, of 31 days where they are not whole; with eight digits, unless told otherwise.",
        &[required("timestamp1", Timestamp), required("timestamp2", Timestamp), optional("roundOff", Boolean)],
        |call| {
            let arguments = vec![call.argument(0), call.argument(1), call.argument_or(2, true)];
            Ok(called(&shift::months_between(), arguments))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push("true".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT months_between('1997-02-28 10:30:00', '1996-10-30')", "3.94959677"),
    Function::scalar(
        "next_day",
        "The first date after one that is such a day of the week.",
        &[required("start_date", Date), required("day_of_week", Text)],
        of!(shift::next_day),
    )
    .null_intolerant()
    .example("SELECT next_day('2015-01-14', 'TU')", "2015-01-20"),
    part!("quarter", "The quarter of a date's year.", &[], Date, parts::quarter, "3"),
    of_clock!("second", "The second of a time.", parts::second, "59"),
    Function::scalar(
        "time_bucket",
        "The beginning of the stretch of time that a time is in: they follow each other from 1970, or from an origin.",
        &[required("bucket_width", Any), required("ts", Any), optional("origin", Any)],
        build::time_bucket,
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push("TIMESTAMP '1970-01-01 00:00:00'".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example(
        "SELECT time_bucket(INTERVAL '1' HOUR, TIMESTAMP '2024-01-01 11:27:00')",
        "2024-01-01 11:00:00",
    ),
    Function::scalar(
        "timestamp_micros",
        "The time that is so many microseconds after 1970.",
        &[required("microseconds", Any)],
        |call| build::after(call, epoch::timestamp_micros),
    )
    .null_intolerant()
    .example("SELECT timestamp_micros(1230219000123123)", "2008-12-25 15:30:00.123123"),
    Function::scalar(
        "timestamp_millis",
        "The time that is so many milliseconds after 1970.",
        &[required("milliseconds", Any)],
        |call| build::after(call, epoch::timestamp_millis),
    )
    .null_intolerant()
    .example("SELECT timestamp_millis(1230219000123)", "2008-12-25 15:30:00.123"),
    Function::scalar(
        "timestamp_seconds",
        "The time that is so many seconds after 1970.",
        &[required("seconds", Any)],
        |call| build::timestamp_seconds(call),
    )
    .null_intolerant()
    .example("SELECT timestamp_seconds(1230219000)", "2008-12-25 15:30:00"),
    Function::scalar(
        "timestampadd",
        "The time that is so many units later: of YEAR, MONTH, DAY, HOUR and so on.",
        &[required("unit", Text).or_word(), required("quantity", Any), required("timestamp", Any)],
        build::timestampadd,
    )
    .null_intolerant(),
    Function::scalar(
        "timestampdiff",
        "How many whole units are between two times: of YEAR, MONTH, DAY, HOUR and so on.",
        &[required("unit", Text).or_word(), required("start", Any), required("end", Any)],
        build::timestampdiff,
    )
    .null_intolerant(),
    Function::scalar(
        "to_date",
        "A date of a text, by CAST's rules or by a pattern of Java.",
        &[required("date_str", Any), optional("fmt", Any)],
        build::to_date,
    )
    .null_intolerant()
    .example("SELECT to_date('2016-12-31', 'yyyy-MM-dd')", "2016-12-31"),
    Function::scalar(
        "to_timestamp",
        "A time of a text, by CAST's rules or by a pattern of Java.",
        &[required("timestamp_str", Any), optional("fmt", Any)],
        build::to_timestamp,
    )
    .called(&["to_timestamp_ltz"])
    .null_intolerant()
    .example("SELECT to_timestamp('2016-12-31', 'yyyy-MM-dd')", "2016-12-31 00:00:00"),
    Function::scalar(
        "to_timestamp_ntz",
        "A time without a zone of a text, by CAST's rules or by a pattern of Java.",
        &[required("timestamp_str", Any), optional("fmt", Any)],
        build::to_timestamp_ntz,
    )
    .null_intolerant()
    .example("SELECT to_timestamp_ntz('2016-12-31', 'yyyy-MM-dd')", "2016-12-31 00:00:00"),
    Function::scalar(
        "to_unix_timestamp",
        "How many seconds the time of a text, by a pattern of Java, is after 1970.",
        &[required("timeExp", Any), optional("fmt", Any)],
        build::unix_timestamp,
    )
    .null_intolerant()
    .spelled(build::with_usual)
    .example("SELECT to_unix_timestamp('2016-04-08', 'yyyy-MM-dd')", "1460073600"),
    Function::scalar(
        "to_utc_timestamp",
        "What clocks of a time zone show as a time of UTC.",
        &[required("timestamp", Timestamp), required("timezone", Text)],
        of!(zoned::to_utc_timestamp),
    )
    .null_intolerant()
    .example("SELECT to_utc_timestamp('2016-08-31', 'Asia/Seoul')", "2016-08-30 15:00:00"),
    Function::scalar(
        "trunc",
        "A date with its smaller parts set to their beginning: to a YEAR, QUARTER, MONTH or WEEK.",
        &[required("date", Date), required("fmt", Text)],
        of!(truncate::trunc),
    )
    .example("SELECT trunc('2009-02-12', 'MM')", "2009-02-01"),
    Function::scalar(
        "try_make_interval",
        "As `make_interval`; null where it is too long.",
        &[optional("years", Int), optional("months", Int), optional("weeks", Int), optional("days", Int), optional("hours", Int), optional("mins", Int), optional("secs", Takes::Decimal(18, 6))],
        build::try_make_interval,
    )
    .spelled(|name, arguments| build::with_zeros(name, arguments, 6, true)),
    Function::scalar(
        "try_make_timestamp",
        "As `make_timestamp`; null where there is no such time.",
        &[required("year or date", Any), optional("month", Any), optional("day", Any), optional("hour", Any), optional("min", Any), optional("sec", Any), optional("timezone", Any)],
        build::try_make_timestamp_of_zone,
    )
    .example("SELECT try_make_timestamp(2024, 13, 22, 15, 30, 0)", "NULL"),
    Function::scalar(
        "try_make_timestamp_ltz",
        "As `make_timestamp_ltz`; null where there is no such time.",
        &[required("year or date", Any), required("month or time", Any), optional("day", Any), optional("hour", Any), optional("min", Any), optional("sec", Any), optional("timezone", Any)],
        build::try_make_timestamp_of_zone,
    )
    .example("SELECT try_make_timestamp_ltz(2024, 13, 22, 15, 30, 0)", "NULL"),
    Function::scalar(
        "try_make_timestamp_ntz",
        "As `make_timestamp_ntz`; null where there is no such time.",
        &[required("year or date", Any), required("month or time", Any), optional("day", Any), optional("hour", Any), optional("min", Any), optional("sec", Any)],
        |call| build::make_timestamp(call, make::try_make_timestamp_ntz, &ntz_type()),
    )
    .example("SELECT try_make_timestamp_ntz(2024, 13, 22, 15, 30, 0)", "NULL"),
    Function::scalar(
        "try_to_date",
        "As `to_date`; null where the text is no date.",
        &[required("date_str", Any), optional("fmt", Any)],
        build::try_to_date,
    )
    .example("SELECT try_to_date('foo', 'yyyy-MM-dd')", "NULL"),
    Function::scalar(
        "try_to_timestamp",
        "As `to_timestamp`; null where the text is no time.",
        &[required("timestamp_str", Any), optional("fmt", Any)],
        build::try_to_timestamp,
    )
    .example("SELECT try_to_timestamp('foo', 'yyyy-MM-dd')", "NULL"),
    Function::scalar(
        "unix_date",
        "How many days a date is after 1970.",
        &[required("date", Any)],
        |call| build::unix_date(call),
    )
    .null_intolerant()
    .example("SELECT unix_date(DATE'1970-01-02')", "1"),
    Function::scalar(
        "unix_micros",
        "How many microseconds a time is after 1970.",
        &[required("timestamp", Any)],
        |call| build::since(call, epoch::unix_micros),
    )
    .null_intolerant()
    .example("SELECT unix_micros(TIMESTAMP'1970-01-01 00:00:01')", "1000000"),
    Function::scalar(
        "unix_millis",
        "How many milliseconds a time is after 1970.",
        &[required("timestamp", Any)],
        |call| build::since(call, epoch::unix_millis),
    )
    .null_intolerant()
    .example("SELECT unix_millis(TIMESTAMP'1970-01-01 00:00:01')", "1000"),
    Function::scalar(
        "unix_seconds",
        "How many seconds a time is after 1970.",
        &[required("timestamp", Any)],
        |call| build::since(call, epoch::unix_seconds),
    )
    .null_intolerant()
    .example("SELECT unix_seconds(TIMESTAMP'1970-01-01 00:00:01')", "1"),
    Function::scalar(
        "unix_timestamp",
        "How many seconds the time of a text, by a pattern of Java, is after 1970; or the batch's time.",
        &[optional("timeExp", Any), optional("fmt", Any)],
        build::unix_timestamp,
    )
    .null_intolerant()
    .spelled(build::with_usual)
    .example("SELECT unix_timestamp('2016-04-08', 'yyyy-MM-dd')", "1460073600"),
    part!("weekday", "The day of a date's week: 0 is a Monday, and 6 a Sunday.", &[], Date, parts::weekday_of, "3"),
    part!("weekofyear", "The week of a date's year, by ISO 8601.", &[], Date, parts::weekofyear, "31"),
    part!("year", "The year of a date.", &[], Date, parts::year, "2026"),
];
