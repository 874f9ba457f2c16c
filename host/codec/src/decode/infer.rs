//! The columns that JSON shows, as Spark infers them (its `JsonInferSchema`).
//!
//! Each text has a type by itself, and two types become one that both are read as: in the end
//! STRING, as which anything is read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::options::JsonOptions;
use super::tokens::{SyntaxError, Text, Token, Tokens};
use super::{DecodeError, ParseMode, shown};
use crate::digits::{DIGITS_MAX, Digits};

/// Digits of a BIGINT that is made a decimal.
const BIGINT_DIGITS: i64 = tidemill_types::BIGINT_DIGITS as i64;

/// How types are inferred. The default is Spark's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inferring {
    /// `primitivesAsString`
    pub(super) plain_as_text: bool,
    /// `prefersDecimal`
    pub(super) prefers_decimal: bool,
    /// `inferTimestamp`
    pub(super) timestamps: bool,
    /// `dropFieldIfAllNull`
    pub(super) drops_nulls: bool,
}

/// A type that values have so far.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Null,
    Boolean,
    Whole,
    Decimal {
        precision: i64,
        scale: i64,
    },
    Double,
    Timestamp,
    Text,
    List(Box<Kind>),
    /// Fields in the order of their names. An object may have one name twice.
    Struct(Vec<(String, Kind)>),
}

/// Looks at texts, one after the other.
#[derive(Debug)]
pub struct JsonInference {
    options: JsonOptions,
    found: Kind,
}

impl JsonInference {
    /// Before the first text.
    #[must_use]
    pub fn new(options: JsonOptions) -> JsonInference {
        JsonInference { options, found: Kind::Null }
    }

    /// Looks at a line of a file, or at the whole of one that is one text.
    ///
    /// # Errors
    /// It is malformed, or no object, in mode FAILFAST.
    pub fn look(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let seen = match of_text(text, Text::Line, &self.options) {
            Ok(kind) => kind,
            Err(SyntaxError) => match self.options.mode {
                ParseMode::Permissive => self.corrupt(Vec::new()),
                ParseMode::DropMalformed => return Ok(()),
                ParseMode::FailFast => return Err(failed(text)),
            },
        };
        let found = std::mem::replace(&mut self.found, Kind::Null);
        self.found = self.root(found, seen).ok_or_else(|| failed(text))?;
        Ok(())
    }

    /// Looks at a line that is too long to be read, which is malformed.
    ///
    /// # Errors
    /// As [`JsonInference::look`].
    pub fn look_at_unreadable(&mut self, why: &str) -> Result<(), DecodeError> {
        // What is told of it is no JSON either.
        self.look(why.as_bytes())
    }

    /// The columns: none where there is no object with a name.
    #[must_use]
    pub fn finish(mut self) -> Schema {
        // Where no text was an object, all of them were malformed.
        let found = std::mem::replace(&mut self.found, Kind::Null);
        let found = self.root(Kind::Struct(Vec::new()), found).unwrap_or(Kind::Null);
        match found.known(self.options.inferring.drops_nulls) {
            Some(DataType::Struct(fields)) => Schema::new(fields),
            _ => Schema::empty(),
        }
    }

    /// What two texts are together; none in mode FAILFAST, where one is no object.
    fn root(&self, one: Kind, other: Kind) -> Option<Kind> {
        Some(match (one, other) {
            (Kind::List(one), other) => self.root(*one, other)?,
            (one, Kind::List(other)) => self.root(one, *other)?,
            (Kind::Null, other) => other,
            (one, Kind::Null) => one,
            (Kind::Struct(one), Kind::Struct(other)) => {
                united(Kind::Struct(one), Kind::Struct(other))
            }
            (Kind::Struct(fields), _) | (_, Kind::Struct(fields)) => match self.options.mode {
                ParseMode::Permissive => self.corrupt(fields),
                ParseMode::DropMalformed => Kind::Struct(fields),
                ParseMode::FailFast => return None,
            },
            (one, other) => united(one, other),
        })
    }

    /// The fields, and the corrupt column.
    fn corrupt(&self, mut fields: Vec<(String, Kind)>) -> Kind {
        let name = &self.options.corrupt_column;
        if !fields.iter().any(|(known, _)| known == name) {
            fields.push((name.clone(), Kind::Text));
            sort(&mut fields);
        }
        Kind::Struct(fields)
    }
}

fn failed(text: &[u8]) -> DecodeError {
    DecodeError::Malformed(shown(&String::from_utf8_lossy(text)))
}

