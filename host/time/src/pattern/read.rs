//! A text as the fields of a pattern: Java's DateTimeParseContext, strict and in any case.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Digits, FIELDS, Field, OffsetForm, Part, Presence, Sign, names, zone_names};
use crate::zone::{UTC, Zone, places};

/// What a text says.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    fields: [Option<i64>; FIELDS],
    pub(super) offset: Option<i64>,
    pub(super) zone: Option<Zone>,
}

impl Parsed {
    pub(super) fn get(&self, field: Field) -> Option<i64> {
        self.fields[field as usize]
    }

    /// Puts a value down; a field has one.
    #[must_use]
    pub(super) fn set(&mut self, field: Field, value: i64) -> bool {
        set_once(&mut self.fields[field as usize], value)
    }

    pub(super) fn take(&mut self, field: Field) -> Option<i64> {
        self.fields[field as usize].take()
    }
}

fn set_once(place: &mut Option<i64>, value: i64) -> bool {
    place.is_none_or(|known| known == value) && {
        *place = Some(value);
        true
    }
}

/// Reads a whole text; none where it is not of that form.
pub(super) fn read(parts: &[Part], text: &str) -> Option<Parsed> {
    let mut parsed = Parsed::default();
    let end = all(parts, text, 0, &mut parsed)?;
    (end == text.len()).then_some(parsed)
}

/// Where the parts end that begin at a place of a text.
fn all(parts: &[Part], text: &str, start: usize, parsed: &mut Parsed) -> Option<usize> {
    let mut place = start;
    for part in parts {
        place = match part {
            Part::Text(literal) => place + prefix(&text[place..], literal)?,
            Part::Number(digits) => number(digits, text, place, parsed)?,
            Part::Fraction { min, max } => fraction((*min, *max), text, place, parsed)?,
            Part::Name { field, is_full } => {
                let (least, names) = names::of(*field);
                let found = names.iter().enumerate().filter_map(|(index, (short, full))| {
                    let name = if *is_full { full } else { short };
                    Some((prefix(&text[place..], name)?, index))
                });
                let (length, index) = found.max()?;
                if !parsed.set(*field, least + index as i64) {
                    return None;
                }
                place + length
            }
            Part::Offset(form) => {
                let (seconds, end) = offset(*form, text, place)?;
                if !set_once(&mut parsed.offset, seconds) {
                    return None;
                }
                end
            }
            Part::OfGreenwich { is_full } => {
                let (seconds, end) = of_greenwich(*is_full, text, place)?;
                if !set_once(&mut parsed.offset, seconds) {
                    return None;
                }
                end
            }
            Part::Zone | Part::ZoneName { .. } => {
                let is_full = match part {
                    Part::ZoneName { is_full, .. } => Some(*is_full),
                    _ => None,
                };
                let (zone, end) = zone(is_full, text, place)?;
                parsed.zone = Some(zone);
                end
            }
            Part::Optional(parts) => {
                let before = parsed.clone();
                match all(parts, text, place, parsed) {
                    Some(end) => end,
                    None => {
                        *parsed = before;
                        place
                    }
                }
            }
        };
    }
    Some(place)
}

/// How many bytes of a text are another one, in any case.
fn prefix(text: &str, other: &str) -> Option<usize> {
    let mut chars = text.chars();
    for wanted in other.chars() {
        let found = chars.next()?;
        let is_same = found == wanted
            || found.to_uppercase().eq(wanted.to_uppercase())
            || found.to_lowercase().eq(wanted.to_lowercase());
        if !is_same {
            return None;
        }
    }
    Some(text.len() - chars.as_str().len())
}

fn digit(text: &str, place: usize) -> Option<i64> {
    let byte = text.as_bytes().get(place).filter(|byte| byte.is_ascii_digit())?;
    Some(i64::from(byte - b'0'))
}

fn number(digits: &Digits, text: &str, start: usize, parsed: &mut Parsed) -> Option<usize> {
    let sign = match text.as_bytes().get(start)? {
        b'+' if digits.sign == Sign::Exceeding => 1,
        b'-' if digits.sign != Sign::Never => -1,
        b'+' | b'-' => return None,
        _ => 0,
    };
    let first = if sign == 0 { start } else { start + 1 };
    let following = digits.following.unwrap_or(0);
    let run = |most: usize| (0..most).take_while(|at| digit(text, first + at).is_some()).count();
    let mut length = run(digits.max + following);
    if following > 0 {
        // What follows needs its digits.
        length = run(length.saturating_sub(following).max(digits.min));
    }
    if length < digits.min || length == 0 {
        return None;
    }
    let mut value = text[first..first + length].parse::<i64>().ok()?;
    if sign < 0 {
        if value == 0 {
            return None;
        }
        value = -value;
    } else if digits.sign == Sign::Exceeding && (sign > 0) != (length > digits.min) {
        return None;
    }
    if digits.is_reduced {
        value += 2_000;
    }
    parsed.set(digits.field, value).then_some(first + length)
}

