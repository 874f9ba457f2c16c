//! Reads the options of one source or sink.
//!
//! Option names are Spark's, in any case. What is not known is refused with the nearest known
//! name, and what Spark has but is not built is refused as such: no option is ever ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tidemill_core::{nearest, parse_bytes};
use tidemill_types::Interval;

use crate::{ConfigError, OptionText};

/// The options that a format knows.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// Options that work.
    pub(crate) built: &'static [&'static str],
    /// Options of Spark that do not work yet.
    pub(crate) later: &'static [&'static str],
}

/// Options whose names were checked.
pub(crate) struct Options {
    place: String,
    /// Lower-case name to the name as given and the value.
    given: BTreeMap<String, (String, OptionText)>,
}

impl Options {
    /// Checks the names. `known` is a list, because formats share options.
    pub(crate) fn check(
        place: &str,
        options: &BTreeMap<String, OptionText>,
        known: &[Known],
    ) -> Result<Options, ConfigError> {
        let mut given = BTreeMap::new();
        for (name, value) in options {
            let is = |other: &&&str| other.eq_ignore_ascii_case(name);
            let built = || known.iter().flat_map(|known| known.built);
            if built().find(is).is_some() {
                let earlier = given.insert(name.to_lowercase(), (name.clone(), value.clone()));
                if let Some((earlier, _)) = earlier {
                    return Err(ConfigError::BadValue {
                        place: place.to_owned(),
                        option: name.clone(),
                        value: value.shown(),
                        wanted: format!("\"{earlier}\" sets the same option: keep one"),
                    });
                }
            } else if known.iter().flat_map(|known| known.later).find(is).is_some() {
                return Err(ConfigError::OptionNotSupportedYet {
                    place: place.to_owned(),
                    option: name.clone(),
                    hint: String::new(),
                });
            } else {
                return Err(ConfigError::UnknownOption {
                    place: place.to_owned(),
                    option: name.clone(),
                    nearest: suggestion(name, built().copied(), "options"),
                });
            }
        }
        Ok(Options { place: place.to_owned(), given })
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(&name.to_lowercase()).map(|(_, value)| value.reveal())
    }

    pub(crate) fn bool(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        match self.text(name).map(str::to_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.bad(name, "it has to be true or false")),
        }
    }

    /// A whole number of at least `least`.
    pub(crate) fn number<N>(&self, name: &str, least: N) -> Result<Option<N>, ConfigError>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.trim().parse::<N>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(self.bad(name, &format!("it has to be a whole number of at least {least}"))),
        }
    }

    /// One of Spark's time strings, long or short (`7d`, `5s`); bare numbers have the unit
    /// `bare_unit`. In milliseconds.
    pub(crate) fn millis(&self, name: &str, bare_unit: &str) -> Result<Option<i64>, ConfigError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        parse_time(text, bare_unit)
            .filter(|interval| interval.micros >= 0)
            .map(|interval| Some(interval.millis()))
            .ok_or_else(|| self.bad(name, "it has to be a time like \"7d\" or \"5 seconds\""))
    }

    /// A size in bytes, bare or with Spark's suffixes (`10m`, `1gb`).
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<u64>, ConfigError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        parse_bytes(text)
            .filter(|bytes| *bytes > 0)
            .map(Some)
            .ok_or_else(|| self.bad(name, "it has to be a size like \"10485760\" or \"10m\""))
    }

    /// The path beside the options, or among them, where Spark has it.
    pub(crate) fn path(&self, beside: Option<&Path>) -> Result<PathBuf, ConfigError> {
        match (beside, self.text("path")) {
            (Some(_), Some(_)) => {
                Err(self.bad("path", "the path is given beside the options too: keep one"))
            }
            (Some(path), None) => Ok(path.to_owned()),
            (None, Some(path)) => Ok(PathBuf::from(path)),
            (None, None) => Err(ConfigError::Missing {
                place: self.place.clone(),
                what: "path".to_owned(),
                hint: "write path = \"some/path\"".to_owned(),
            }),
        }
    }

    pub(crate) fn bad(&self, name: &str, wanted: &str) -> ConfigError {
        let given = self.given.get(&name.to_lowercase());
        ConfigError::BadValue {
            place: self.place.clone(),
            option: given.map_or_else(|| name.to_owned(), |(option, _)| option.clone()),
            value: given.map(|(_, value)| value.shown()).unwrap_or_default(),
            wanted: wanted.to_owned(),
        }
    }
}

