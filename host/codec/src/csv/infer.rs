//! The columns that CSV shows, as Spark infers them (its `CSVInferSchema`).
//!
//! The first record says how many columns there are, and what they are called if it is a header.
//! The others are read as texts, and the text of a cell says what its column may still be.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_types::{BIGINT_DIGITS, INT_DIGITS};

use super::options::{Infers, ValueRules};
use super::record::{self, Cells, LineEnd};
use super::values::{boolean, double, integer, is_plain_date};
use super::{BYTE_ORDER_MARK, CsvDecoder, CsvError, CsvOptions};
use crate::decode::ParseMode;
use crate::digits::{DIGITS_MAX, Digits, ascii_digits};
use crate::malformed::RowError;

/// Rows that are looked at together.
const ROWS: usize = 1_024;

/// What the values of a column may be, from the narrowest to the widest of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Null,
    Int,
    BigInt,
    /// Of whole numbers, with this many digits.
    Decimal(u8),
    Double,
    Date,
    Timestamp,
    Boolean,
    Text,
}

/// Looks at files, one after the other.
pub struct CsvInference {
    options: CsvOptions,
    columns: Option<Columns>,
    /// The first record that there was, which is a header wherever else it is.
    header: Vec<u8>,
}

/// The columns of one record, with their types, whatever the options say of inferring: what
/// `schema_of_csv` gives.
///
/// # Errors
/// It is larger than the options allow.
pub fn csv_columns(record: &str, options: &CsvOptions) -> Result<Schema, CsvError> {
    let infers = Infers { types: true, ..options.infers };
    let mut inference = CsvInference::new(CsvOptions { header: false, infers, ..options.clone() });
    inference.look(record.as_bytes())?;
    Ok(inference.finish())
}

/// What is known once there was a record.
struct Columns {
    names: Vec<String>,
    kinds: Vec<Kind>,
    decoder: CsvDecoder,
}

impl CsvInference {
    /// Before the first file.
    #[must_use]
    pub fn new(options: CsvOptions) -> CsvInference {
        CsvInference { options, columns: None, header: Vec::new() }
    }

    /// What comes next is the beginning of a file.
    pub fn begin_file(&mut self) {
        if let Some(columns) = &mut self.columns {
            columns.decoder.begin_file();
        }
    }

    /// Looks at a line, which is a record.
    ///
    /// # Errors
    /// It is larger than the options allow.
    pub fn look(&mut self, line: &[u8]) -> Result<(), CsvError> {
        let is_blank = line.iter().all(|byte| *byte <= b' ');
        let is_comment = self.options.rules.comment.is_some_and(|mark| line.first() == Some(&mark));
        if is_blank || is_comment {
            return Ok(());
        }
        let columns = match &mut self.columns {
            Some(columns) => columns,
            none => {
                self.header = line.to_vec();
                let end = self.options.line_separator.unwrap_or(LineEnd::NEWLINE);
                none.insert(Columns::of(line, end, &self.options)?)
            }
        };
        if self.options.header && *line == self.header {
            return Ok(());
        }
        columns.decoder.decode_text(line).map_err(|RowError { error, .. }| error)?;
        if columns.decoder.len() >= ROWS {
            columns.look(&self.options);
        }
        Ok(())
    }

    /// Looks at the records at the front of `bytes`, and gives how many bytes they took. Where
    /// `is_last` is not set, a record that does not end here is left.
    ///
    /// # Errors
    /// As [`CsvInference::look`].
    pub fn look_at_records(&mut self, bytes: &[u8], is_last: bool) -> Result<usize, CsvError> {
        let columns = match &mut self.columns {
            Some(columns) => columns,
            none => {
                let mut cells = Cells::default();
                let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
                let Some(front) = record_at_front(text, is_last, &self.options, &mut cells)? else {
                    return Ok(if is_last { bytes.len() } else { 0 });
                };
                let line_end = self.options.line_end_of(bytes);
                let columns = none.insert(Columns::of(front, line_end, &self.options)?);
                columns.decoder.begin_file();
                columns
            }
        };
        let taken = columns.decoder.decode_records(bytes, is_last, ROWS);
        let (taken, _) = taken.map_err(|RowError { error, .. }| error)?;
        columns.look(&self.options);
        Ok(taken)
    }

