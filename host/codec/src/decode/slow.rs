//! Rows from tokens, with Spark's rules for what does not fit: its `JacksonParser`, step by step.
//!
//! This path takes any text and is never in a hurry. Clean rows do not come here.

use arrow::datatypes::{DataType, Fields, TimeUnit};

use super::number::parse_decimal;
use super::options::JsonOptions;
use super::tokens::{SyntaxError, Text, Token, Tokens};
use crate::text;
use crate::times::ReadTimes;
use tidemill_time::parse_date;

/// A value of a column.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Struct(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// Why a value is not what it should be.
pub(super) enum Failure {
    /// Nothing of it could be used.
    Bad,
    /// This much of it could be used.
    Partial(Value),
}

/// What a text gives.
pub(super) enum Rows {
    /// The text is blank.
    None,
    /// It is well-formed; these are its rows.
    Good(Vec<Vec<Value>>),
    /// It is malformed; these are the parts of rows that could be read. Empty: nothing.
    Bad(Vec<Vec<Value>>),
}

/// What the text is to be at its root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Root {
    /// An object: one row of the schema's columns.
    Object,
    /// An object, or an array of them.
    ObjectOrArray,
    /// A value for the schema's only column, which is a map or an array.
    Value,
}

impl From<SyntaxError> for Failure {
    fn from(_: SyntaxError) -> Failure {
        Failure::Bad
    }
}

/// Reads one text. `fields` are the columns, without the corrupt one.
pub(super) fn read(
    bytes: &[u8],
    text: Text,
    root: Root,
    fields: &Fields,
    options: &JsonOptions,
) -> Rows {
    let tokens = Tokens::new(bytes, text, options.grammar);
    let mut reader = Reader { tokens, options };
    match reader.tokens.next_token() {
        Err(SyntaxError) => Rows::Bad(Vec::new()),
        Ok(None) => Rows::None,
        Ok(Some(_)) => match root {
            Root::Object | Root::ObjectOrArray => reader.rows(fields, root),
            Root::Value => reader.root_value(&fields[0]),
        },
    }
}

/// Reads one value that is known to be well-formed.
pub(super) fn read_value(
    bytes: &[u8],
    text: Text,
    data_type: &DataType,
    options: &JsonOptions,
) -> Result<Value, Failure> {
    let mut tokens = Tokens::new(bytes, text, options.grammar);
    tokens.next_token()?;
    Reader { tokens, options }.value(data_type)
}

struct Reader<'a> {
    tokens: Tokens<'a>,
    options: &'a JsonOptions,
}

