//! Which type is wide enough for values of several: Spark's rules in ANSI mode (AnsiTypeCoercion,
//! DecimalPrecision).

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, TimeUnit};

use crate::UTC;

/// The most digits of a DECIMAL.
pub const DECIMAL_DIGITS_MAX: i16 = 38;

/// Digits of a DECIMAL that has room for every INT.
pub const INT_DIGITS: u8 = 10;

/// Digits of a DECIMAL that has room for every BIGINT, as Spark counts them.
pub const BIGINT_DIGITS: u8 = 20;

/// Digits behind the point that a DECIMAL keeps where it has to lose some (Spark's
/// MINIMUM_ADJUSTED_SCALE).
pub const DECIMAL_SCALE_KEPT: i16 = 6;

/// The DECIMAL that has room for every value of a type of whole numbers; none for another type.
#[must_use]
pub fn decimal_of_whole(kind: &DataType) -> Option<DataType> {
    let digits = match kind {
        DataType::Int8 => 3,
        DataType::Int16 => 5,
        DataType::Int32 => INT_DIGITS,
        DataType::Int64 => BIGINT_DIGITS,
        _ => return None,
    };
    Some(DataType::Decimal128(digits, 0))
}

/// A DECIMAL of so many digits, of which `scale` are behind the point, as far as there is room:
/// digits before the point are kept, those behind it are not all (DecimalType.adjustPrecisionScale).
#[must_use]
pub fn adjusted_decimal(precision: i16, scale: i16) -> DataType {
    if precision <= DECIMAL_DIGITS_MAX {
        return DataType::Decimal128(precision as u8, scale as i8);
    }
    let scale = (DECIMAL_DIGITS_MAX - (precision - scale)).max(scale.min(DECIMAL_SCALE_KEPT));
    DataType::Decimal128(DECIMAL_DIGITS_MAX as u8, scale as i8)
}

/// The type that is wide enough for values of both (`findWiderTypeForTwo`); none where Spark has no
/// such type.
#[must_use]
pub fn wider(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Date32, Decimal128, Float64, List, Map, Null, Struct, Timestamp, Utf8};
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        (Null, other) | (other, Null) => Some(other.clone()),
        (Utf8, other) | (other, Utf8) => wider_than_text(other),
        (Decimal128(..), float) | (float, Decimal128(..)) if float.is_floating() => Some(Float64),
        (Decimal128(p1, s1), Decimal128(p2, s2)) => Some(wider_decimal((*p1, *s1), (*p2, *s2))),
        (Decimal128(..), whole) => wider(left, &decimal_of_whole(whole)?),
        (whole, Decimal128(..)) => wider(&decimal_of_whole(whole)?, right),
        (left, right) if left.is_numeric() && right.is_numeric() => wider_number(left, right),
        (Date32, time @ Timestamp(..)) | (time @ Timestamp(..), Date32) => Some(time.clone()),
        (Timestamp(..), Timestamp(..)) => Some(Timestamp(TimeUnit::Microsecond, Some(UTC.into()))),
        (List(left), List(right)) => Some(List(wider_field(left, right)?)),
        (Map(left, sorted), Map(right, _)) => {
            let entries = wider(left.data_type(), right.data_type())?;
            Some(Map(Arc::new(left.as_ref().clone().with_data_type(entries)), *sorted))
        }
        (Struct(left), Struct(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right.iter());
            let fields = pairs.map(|(left, right)| {
                left.name().eq_ignore_ascii_case(right.name()).then(|| wider_field(left, right))?
            });
            Some(Struct(fields.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The type that is wide enough for values of all; NULL's for none.
#[must_use]
pub fn wider_of(kinds: &[DataType]) -> Option<DataType> {
    // Texts last, so that the others are compared with each other first: what a text becomes
    // depends on all of them.
    let (texts, others): (Vec<_>, Vec<_>) = kinds.iter().partition(|kind| kind.is_string());
    let common =
        others.into_iter().try_fold(DataType::Null, |common, kind| wider(&common, kind))?;
    texts.into_iter().try_fold(common, |common, kind| wider(&common, kind))
}

/// Beside a STRING: a text is read as what stands beside it.
fn wider_than_text(other: &DataType) -> Option<DataType> {
    match other {
        whole if whole.is_integer() => Some(DataType::Int64),
        number if number.is_numeric() => Some(DataType::Float64),
        nested if nested.is_nested() => None,
        plain => Some(plain.clone()),
    }
}

fn wider_number(left: &DataType, right: &DataType) -> Option<DataType> {
    if left.is_floating() || right.is_floating() {
        // Two FLOATs are equal, and met before: a whole number has no room in one.
        return Some(DataType::Float64);
    }
    let width = |kind: &DataType| kind.primitive_width();
    Some(if width(left) >= width(right) { left.clone() } else { right.clone() })
}

fn wider_decimal((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let [p1, s1, p2, s2] = [i16::from(p1), i16::from(s1), i16::from(p2), i16::from(s2)];
    let scale = s1.max(s2);
    let whole = (p1 - s1).max(p2 - s2);
    // Digits before the point are kept (DecimalType.boundedPreferIntegralDigits).
    let beyond = (whole + scale - DECIMAL_DIGITS_MAX).max(0);
    let precision = (whole + scale).min(DECIMAL_DIGITS_MAX);
    DataType::Decimal128(precision as u8, (scale - beyond).max(0) as i8)
}

fn wider_field(left: &FieldRef, right: &FieldRef) -> Option<FieldRef> {
    let kind = wider(left.data_type(), right.data_type())?;
    let nullable = left.is_nullable() || right.is_nullable();
    Some(Arc::new(Field::new(left.name(), kind, nullable)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use crate::{format_type, parse_type};

    use super::*;

    fn of(kinds: &str) -> String {
        let kinds: Vec<DataType> =
            kinds.split('|').map(|kind| parse_type(kind.trim()).unwrap()).collect();
        wider_of(&kinds).map_or_else(|| "none".to_owned(), |kind| format_type(&kind).to_uppercase())
    }

    #[test]
    fn two_types_have_the_common_one_that_spark_gives_them() {
        for (kinds, common) in [
            ("INT | BIGINT", "BIGINT"),
            ("TINYINT | SMALLINT", "SMALLINT"),
            ("INT | FLOAT", "DOUBLE"),
            ("FLOAT | DOUBLE", "DOUBLE"),
            ("INT | DECIMAL(3, 1)", "DECIMAL(11,1)"),
            ("DECIMAL(5, 2) | DECIMAL(4, 3)", "DECIMAL(6,3)"),
            ("DECIMAL(38, 10) | DECIMAL(38, 2)", "DECIMAL(38,2)"),
            ("DECIMAL(5, 2) | DOUBLE", "DOUBLE"),
            ("STRING | INT", "BIGINT"),
            ("STRING | DOUBLE", "DOUBLE"),
            ("STRING | DATE", "DATE"),
            ("STRING | BOOLEAN", "BOOLEAN"),
            ("DATE | TIMESTAMP", "TIMESTAMP"),
            ("TIMESTAMP_NTZ | TIMESTAMP", "TIMESTAMP"),
            ("ARRAY<INT> | ARRAY<BIGINT>", "ARRAY<BIGINT>"),
            ("BOOLEAN | INT", "none"),
            ("DATE | INT", "none"),
            ("ARRAY<INT> | STRING", "none"),
        ] {
            assert_eq!(of(kinds), common, "{kinds}");
        }
    }
}
