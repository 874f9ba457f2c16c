//! How dates and times are texts: by Spark's options `timestampFormat`, `timestampNTZFormat`,
//! `dateFormat`, `timeZone` and `enableDateTimeParsingFallback`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use tidemill_time::calendar::MICROS_PER_DAY;
use tidemill_time::{
    Parsed, Pattern, TimeError, UTC, Use, Zone, parse_timestamp, parse_timestamp_ntz,
};

use crate::text::{Fraction, write_time, write_zoned_time};

/// How texts are read as times. Without a pattern they are read as `CAST` does.
#[derive(Clone, Debug)]
pub(crate) struct ReadTimes {
    patterns: Patterns,
    /// `enableDateTimeParsingFallback`: what a pattern does not match is read as `CAST` does.
    pub(crate) falls_back: Option<bool>,
}

/// The patterns, and the zone of texts without one.
#[derive(Clone, Debug)]
struct Patterns {
    zone: Zone,
    timestamp: Option<Arc<Pattern>>,
    timestamp_ntz: Option<Arc<Pattern>>,
    date: Option<Arc<Pattern>>,
}

impl Patterns {
    fn in_zone(zone: Zone) -> Patterns {
        Patterns { zone, timestamp: None, timestamp_ntz: None, date: None }
    }

    /// Takes an option by its name in lower case. `None`: it is another one.
    fn set(&mut self, key: &str, value: &str, purpose: Use) -> Option<Result<(), String>> {
        let pattern = match key {
            "timestampformat" => &mut self.timestamp,
            "timestampntzformat" => &mut self.timestamp_ntz,
            "dateformat" => &mut self.date,
            "timezone" => {
                let zone = Zone::named(value).map(|zone| self.zone = zone);
                return Some(zone.map_err(|error| error.to_string()));
            }
            _ => return None,
        };
        let read = Pattern::new(value, purpose).map(|read| *pattern = Some(Arc::new(read)));
        Some(read.map_err(|error| error.to_string()))
    }
}

impl ReadTimes {
    pub(crate) fn in_zone(zone: Zone) -> ReadTimes {
        ReadTimes { patterns: Patterns::in_zone(zone), falls_back: None }
    }

    /// Takes an option by its name in lower case. `None`: it is another one.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        self.patterns.set(key, value, Use::Reading)
    }

    pub(crate) fn zone(&self) -> Zone {
        self.patterns.zone
    }

    pub(crate) fn has_timestamp_pattern(&self) -> bool {
        self.patterns.timestamp.is_some()
    }

    pub(crate) fn has_date_pattern(&self) -> bool {
        self.patterns.date.is_some()
    }

    /// Microseconds since 1970.
    pub(crate) fn timestamp(&self, text: &str) -> Option<i64> {
        let zone = self.zone();
        let Some(pattern) = &self.patterns.timestamp else { return parse_timestamp(text, zone) };
        let by_pattern = pattern.read(text).and_then(|parsed| parsed.moment(zone));
        let falls_back = self.falls_back == Some(true);
        by_pattern.or_else(|| parse_timestamp(text, zone).filter(|_| falls_back))
    }

    /// Microseconds of local time.
    pub(crate) fn timestamp_ntz(&self, text: &str) -> Option<i64> {
        match &self.patterns.timestamp_ntz {
            None => parse_timestamp_ntz(text),
            Some(pattern) => {
                pattern.read(text).filter(|parsed| !parsed.has_zone()).and_then(Parsed::local)
            }
        }
    }

    /// Days since 1970; `lenient` reads what no pattern matches.
    pub(crate) fn date(&self, text: &str, lenient: impl Fn(&str) -> Option<i32>) -> Option<i32> {
        let Some(pattern) = &self.patterns.date else { return lenient(text) };
        let by_pattern = pattern.read(text).and_then(Parsed::date);
        let by_pattern = by_pattern.and_then(|days| i32::try_from(days).ok());
        by_pattern.or_else(|| lenient(text).filter(|_| self.falls_back == Some(true)))
    }
}

