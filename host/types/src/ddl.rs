//! Spark's schema text: `id STRING, y STRUCT<z: INT>`, as the Arrow schema for it.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::names::is_name_char;
use crate::{FieldRange, IntervalFields, UTC};

/// Nested types deeper than this are refused, so that a schema cannot exhaust the stack. Spark's
/// own parser gives up at a similar depth.
const NESTING_MAX: usize = 100;

/// Fields of a schema, with those of structs in it. Each is looked at again and again while a query is
/// planned, and has a buffer of its own in each block of rows.
const FIELDS_MAX: usize = 10_000;

/// Characters of a text that a message shows.
const SHOWN_MAX: usize = 500;

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{}\" is not a schema: at character {position} there is {found}, expected {expected}",
    shown(text)
)]
pub struct DdlError {
    /// The text as it was given.
    pub text: String,
    /// The character where reading stopped, counted from 1.
    pub position: usize,
    /// What is there.
    pub found: String,
    /// What a schema would have there.
    pub expected: String,
}

/// The start of a text that is long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Parses a list of columns, `a INT, b STRING NOT NULL`, each nullable where it does not say
/// otherwise.
///
/// # Errors
/// The text is no such list, or it is too deep or too long.
pub fn parse_columns(text: &str) -> Result<Fields, DdlError> {
    Parser { keeps_not_null: true, ..Parser::new(text) }.all(|parser| parser.columns(None, 0))
}

