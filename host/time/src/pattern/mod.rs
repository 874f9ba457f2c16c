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
mod zone_names;

use crate::{Result, Zone};

pub use names::of_value as name_of;
pub use read::Parsed;

/// What a pattern is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Times are written by it.
    Writing,
    /// Texts are read by it.
    Reading,
}

/// A part of a time that patterns name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of Java's ChronoField")]
pub enum Field {
    Era,
    Year,
    YearOfEra,
    Month,
    Day,
    DayOfYear,
    Weekday,
    WeekdayOfMonth,
    Quarter,
    ModifiedJulianDay,
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
    /// `PDT`, or in full `Pacific Daylight Time`; for summer and winter `PT`.
    ZoneName {
        is_full: bool,
        is_generic: bool,
    },
    Optional(Vec<Part>),
}

/// A pattern that is ready to be used.
#[derive(Debug)]
pub struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// The pattern of a text.
    ///
    /// # Errors
    /// It is none, by Spark's classes of errors.
    pub fn new(text: &str, purpose: Use) -> Result<Pattern> {
        Ok(Pattern { parts: compile::compile(text, purpose)? })
    }

    /// Writes what the clocks of a zone show at a time.
    ///
    /// # Errors
    /// It has a part with more digits than the pattern has, or a name of the zone that is not known.
    pub fn write(&self, micros: i64, zone: Zone, text: &mut String) -> Result<()> {
        write::write(&self.parts, &write::Moment::of(micros, zone)?, text)
    }

    /// Writes a local time, to which no zone belongs.
    ///
    /// # Errors
    /// It has a part with more digits than the pattern has, or one for a zone.
    pub fn write_local(&self, micros: i64, text: &mut String) -> Result<()> {
        write::write(&self.parts, &write::Moment::local(micros), text)
    }

    /// What a whole text says; none where it is not of that form.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Parsed> {
        read::read(&self.parts, text)
    }
}

#[cfg(test)]
mod tests;
