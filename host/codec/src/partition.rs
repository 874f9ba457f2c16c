//! The values of partition columns, which are texts in the names of directories: `day=2024-01-01`.
//!
//! Their types are inferred as Spark's `PartitioningUtils` does it, and are read as its `Cast` reads
//! texts.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use tidemill_time::Zone;

use crate::csv::{CsvOptions, cell_value, is_double, is_plain_date};
use crate::digits::{DIGITS_MAX, Digits};

/// The type that all these texts can be read as; of one without a value nothing is known.
#[must_use]
pub fn partition_type<'a>(texts: impl Iterator<Item = Option<&'a str>>, zone: Zone) -> DataType {
    let kinds = texts.flatten().map(|text| type_of(text, zone));
    let kind = kinds.reduce(|one, other| united(&one, &other));
    kind.unwrap_or(DataType::Utf8)
}

/// A column of one row with a partition's value; none if it has none of the type.
#[must_use]
pub fn partition_value(text: &str, kind: &DataType, zone: Zone) -> Option<ArrayRef> {
    cell_value(text, kind, &CsvOptions::in_zone(zone))
}

fn type_of(text: &str, zone: Zone) -> DataType {
    let is = |kind: DataType| partition_value(text, &kind, zone).map(|_| kind);
    is(DataType::Int32)
        .or_else(|| is(DataType::Int64))
        .or_else(|| decimal(text))
        .or_else(|| is_double(text).then_some(DataType::Float64))
        .or_else(|| is(DataType::Date32).filter(|_| is_plain_date(text)))
        .or_else(|| is(crate::instant()).filter(|_| is_plain_time(text)))
        .unwrap_or(DataType::Utf8)
}

/// A whole number, however it is written.
fn decimal(text: &str) -> Option<DataType> {
    let Digits { precision, scale } = Digits::of(text)?;
    let digits = u8::try_from(precision - scale).ok()?;
    (scale <= 0 && i64::from(digits) <= DIGITS_MAX).then_some(DataType::Decimal128(digits, 0))
}

/// `yyyy-MM-dd HH:mm:ss`, maybe with tenths (Spark's `[.S]`).
fn is_plain_time(text: &str) -> bool {
    let (date, time) = text.split_once(' ').unwrap_or(("", ""));
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let is_digit = fraction.len() == 1 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_plain_date(date) && seconds.bytes().map(shape).eq(*b"00:00:00") && is_digit
}

/// Spark finds that a BIGINT or a DECIMAL beside a DOUBLE would lose digits.
fn united(one: &DataType, other: &DataType) -> DataType {
    use DataType::{Date32, Decimal128, Float64, Int32, Int64, Timestamp};
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Int32, Float64) | (Float64, Int32) => Float64,
        (Decimal128(digits, 0), Int32) | (Int32, Decimal128(digits, 0)) => {
            Decimal128((*digits).max(10), 0)
        }
        (Decimal128(digits, 0), Int64) | (Int64, Decimal128(digits, 0)) => {
            Decimal128((*digits).max(20), 0)
        }
        (Decimal128(one, 0), Decimal128(other, 0)) => Decimal128(*one.max(other), 0),
        (Date32, Timestamp(..)) | (Timestamp(..), Date32) => crate::instant(),
        _ => DataType::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use tidemill_time::UTC;
    use tidemill_types::format_type;

    use super::*;

    #[test]
    fn types_are_those_that_spark_infers() {
        let of =
            |texts: &[&str]| format_type(&partition_type(texts.iter().copied().map(Some), UTC));
        assert_eq!(of(&["1", "2147483648"]), "bigint");
        assert_eq!(of(&["1", "1.5"]), "double");
        assert_eq!(of(&["2147483648", "1.5"]), "string");
        assert_eq!(of(&["1.", "7"]), "decimal(10,0)");
        assert_eq!(of(&["1e3"]), "decimal(4,0)");
        assert_eq!(of(&["2024-01-01", "2024-01-01 00:00:00.5"]), "timestamp");
        assert_eq!(of(&["2024-1-1"]), "string");
        assert_eq!(of(&["true"]), "string");
        assert_eq!(format_type(&partition_type([None, Some("1")].into_iter(), UTC)), "int");
        assert_eq!(format_type(&partition_type([None].into_iter(), UTC)), "string");
    }
}