fn fraction(
    (min, max): (usize, usize),
    text: &str,
    start: usize,
    parsed: &mut Parsed,
) -> Option<usize> {
    let mut nanos = 0;
    let mut length = 0;
    while let (true, Some(digit)) = (length < max, digit(text, start + length)) {
        nanos = nanos * 10 + digit;
        length += 1;
    }
    if length < min {
        return None;
    }
    nanos *= 10_i64.pow(9 - length as u32);
    parsed.set(Field::Nano, nanos).then_some(start + length)
}

/// Two digits up to 59, behind a colon where there are such.
fn two(has_colon: bool, text: &str, mut place: usize) -> Option<(i64, usize)> {
    if has_colon {
        if text.as_bytes().get(place) != Some(&b':') {
            return None;
        }
        place += 1;
    }
    let value = digit(text, place)? * 10 + digit(text, place + 1)?;
    (value < 60).then_some((value, place + 2))
}

fn offset(form: OffsetForm, text: &str, start: usize) -> Option<(i64, usize)> {
    if let Some(length) = prefix(&text[start..], form.none) {
        return Some((0, start + length));
    }
    let sign = match text.as_bytes().get(start)? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (mut seconds, mut place) = two(false, text, start + 1)?;
    if seconds > 23 {
        return None;
    }
    seconds *= 3_600;
    for (presence, scale) in [(form.minutes, 60), (form.seconds, 1)] {
        match (presence, two(form.has_colons, text, place)) {
            (Presence::Never, _) => {}
            (_, Some((value, end))) => {
                seconds += value * scale;
                place = end;
            }
            (Presence::Always, None) => return None,
            (Presence::IfAny, None) => break,
        }
    }
    Some((sign * seconds, place))
}

fn of_greenwich(is_full: bool, text: &str, start: usize) -> Option<(i64, usize)> {
    let mut place = start + prefix(&text[start..], "GMT")?;
    let sign = match text.as_bytes().get(place) {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some((0, place)),
    };
    place += 1;
    let pair = |place: usize| Some(digit(text, place)? * 10 + digit(text, place + 1)?);
    let behind_colon = |place: usize| match text.as_bytes().get(place) {
        Some(b':') => pair(place + 1),
        _ => None,
    };
    let mut seconds = match pair(place) {
        Some(hours) => {
            place += 2;
            hours * 3_600
        }
        None if is_full => return None,
        None => {
            place += 1;
            digit(text, place - 1)? * 3_600
        }
    };
    match behind_colon(place) {
        Some(minutes) => {
            seconds += minutes * 60;
            place += 3;
            if let Some(more) = behind_colon(place) {
                seconds += more;
                place += 3;
            }
        }
        None if is_full => return None,
        None => {}
    }
    Some((sign * seconds, place))
}

/// A zone's identifier, or its name, short or full, where there may be one.
fn zone(is_full: Option<bool>, text: &str, start: usize) -> Option<(Zone, usize)> {
    let rest = &text[start..];
    let offset_at = |place: usize, none: &'static str| {
        let form = OffsetForm {
            has_colons: true,
            minutes: Presence::Always,
            seconds: Presence::IfAny,
            none,
        };
        let (seconds, end) = offset(form, text, place)?;
        (seconds.abs() <= 18 * 3_600).then_some((Zone::Fixed(seconds), end))
    };
    if rest.starts_with(['+', '-']) {
        return offset_at(start, "Z");
    }
    for name in ["UTC", "UT", "GMT"] {
        let Some(length) = prefix(rest, name) else { continue };
        let end = start + length;
        return match text.as_bytes().get(end) {
            Some(b'0') if name == "GMT" => Some((UTC, end + 1)),
            Some(b'+' | b'-') => Some(offset_at(end, "0").unwrap_or((UTC, end))),
            _ => Some((UTC, end)),
        };
    }
    let named = is_full.and_then(|is_full| zone_names::read(rest, is_full));
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "/_+-~.".contains(c);
    let longest =
        rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()).min(zone_names::NAME_BYTES_MAX);
    let lower = rest[..longest].to_ascii_lowercase();
    let shortest = named.map_or(1, |(_, length)| length);
    for length in (shortest..=longest).rev() {
        if let Some(zone) = PLACES.get(&lower[..length]) {
            return Some((*zone, start + length));
        }
    }
    if let Some((zone, length)) = named {
        return Some((zone, start + length));
    }
    rest.starts_with(['Z', 'z']).then_some((UTC, start + 1))
}

/// Places by their names in lower case.
static PLACES: LazyLock<HashMap<String, Zone>> =
    LazyLock::new(|| places().map(|(n, zone)| (n.to_ascii_lowercase(), Zone::Of(zone))).collect());
