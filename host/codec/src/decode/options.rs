//! Spark's options for reading JSON, by Spark's names.
//!
//! What is not built is refused: an option that is silently ignored changes rows without a word.

use std::collections::BTreeMap;

use tidemill_time::{UTC, Zone};

use super::infer::Inferring;
use crate::times::ReadTimes;

/// What is wrong with a `lineSep` that is empty.
pub const EMPTY_SEPARATOR: &str = "it has to have a character";

/// What happens to malformed text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ParseMode {
    /// It is a row of nulls, or of the fields that could be read; the text goes to the corrupt
    /// column where the schema has one.
    #[default]
    Permissive,
    /// Its rows are left out.
    DropMalformed,
    /// It ends the query.
    FailFast,
}

/// How JSON is read. `JsonOptions::default()` is what Spark does without options.
#[derive(Clone, Debug)]
pub struct JsonOptions {
    /// `mode`
    pub mode: ParseMode,
    /// `columnNameOfCorruptRecord`
    pub corrupt_column: String,
    pub(crate) grammar: Grammar,
    pub(crate) times: ReadTimes,
    pub(super) inferring: Inferring,
}

/// What the text may have that JSON has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grammar {
    pub(crate) comments: bool,
    pub(crate) unquoted_names: bool,
    pub(crate) single_quotes: bool,
    pub(crate) leading_zeros: bool,
    pub(crate) non_numeric_numbers: bool,
    pub(crate) any_escape: bool,
    pub(crate) control_chars: bool,
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the JSON option \"{key}\" is \"{value}\": {reason}")]
pub struct JsonOptionError {
    /// The option's name as it was given.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What is wrong, and what would do.
    pub reason: String,
}

impl Default for JsonOptions {
    /// In UTC.
    fn default() -> JsonOptions {
        JsonOptions::in_zone(UTC)
    }
}

impl JsonOptions {
    /// Without options, where texts without a zone are of the session's.
    fn in_zone(session: Zone) -> JsonOptions {
        JsonOptions {
            mode: ParseMode::Permissive,
            corrupt_column: "_corrupt_record".to_owned(),
            grammar: Grammar {
                comments: false,
                unquoted_names: false,
                single_quotes: true,
                leading_zeros: false,
                non_numeric_numbers: true,
                any_escape: false,
                control_chars: false,
            },
            times: ReadTimes::in_zone(session),
            inferring: Inferring::default(),
        }
    }
}

impl JsonOptions {
    /// Every option that [`JsonOptions::parse`] takes. Names count without case.
    pub const KEYS: [&'static str; 24] = [
        "mode",
        "columnNameOfCorruptRecord",
        "timestampFormat",
        "timestampNTZFormat",
        "dateFormat",
        "enableDateTimeParsingFallback",
        "allowComments",
        "allowUnquotedFieldNames",
        "allowSingleQuotes",
        "allowNumericLeadingZeros",
        "allowNonNumericNumbers",
        "allowBackslashEscapingAnyCharacter",
        "allowUnquotedControlChars",
        "multiLine",
        "encoding",
        "charset",
        "timeZone",
        "locale",
        "primitivesAsString",
        "prefersDecimal",
        "inferTimestamp",
        "dropFieldIfAllNull",
        "samplingRatio",
        "lineSep",
    ];

    /// Whether `key` is an option for reading JSON, so that it may be given to
    /// [`JsonOptions::parse`].
    #[must_use]
    pub fn has_key(key: &str) -> bool {
        JsonOptions::KEYS.iter().any(|known| known.eq_ignore_ascii_case(key))
    }

    /// Reads options by Spark's names. Texts without a zone are of the session's, unless the option
    /// `timeZone` names another one.
    ///
    /// # Errors
    /// An option is unknown, or its value cannot be followed.
    pub fn parse(
        options: &BTreeMap<String, String>,
        session: Zone,
    ) -> Result<JsonOptions, JsonOptionError> {
        let mut parsed = JsonOptions::in_zone(session);
        for (key, value) in options {
            parsed.set(key, value).map_err(|reason| JsonOptionError {
                key: key.clone(),
                value: value.clone(),
                reason,
            })?;
        }
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (grammar, times) = (&mut self.grammar, &mut self.times);
        let lower = key.to_ascii_lowercase();
        if let Some(set) = times.set(&lower, value) {
            return set;
        }
        match lower.as_str() {
            "mode" => self.mode = parse_mode(value)?,
            "columnnameofcorruptrecord" => self.corrupt_column = value.to_owned(),
            "enabledatetimeparsingfallback" => times.falls_back = Some(boolean(value)?),
            "allowcomments" => grammar.comments = boolean(value)?,
            "allowunquotedfieldnames" => grammar.unquoted_names = boolean(value)?,
            "allowsinglequotes" => grammar.single_quotes = boolean(value)?,
            "allownumericleadingzeros" => grammar.leading_zeros = boolean(value)?,
            "allownonnumericnumbers" => grammar.non_numeric_numbers = boolean(value)?,
            "allowbackslashescapinganycharacter" => grammar.any_escape = boolean(value)?,
            "allowunquotedcontrolchars" => grammar.control_chars = boolean(value)?,
            // Whoever reads files takes them apart by these. A value is one text, whatever they say.
            "multiline" => {
                boolean(value)?;
            }
            "linesep" => only(!value.is_empty(), EMPTY_SEPARATOR)?,
            "encoding" | "charset" => only(is_utf8(value), "only UTF-8 is read")?,
            "locale" => only(
                is_english(value),
                "names of months and numbers are always read as en-US has them",
            )?,
            "primitivesasstring" => self.inferring.plain_as_text = boolean(value)?,
            "prefersdecimal" => self.inferring.prefers_decimal = boolean(value)?,
            "infertimestamp" => self.inferring.timestamps = boolean(value)?,
            "dropfieldifallnull" => self.inferring.drops_nulls = boolean(value)?,
            "samplingratio" => sampling(value)?,
            _ => return Err(format!("it is not known; known are {}", Self::KEYS.join(", "))),
        }
        Ok(())
    }
}

pub(crate) fn parse_mode(value: &str) -> Result<ParseMode, String> {
    match value.to_ascii_uppercase().as_str() {
        "PERMISSIVE" => Ok(ParseMode::Permissive),
        "DROPMALFORMED" => Ok(ParseMode::DropMalformed),
        "FAILFAST" => Ok(ParseMode::FailFast),
        _ => Err("give PERMISSIVE, DROPMALFORMED or FAILFAST".to_owned()),
    }
}

/// A schema is inferred of all rows, which is of any share of them as well.
pub(crate) fn sampling(value: &str) -> Result<(), String> {
    let is_share = value.parse::<f64>().is_ok_and(|ratio| ratio > 0.0);
    only(is_share, "give a number above 0; all rows are looked at, whatever it is")
}

pub(crate) fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

pub(crate) fn only(condition: bool, otherwise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_owned()) }
}

pub(crate) fn is_utf8(encoding: &str) -> bool {
    ["UTF-8", "UTF8"].iter().any(|name| name.eq_ignore_ascii_case(encoding))
}

pub(crate) fn is_english(locale: &str) -> bool {
    locale.eq_ignore_ascii_case("en-US")
}
