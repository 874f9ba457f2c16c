//! The fields of Spark's two types of intervals: INTERVAL YEAR TO MONTH, which counts months, INTERVAL
//! DAY TO SECOND, which counts microseconds, and the narrower ones, such as INTERVAL HOUR. They
//! hold the same numbers: the fields say how these are written, and which unit a plain number is of.

use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};

use super::written::fraction_micros;

/// A field of an interval, the longest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum IntervalField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl IntervalField {
    const ALL: [IntervalField; 6] = [
        IntervalField::Year,
        IntervalField::Month,
        IntervalField::Day,
        IntervalField::Hour,
        IntervalField::Minute,
        IntervalField::Second,
    ];

    /// How many months it is, or microseconds.
    #[must_use]
    pub fn size(self) -> i64 {
        match self {
            IntervalField::Year => 12,
            IntervalField::Month => 1,
            IntervalField::Day => 86_400_000_000,
            IntervalField::Hour => 3_600_000_000,
            IntervalField::Minute => 60_000_000,
            IntervalField::Second => 1_000_000,
        }
    }

    /// The field of that name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<IntervalField> {
        IntervalField::ALL.into_iter().find(|field| field.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            IntervalField::Year => "YEAR",
            IntervalField::Month => "MONTH",
            IntervalField::Day => "DAY",
            IntervalField::Hour => "HOUR",
            IntervalField::Minute => "MINUTE",
            IntervalField::Second => "SECOND",
        }
    }

    fn is_of_months(self) -> bool {
        self <= IntervalField::Month
    }

    /// How many there are in the next longer field.
    fn within_longer(self) -> i64 {
        match self {
            IntervalField::Month => 12,
            IntervalField::Hour => 24,
            IntervalField::Minute | IntervalField::Second => 60,
            IntervalField::Year | IntervalField::Day => i64::MAX,
        }
    }

    /// What stands before it, in the text of an interval that has longer fields.
    fn separator(self) -> char {
        match self {
            IntervalField::Year | IntervalField::Month => '-',
            IntervalField::Day | IntervalField::Hour => ' ',
            IntervalField::Minute | IntervalField::Second => ':',
        }
    }

    /// The most digits of a number of it, where it is the first field.
    fn digits_max(self) -> usize {
        match self {
            // As many as a number has, whose size is looked at.
            IntervalField::Year | IntervalField::Month | IntervalField::Day => 18,
            IntervalField::Hour => 10,
            IntervalField::Minute | IntervalField::Second => 13,
        }
    }
}

/// The fields of one type of intervals, from the first to the last: of years and months, or of days
/// and what is shorter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FieldRange {
    first: IntervalField,
    last: IntervalField,
}

/// Why a text is no interval of a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unread {
    /// It has not the form of the type's fields.
    Form,
    /// A field has more than fit into the next longer one, or all of them are too long.
    Range,
}

impl FieldRange {
    /// YEAR TO MONTH.
    pub const YEAR_TO_MONTH: FieldRange =
        FieldRange { first: IntervalField::Year, last: IntervalField::Month };
    /// DAY TO SECOND.
    pub const DAY_TO_SECOND: FieldRange =
        FieldRange { first: IntervalField::Day, last: IntervalField::Second };

    /// The fields from one to another; none where there is no such type.
    #[must_use]
    pub fn new(first: IntervalField, last: IntervalField) -> Option<FieldRange> {
        let exists = first <= last && first.is_of_months() == last.is_of_months();
        exists.then_some(FieldRange { first, last })
    }

    /// Whether it counts months, and not microseconds.
    #[must_use]
    pub fn is_of_months(self) -> bool {
        self.first.is_of_months()
    }

    /// The field whose number a plain number is.
    #[must_use]
    pub fn last(self) -> IntervalField {
        self.last
    }

    /// Whether its values are whole days.
    #[must_use]
    pub fn is_days(self) -> bool {
        self.last == IntervalField::Day
    }

    /// Whether it has a field.
    #[must_use]
    pub fn has(self, field: IntervalField) -> bool {
        self.first <= field && field <= self.last
    }

    fn fields(self) -> impl Iterator<Item = IntervalField> {
        IntervalField::ALL.into_iter().filter(move |field| self.has(*field))
    }

    /// The fields of both, and those between.
    fn and(self, other: FieldRange) -> FieldRange {
        FieldRange { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// The type of its values.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self.is_of_months() {
            true => DataType::Interval(IntervalUnit::YearMonth),
            false => DataType::Duration(TimeUnit::Microsecond),
        }
    }