/// The type of one text in JSON, whatever it is: what `schema_of_json` gives.
///
/// # Errors
/// It is malformed.
pub fn json_type(text: &str, options: &JsonOptions) -> Result<DataType, DecodeError> {
    let kind = of_text(text.as_bytes(), Text::Value, options);
    let kind = kind.map_err(|SyntaxError| failed(text.as_bytes()))?;
    let none = DataType::Struct(Fields::empty());
    let otherwise = match &kind {
        Kind::Struct(_) => none,
        Kind::List(item) if matches!(**item, Kind::Struct(_)) => {
            DataType::List(Arc::new(Field::new_list_field(none, true)))
        }
        _ => DataType::Utf8,
    };
    Ok(kind.known(options.inferring.drops_nulls).unwrap_or(otherwise))
}

fn of_text(bytes: &[u8], text: Text, options: &JsonOptions) -> Result<Kind, SyntaxError> {
    let mut tokens = Tokens::new(bytes, text, options.grammar);
    tokens.next_token()?;
    of_value(&mut tokens, options)
}

/// The type of the current token, and of what it opens.
fn of_value(tokens: &mut Tokens<'_>, options: &JsonOptions) -> Result<Kind, SyntaxError> {
    if tokens.current() == Some(Token::FieldName) {
        tokens.next_token()?;
    }
    let Some(token) = tokens.current() else { return Ok(Kind::Null) };
    Ok(match token {
        Token::Null => Kind::Null,
        Token::StartObject => {
            let mut fields = Vec::new();
            while tokens.next_token()?.is_some_and(|token| token != Token::EndObject) {
                let name = tokens.current_name().unwrap_or_default().to_owned();
                fields.push((name, of_value(tokens, options)?));
            }
            sort(&mut fields);
            Kind::Struct(fields)
        }
        Token::StartArray => {
            let mut item = Kind::Null;
            while tokens.next_token()?.is_some_and(|token| token != Token::EndArray) {
                item = united(item, of_value(tokens, options)?);
            }
            Kind::List(Box::new(item))
        }
        Token::String => of_string(tokens.string()?, options),
        _ if options.inferring.plain_as_text => Kind::Text,
        Token::True | Token::False => Kind::Boolean,
        Token::Int => of_whole(tokens.number()),
        Token::Float if options.inferring.prefers_decimal => {
            Digits::of(tokens.number()).ok_or(SyntaxError)?.into()
        }
        Token::Float => Kind::Double,
        Token::FieldName | Token::EndObject | Token::EndArray => return Err(SyntaxError),
    })
}

fn of_string(text: &str, options: &JsonOptions) -> Kind {
    if text.is_empty() {
        return Kind::Null;
    }
    if options.inferring.prefers_decimal {
        let text = match text.contains(',') {
            true => Cow::Owned(text.replace(',', "")),
            false => Cow::Borrowed(text),
        };
        let digits = Digits::of(&text);
        if let Some(digits) =
            digits.filter(|d| (0..=d.precision.min(DIGITS_MAX)).contains(&d.scale))
            && digits.precision <= DIGITS_MAX
        {
            return digits.into();
        }
    }
    match options.inferring.timestamps && options.times.timestamp(text).is_some() {
        true => Kind::Timestamp,
        false => Kind::Text,
    }
}

fn of_whole(number: &str) -> Kind {
    match number.parse::<i64>() {
        Ok(_) => Kind::Whole,
        Err(_) => Digits::of(number).map_or(Kind::Double, Kind::from),
    }
}

impl From<Digits> for Kind {
    /// `1e3` has a scale below zero, which Spark refuses; it is taken for 1000.
    fn from(Digits { precision, scale }: Digits) -> Kind {
        let precision = precision.max(scale) - scale.min(0);
        let scale = scale.max(0);
        if precision <= DIGITS_MAX { Kind::Decimal { precision, scale } } else { Kind::Double }
    }
}

/// Names in the order of Java's texts, which is that of their UTF-16 units.
fn sort(fields: &mut [(String, Kind)]) {
    fields.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
}