/// `did you mean "…"?` where a name is near, else all names.
pub(crate) fn suggestion<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    what: &str,
) -> String {
    match nearest(name, known.clone()) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => {
            let all: Vec<&str> = known.collect();
            if all.is_empty() {
                return format!("it has no {what}");
            }
            format!("its {what} are {}", all.join(", "))
        }
    }
}

fn parse_time(text: &str, bare_unit: &str) -> Option<Interval> {
    if let Ok(interval) = text.parse() {
        return Some(interval);
    }
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" => bare_unit,
        "us" => "microseconds",
        "ms" => "milliseconds",
        "s" => "seconds",
        "m" | "min" => "minutes",
        "h" => "hours",
        "d" => "days",
        _ => return None,
    };
    format!("{number} {unit}").parse().ok()
}

/// The options that a decoder takes, for it alone: it parses them itself.
pub(crate) fn revealed(
    given: &BTreeMap<String, OptionText>,
    has_key: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let taken = given.iter().filter(|(name, _)| has_key(name));
    taken.map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()
}

/// A decoder cannot follow a value, which is shown only as far as it may be.
pub(crate) fn refused_value(
    given: &BTreeMap<String, OptionText>,
    place: &str,
    option: String,
    wanted: String,
) -> ConfigError {
    let value = given.get(&option).map(OptionText::shown).unwrap_or_default();
    ConfigError::BadValue { place: place.to_owned(), option, value, wanted }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const KNOWN: Known =
        Known { built: &["maxFilesPerTrigger", "maxFileAge", "sep"], later: &["cleanSource"] };

    fn check(name: &str, value: &str) -> Result<Options, ConfigError> {
        let given = BTreeMap::from([(name.to_owned(), value.into())]);
        Options::check("source \"s\"", &given, &[KNOWN])
    }

    fn message(name: &str) -> String {
        check(name, "1").map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn names_are_taken_in_any_case() {
        let options = check("MAXFILESPERTRIGGER", "7").unwrap();
        assert_eq!(options.number("maxFilesPerTrigger", 1_u64), Ok(Some(7)));
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_nearest_one() {
        assert_eq!(
            message("maxFilePerTrigger"),
            "source \"s\" has the option \"maxFilePerTrigger\", which the format does not know; did you mean \"maxFilesPerTrigger\"?"
        );
        assert_eq!(
            message("zzz"),
            "source \"s\" has the option \"zzz\", which the format does not know; its options are maxFilesPerTrigger, maxFileAge, sep"
        );
        assert_eq!(
            message("cleansource"),
            "source \"s\" has the option \"cleansource\", which is not supported yet"
        );
    }

    #[test]
    fn times_and_sizes_have_sparks_short_units() {
        assert_eq!(
            check("maxFileAge", "7d").unwrap().millis("maxFileAge", "ms"),
            Ok(Some(604_800_000))
        );
        let long = check("maxFileAge", "5 minutes").unwrap();
        assert_eq!(long.millis("maxFileAge", "ms"), Ok(Some(300_000)));
        assert!(check("maxFileAge", "soon").unwrap().millis("maxFileAge", "ms").is_err());
    }

    #[test]
    fn a_value_that_cannot_be_used_says_what_it_has_to_be() {
        let options = check("maxFilesPerTrigger", "0").unwrap();
        assert_eq!(
            options.number("maxFilesPerTrigger", 1_u64).unwrap_err().to_string(),
            "source \"s\" has maxFilesPerTrigger = \"0\"; it has to be a whole number of at least 1"
        );
    }
}