    /// A value without what its last field does not count: it is cut towards zero.
    #[must_use]
    pub fn cut(self, value: i64) -> i64 {
        match self.last {
            IntervalField::Second => value,
            last => value - value % last.size(),
        }
    }

    /// Appends `INTERVAL '-1 02' DAY TO HOUR` for a number of months or microseconds (Spark's
    /// toDayTimeIntervalString and toYearMonthIntervalString).
    pub fn write(self, value: i64, out: &mut Vec<u8>) {
        let sign = if value < 0 { "-" } else { "" };
        let mut rest = i128::from(value).unsigned_abs();
        // Writing to a Vec cannot fail.
        let _ = write!(out, "INTERVAL '{sign}");
        for field in self.fields() {
            if field != self.first {
                let _ = write!(out, "{}", field.separator());
            }
            let size = u128::from(field.size().unsigned_abs());
            let count = rest / size;
            rest %= size;
            let _ = match field >= IntervalField::Hour {
                true => write!(out, "{count:02}"),
                false => write!(out, "{count}"),
            };
        }
        if self.last == IntervalField::Second && rest != 0 {
            let digits = format!("{rest:06}");
            let _ = write!(out, ".{}", digits.trim_end_matches('0'));
        }
        let _ = write!(out, "' {self}");
    }

    /// The number of months or microseconds of a text: `-1 02:03` for DAY TO MINUTE, or
    /// `INTERVAL '-1 02:03' DAY TO MINUTE` (Spark's castStringToDTInterval and
    /// castStringToYMInterval).
    ///
    /// # Errors
    /// The text is none, or too long.
    pub fn read(self, text: &str) -> Result<i64, Unread> {
        let (negative, digits) = self.signed(text.trim()).ok_or(Unread::Form)?;
        let parts = self.parts(digits)?;
        let mut total: i128 = 0;
        for (field, part) in parts {
            let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
            let whole: i128 = whole.parse().map_err(|_| Unread::Range)?;
            total += whole * i128::from(field.size()) + i128::from(fraction_micros(fraction));
        }
        let total = if negative { -total } else { total };
        match self.is_of_months() {
            true => i32::try_from(total).map(i64::from).map_err(|_| Unread::Range),
            false => i64::try_from(total).map_err(|_| Unread::Range),
        }
    }

    /// The numbers of a text without its sign, each with its field.
    ///
    /// # Errors
    /// The text has not the form of these fields, or too much for one of them.
    pub fn parts(self, digits: &str) -> Result<Vec<(IntervalField, &str)>, Unread> {
        let mut fields = self.fields().peekable();
        let mut parts = Vec::new();
        let mut rest = Some(digits);
        while let Some(field) = fields.next() {
            let text = rest.ok_or(Unread::Form)?;
            let split = fields.peek().and_then(|next| text.split_once(next.separator()));
            let part = split.map_or(text, |(part, _)| part);
            rest = split.map(|(_, after)| after);
            self.check(field, part)?;
            parts.push((field, part));
        }
        Ok(parts)
    }

    fn check(self, field: IntervalField, part: &str) -> Result<(), Unread> {
        let (whole, fraction) = match part.split_once('.') {
            Some((whole, fraction)) if field == IntervalField::Second => (whole, Some(fraction)),
            _ => (part, None),
        };
        let are_digits = |text: &str, most: usize| {
            let length = text.len();
            (1..=most).contains(&length) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let most = match field {
            IntervalField::Month => field.digits_max(),
            _ if field == self.first => field.digits_max(),
            _ => 2,
        };
        if !are_digits(whole, most) || fraction.is_some_and(|digits| !are_digits(digits, 9)) {
            return Err(Unread::Form);
        }
        let count: i64 = whole.parse().map_err(|_| Unread::Range)?;
        match field == self.first || count < field.within_longer() {
            true => Ok(()),
            false => Err(Unread::Range),
        }
    }

    /// What is between the quotes, and whether it is negative.
    fn signed(self, text: &str) -> Option<(bool, &str)> {
        fn sign(text: &str) -> (bool, &str) {
            match text.strip_prefix('-') {
                Some(rest) => (true, rest),
                None => (false, text.strip_prefix('+').unwrap_or(text)),
            }
        }
        let is_literal = text.get(..8).is_some_and(|word| word.eq_ignore_ascii_case("INTERVAL"));
        if !is_literal {
            return Some(sign(text));
        }
        let (outer, quoted) = sign(text[8..].trim_start());
        let (value, fields) = quoted.strip_prefix('\'')?.split_once('\'')?;
        let (inner, digits) = sign(value);
        let is_of_these = FieldRange::named(fields.split_whitespace()) == Some(self)
            && fields.starts_with(char::is_whitespace);
        is_of_these.then_some((outer != inner, digits))
    }

    /// Those that words such as `DAY`, `TO`, `HOUR` say.
    #[must_use]
    pub fn named<'w>(mut words: impl Iterator<Item = &'w str>) -> Option<FieldRange> {
        let first = IntervalField::named(words.next()?)?;
        let Some(to) = words.next() else { return FieldRange::new(first, first) };
        let last = IntervalField::named(words.next()?)?;
        let is_range = to.eq_ignore_ascii_case("TO") && first < last && words.next().is_none();
        if is_range { FieldRange::new(first, last) } else { None }
    }
}