impl Reader<'_> {
    fn rows(&mut self, fields: &Fields, root: Root) -> Rows {
        let into_row = |value| match value {
            Value::Struct(row) => row,
            other => vec![other],
        };
        match self.tokens.current() {
            Some(Token::StartObject) => match self.object(fields) {
                Ok(row) => Rows::Good(vec![into_row(row)]),
                Err(Failure::Partial(row)) => Rows::Bad(vec![into_row(row)]),
                Err(Failure::Bad) => Rows::Bad(Vec::new()),
            },
            Some(Token::StartArray) if root == Root::ObjectOrArray => {
                let item = DataType::Struct(fields.clone());
                let rows = |items: Value| match items {
                    Value::List(items) => items.into_iter().map(into_row).collect(),
                    _ => Vec::new(),
                };
                match self.list(&item, true) {
                    Ok(items) => Rows::Good(rows(items)),
                    Err(Failure::Partial(items)) => Rows::Bad(rows(items)),
                    Err(Failure::Bad) => Rows::Bad(Vec::new()),
                }
            }
            _ => Rows::Bad(Vec::new()),
        }
    }

    fn root_value(&mut self, field: &arrow::datatypes::FieldRef) -> Rows {
        let token = self.tokens.current();
        let value = match (field.data_type(), token) {
            (DataType::List(item), Some(Token::StartObject)) => match item.data_type() {
                // One object does for an array of one.
                DataType::Struct(fields) => match self.object(fields) {
                    Ok(row) => Ok(Value::List(vec![row])),
                    Err(Failure::Partial(row)) => Err(Failure::Partial(Value::List(vec![row]))),
                    Err(Failure::Bad) => Err(Failure::Bad),
                },
                _ => Err(Failure::Bad),
            },
            (data_type, _) => self.value(data_type),
        };
        match value {
            Ok(Value::Null) | Err(Failure::Bad) => Rows::Bad(Vec::new()),
            Ok(value) => Rows::Good(vec![vec![value]]),
            Err(Failure::Partial(value)) => Rows::Bad(vec![vec![value]]),
        }
    }

    /// Whether there is a token before `end`; it is current then.
    fn next_until(&mut self, end: Token) -> Result<bool, SyntaxError> {
        Ok(self.tokens.next_token()?.is_some_and(|token| token != end))
    }

    fn object(&mut self, fields: &Fields) -> Result<Value, Failure> {
        let mut row = vec![Value::Null; fields.len()];
        let mut is_bad = false;
        while self.next_until(Token::EndObject)? {
            let name = self.tokens.current_name();
            // The last of two fields with one name is found by Spark's map of names.
            let index = name.and_then(|name| fields.iter().rposition(|field| field.name() == name));
            let Some(index) = index else {
                self.tokens.skip_children()?;
                continue;
            };
            match self.value(fields[index].data_type()) {
                Ok(value) => row[index] = value,
                Err(Failure::Partial(value)) => {
                    row[index] = value;
                    is_bad = true;
                }
                Err(Failure::Bad) => {
                    self.tokens.skip_children()?;
                    is_bad = true;
                }
            }
        }
        let row = Value::Struct(row);
        if is_bad { Err(Failure::Partial(row)) } else { Ok(row) }
    }

    fn list(&mut self, item: &DataType, is_root: bool) -> Result<Value, Failure> {
        let mut items = Vec::new();
        let mut is_bad = false;
        while self.next_until(Token::EndArray)? {
            match self.value(item) {
                Ok(Value::Null) if is_root => return Err(Failure::Bad),
                Ok(value) => items.push(value),
                Err(Failure::Partial(value)) => {
                    items.push(value);
                    is_bad = true;
                }
                Err(Failure::Bad) => return Err(Failure::Bad),
            }
        }
        let items = Value::List(items);
        if is_bad { Err(Failure::Partial(items)) } else { Ok(items) }
    }

    fn map(&mut self, value_type: &DataType) -> Result<Value, Failure> {
        let mut entries = Vec::new();
        let (mut is_partial, mut is_bad) = (false, false);
        while self.next_until(Token::EndObject)? {
            let key = Value::Text(self.tokens.current_name().unwrap_or_default().to_owned());
            match self.value(value_type) {
                Ok(value) => entries.push((key, value)),
                Err(Failure::Partial(value)) => {
                    entries.push((key, value));
                    is_partial = true;
                }
                // The other entries are read, and then Spark finds that a value is missing.
                Err(Failure::Bad) => {
                    self.tokens.skip_children()?;
                    is_bad = true;
                }
            }
        }
        let map = Value::Map(entries);
        match (is_bad, is_partial) {
            (true, _) => Err(Failure::Bad),
            (false, true) => Err(Failure::Partial(map)),
            (false, false) => Ok(map),
        }
    }

    /// The value of the current token, or of the one after it where it is a name.
    fn value(&mut self, data_type: &DataType) -> Result<Value, Failure> {
        if self.tokens.current() == Some(Token::FieldName) {
            self.tokens.next_token()?;
        }
        let token = match self.tokens.current() {
            None | Some(Token::Null) => return Ok(Value::Null),
            Some(Token::FieldName) => return Err(Failure::Bad),
            Some(token) => token,
        };
        match (data_type, token) {
            (DataType::Utf8, Token::String) => Ok(Value::Text(self.tokens.string()?.to_owned())),
            (DataType::Utf8, _) => self.any_as_text(),
            (DataType::Boolean, Token::True) => Ok(Value::Bool(true)),
            (DataType::Boolean, Token::False) => Ok(Value::Bool(false)),
            (DataType::Struct(fields), Token::StartObject) => self.object(fields),
            (DataType::List(item), Token::StartArray) => self.list(item.data_type(), false),
            (DataType::Map(entries, _), Token::StartObject) => match entries.data_type() {
                DataType::Struct(pair) => self.map(pair[1].data_type()),
                _ => Err(Failure::Bad),
            },
            (_, Token::Int | Token::Float) => {
                number(self.tokens.number(), token, data_type).ok_or(Failure::Bad)
            }
            (DataType::Binary, Token::String) => Ok(Value::Bytes(self.tokens.binary()?)),
            (_, Token::String) => {
                let options = self.options;
                let text = self.tokens.string()?;
                from_text(text, data_type, options).ok_or(Failure::Bad)
            }
            _ => Err(Failure::Bad),
        }
    }

    /// What is no string, as text: in a file as it is written there, in a value as Jackson
    /// writes it anew.
    fn any_as_text(&mut self) -> Result<Value, Failure> {
        if self.tokens.text_kind() == Text::Line {
            let start = self.tokens.token_start();
            self.tokens.skip_children()?;
            let raw = self.tokens.since(start);
            return Ok(Value::Text(String::from_utf8_lossy(raw).into_owned()));
        }
        let mut out = Vec::new();
        let mut open = 0;
        loop {
            self.write_current(&mut out)?;
            match self.tokens.current() {
                Some(Token::StartObject | Token::StartArray) => open += 1,
                Some(Token::EndObject | Token::EndArray) => open -= 1,
                _ => {}
            }
            if open == 0 || self.tokens.next_token()?.is_none() {
                return Ok(Value::Text(String::from_utf8_lossy(&out).into_owned()));
            }
        }
    }

    fn write_current(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(token) = self.tokens.current() else { return Ok(()) };
        let closes = matches!(token, Token::EndObject | Token::EndArray);
        if !closes && !matches!(out.last(), None | Some(b'{' | b'[' | b':')) {
            out.push(b',');
        }
        match token {
            Token::StartObject => out.push(b'{'),
            Token::EndObject => out.push(b'}'),
            Token::StartArray => out.push(b'['),
            Token::EndArray => out.push(b']'),
            Token::True => out.extend_from_slice(b"true"),
            Token::False => out.extend_from_slice(b"false"),
            Token::Null => out.extend_from_slice(b"null"),
            Token::FieldName => {
                text::write_json_string(self.tokens.current_name().unwrap_or_default(), out);
                out.push(b':');
            }
            Token::String => text::write_json_string(self.tokens.string()?, out),
            Token::Int => {
                let digits = self.tokens.number();
                out.extend_from_slice(if digits == "-0" { b"0" } else { digits.as_bytes() });
            }
            Token::Float => text::write_json_f64(double(self.tokens.number()), out),
        }
        Ok(())
    }
}