/// Parses a list of columns, `a INT, b STRING`, or one struct type, `STRUCT<a: INT, b: STRING>`.
/// Every field is nullable, as in Spark's sources: `NOT NULL` is read and dropped.
///
/// # Errors
/// As [`parse_columns`].
pub fn parse_schema(text: &str) -> Result<SchemaRef, DdlError> {
    let columns = Parser::new(text).all(|parser| parser.columns(None, 0));
    let fields = columns.or_else(|error| match parse_type(text) {
        Ok(DataType::Struct(fields)) => Ok(fields),
        _ => Err(error),
    })?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Parses one type, `ARRAY<STRING>`.
///
/// # Errors
/// The text is no type, or one of too many nested ones.
pub fn parse_type(text: &str) -> Result<DataType, DdlError> {
    Parser::new(text).all(|parser| parser.data_type(0))
}

/// Parses one type, and the fields of the intervals in it: `INTERVAL DAY`, `ARRAY<INTERVAL HOUR>`.
///
/// # Errors
/// As [`parse_type`].
pub fn parse_type_with_fields(text: &str) -> Result<(DataType, IntervalFields), DdlError> {
    let parser = Parser { intervals: Some(IntervalFields::default()), ..Parser::new(text) };
    parser.all(|parser| {
        let kind = parser.data_type(0)?;
        Ok((kind, parser.intervals.unwrap_or_default()))
    })
}

/// Parses a list of columns as a plan may have them: beside what [`parse_columns`] takes, of the type VOID
/// and of intervals, whose fields the column's metadata say.
///
/// # Errors
/// As [`parse_columns`].
pub fn parse_plan_columns(text: &str) -> Result<Fields, DdlError> {
    let parser = Parser { keeps_not_null: true, is_of_plan: true, ..Parser::new(text) };
    parser.all(|parser| parser.columns(None, 0))
}

/// Parses one type of a column of [`parse_plan_columns`].
///
/// # Errors
/// As [`parse_type`].
pub fn parse_plan_type(text: &str) -> Result<DataType, DdlError> {
    let intervals = Some(IntervalFields::default());
    let parser = Parser { is_of_plan: true, intervals, ..Parser::new(text) };
    parser.all(|parser| parser.data_type(0))
}

/// Parses what `from_json` takes: a list of columns (a struct) or one type of any kind.
///
/// # Errors
/// The text is neither. The error is that of the reading that came further.
pub fn parse_schema_or_type(text: &str) -> Result<DataType, DdlError> {
    match parse_schema(text) {
        Ok(schema) => Ok(DataType::Struct(schema.fields().clone())),
        Err(of_schema) => parse_type(text).map_err(|of_type| {
            if of_type.position > of_schema.position { of_type } else { of_schema }
        }),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte position of what comes next.
    at: usize,
    /// Fields that were read.
    fields: usize,
    keeps_not_null: bool,
    /// The fields of intervals that were read; none where there may be no intervals: no place that is
    /// read has them.
    intervals: Option<IntervalFields>,
    /// A column may be whatever a plan has: intervals, and nothing but nulls.
    is_of_plan: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        Parser { text, at: 0, fields: 0, keeps_not_null: false, intervals: None, is_of_plan: false }
    }

    /// Parses the whole text.
    fn all<T>(
        mut self,
        parse: impl FnOnce(&mut Parser<'a>) -> Result<T, DdlError>,
    ) -> Result<T, DdlError> {
        let parsed = parse(&mut self)?;
        match self.peek() {
            None => Ok(parsed),
            Some(_) => Err(self.error("the end or a comma")),
        }
    }

    /// `name[:] type [NOT NULL] [COMMENT '…'], …`, up to `end` (not taken) or the text's end.
    fn columns(&mut self, end: Option<char>, depth: usize) -> Result<Fields, DdlError> {
        let mut fields = Vec::new();
        loop {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(self.error(&format!("at most {FIELDS_MAX} fields")));
            }
            let name = self.name()?;
            self.take(':');
            if self.is_of_plan && depth == 0 {
                self.intervals = Some(IntervalFields::default());
            }
            let data_type = self.data_type(depth)?;
            let is_nullable = self.attributes()? || !self.keeps_not_null;
            let column = Field::new(name, data_type, is_nullable);
            fields.push(match self.intervals {
                Some(said) if depth == 0 && !said.is_empty() => said.said_by(column),
                _ => column,
            });
            if self.peek() == end {
                return Ok(fields.into());
            }
            if !self.take(',') {
                return Err(self.error(match end {
                    None => "a comma or the end",
                    Some(_) => "a comma or \">\"",
                }));
            }
        }
    }

    /// What may stand after a type; gives whether the column may be null.
    fn attributes(&mut self) -> Result<bool, DdlError> {
        let mut is_nullable = true;
        loop {
            let before = self.at;
            match self.word().to_ascii_uppercase().as_str() {
                "" => return Ok(is_nullable),
                "NOT" => {
                    if !self.word().eq_ignore_ascii_case("NULL") {
                        self.at = before;
                        return Err(self.error("NOT NULL"));
                    }
                    is_nullable = false;
                }
                "COMMENT" => self.quoted_text()?,
                _ => {
                    self.at = before;
                    return Err(self.error("a comma, NOT NULL or COMMENT"));
                }
            }
        }
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, DdlError> {
        let before = self.at;
        if depth > NESTING_MAX {
            return Err(self.error(&format!("at most {NESTING_MAX} nested types")));
        }
        let word = self.word().to_ascii_uppercase();
        Ok(match word.as_str() {
            "STRING" => DataType::Utf8,
            "VARCHAR" | "CHAR" | "CHARACTER" => {
                self.length()?;
                DataType::Utf8
            }
            "BIGINT" | "LONG" => DataType::Int64,
            "INT" | "INTEGER" => DataType::Int32,
            "SMALLINT" | "SHORT" => DataType::Int16,
            "TINYINT" | "BYTE" => DataType::Int8,
            "DOUBLE" => DataType::Float64,
            "FLOAT" | "REAL" => DataType::Float32,
            "BOOLEAN" => DataType::Boolean,
            "BINARY" => DataType::Binary,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
            }
            "TIMESTAMP_NTZ" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "VOID" if self.is_of_plan => DataType::Null,
            "INTERVAL" if self.intervals.is_some() => self.interval()?,
            "ARRAY" => {
                self.expect('<')?;
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                DataType::List(Arc::new(Field::new("item", item, true)))
            }
            "MAP" => {
                self.expect('<')?;
                let key = self.data_type(depth + 1)?;
                self.expect(',')?;
                let value = self.data_type(depth + 1)?;
                self.expect('>')?;
                map_type(key, value)
            }
            "STRUCT" => {
                self.expect('<')?;
                let fields = match self.peek() {
                    Some('>') => Fields::empty(),
                    _ => self.columns(Some('>'), depth + 1)?,
                };
                self.expect('>')?;
                DataType::Struct(fields)
            }
            _ => {
                self.at = before;
                return Err(self.error(
                    "a type (STRING, BIGINT, INT, SMALLINT, TINYINT, DOUBLE, FLOAT, BOOLEAN, BINARY, DATE, TIMESTAMP, TIMESTAMP_NTZ, DECIMAL(p,s), ARRAY<…>, MAP<…,…>, STRUCT<…>)",
                ));
            }
        })
    }

    fn length(&mut self) -> Result<(), DdlError> {
        self.expect('(')?;
        self.number("a length")?;
        self.expect(')')
    }

    /// `(p)`, `(p,s)` or nothing, which is (10,0).
    fn decimal(&mut self) -> Result<DataType, DdlError> {
        let (mut precision, mut scale) = (10, 0);
        if self.take('(') {
            self.peek();
            let before = self.at;
            precision = self.number("a precision")?;
            if self.take(',') {
                scale = self.number("a scale")?;
            }
            if !(1..=38).contains(&precision) || scale > precision {
                self.at = before;
                return Err(self.error("a precision of 1 to 38 and a scale not above it"));
            }
            self.expect(')')?;
        }
        Ok(DataType::Decimal128(precision, scale as i8))
    }

    /// `DAY` or `DAY TO HOUR`; nothing, which is of months, days and microseconds.
    fn interval(&mut self) -> Result<DataType, DdlError> {
        let first = self.word();
        if first.is_empty() {
            return Ok(DataType::Interval(IntervalUnit::MonthDayNano));
        }
        let mut words = vec![first];
        let before = self.at;
        match self.word() {
            to if to.eq_ignore_ascii_case("TO") => words.extend([to, self.word()]),
            _ => self.at = before,
        }
        let Some(fields) = FieldRange::named(words.into_iter()) else {
            return Err(self.error(
                "fields of an INTERVAL before this: YEAR, MONTH, YEAR TO MONTH, or two of DAY, HOUR, MINUTE and SECOND",
            ));
        };
        let all = self.intervals.unwrap_or_default().beside(fields.into());
        if all.is_mixed {
            return Err(self.error("intervals of the same fields as those before in the type"));
        }
        self.intervals = self.intervals.map(|_| all);
        Ok(fields.data_type())
    }

    fn number(&mut self, what: &str) -> Result<u8, DdlError> {
        self.peek();
        let before = self.at;
        self.word().parse::<u32>().map(|n| u8::try_from(n).unwrap_or(u8::MAX)).map_err(|_| {
            self.at = before;
            self.error(what)
        })
    }

    fn name(&mut self) -> Result<String, DdlError> {
        if self.peek() != Some('`') {
            let name = self.word();
            return if name.is_empty() {
                Err(self.error("a column name"))
            } else {
                Ok(name.to_owned())
            };
        }
        let mut name = String::new();
        let mut rest = self.text[self.at + 1..].char_indices().peekable();
        while let Some((offset, c)) = rest.next() {
            if c != '`' {
                name.push(c);
            } else if rest.next_if(|(_, next)| *next == '`').is_some() {
                name.push('`');
            } else {
                self.at += 1 + offset + 1;
                return Ok(name);
            }
        }
        Err(self.error("a name that ends with a backtick"))
    }

    /// Passes over `'…'` or `"…"`, in which a backslash takes the next character along and a quote
    /// is written twice.
    fn quoted_text(&mut self) -> Result<(), DdlError> {
        let quote = match self.peek() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Err(self.error("a quoted comment")),
        };
        let mut rest = self.text[self.at + 1..].char_indices().peekable();
        while let Some((offset, c)) = rest.next() {
            if c == '\\' {
                rest.next();
            } else if c == quote && rest.next_if(|(_, next)| *next == quote).is_none() {
                self.at += 1 + offset + 1;
                return Ok(());
            }
        }
        Err(self.error("a comment that ends with its quote"))
    }

    /// The letters, digits and underscores that come next.
    fn word(&mut self) -> &'a str {
        self.peek();
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn expect(&mut self, c: char) -> Result<(), DdlError> {
        if self.take(c) { Ok(()) } else { Err(self.error(&format!("\"{c}\""))) }
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn error(&mut self, expected: &str) -> DdlError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(c) if is_name_char(c) => {
                let before = self.at;
                let word = self.word();
                self.at = before;
                format!("\"{}\"", shown(word))
            }
            Some(c) => format!("\"{c}\""),
        };
        DdlError {
            text: self.text.to_owned(),
            position: self.text[..self.at].chars().count() + 1,
            found,
            expected: expected.to_owned(),
        }
    }
}

/// A map with the field names that Arrow's own tools use.
fn map_type(key: DataType, value: DataType) -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}
