//! Patterns for times, `yyyy-MM-dd HH:mm:ss`: the letters of Java's DateTimeFormatter that data
//! has, read strictly. Other letters are refused.

use tidemill_types::civil::{MICROS_PER_DAY, MICROS_PER_SECOND, days_from_civil};

use super::time::{Zone, parse_zone, to_utc};

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimePattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(char),
    /// Exactly `digits` digits, or any number of them (up to 9) for 0.
    Number {
        field: Field,
        digits: usize,
    },
    /// The last two digits of a year of this century.
    ShortYear,
    /// Up to so many digits of a fraction of a second.
    Fraction(usize),
    MonthName {
        full: bool,
    },
    AmPm,
    Offset {
        zero_is_z: bool,
        colon: bool,
        minutes: bool,
    },
    Zone,
    Optional(Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    HourOfHalf,
    Minute,
    Second,
}

#[derive(Clone, Copy, Default)]
struct Found {
    year: Option<u32>,
    month: Option<u32>,
    day: Option<u32>,
    hour: Option<u32>,
    hour_of_half: Option<u32>,
    is_pm: Option<bool>,
    minute: u32,
    second: u32,
    micros: u32,
    zone: Option<Zone>,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl TimePattern {
    /// Compiles a pattern, or says what in it is not known.
    pub(crate) fn parse(pattern: &str) -> Result<TimePattern, String> {
        let mut chars = pattern.chars().peekable();
        // Open `[`s: the parts before them.
        let mut outer: Vec<Vec<Part>> = Vec::new();
        let mut parts = Vec::new();
        while let Some(c) = chars.next() {
            match c {
                '\'' => {
                    if chars.next_if_eq(&'\'').is_some() {
                        parts.push(Part::Literal('\''));
                        continue;
                    }
                    loop {
                        match chars.next() {
                            Some('\'') if chars.next_if_eq(&'\'').is_none() => break,
                            Some(c) => parts.push(Part::Literal(c)),
                            None => return Err("a quote is not closed".to_owned()),
                        }
                    }
                }
                '[' => outer.push(std::mem::take(&mut parts)),
                ']' => {
                    let before = outer.pop().ok_or("a \"]\" has no \"[\"")?;
                    let optional = std::mem::replace(&mut parts, before);
                    parts.push(Part::Optional(optional));
                }
                c if c.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    parts.push(part(c, count)?);
                }
                '{' | '}' | '#' => return Err(format!("\"{c}\" means nothing in a pattern")),
                c => parts.push(Part::Literal(c)),
            }
        }
        if outer.is_empty() {
            Ok(TimePattern { parts })
        } else {
            Err("a \"[\" is not closed".to_owned())
        }
    }

    /// Microseconds since 1970-01-01 UTC. Without a zone in the text it is in UTC.
    pub(crate) fn timestamp(&self, text: &str) -> Option<i64> {
        let found = self.matched(text)?;
        let local = found.local_micros()?;
        found.zone.map_or(Some(local), |zone| to_utc(local, zone))
    }

    /// Microseconds since 1970-01-01 of the wall clock.
    pub(crate) fn timestamp_ntz(&self, text: &str) -> Option<i64> {
        let found = self.matched(text)?;
        if found.zone.is_some() { None } else { found.local_micros() }
    }

    /// Days since 1970-01-01.
    pub(crate) fn date(&self, text: &str) -> Option<i32> {
        i32::try_from(self.matched(text)?.days()?).ok()
    }

    fn matched(&self, text: &str) -> Option<Found> {
        let mut found = Found::default();
        let rest = match_parts(&self.parts, text, &mut found)?;
        rest.is_empty().then_some(found)
    }
}

fn part(letter: char, count: usize) -> Result<Part, String> {
    let number = |field| Ok(Part::Number { field, digits: if count == 1 { 0 } else { count } });
    match (letter, count) {
        ('y' | 'u', 2) => Ok(Part::ShortYear),
        ('y' | 'u', 1 | 4) => number(Field::Year),
        ('M' | 'L', 1 | 2) => number(Field::Month),
        ('M' | 'L', 3) => Ok(Part::MonthName { full: false }),
        ('M' | 'L', 4) => Ok(Part::MonthName { full: true }),
        ('d', 1 | 2) => number(Field::Day),
        ('H', 1 | 2) => number(Field::Hour),
        ('h', 1 | 2) => number(Field::HourOfHalf),
        ('m', 1 | 2) => number(Field::Minute),
        ('s', 1 | 2) => number(Field::Second),
        ('S', 1..=9) => Ok(Part::Fraction(count)),
        ('a', 1) => Ok(Part::AmPm),
        ('X' | 'x', 1..=3) => {
            Ok(Part::Offset { zero_is_z: letter == 'X', colon: count == 3, minutes: count > 1 })
        }
        ('Z', 1..=3) => Ok(Part::Offset { zero_is_z: false, colon: false, minutes: true }),
        ('V', 2) => Ok(Part::Zone),
        _ => {
            let run = letter.to_string().repeat(count);
            Err(format!(
                "\"{run}\" is not read here; known are yyyy yy y MM M MMM MMMM dd d HH H hh h mm m ss s S… a X XX XXX x xx xxx Z VV, 'text' and [optional parts]"
            ))
        }
    }
}