/// A number, or a name for what is none.
fn double(text: &str) -> f64 {
    match text {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => text.parse().unwrap_or(f64::NAN),
    }
}

fn float(text: &str) -> f64 {
    match text {
        "NaN" | "Infinity" | "-Infinity" => double(text),
        _ => f64::from(text.parse::<f32>().unwrap_or(f32::NAN)),
    }
}

fn number(text: &str, token: Token, data_type: &DataType) -> Option<Value> {
    let is_int = token == Token::Int;
    let int = |min: i64, max: i64| {
        let value = text.parse::<i64>().ok().filter(|n| is_int && (min..=max).contains(n))?;
        Some(Value::Int(value))
    };
    match data_type {
        // Jackson takes bytes for unsigned too, and Spark makes 200 a -56 of it.
        DataType::Int8 => match int(-128, 255)? {
            Value::Int(n) => Some(Value::Int(i64::from(n as i8))),
            other => Some(other),
        },
        DataType::Int16 => int(i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => int(i64::from(i32::MIN), i64::from(i32::MAX)),
        DataType::Int64 => int(i64::MIN, i64::MAX),
        DataType::Float32 if is_int && text == "-0" => Some(Value::Float(0.0)),
        DataType::Float64 if is_int && text == "-0" => Some(Value::Float(0.0)),
        DataType::Float32 => Some(Value::Float(float(text))),
        DataType::Float64 => Some(Value::Float(double(text))),
        DataType::Decimal128(precision, scale) => {
            parse_decimal(text, *precision, *scale).map(Value::Decimal)
        }
        DataType::Timestamp(_, Some(_)) if is_int => {
            // The product wraps around in Spark.
            let seconds = text.parse::<i64>().ok()?;
            Some(Value::Int(seconds.wrapping_mul(1_000_000)))
        }
        _ => None,
    }
}

fn from_text(text: &str, data_type: &DataType, options: &JsonOptions) -> Option<Value> {
    match data_type {
        DataType::Float32 | DataType::Float64 if options.grammar.non_numeric_numbers => {
            let value = match text {
                "NaN" => f64::NAN,
                "+INF" | "+Infinity" | "Infinity" => f64::INFINITY,
                "-INF" | "-Infinity" => f64::NEG_INFINITY,
                _ => return None,
            };
            Some(Value::Float(value))
        }
        DataType::Decimal128(precision, scale) => {
            parse_decimal(&text.replace(',', ""), *precision, *scale).map(Value::Decimal)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            options.times.timestamp(text).map(Value::Int)
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            options.times.timestamp_ntz(text).map(Value::Int)
        }
        DataType::Date32 => date(text, &options.times).map(|days| Value::Int(i64::from(days))),
        _ => None,
    }
}

/// A day without a pattern. A bare number is one, too: what Spark 1.5 wrote.
fn date(text: &str, times: &ReadTimes) -> Option<i32> {
    let takes_numbers = times.has_date_pattern() || times.falls_back != Some(false);
    times
        .date(text, |text| parse_date(text).or_else(|| text.parse().ok().filter(|_| takes_numbers)))
}
