//! A pattern's text as its parts.

use crate::{Result, fail};

use super::{Digits, Field, OffsetForm, Part, Presence, Sign, Use};

/// Optional sections within one another: they are written and read by calls within calls.
const DEPTH_MAX: usize = 50;

/// Letters of Java that Spark does not take, and those that it does not read by.
const ILLEGAL: &str = "ABnNp";
const ILLEGAL_IN_READING: &str = "EFqQ";
const WEEK_BASED: &str = "YWwuec";
/// Names of one letter would be full names in Spark 2.
const TOO_LONG: [&str; 7] = ["GGGGG", "MMMMM", "LLLLL", "EEEEE", "QQQQQ", "qqqqq", "yyyyyyyyyy"];
/// Letters of the patterns of Spark 2, Java's SimpleDateFormat.
const OF_SPARK_2: &str = "GyMdkHmsSEDFwWahKzZYuXL";

pub(super) fn compile(text: &str, purpose: Use) -> Result<Vec<Part>> {
    let parts = match check(text, purpose) {
        Ok(()) => parts(text, purpose),
        Err(flaw) => Err(flaw),
    };
    match parts {
        Ok(parts) => Ok(parts),
        Err(_) if was_known(text) => fail!(
            "[INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION] Fail to recognize '{text}' pattern in the DateTimeFormatter. You can form a valid datetime pattern with the guide from 'https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html'"
        ),
        Err(Flaw::WeekBased(letter)) => fail!(
            "[INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN] All week-based patterns are unsupported since Spark 3.0, detected week-based character: {letter}. Please use the SQL function `EXTRACT` instead"
        ),
        Err(Flaw::Illegal(letter)) => fail!(
            "[INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER] Unrecognized datetime pattern: {text}. Illegal pattern character found in datetime pattern: {letter}. Please provide legal character"
        ),
        Err(Flaw::TooLong(letters)) => fail!(
            "[INVALID_DATETIME_PATTERN.LENGTH] Unrecognized datetime pattern: {text}. Too many letters in datetime pattern: {letters}. Please reduce pattern length"
        ),
        Err(Flaw::Unknown) => fail!(
            "[INVALID_DATETIME_PATTERN.WITH_SUGGESTION] Unrecognized datetime pattern: '{text}'. You can form a valid datetime pattern with the guide from 'https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html'"
        ),
    }
}

/// Why a text is no pattern.
enum Flaw {
    WeekBased(char),
    Illegal(char),
    TooLong(&'static str),
    Unknown,
}

/// Spark's own rules, for what stands between quotes.
fn check(text: &str, purpose: Use) -> Result<(), Flaw> {
    for part in text.split('\'').step_by(2) {
        if let Some(letter) = part.chars().find(|letter| WEEK_BASED.contains(*letter)) {
            return Err(Flaw::WeekBased(letter));
        }
        let is_illegal = |letter: &char| {
            let is_read = purpose == Use::Reading && ILLEGAL_IN_READING.contains(*letter);
            ILLEGAL.contains(*letter) || is_read
        };
        if let Some(letter) = part.chars().find(is_illegal) {
            return Err(Flaw::Illegal(letter));
        }
        if let Some(letters) = TOO_LONG.iter().find(|letters| part.contains(*letters)) {
            return Err(Flaw::TooLong(letters));
        }
    }
    Ok(())
}

/// Whether Spark 2 took the text, maybe with another meaning.
fn was_known(text: &str) -> bool {
    let (mut is_quoted, mut chars) = (false, text.chars().peekable());
    while let Some(letter) = chars.next() {
        match letter {
            '\'' if chars.next_if_eq(&'\'').is_some() => {}
            '\'' => is_quoted = !is_quoted,
            letter if !is_quoted && letter.is_ascii_alphabetic() => {
                let count = 1 + run(&mut chars, letter);
                if !OF_SPARK_2.contains(letter) || (letter == 'X' && count > 3) {
                    return false;
                }
            }
            _ => {}
        }
    }
    !is_quoted
}

/// How many more of a letter follow.
fn run(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, letter: char) -> usize {
    std::iter::from_fn(|| chars.next_if_eq(&letter)).count()
}

/// The parts of an optional section, or of the whole.
#[derive(Default)]
struct Section {
    parts: Vec<Part>,
    /// The number that gives way to those that follow it.
    open: Option<usize>,
}

impl Section {
    fn push(&mut self, part: Part) {
        self.parts.push(part);
        self.open = None;
    }

    /// Adds a number. One with a fixed width behind another number belongs to that.
    fn push_number(&mut self, part: Part) {
        let width = match &part {
            Part::Number(digits) if digits.min == digits.max && digits.sign == Sign::Never => {
                Some(digits.max)
            }
            Part::Fraction { min, max } if min == max => Some(*max),
            _ => None,
        };
        let open = self.open;
        self.parts.push(part);
        let place = self.parts.len() - 1;
        let Some(base) = open else {
            self.open = Some(place);
            return;
        };
        match width {
            Some(width) => {
                self.fix(place);
                if let Some(Part::Number(base)) = self.parts.get_mut(base) {
                    base.following = base.following.map(|following| following + width);
                }
            }
            None => {
                self.fix(base);
                self.open = Some(place);
            }
        }
    }