/// Matches `parts` at the start of `text` and gives what is left of it.
fn match_parts<'a>(parts: &[Part], mut text: &'a str, found: &mut Found) -> Option<&'a str> {
    for (i, part) in parts.iter().enumerate() {
        if let Part::Optional(inner) = part {
            // Java does not come back to an optional part, nor is it done here.
            let mut with = *found;
            if let Some(rest) = match_parts(inner, text, &mut with) {
                (*found, text) = (with, rest);
            }
            continue;
        }
        text = match_part(part, &parts[i + 1..], text, found)?;
    }
    Some(text)
}

fn match_part<'a>(
    part: &Part,
    after: &[Part],
    text: &'a str,
    found: &mut Found,
) -> Option<&'a str> {
    match part {
        Part::Literal(c) => {
            let first = text.chars().next()?;
            // Java is told to match without case.
            first.eq_ignore_ascii_case(c).then(|| &text[first.len_utf8()..])
        }
        Part::Number { field, digits } => {
            let run = digit_run(text);
            let len = match digits {
                0 => run.checked_sub(reserved_digits(after))?.min(9),
                digits => *digits,
            };
            if len == 0 || len > run {
                return None;
            }
            found.set(*field, text[..len].parse().ok()?);
            Some(&text[len..])
        }
        Part::ShortYear => {
            let digits = text.get(..2).filter(|_| digit_run(text) >= 2)?;
            found.year = Some(2_000 + digits.parse::<u32>().ok()?);
            Some(&text[2..])
        }
        Part::Fraction(digits_max) => {
            let len = digit_run(text).min(*digits_max);
            if len == 0 {
                return None;
            }
            found.micros = format!("{:0<6}", &text[..len]).get(..6)?.parse().ok()?;
            Some(&text[len..])
        }
        Part::MonthName { full } => {
            let name = |month: usize| if *full { MONTHS[month] } else { &MONTHS[month][..3] };
            let is_next = |month: &usize| {
                let name = name(*month);
                text.get(..name.len()).is_some_and(|next| next.eq_ignore_ascii_case(name))
            };
            let month = (0..MONTHS.len()).find(is_next)?;
            found.month = Some(month as u32 + 1);
            Some(&text[name(month).len()..])
        }
        Part::AmPm => {
            let half = text.get(..2)?;
            found.is_pm = Some(half.eq_ignore_ascii_case("PM"));
            (half.eq_ignore_ascii_case("AM") || half.eq_ignore_ascii_case("PM")).then(|| &text[2..])
        }
        Part::Offset { zero_is_z, colon, minutes } => {
            if *zero_is_z && text.starts_with(['Z', 'z']) {
                found.zone = Some(Zone::Offset(0));
                return Some(&text[1..]);
            }
            let len = offset_len(text, *colon, *minutes)?;
            found.zone = Some(parse_zone(&text[..len])?);
            Some(&text[len..])
        }
        Part::Zone => {
            let is_zone_char = |c: char| c.is_ascii_alphanumeric() || "/_+-:".contains(c);
            let len = text.find(|c| !is_zone_char(c)).unwrap_or(text.len());
            found.zone = Some(parse_zone(&text[..len])?);
            Some(&text[len..])
        }
        Part::Optional(_) => None,
    }
}

/// Digits that the numbers of fixed width right after a number of free width need.
fn reserved_digits(after: &[Part]) -> usize {
    let fixed = after.iter().map_while(|part| match part {
        Part::Number { digits, .. } if *digits > 0 => Some(*digits),
        Part::ShortYear => Some(2),
        _ => None,
    });
    fixed.sum()
}

fn digit_run(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Length of `+hh`, `+hhmm` or `+hh:mm`; without `minutes` in the pattern they are optional.
fn offset_len(text: &str, colon: bool, minutes: bool) -> Option<usize> {
    if !text.starts_with(['+', '-']) || digit_run(&text[1..]) < 2 {
        return None;
    }
    let rest = &text[3..];
    let (skip, has_minutes) = if colon {
        (1, rest.starts_with(':') && digit_run(&rest[1..]) >= 2)
    } else {
        (0, digit_run(rest) >= 2)
    };
    match (has_minutes, minutes) {
        (true, _) => Some(3 + skip + 2),
        (false, false) => Some(3),
        (false, true) => None,
    }
}

impl Found {
    fn set(&mut self, field: Field, value: u32) {
        match field {
            Field::Year => self.year = Some(value),
            Field::Month => self.month = Some(value),
            Field::Day => self.day = Some(value),
            Field::Hour => self.hour = Some(value),
            Field::HourOfHalf => self.hour_of_half = Some(value),
            Field::Minute => self.minute = value,
            Field::Second => self.second = value,
        }
    }

    /// What the text does not say is 1970, January, the first.
    fn days(&self) -> Option<i64> {
        let year = i32::try_from(self.year.unwrap_or(1_970)).ok()?;
        days_from_civil(year, self.month.unwrap_or(1), self.day.unwrap_or(1))
    }

    fn local_micros(&self) -> Option<i64> {
        let hour = match (self.hour, self.hour_of_half) {
            (Some(hour), _) => hour,
            (None, Some(hour)) if (1..=12).contains(&hour) => {
                hour % 12 + if self.is_pm == Some(true) { 12 } else { 0 }
            }
            (None, Some(_)) => return None,
            (None, None) => 0,
        };
        if hour > 23 || self.minute > 59 || self.second > 59 {
            return None;
        }
        let seconds = i64::from(hour * 3_600 + self.minute * 60 + self.second);
        let of_day = seconds * MICROS_PER_SECOND + i64::from(self.micros);
        self.days()?.checked_mul(MICROS_PER_DAY)?.checked_add(of_day)
    }
}
