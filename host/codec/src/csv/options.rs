//! Spark's options for reading CSV, by Spark's names.
//!
//! What is not built is refused: an option that is silently ignored changes rows without a word.

use std::collections::BTreeMap;

use tidemill_time::{UTC, Zone};

use super::record::LineEnd;
use crate::decode::{
    EMPTY_SEPARATOR, ParseMode, boolean, is_english, is_utf8, only, parse_mode, sampling,
};
use crate::times::ReadTimes;

/// Cells of one record in Spark's default, `maxColumns`. Also what bounds the memory of a record.
const CELLS_MAX: usize = 20_480;

/// Patterns of dates that `CAST` reads as well.
const CAST_DATES: [&str; 7] =
    ["yyyy-MM-dd", "yyyy-M-d", "yyyy-M-dd", "yyyy-MM-d", "yyyy-MM", "yyyy-M", "yyyy"];

/// How CSV is read. `CsvOptions::default()` is what Spark does without options.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// `mode`
    pub mode: ParseMode,
    /// `columnNameOfCorruptRecord`
    pub corrupt_column: String,
    /// `header`: the first record of a file has the names of its columns.
    pub header: bool,
    /// `enforceSchema`: a header with other names is passed over with a warning. Otherwise it is
    /// an error.
    pub enforce_schema: bool,
    /// `multiLine`: a quoted cell may hold ends of lines. Such a file cannot be cut.
    pub multi_line: bool,
    pub(super) rules: Rules,
    /// `lineSep`, where it says so.
    pub(super) line_separator: Option<LineEnd>,
    pub(super) values: ValueRules,
    /// `columnPruning`: a record is held against the columns that are asked for alone.
    pub(super) prunes: bool,
    /// `maxColumns`
    pub(super) columns_max: usize,
    /// `maxCharsPerColumn`; `None` is no limit.
    pub(super) cell_chars_max: Option<usize>,
    pub(super) infers: Infers,
}

/// What is inferred where there is no schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Infers {
    /// `inferSchema`: the types of columns. Otherwise all are texts.
    pub(super) types: bool,
    /// `preferDate`: a date is one, and no timestamp.
    pub(super) dates: bool,
    /// A column of dates and timestamps is one of timestamps, since dates are read as such: these
    /// have no pattern, and dates one that `CAST` reads.
    pub(super) dates_are_times: bool,
}

/// What takes a record apart.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `sep`: at least one byte.
    pub(super) delimiter: Vec<u8>,
    /// `quote`; 0 is none.
    pub(super) quote: u8,
    /// `escape`; 0 is none.
    pub(super) escape: u8,
    /// `charToEscapeQuoteEscaping`; 0 is none.
    pub(super) escape_escape: u8,
    /// `comment`
    pub(super) comment: Option<u8>,
    /// `ignoreLeadingWhiteSpace`
    pub(super) trims_front: bool,
    /// `ignoreTrailingWhiteSpace`
    pub(super) trims_back: bool,
}

/// What cells mean.
#[derive(Clone, Debug)]
pub(super) struct ValueRules {
    pub(super) null: String,
    pub(super) empty: String,
    pub(super) nan: String,
    pub(super) infinity: String,
    pub(super) negative_infinity: String,
    pub(super) times: ReadTimes,
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CSV option \"{key}\" is \"{value}\": {reason}")]
pub struct CsvOptionError {
    /// The option's name as it was given.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What is wrong, and what would do.
    pub reason: String,
}

impl Default for CsvOptions {
    /// In UTC.
    fn default() -> CsvOptions {
        CsvOptions::in_zone(UTC)
    }
}