/// A type that both are read as.
fn united(one: Kind, other: Kind) -> Kind {
    match (one, other) {
        (Kind::Null, kind) | (kind, Kind::Null) => kind,
        (one, other) if one == other => one,
        (Kind::Double, Kind::Whole | Kind::Decimal { .. })
        | (Kind::Whole | Kind::Decimal { .. }, Kind::Double) => Kind::Double,
        (decimal @ Kind::Decimal { .. }, Kind::Whole)
        | (Kind::Whole, decimal @ Kind::Decimal { .. }) => {
            united(decimal, Kind::Decimal { precision: BIGINT_DIGITS, scale: 0 })
        }
        (
            Kind::Decimal { precision: one, scale },
            Kind::Decimal { precision: other, scale: its_scale },
        ) => {
            let whole = (one - scale).max(other - its_scale);
            let scale = scale.max(its_scale);
            match whole + scale {
                precision @ ..=DIGITS_MAX => Kind::Decimal { precision, scale },
                _ => Kind::Double,
            }
        }
        (Kind::List(one), Kind::List(other)) => Kind::List(Box::new(united(*one, *other))),
        (Kind::Struct(fields), Kind::Struct(others)) => {
            Kind::Struct(paired(&fields, &others).unwrap_or_else(|| merged(fields, others)))
        }
        _ => Kind::Text,
    }
}

/// The fields of two structs, each in the order of their names.
fn merged(one: Vec<(String, Kind)>, other: Vec<(String, Kind)>) -> Vec<(String, Kind)> {
    let mut all = Vec::with_capacity(one.len().max(other.len()));
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    while let (Some((name, _)), Some((its_name, _))) = (one.peek(), other.peek()) {
        match name.encode_utf16().cmp(its_name.encode_utf16()) {
            Ordering::Less => all.extend(one.next()),
            Ordering::Greater => all.extend(other.next()),
            Ordering::Equal => {
                if let (Some((name, kind)), Some((_, its_kind))) = (one.next(), other.next()) {
                    all.push((name, united(kind, its_kind)));
                }
            }
        }
    }
    all.extend(one);
    all.extend(other);
    all
}

/// The fields of two structs that have the same ones in the same order, in whatever case, and in
/// types of which one holds the other; called as in the first. This is how Spark's coercion unites
/// structs, and it is tried before names count in their case.
fn paired(one: &[(String, Kind)], other: &[(String, Kind)]) -> Option<Vec<(String, Kind)>> {
    if one.len() != other.len() {
        return None;
    }
    let pairs = one.iter().zip(other).map(|((name, one), (its_name, other))| {
        let is_same = name == its_name || name.to_lowercase() == its_name.to_lowercase();
        is_same.then(|| Some((name.clone(), tightest(one, other)?))).flatten()
    });
    pairs.collect()
}

/// The type of two that holds the other.
fn tightest(one: &Kind, other: &Kind) -> Option<Kind> {
    Some(match (one, other) {
        (Kind::Null, kind) | (kind, Kind::Null) => kind.clone(),
        (one, other) if one == other => one.clone(),
        (Kind::Double, Kind::Whole) | (Kind::Whole, Kind::Double) => Kind::Double,
        (Kind::Decimal { precision, scale }, Kind::Whole)
        | (Kind::Whole, Kind::Decimal { precision, scale })
            if precision - scale >= BIGINT_DIGITS =>
        {
            Kind::Decimal { precision: *precision, scale: *scale }
        }
        (Kind::List(one), Kind::List(other)) => Kind::List(Box::new(tightest(one, other)?)),
        (Kind::Struct(one), Kind::Struct(other)) => Kind::Struct(paired(one, other)?),
        _ => return None,
    })
}

impl Kind {
    /// The type of a column. None for a struct without fields, and for what is always null where
    /// that is left out: nothing could be read of it.
    fn known(self, drops_nulls: bool) -> Option<DataType> {
        Some(match self {
            Kind::Null if drops_nulls => return None,
            Kind::Null | Kind::Text => DataType::Utf8,
            Kind::Boolean => DataType::Boolean,
            Kind::Whole => DataType::Int64,
            Kind::Decimal { precision, scale } => {
                DataType::Decimal128(u8::try_from(precision).ok()?, i8::try_from(scale).ok()?)
            }
            Kind::Double => DataType::Float64,
            Kind::Timestamp => crate::instant(),
            Kind::List(item) => {
                DataType::List(Arc::new(Field::new_list_field(item.known(drops_nulls)?, true)))
            }
            Kind::Struct(fields) => {
                let known = |(name, kind): (String, Kind)| {
                    let kind = kind.known(drops_nulls)?;
                    (!name.is_empty()).then(|| Field::new(name, kind, true))
                };
                let fields: Vec<Field> = fields.into_iter().filter_map(known).collect();
                (!fields.is_empty()).then(|| DataType::Struct(fields.into()))?
            }
        })
    }
}
