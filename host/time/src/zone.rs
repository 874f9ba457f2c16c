//! Time zones by their names, as Java knows them: `Europe/Berlin`, `+01:00`, `GMT+1`, `PST`.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{OffsetComponents, Tz};
use tidemill_types::civil::SHORT_ZONES;

use crate::calendar::{
    MICROS_PER_SECOND, civil, days_of, is_leap, joined, plus_months, split, weekday,
};
use crate::{Result, fail};

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// So many seconds before UTC at all times.
    Fixed(i64),
    /// By the rules of a place.
    Of(Tz),
}

impl Default for Zone {
    fn default() -> Zone {
        UTC
    }
}

/// UTC.
pub const UTC: Zone = Zone::Fixed(0);

/// What Java has by short names only.
const NO_PLACES: [&str; 4] = ["EST", "HST", "MST", "ROC"];

/// Zones whose rules put clocks back from their usual time.
const PUT_BACK: [&str; 4] = ["Africa/Casablanca", "Africa/El_Aaiun", "Eire", "Europe/Dublin"];

impl Zone {
    /// The zone of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Zone> {
        match Zone::find(name) {
            Some(zone) => Ok(zone),
            None => fail!(
                "[INVALID_TIMEZONE] The timezone: {name} is invalid. The timezone must be either a region-based zone ID or a zone offset. Region IDs must have the form 'area/city', such as 'America/Los_Angeles'. Zone offsets must be in the format '(+|-)HH', '(+|-)HH:mm' or '(+|-)HH:mm:ss', e.g '-08', '+01:00' or '-13:33:33', and must be in the range from -18:00 to +18:00. 'Z' and 'UTC' are accepted as synonyms for '+00:00'"
            ),
        }
    }

    /// As Spark's getZoneId: Java's ZoneId.of, and hours and minutes of one digit.
    #[must_use]
    pub fn find(name: &str) -> Option<Zone> {
        if let Ok(place) = SHORT_ZONES.binary_search_by_key(&name, |(short, _)| short) {
            return Zone::of_java(SHORT_ZONES[place].1);
        }
        Zone::of_java(&two_digits(name))
    }

    /// As Java's ZoneId.of.
    pub(crate) fn of_java(name: &str) -> Option<Zone> {
        if matches!(name, "Z" | "UTC" | "GMT" | "UT") {
            return Some(UTC);
        }
        if name.starts_with(['+', '-']) {
            return offset(name).map(Zone::Fixed);
        }
        for prefix in ["UTC", "GMT", "UT"] {
            if let Some(rest) = name.strip_prefix(prefix)
                && rest.starts_with(['+', '-'])
            {
                return offset(rest).map(Zone::Fixed);
            }
        }
        if NO_PLACES.contains(&name) {
            return None;
        }
        name.parse().ok().map(Zone::Of)
    }

    /// Seconds that its clocks are ahead of UTC at a moment.
    fn ahead(self, seconds: i64) -> i64 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Of(place) => {
                i64::from(place.offset_from_utc_datetime(&utc(seconds)).fix().local_minus_utc())
            }
        }
    }

    /// Whether its clocks are put forward at a moment, as they are in summer.
    pub(crate) fn is_summer(self, micros: i64) -> bool {
        match self {
            Zone::Fixed(_) => false,
            // Their clocks are put back in winter, or in Ramadan, and Java calls the rest summer.
            Zone::Of(place) if PUT_BACK.contains(&place.name()) => {
                self.ahead(micros.div_euclid(MICROS_PER_SECOND)) == 3_600
            }
            Zone::Of(place) => {
                let time = utc(micros.div_euclid(MICROS_PER_SECOND));
                let offset = place.offset_from_utc_datetime(&time);
                offset.dst_offset() > chrono::TimeDelta::zero()
            }
        }
    }

    /// Its identifier, as Java writes it: `Europe/Berlin`, `+01:00`, `UTC`.
    #[must_use]
    pub fn id(self) -> Cow<'static, str> {
        let ahead = match self {
            Zone::Of(place) => return place.name().into(),
            Zone::Fixed(0) => return "UTC".into(),
            Zone::Fixed(ahead) => ahead,
        };
        let (sign, size) = (if ahead < 0 { '-' } else { '+' }, ahead.unsigned_abs());
        let (hours, minutes, seconds) = (size / 3_600, size / 60 % 60, size % 60);
        match seconds {
            0 => format!("{sign}{hours:02}:{minutes:02}").into(),
            _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}").into(),
        }
    }

    /// What its clocks show at a moment, as if that were UTC. None where it is beyond 64 bits.
    #[must_use]
    pub fn local(self, micros: i64) -> Option<i64> {
        let ahead = self.ahead(micros.div_euclid(MICROS_PER_SECOND));
        micros.checked_add(ahead * MICROS_PER_SECOND)
    }

    /// The moment at which its clocks show a time: the first one where there are two, and as much
    /// later as clocks were put forward where there is none.
    #[must_use]
    pub fn moment(self, local: i64) -> Option<i64> {
        if let Zone::Fixed(ahead) = self {
            return local.checked_sub(ahead * MICROS_PER_SECOND);
        }
        let seconds = local.div_euclid(MICROS_PER_SECOND);
        let before = self.ahead(seconds - 86_400);
        let mut ahead = before;
        if self.ahead(seconds - before) != before {
            let after = self.ahead(seconds - before);
            if self.ahead(seconds - after) == after {
                ahead = after;
            }
        }
        local.checked_sub(ahead * MICROS_PER_SECOND)
    }

    /// The same; of two moments the one at which clocks are as far ahead as at another one.
    #[must_use]
    pub fn moment_like(self, local: i64, like: i64) -> Option<i64> {
        let ahead = self.ahead(like.div_euclid(MICROS_PER_SECOND));
        let moment = local.checked_sub(ahead * MICROS_PER_SECOND)?;
        match self.local(moment) {
            Some(shown) if shown == local => Some(moment),
            _ => self.moment(local),
        }
    }

    /// The moment that is so many months, then days, then microseconds later: months and days by what
    /// clocks show, which keep their offset from UTC where they show a time twice (Java's
    /// ZonedDateTime). None where it is beyond 64 bits.
    #[must_use]
    pub fn later(self, micros: i64, (months, days, more): (i64, i64, i64)) -> Option<i64> {
        let mut moment = micros;
        if months != 0 {
            let (day, time) = split(self.local(moment)?);
            moment = self.moment_like(joined(plus_months(day, months), time)?, moment)?;
        }
        if days != 0 {
            let (day, time) = split(self.local(moment)?);
            moment = self.moment_like(joined(day.checked_add(days)?, time)?, moment)?;
        }
        moment.checked_add(more)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// A moment by which chrono knows how far clocks are ahead at another one.
fn utc(seconds: i64) -> chrono::NaiveDateTime {
    let time = DateTime::from_timestamp(representative(seconds), 0);
    time.unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}

/// A moment at which clocks are as far ahead, within the years that chrono has rules for. Before
/// 1800 no clock was put forward; far from now, a year is like one that has the same days.
fn representative(seconds: i64) -> i64 {
    const EARLY: i64 = -5_364_662_400;
    const LATE: i64 = 2_088;
    if seconds < EARLY {
        return EARLY;
    }
    let days = seconds.div_euclid(86_400);
    let year = civil(days).year;
    if year < LATE {
        return seconds;
    }
    let first = weekday(days_of(year, 1, 1));
    let is_like =
        |other: &i64| is_leap(*other) == is_leap(year) && weekday(days_of(*other, 1, 1)) == first;
    let like = (LATE - 28..LATE).find(is_like).unwrap_or(LATE - 1);
    seconds + (days_of(like, 1, 1) - days_of(year, 1, 1)) * 86_400
}

/// `+1:00` as `+01:00`, and `+01:5` as `+01:05`.
fn two_digits(name: &str) -> String {
    let Some(sign) = name.find(['+', '-']) else { return name.to_owned() };
    let (head, rest) = name.split_at(sign + 1);
    let parts: Vec<&str> = rest.split(':').collect();
    let is_digit = |part: &str| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [hours, minutes] if is_digit(hours) && is_digit(minutes) => {
            format!("{head}0{hours}:0{minutes}")
        }
        [hours, minutes] if hours.len() == 2 && is_digit(minutes) => {
            format!("{head}{hours}:0{minutes}")
        }
        [hours, ..] if parts.len() > 1 && is_digit(hours) => format!("{head}0{rest}"),
        _ => name.to_owned(),
    }
}