/// How times are written as texts. By default as ISO 8601 has them: timestamps with their offset
/// from UTC and with milliseconds, or microseconds where there are any.
#[derive(Clone, Debug)]
pub struct WrittenTimes {
    patterns: Patterns,
    fraction: Fraction,
}

impl Default for WrittenTimes {
    /// In UTC.
    fn default() -> WrittenTimes {
        WrittenTimes::in_zone(UTC)
    }
}

impl WrittenTimes {
    /// On the clocks of a zone.
    #[must_use]
    pub fn in_zone(zone: Zone) -> WrittenTimes {
        WrittenTimes { patterns: Patterns::in_zone(zone), fraction: Fraction::ThreeOrSix }
    }

    /// The same, cut to milliseconds, as Spark's `to_json` and `to_csv` do it.
    #[must_use]
    pub fn in_millis(zone: Zone) -> WrittenTimes {
        WrittenTimes { fraction: Fraction::Three, ..WrittenTimes::in_zone(zone) }
    }

    /// Takes one of Spark's options `timestampFormat`, `timestampNTZFormat`, `dateFormat` and
    /// `timeZone`, in any case. `None`: it is another one.
    pub fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        self.patterns.set(&key.to_ascii_lowercase(), value, Use::Writing)
    }

    /// The zone of the clocks.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.patterns.zone
    }

    pub(crate) fn fraction(&self) -> Fraction {
        self.fraction
    }

    fn write_timestamp(&self, micros: i64, out: &mut Vec<u8>) {
        write_zoned_time(micros, self.zone(), self.fraction, out);
    }

    fn write_timestamp_ntz(&self, micros: i64, out: &mut Vec<u8>) {
        write_time(micros, b'T', self.fraction, out);
    }

    /// The texts of a column; none where it has no times.
    ///
    /// # Errors
    /// As [`WrittenTimes::by_pattern`].
    pub fn texts(&self, times: &ArrayRef) -> Result<Option<StringArray>, TimeError> {
        if let Some(texts) = self.by_pattern(times)? {
            return Ok(Some(texts));
        }
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = times.data_type() else {
            return Ok(None);
        };
        let micros = times.as_primitive::<TimestampMicrosecondType>();
        let mut bytes = Vec::new();
        let texts = texts(micros, |micros, text| {
            bytes.clear();
            match zone {
                Some(_) => self.write_timestamp(micros, &mut bytes),
                None => self.write_timestamp_ntz(micros, &mut bytes),
            }
            text.push_str(&String::from_utf8_lossy(&bytes));
            Ok(())
        });
        texts.map(Some)
    }

    /// The texts of a column of dates or times, where they are written by a pattern.
    ///
    /// # Errors
    /// A time has a part with more digits than the pattern has, or no zone where it has a letter for
    /// one.
    pub(crate) fn by_pattern(&self, times: &ArrayRef) -> Result<Option<StringArray>, TimeError> {
        let (patterns, zone) = (&self.patterns, self.zone());
        let texts = match times.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                patterns.timestamp.as_ref().map(|pattern| {
                    let micros = times.as_primitive::<TimestampMicrosecondType>();
                    texts(micros, |micros, text| pattern.write(micros, zone, text))
                })
            }
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                patterns.timestamp_ntz.as_ref().map(|pattern| {
                    let micros = times.as_primitive::<TimestampMicrosecondType>();
                    texts(micros, |micros, text| pattern.write_local(micros, text))
                })
            }
            DataType::Date32 => patterns.date.as_ref().map(|pattern| {
                let days = times.as_primitive::<Date32Type>();
                texts(days, |day, text| {
                    pattern.write_local(i64::from(day).saturating_mul(MICROS_PER_DAY), text)
                })
            }),
            _ => None,
        };
        texts.transpose()
    }
}

fn texts<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    mut write: impl FnMut(T::Native, &mut String) -> tidemill_time::Result<()>,
) -> Result<StringArray, TimeError> {
    let mut texts = StringBuilder::with_capacity(values.len(), values.len() * 24);
    let mut text = String::new();
    for value in values {
        text.clear();
        match value {
            Some(value) => {
                write(value, &mut text)?;
                texts.append_value(&text);
            }
            None => texts.append_null(),
        }
    }
    Ok(texts.finish())
}