impl CsvOptions {
    /// Without options, where texts without a zone are of the session's.
    pub(crate) fn in_zone(session: Zone) -> CsvOptions {
        CsvOptions {
            mode: ParseMode::Permissive,
            corrupt_column: "_corrupt_record".to_owned(),
            header: false,
            enforce_schema: true,
            multi_line: false,
            rules: Rules {
                delimiter: b",".to_vec(),
                quote: b'"',
                escape: b'\\',
                escape_escape: b'\\',
                comment: None,
                trims_front: false,
                trims_back: false,
            },
            line_separator: None,
            values: ValueRules {
                null: String::new(),
                empty: String::new(),
                nan: "NaN".to_owned(),
                infinity: "Inf".to_owned(),
                negative_infinity: "-Inf".to_owned(),
                times: ReadTimes::in_zone(session),
            },
            prunes: true,
            columns_max: CELLS_MAX,
            cell_chars_max: None,
            infers: Infers { types: false, dates: true, dates_are_times: true },
        }
    }
}

impl CsvOptions {
    /// What ends records in a file that begins like this, with `multiLine`.
    pub(super) fn line_end_of(&self, bytes: &[u8]) -> LineEnd {
        self.line_separator.or_else(|| LineEnd::of(bytes)).unwrap_or(LineEnd::NEWLINE)
    }

    /// Every option that [`CsvOptions::parse`] takes. Names count without case.
    pub const KEYS: [&'static str; 35] = [
        "mode",
        "columnNameOfCorruptRecord",
        "header",
        "enforceSchema",
        "multiLine",
        "sep",
        "delimiter",
        "quote",
        "escape",
        "charToEscapeQuoteEscaping",
        "comment",
        "ignoreLeadingWhiteSpace",
        "ignoreTrailingWhiteSpace",
        "nullValue",
        "emptyValue",
        "nanValue",
        "positiveInf",
        "negativeInf",
        "timestampFormat",
        "timestampNTZFormat",
        "dateFormat",
        "enableDateTimeParsingFallback",
        "columnPruning",
        "maxColumns",
        "maxCharsPerColumn",
        "unescapedQuoteHandling",
        "encoding",
        "charset",
        "timeZone",
        "locale",
        "inferSchema",
        "samplingRatio",
        "preferDate",
        "inputBufferSize",
        "lineSep",
    ];

    /// Whether `key` is an option for reading CSV, so that it may be given to
    /// [`CsvOptions::parse`].
    #[must_use]
    pub fn has_key(key: &str) -> bool {
        CsvOptions::KEYS.iter().any(|known| known.eq_ignore_ascii_case(key))
    }