/// Java's ZoneOffset.of: `+h`, `+hh`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`.
fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        _ => (1, &text[1..]),
    };
    let number = |part: &str| match part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
        true => part.parse::<i64>().ok(),
        false => None,
    };
    let is_ascii = rest.is_ascii();
    let parts: Vec<&str> = match (rest.len(), rest.contains(':')) {
        (1 | 2, false) => vec![rest],
        (4, false) if is_ascii => vec![&rest[..2], &rest[2..]],
        (6, false) if is_ascii => vec![&rest[..2], &rest[2..4], &rest[4..]],
        (5 | 8, true) => rest.split(':').collect(),
        _ => return None,
    };
    if rest.len() > 2 && parts.iter().any(|part| part.len() != 2) {
        return None;
    }
    let parts = parts.into_iter().map(number).collect::<Option<Vec<_>>>()?;
    let at = |place: usize| parts.get(place).copied().unwrap_or(0);
    let seconds = at(0) * 3_600 + at(1) * 60 + at(2);
    (at(1) < 60 && at(2) < 60 && seconds <= 18 * 3_600).then_some(sign * seconds)
}

/// All names of places that Java knows.
pub(crate) fn places() -> impl Iterator<Item = (&'static str, Tz)> {
    let names = chrono_tz::TZ_VARIANTS.iter().map(|place| (place.name(), *place));
    names.filter(|(name, _)| !NO_PLACES.contains(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn micros(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> i64 {
        ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 * MICROS_PER_SECOND
    }

    #[test]
    fn names_are_those_of_java() {
        assert_eq!(Zone::find("+1:00"), Some(Zone::Fixed(3_600)));
        assert_eq!(Zone::find("-08"), Some(Zone::Fixed(-8 * 3_600)));
        assert_eq!(Zone::find("GMT+2"), Some(Zone::Fixed(7_200)));
        assert_eq!(Zone::find("EST"), Some(Zone::Fixed(-5 * 3_600)));
        assert_eq!(Zone::find("+19:00"), None);
        assert_eq!(Zone::find("europe/berlin"), None);
        assert!(SHORT_ZONES.is_sorted());
    }

    #[test]
    fn clocks_are_put_forward_and_back() {
        let place = Zone::find("America/New_York").unwrap();
        assert_eq!(place.moment(micros(2019, 3, 10, 2, 30)), Some(micros(2019, 3, 10, 7, 30)));
        assert_eq!(place.moment(micros(2019, 11, 3, 1, 30)), Some(micros(2019, 11, 3, 5, 30)));
        assert_eq!(place.moment(micros(2019, 7, 1, 0, 0)), Some(micros(2019, 7, 1, 4, 0)));
        assert_eq!(place.local(micros(9999, 7, 1, 4, 0)), Some(micros(9999, 7, 1, 0, 0)));
        assert_eq!(place.local(micros(9999, 1, 1, 5, 0)), Some(micros(9999, 1, 1, 0, 0)));
    }
}