impl fmt::Display for IntervalField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for FieldRange {
    /// `DAY TO HOUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => f.write_str(self.first.name()),
            false => write!(f, "{} TO {}", self.first.name(), self.last.name()),
        }
    }
}

/// What stands before fields that are mixed.
const MIXED: &str = "mixed ";

/// The fields of the intervals in a column, in lists and structs, too. All of one kind have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct IntervalFields {
    /// Those of intervals of months.
    pub months: Option<FieldRange>,
    /// Those of intervals of microseconds.
    pub micros: Option<FieldRange>,
    /// Whether intervals of one kind have other fields each, of which these are the first and the last.
    pub is_mixed: bool,
}

impl IntervalFields {
    /// The key of a column's fields in its metadata.
    pub const KEY: &str = "tidemill.interval-fields";

    /// One field.
    #[must_use]
    pub fn of(field: IntervalField) -> IntervalFields {
        IntervalFields::from(FieldRange { first: field, last: field })
    }

    /// All fields that intervals of a type may have.
    #[must_use]
    pub fn all_of(kind: &DataType) -> IntervalFields {
        match kind {
            DataType::Interval(IntervalUnit::YearMonth) => FieldRange::YEAR_TO_MONTH.into(),
            DataType::Duration(_) => FieldRange::DAY_TO_SECOND.into(),
            DataType::List(item) | DataType::Map(item, _) => {
                IntervalFields::all_of(item.data_type())
            }
            DataType::Struct(fields) => {
                let each = fields.iter().map(|field| IntervalFields::all_of(field.data_type()));
                each.fold(IntervalFields::default(), IntervalFields::and)
            }
            _ => IntervalFields::default(),
        }
    }

    /// Those of a column: what its metadata say, or all that its type may have.
    #[must_use]
    pub fn of_column(column: &Field) -> IntervalFields {
        let said = column.metadata().get(IntervalFields::KEY);
        match said.and_then(|text| IntervalFields::named(text)) {
            Some(fields) => fields,
            None => IntervalFields::all_of(column.data_type()),
        }
    }

    /// A column that says these in its metadata.
    #[must_use]
    pub fn said_by(self, column: Field) -> Field {
        let mut metadata = column.metadata().clone();
        metadata.insert(IntervalFields::KEY.to_owned(), self.to_string());
        column.with_metadata(metadata)
    }

    /// A column of the name and the type that says of its metadata these alone: whatever else is noted on it
    /// is left out.
    #[must_use]
    pub fn alone(column: &Field) -> Field {
        let bare = column.clone().with_metadata(HashMap::new());
        match column.metadata().contains_key(IntervalFields::KEY) {
            true => IntervalFields::of_column(column).said_by(bare),
            false => bare,
        }
    }

    /// Whether there is an interval at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.months.is_none() && self.micros.is_none()
    }

    /// The fields of both, and those between.
    #[must_use]
    pub fn and(self, other: IntervalFields) -> IntervalFields {
        let both = |one: Option<FieldRange>, other: Option<FieldRange>| match (one, other) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        IntervalFields {
            months: both(self.months, other.months),
            micros: both(self.micros, other.micros),
            is_mixed: self.is_mixed || other.is_mixed,
        }
    }

    /// The fields of both, where each interval keeps its own.
    #[must_use]
    pub fn beside(self, other: IntervalFields) -> IntervalFields {
        let differ = |one: Option<FieldRange>, other: Option<FieldRange>| {
            one.is_some() && other.is_some() && one != other
        };
        let differ = differ(self.months, other.months) || differ(self.micros, other.micros);
        IntervalFields { is_mixed: self.is_mixed || other.is_mixed || differ, ..self.and(other) }
    }

    /// The fields of intervals of months.
    #[must_use]
    pub fn of_months(self) -> FieldRange {
        self.months.unwrap_or(FieldRange::YEAR_TO_MONTH)
    }

    /// The fields of intervals of microseconds.
    #[must_use]
    pub fn of_micros(self) -> FieldRange {
        self.micros.unwrap_or(FieldRange::DAY_TO_SECOND)
    }

    /// Those that a text names: `DAY TO HOUR`, or `MONTH, DAY TO HOUR`.
    #[must_use]
    pub fn named(text: &str) -> Option<IntervalFields> {
        let (is_mixed, text) = match text.strip_prefix(MIXED) {
            Some(text) => (true, text),
            None => (false, text),
        };
        let mut fields = IntervalFields { is_mixed, ..IntervalFields::default() };
        for range in text.split(", ") {
            fields = fields.and(FieldRange::named(range.split_whitespace())?.into());
        }
        Some(fields)
    }
}