    /// The columns: none where there was no record.
    #[must_use]
    pub fn finish(mut self) -> Schema {
        let Some(mut columns) = self.columns.take() else { return Schema::empty() };
        columns.look(&self.options);
        let fields = columns.names.into_iter().zip(columns.kinds);
        Schema::new(
            fields.map(|(name, kind)| Field::new(name, kind.data_type(), true)).collect::<Vec<_>>(),
        )
    }
}

/// The first record that has cells, with what ends it; none if it does not end here.
fn record_at_front<'a>(
    bytes: &'a [u8],
    is_last: bool,
    options: &CsvOptions,
    cells: &mut Cells,
) -> Result<Option<&'a [u8]>, CsvError> {
    let line_end = options.line_end_of(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if options.rules.comment.is_some_and(|mark| rest.first() == Some(&mark)) {
            let Some(end) = line_end.find(rest).or(is_last.then_some(rest.len())) else {
                return Ok(None);
            };
            at += end;
            continue;
        }
        match record::read(&options.rules, rest, is_last, line_end, options.columns_max, cells) {
            Ok(taken) if cells.cells.is_empty() => at += taken.len,
            Ok(taken) => return Ok(Some(&rest[..taken.len])),
            Err(record::Stop::Columns) => {
                return Err(CsvError::TooManyCells(options.columns_max));
            }
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

impl Columns {
    fn of(record: &[u8], end: LineEnd, options: &CsvOptions) -> Result<Columns, CsvError> {
        let names = names(record, end, options)?;
        let fields: Vec<Field> =
            names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let all: Vec<usize> = (0..names.len()).collect();
        // Every record counts, whatever becomes of it when it is read.
        let reading = CsvOptions {
            mode: ParseMode::Permissive,
            header: options.header && options.multi_line,
            corrupt_column: String::new(),
            ..options.clone()
        };
        let decoder = CsvDecoder::new(&Arc::new(Schema::new(fields)), &all, reading)?;
        Ok(Columns { kinds: vec![Kind::Null; names.len()], names, decoder })
    }

    /// Looks at the rows at hand.
    fn look(&mut self, options: &CsvOptions) {
        let rows = self.decoder.finish();
        let is_text = !options.infers.types;
        for (kind, column) in self.kinds.iter_mut().zip(rows.columns()) {
            if is_text {
                *kind = Kind::Text;
                continue;
            }
            for cell in column.as_string::<i32>().iter().flatten() {
                if *kind == Kind::Text {
                    break;
                }
                if !cell.is_empty() {
                    *kind = united(*kind, kind_of(cell, *kind, options), options);
                }
            }
        }
    }
}

/// What the columns are called: as the header says, or by their places. Names that are there twice,
/// in any case, get their place behind them.
fn names(record: &[u8], end: LineEnd, options: &CsvOptions) -> Result<Vec<String>, CsvError> {
    let text = String::from_utf8_lossy(record);
    let (mut cells, most) = (Cells::default(), options.columns_max);
    let read = record::read(&options.rules, text.as_bytes(), true, end, most, &mut cells);
    if let Err(record::Stop::Columns) = read {
        return Err(CsvError::TooManyCells(most));
    }
    let found = cells.cells.iter().map(|cell| cells.value(&text, cell).into_owned());
    let found: Vec<String> = found.collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for name in &found {
        *seen.entry(name.to_lowercase()).or_default() += 1;
    }
    let is_twice = |name: &str| seen.get(&name.to_lowercase()).is_some_and(|count| *count > 1);
    let named = |(place, name): (usize, &String)| match name.as_str() {
        _ if !options.header => format!("_c{place}"),
        "" => format!("_c{place}"),
        name if name == options.values.null => format!("_c{place}"),
        name if is_twice(name) => format!("{name}{place}"),
        name => name.to_owned(),
    };
    Ok(found.iter().enumerate().map(named).collect())
}

/// What a cell may be, in a column that is this so far: what it cannot be any more is not tried.
fn kind_of(cell: &str, so_far: Kind, options: &CsvOptions) -> Kind {
    let values = &options.values;
    let numbers = [Kind::Null, Kind::Int, Kind::BigInt, Kind::Decimal(0), Kind::Double];
    let level = numbers.iter().position(|kind| {
        *kind == so_far || matches!((kind, so_far), (Kind::Decimal(_), Kind::Decimal(_)))
    });
    if let Some(level) = level
        && let Some(kind) = number(cell, level, values)
    {
        return kind;
    }
    if matches!(so_far, Kind::Boolean) {
        return if boolean(cell).is_some() { Kind::Boolean } else { Kind::Text };
    }
    let may_be_date = so_far != Kind::Timestamp && options.infers.dates;
    if may_be_date && is_date(cell, values) {
        Kind::Date
    } else if values.times.timestamp(cell).is_some() {
        Kind::Timestamp
    } else if boolean(cell).is_some() {
        Kind::Boolean
    } else {
        Kind::Text
    }
}

/// The narrowest number that a cell is, from a level on: 0 or 1 INT, 2 BIGINT, 3 DECIMAL, 4 DOUBLE.
fn number(cell: &str, level: usize, values: &ValueRules) -> Option<Kind> {
    if let Some(whole) = integer(cell).filter(|_| level <= 2) {
        let is_int = level <= 1 && i32::try_from(whole).is_ok();
        return Some(if is_int { Kind::Int } else { Kind::BigInt });
    }
    if level <= 3
        && let Some(Digits { precision, scale: 0 }) =
            Digits::of(&ascii_digits(cell).replace(',', ""))
        && precision <= DIGITS_MAX
        && let Ok(precision) = u8::try_from(precision)
    {
        return Some(Kind::Decimal(precision));
    }
    double(cell, values).map(|_| Kind::Double)
}

/// Unlike when it is read, a date without a pattern has all its digits.
fn is_date(cell: &str, values: &ValueRules) -> bool {
    let plain = |cell: &str| is_plain_date(cell).then(|| tidemill_time::parse_date(cell)).flatten();
    values.times.date(cell, plain).is_some()
}

/// A kind that both are read as.
fn united(one: Kind, other: Kind, options: &CsvOptions) -> Kind {
    match (one, other) {
        (Kind::Null, kind) | (kind, Kind::Null) => kind,
        (one, other) if one == other => one,
        (Kind::Int, Kind::BigInt) | (Kind::BigInt, Kind::Int) => Kind::BigInt,
        (Kind::Decimal(one), Kind::Decimal(other)) => Kind::Decimal(one.max(other)),
        (Kind::Decimal(digits), Kind::Int) | (Kind::Int, Kind::Decimal(digits)) => {
            Kind::Decimal(digits.max(INT_DIGITS))
        }
        (Kind::Decimal(digits), Kind::BigInt) | (Kind::BigInt, Kind::Decimal(digits)) => {
            Kind::Decimal(digits.max(BIGINT_DIGITS))
        }
        (Kind::Double, Kind::Int | Kind::BigInt | Kind::Decimal(_))
        | (Kind::Int | Kind::BigInt | Kind::Decimal(_), Kind::Double) => Kind::Double,
        (Kind::Date, Kind::Timestamp) | (Kind::Timestamp, Kind::Date)
            if options.infers.dates_are_times =>
        {
            Kind::Timestamp
        }
        _ => Kind::Text,
    }
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Kind::Int => DataType::Int32,
            Kind::BigInt => DataType::Int64,
            Kind::Decimal(digits) => DataType::Decimal128(digits, 0),
            Kind::Double => DataType::Float64,
            Kind::Date => DataType::Date32,
            Kind::Timestamp => crate::instant(),
            Kind::Boolean => DataType::Boolean,
            Kind::Null | Kind::Text => DataType::Utf8,
        }
    }
}