    /// Reads options by Spark's names. Texts without a zone are of the session's, unless the option
    /// `timeZone` names another one.
    ///
    /// # Errors
    /// An option is unknown, or its value cannot be followed.
    pub fn parse(
        options: &BTreeMap<String, String>,
        session: Zone,
    ) -> Result<CsvOptions, CsvOptionError> {
        let mut parsed = CsvOptions::in_zone(session);
        let mut escape_escape = None;
        for (key, value) in options {
            let lower = key.to_ascii_lowercase();
            let done = match lower.as_str() {
                "chartoescapequoteescaping" => {
                    character(value).map(|byte| escape_escape = byte.or(escape_escape))
                }
                "delimiter" if options.keys().any(|other| other.eq_ignore_ascii_case("sep")) => {
                    Err("sep sets the same option: keep one".to_owned())
                }
                lower => parsed.set(lower, value),
            };
            done.map_err(|reason| CsvOptionError {
                key: key.clone(),
                value: value.clone(),
                reason,
            })?;
        }
        let rules = &mut parsed.rules;
        // Where quotes escape themselves, nothing has to escape the escape.
        let otherwise = if rules.escape == rules.quote { 0 } else { rules.escape };
        rules.escape_escape = escape_escape.unwrap_or(otherwise);
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (rules, values) = (&mut self.rules, &mut self.values);
        match key {
            "timestampformat" => self.infers.dates_are_times = false,
            "dateformat" => self.infers.dates_are_times &= CAST_DATES.contains(&value),
            _ => {}
        }
        if let Some(set) = values.times.set(key, value) {
            return set;
        }
        match key {
            "mode" => self.mode = parse_mode(value)?,
            "columnnameofcorruptrecord" => self.corrupt_column = value.to_owned(),
            "header" => self.header = boolean(value)?,
            "enforceschema" => self.enforce_schema = boolean(value)?,
            "multiline" => self.multi_line = boolean(value)?,
            "sep" | "delimiter" => rules.delimiter = separator(value)?,
            "linesep" => self.line_separator = Some(line_separator(value)?),
            "quote" => rules.quote = character(value)?.unwrap_or(0),
            "escape" => rules.escape = character(value)?.unwrap_or(0),
            "comment" => rules.comment = character(value)?,
            "ignoreleadingwhitespace" => rules.trims_front = boolean(value)?,
            "ignoretrailingwhitespace" => rules.trims_back = boolean(value)?,
            "nullvalue" => value.clone_into(&mut values.null),
            "emptyvalue" => value.clone_into(&mut values.empty),
            "nanvalue" => value.clone_into(&mut values.nan),
            "positiveinf" => value.clone_into(&mut values.infinity),
            "negativeinf" => value.clone_into(&mut values.negative_infinity),
            "enabledatetimeparsingfallback" => values.times.falls_back = Some(boolean(value)?),
            "columnpruning" => self.prunes = boolean(value)?,
            "maxcolumns" => {
                let most = value.parse().ok().filter(|most| (1..=CELLS_MAX).contains(most));
                self.columns_max =
                    most.ok_or_else(|| format!("give a whole number from 1 to {CELLS_MAX}"))?;
            }
            "maxcharspercolumn" => match value.parse::<i64>() {
                Ok(-1) => self.cell_chars_max = None,
                Ok(most @ 0..) => self.cell_chars_max = usize::try_from(most).ok(),
                _ => return Err("give a whole number, or -1 for no limit".to_owned()),
            },
            "unescapedquotehandling" => {
                let built = value.eq_ignore_ascii_case("STOP_AT_DELIMITER");
                only(built, "only STOP_AT_DELIMITER is supported yet, which is Spark's default")?;
            }
            "encoding" | "charset" => only(is_utf8(value), "only UTF-8 is read")?,
            "locale" => {
                only(is_english(value), "names of months are always read as en-US has them")?;
            }
            "inferschema" => self.infers.types = boolean(value)?,
            "preferdate" => self.infers.dates = boolean(value)?,
            "samplingratio" => sampling(value)?,
            // About speed alone.
            "inputbuffersize" => {
                value.parse::<u32>().map_err(|_| "give a number of bytes".to_owned())?;
            }
            _ => return Err(format!("it is not known; known are {}", Self::KEYS.join(", "))),
        }
        Ok(())
    }
}

/// One character, or `None` for an empty text.
fn character(value: &str) -> Result<Option<u8>, String> {
    match value.as_bytes() {
        [] => Ok(None),
        [byte] => Ok(Some(*byte)),
        _ => Err("it has to be one ASCII character, or empty for none".to_owned()),
    }
}

fn line_separator(value: &str) -> Result<LineEnd, String> {
    match value.as_bytes() {
        b"\r\n" => Ok(LineEnd::Pair),
        [byte] => Ok(LineEnd::Byte(*byte)),
        b"" => Err(format!("[INVALID_LINE_SEPARATOR.EMPTY] {EMPTY_SEPARATOR}")),
        _ => Err("it has to be one ASCII character, or \\r\\n".to_owned()),
    }
}

/// Spark's separator, in which a backslash writes what is hard to type: `\t`, `|\t`, `\\`.
fn separator(value: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(byte @ (b'"' | b'\'' | b'\\')) => byte,
            Some(_) => {
                return Err(String::from(
                    "after a backslash can be t, r, b, f, a quote or a backslash",
                ));
            }
            None => return Err("write a backslash twice".to_owned()),
        });
    }
    if out.is_empty() {
        return Err("it has to be at least one character".to_owned());
    }
    if out.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err("it cannot hold the end of a line".to_owned());
    }
    Ok(out)
}