impl From<FieldRange> for IntervalFields {
    fn from(range: FieldRange) -> IntervalFields {
        match range.is_of_months() {
            true => IntervalFields { months: Some(range), ..IntervalFields::default() },
            false => IntervalFields { micros: Some(range), ..IntervalFields::default() },
        }
    }
}

impl fmt::Display for IntervalFields {
    /// What [`IntervalFields::named`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_mixed { MIXED } else { "" })?;
        match (self.months, self.micros) {
            (Some(months), Some(micros)) => write!(f, "{months}, {micros}"),
            (Some(range), None) | (None, Some(range)) => write!(f, "{range}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn range(text: &str) -> FieldRange {
        FieldRange::named(text.split_whitespace()).unwrap()
    }

    #[test]
    fn intervals_are_written_by_their_fields() {
        let written = |fields: &str, value: i64| {
            let mut text = Vec::new();
            range(fields).write(value, &mut text);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(written("DAY", 3 * 86_400_000_000), "INTERVAL '3' DAY");
        assert_eq!(written("HOUR", -7_200_000_000), "INTERVAL '-02' HOUR");
        assert_eq!(written("SECOND", 1_500_000), "INTERVAL '01.5' SECOND");
        assert_eq!(
            written("MINUTE TO SECOND", 93_784_500_000),
            "INTERVAL '1563:04.5' MINUTE TO SECOND"
        );
        assert_eq!(written("DAY TO SECOND", 0), "INTERVAL '0 00:00:00' DAY TO SECOND");
        assert_eq!(
            written("DAY TO SECOND", i64::MIN),
            "INTERVAL '-106751991 04:00:54.775808' DAY TO SECOND"
        );
        assert_eq!(written("YEAR TO MONTH", -14), "INTERVAL '-1-2' YEAR TO MONTH");
        assert_eq!(written("YEAR", 27), "INTERVAL '2' YEAR");
    }

    #[test]
    fn texts_are_read_by_the_fields_of_a_type() {
        let read = |fields: &str, text: &str| range(fields).read(text);
        let hour = 3_600_000_000;
        assert_eq!(read("DAY TO HOUR", "1 02"), Ok(26 * hour));
        assert_eq!(read("DAY TO HOUR", " -1 2 "), Ok(-26 * hour));
        assert_eq!(read("DAY TO HOUR", "INTERVAL '1 02' DAY TO HOUR"), Ok(26 * hour));
        assert_eq!(read("YEAR TO MONTH", "interval -'1-2' year to month"), Ok(-14));
        assert_eq!(read("HOUR TO MINUTE", "25:02"), Ok(25 * hour + 120_000_000));
        assert_eq!(read("SECOND", "75.123456789"), Ok(75_123_456));
        assert_eq!(read("DAY TO HOUR", "1 24"), Err(Unread::Range));
        assert_eq!(read("YEAR TO MONTH", "1-12"), Err(Unread::Range));
        assert_eq!(read("YEAR", "178956971"), Err(Unread::Range));
        for text in
            ["", "x", "1", "1 02:03", "1T02", "INTERVAL '1' DAY", "INTERVAL'1 02' DAY TO HOUR2"]
        {
            assert_eq!(read("DAY TO HOUR", text), Err(Unread::Form), "{text}");
        }
        for text in [".5", "1.", "1.5x", "1.1234567891"] {
            assert_eq!(read("SECOND", text), Err(Unread::Form), "{text}");
        }
    }

    #[test]
    fn fields_of_several_intervals_are_those_between() {
        let fields = |text: &str| IntervalFields::named(text).unwrap();
        assert_eq!(fields("DAY").and(fields("MINUTE")).to_string(), "DAY TO MINUTE");
        assert_eq!(fields("DAY").and(fields("MONTH")).to_string(), "MONTH, DAY");
        assert_eq!(fields("MONTH, DAY").and(fields("YEAR")).to_string(), "YEAR TO MONTH, DAY");
        assert_eq!(IntervalFields::named("DAY TO MONTH"), None);
        assert_eq!(IntervalFields::named("HOUR TO DAY"), None);
    }
}
