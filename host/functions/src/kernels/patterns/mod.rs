//! Patterns of dates and times: Java's DateTimeFormatter, as Spark lets it be used.
//!
//! ```text
//! pattern ──compile──▶ parts ──write──▶ text of a time
//!                            ──read───▶ fields of a text ──resolve──▶ time
//! ```
//!
//! The rules are those of Java's DateTimeFormatterBuilder.appendPattern in the strict style, and of
//! Spark's DateTimeFormatterHelper: which letters there are, that `y` is a year with a sign unless an
//! era is told, and that a fraction of seconds may be shorter than its pattern where it is read.

mod compile;
mod names;
mod read;
mod resolve;
mod write;

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::Result;

pub(crate) use names::of_value as name_of;
pub(crate) use read::Parsed;

/// What a pattern is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Writing,
    Reading,
}

/// A part of a time that patterns name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Era,
    Year,
    YearOfEra,
    Month,
    Day,
    DayOfYear,
    Weekday,
    WeekdayOfMonth,
    Quarter,
    JulianDay,
    HalfDay,
    HourOfHalf,
    ClockHourOfHalf,
    Hour,
    ClockHour,
    Minute,
    Second,
    Nano,
}

/// How many fields there are.
const FIELDS: usize = 18;

/// When a sign is written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Of negative numbers.
    Normal,
    /// Never.
    Never,
    /// Of negative ones, and of those with more digits than there is a width for.
    Exceeding,
}

/// A number of so many digits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digits {
    field: Field,
    min: usize,
    max: usize,
    sign: Sign,
    /// Whether it is the last two digits of a year of this century.
    is_reduced: bool,
    /// Digits of numbers that follow without anything between; none where it has a width of its own.
    following: Option<usize>,
}

/// How an offset from UTC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OffsetForm {
    has_colons: bool,
    minutes: Presence,
    seconds: Presence,
    /// What stands for none.
    none: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Never,
    IfAny,
    Always,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Number(Digits),
    /// A fraction of a second.
    Fraction {
        min: usize,
        max: usize,
    },
    /// A field by its name.
    Name {
        field: Field,
        is_full: bool,
    },
    Offset(OffsetForm),
    /// `GMT+8`, or in full `GMT+08:00`.
    OfGreenwich {
        is_full: bool,
    },
    /// `Europe/Berlin`.
    Zone,
    /// `UTC`, or in full `Coordinated Universal Time`.
    ZoneName {
        is_full: bool,
    },
    Optional(Vec<Part>),
}

/// A pattern that is ready to be used.
#[derive(Debug)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// # Errors
    /// It is none, by Spark's classes of errors.
    pub(crate) fn new(text: &str, purpose: Use) -> Result<Pattern> {
        Ok(Pattern { parts: compile::compile(text, purpose)? })
    }

    /// Writes a moment in UTC.
    ///
    /// # Errors
    /// It has a part with more digits than the pattern has.
    pub(crate) fn write(&self, micros: i64, text: &mut String) -> Result<()> {
        write::write(&self.parts, &write::Moment::of(micros), text)
    }

    /// Reads a whole text; none where it is not of that form.
    ///
    /// # Errors
    /// It has a name of a time zone that is not known here.
    pub(crate) fn read(&self, text: &str) -> Result<Option<Parsed>> {
        read::read(&self.parts, text)
    }
}

thread_local! {
    static LAST: RefCell<Option<(String, Use, Arc<Pattern>)>> = const { RefCell::new(None) };
}

/// The pattern of a text, which is mostly that of the row before.
///
/// # Errors
/// It is none.
pub(crate) fn pattern(text: &str, purpose: Use) -> Result<Arc<Pattern>> {
    LAST.with_borrow_mut(|last| match last {
        Some((known, of, pattern)) if known == text && *of == purpose => Ok(Arc::clone(pattern)),
        _ => {
            let pattern = Arc::new(Pattern::new(text, purpose)?);
            *last = Some((text.to_owned(), purpose, Arc::clone(&pattern)));
            Ok(pattern)
        }
    })
}

#[cfg(test)]
mod tests;