    fn fix(&mut self, place: usize) {
        if let Some(Part::Number(digits)) = self.parts.get_mut(place) {
            digits.following = None;
        }
    }
}

fn parts(text: &str, purpose: Use) -> Result<Vec<Part>, Flaw> {
    let has_era = text.split('\'').step_by(2).any(|part| part.contains('G'));
    let (mut section, mut outer) = (Section::default(), Vec::new());
    let mut chars = text.chars().peekable();
    while let Some(letter) = chars.next() {
        match letter {
            '\'' => section.push(Part::Text(quoted(&mut chars)?)),
            '[' if outer.len() >= DEPTH_MAX => return Err(Flaw::Unknown),
            '[' => {
                section.open = None;
                outer.push(std::mem::take(&mut section));
            }
            ']' => {
                let Some(around) = outer.pop() else { return Err(Flaw::Unknown) };
                let optional = std::mem::replace(&mut section, around);
                if !optional.parts.is_empty() {
                    section.push(Part::Optional(optional.parts));
                }
            }
            '{' | '}' | '#' => return Err(Flaw::Unknown),
            letter if letter.is_ascii_alphabetic() => {
                let count = 1 + run(&mut chars, letter);
                let letter = if letter == 'y' && !has_era { 'u' } else { letter };
                field(&mut section, letter, count, purpose)?;
            }
            other => section.push(Part::Text(other.to_string())),
        }
    }
    while let Some(around) = outer.pop() {
        let optional = std::mem::replace(&mut section, around);
        section.push(Part::Optional(optional.parts));
    }
    Ok(section.parts)
}

/// A text up to the quote that ends it; two quotes are one in it, and without anything between them.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, Flaw> {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') if text.is_empty() => return Ok("'".to_owned()),
            Some('\'') => return Ok(text),
            Some(other) => text.push(other),
            None => return Err(Flaw::Unknown),
        }
    }
}

fn field(section: &mut Section, letter: char, count: usize, purpose: Use) -> Result<(), Flaw> {
    use Field as F;
    let digits = |field, min, max, sign| {
        Part::Number(Digits { field, min, max, sign, is_reduced: false, following: Some(0) })
    };
    let plain = |field| digits(field, 1, 19, Sign::Normal);
    let name = |field, is_full| Part::Name { field, is_full };
    let number = match (letter, count) {
        ('u' | 'y', 2) => Part::Number(Digits {
            field: if letter == 'u' { F::Year } else { F::YearOfEra },
            min: 2,
            max: 2,
            sign: Sign::Never,
            is_reduced: true,
            following: Some(0),
        }),
        ('u' | 'y', _) => {
            let sign = if count < 4 { Sign::Normal } else { Sign::Exceeding };
            digits(if letter == 'u' { F::Year } else { F::YearOfEra }, count, 19, sign)
        }
        ('M' | 'L', 1) => plain(F::Month),
        ('M' | 'L', 2) => digits(F::Month, 2, 2, Sign::Never),
        ('Q' | 'q', 1) => plain(F::Quarter),
        ('Q' | 'q', 2) => digits(F::Quarter, 2, 2, Sign::Never),
        ('D', 1) => plain(F::DayOfYear),
        ('D', 2 | 3) => digits(F::DayOfYear, count, 3, Sign::Never),
        ('F', 1) => plain(F::WeekdayOfMonth),
        ('g', _) if count <= 19 => digits(F::ModifiedJulianDay, count, 19, Sign::Normal),
        ('d' | 'h' | 'H' | 'k' | 'K' | 'm' | 's', 1 | 2) => {
            let field = match letter {
                'd' => F::Day,
                'h' => F::ClockHourOfHalf,
                'H' => F::Hour,
                'k' => F::ClockHour,
                'K' => F::HourOfHalf,
                'm' => F::Minute,
                _ => F::Second,
            };
            if count == 1 { plain(field) } else { digits(field, 2, 2, Sign::Never) }
        }
        ('S', 1..=9) => {
            let min = if purpose == Use::Reading { 1 } else { count };
            let fraction = Part::Fraction { min, max: count };
            if min != count {
                section.push(fraction);
                return Ok(());
            }
            fraction
        }
        (letter, count) => {
            section.push(match (letter, count) {
                ('M' | 'L', 3 | 4) => name(F::Month, count == 4),
                ('Q' | 'q', 3 | 4) => name(F::Quarter, count == 4),
                ('E', 1..=4) => name(F::Weekday, count == 4),
                ('G', 1..=4) => name(F::Era, count == 4),
                ('a', 1) => name(F::HalfDay, false),
                ('V', 2) => Part::Zone,
                ('z', 1..=4) | ('v', 1 | 4) => {
                    Part::ZoneName { is_full: count == 4, is_generic: letter == 'v' }
                }
                ('O', 1 | 4) | ('Z', 4) => Part::OfGreenwich { is_full: count == 4 },
                ('Z', 1..=3) => Part::Offset(form(2, "+0000")),
                ('Z', 5) => Part::Offset(form(5, "Z")),
                ('X', 1..=5) => Part::Offset(form(count, "Z")),
                ('x', 1) => Part::Offset(form(1, "+00")),
                ('x', 2 | 4) => Part::Offset(form(count, "+0000")),
                ('x', 3 | 5) => Part::Offset(form(count, "+00:00")),
                _ => return Err(Flaw::Unknown),
            });
            return Ok(());
        }
    };
    section.push_number(number);
    Ok(())
}

/// The offset of so many `X`.
fn form(count: usize, none: &'static str) -> OffsetForm {
    let (minutes, seconds) = match count {
        1 => (Presence::IfAny, Presence::Never),
        2 | 3 => (Presence::Always, Presence::Never),
        _ => (Presence::Always, Presence::IfAny),
    };
    OffsetForm { has_colons: count == 3 || count == 5, minutes, seconds, none }
}
