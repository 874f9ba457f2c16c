//! `to_number` and `to_char` by Spark's number patterns (ToNumberParser): `$999,999.99S`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::kernel::{kernel, text, texts};
use super::rows::{numbers, strings};

/// How a sign is written, if at all.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    None,
    /// `S`: `+` or `-`.
    Both,
    /// `MI`: `-` or a space.
    Minus,
    /// `PR`: in angle brackets.
    Brackets,
}

/// A pattern: a group of digits has whether it begins with a zero, for each digit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern {
    text: String,
    sign: Sign,
    sign_first: bool,
    dollar: bool,
    dollar_first: bool,
    /// Digits before the point, with commas: `0`, `9` and `,`.
    whole: Vec<char>,
    has_point: bool,
    fraction: Vec<char>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn parse(text: &str) -> Result<Pattern> {
        let upper: Vec<char> =
            text.to_ascii_uppercase().replace('G', ",").replace('D', ".").chars().collect();
        let shown: String = text.to_ascii_uppercase();
        if upper.is_empty() {
            return plan_err!(
                "[INVALID_FORMAT.EMPTY] The format is invalid: ''. The number format string cannot be empty"
            );
        }
        if !upper.iter().any(|c| matches!(c, '0' | '9')) {
            return plan_err!(
                "[INVALID_FORMAT.WRONG_NUM_DIGIT] The format is invalid: '{shown}'. The format string requires at least one number digit"
            );
        }
        for (c, name) in [('.', ". or D"), ('$', "$"), ('S', "S")] {
            if upper.iter().filter(|other| **other == c).count() > 1 {
                return plan_err!(
                    "[INVALID_FORMAT.WRONG_NUM_TOKEN] The format is invalid: '{shown}'. At most one {name} is allowed in the number format"
                );
            }
        }
        let mut pattern = Pattern {
            text: shown.clone(),
            sign: Sign::None,
            sign_first: true,
            dollar: false,
            dollar_first: true,
            whole: Vec::new(),
            has_point: false,
            fraction: Vec::new(),
        };
        let mut rest = upper.as_slice();
        match rest {
            ['S', after @ ..] => (pattern.sign, rest) = (Sign::Both, after),
            ['M', 'I', after @ ..] => (pattern.sign, rest) = (Sign::Minus, after),
            _ => {}
        }
        if let ['$', after @ ..] = rest {
            (pattern.dollar, rest) = (true, after);
        }
        while let [c @ ('0' | '9' | ','), after @ ..] = rest {
            pattern.whole.push(*c);
            rest = after;
        }
        if let ['.', after @ ..] = rest {
            (pattern.has_point, rest) = (true, after);
            while let [c @ ('0' | '9'), after @ ..] = rest {
                pattern.fraction.push(*c);
                rest = after;
            }
        }
        if let (['$', after @ ..], false) = (rest, pattern.dollar) {
            (pattern.dollar, pattern.dollar_first, rest) = (true, false, after);
        }
        if pattern.sign == Sign::None {
            let (sign, after) = match rest {
                ['S', after @ ..] => (Sign::Both, after),
                ['M', 'I', after @ ..] => (Sign::Minus, after),
                ['P', 'R', after @ ..] => (Sign::Brackets, after),
                after => (Sign::None, after),
            };
            (pattern.sign, pattern.sign_first, rest) = (sign, false, after);
        }
        if let Some(c) = rest.first() {
            return plan_err!(
                "[INVALID_FORMAT.UNEXPECTED_TOKEN] The format is invalid: '{shown}'. Found the unexpected character '{c}' in the format string; the structure of the format string must match: `[MI|S]` `[$]` `[0|9|G|,]*` `[.|D]` `[0|9]*` `[$]` `[PR|MI|S]`"
            );
        }
        if pattern.whole.first() == Some(&',') || pattern.whole.last() == Some(&',') {
            return plan_err!(
                "[INVALID_FORMAT.CONT_THOUSANDS_SEPS] The format is invalid: '{shown}'. Thousands separators (, or G) must have digits in between them in the number format"
            );
        }
        if pattern.whole.windows(2).any(|pair| pair == [',', ',']) {
            return plan_err!(
                "[INVALID_FORMAT.CONT_THOUSANDS_SEPS] The format is invalid: '{shown}'. Thousands separators (, or G) must have digits in between them in the number format"
            );
        }
        if pattern.whole_digits() + pattern.fraction.len() > 38 {
            return plan_err!(
                "[UNSUPPORTED_FEATURE] to_number(): the format '{shown}' has more than 38 digits"
            );
        }
        Ok(pattern)
    }

    fn whole_digits(&self) -> usize {
        self.whole.iter().filter(|c| **c != ',').count()
    }

    /// The type of what is read by it.
    pub(crate) fn kind(&self) -> DataType {
        let scale = self.fraction.len();
        DataType::Decimal128((self.whole_digits() + scale) as u8, scale as i8)
    }

    /// A text as a number of that type, without its point; none where it is not as the pattern says.
    fn read(&self, text: &str) -> Option<i128> {
        // Spaces count nowhere.
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut rest = text.as_str();
        let mut negative = None;
        let take_sign = |rest: &mut &str, at_end: bool| {
            let strip = |rest: &str, c: char| {
                let stripped = if at_end { rest.strip_suffix(c) } else { rest.strip_prefix(c) };
                stripped.map(|stripped| stripped.trim().to_owned())
            };
            let found = match strip(rest, '-') {
                Some(stripped) => Some((true, stripped)),
                None if self.sign == Sign::Both => {
                    strip(rest, '+').map(|stripped| (false, stripped))
                }
                None => None,
            };
            found.map(|(negative, stripped)| (negative, rest.len() - stripped.len(), stripped))
        };
        let owned;
        match self.sign {
            Sign::Brackets => {
                if let Some(inner) = rest.strip_prefix('<') {
                    rest = inner.strip_suffix('>')?.trim();
                    negative = Some(true);
                }
            }
            Sign::Both | Sign::Minus => {
                if let Some((is_negative, _, stripped)) = take_sign(&mut rest, !self.sign_first) {
                    negative = Some(is_negative);
                    owned = stripped;
                    rest = owned.as_str();
                }
            }
            Sign::None => {}
        }
        if self.dollar {
            rest = match self.dollar_first {
                true => rest.strip_prefix('$')?.trim_start(),
                false => rest.strip_suffix('$')?.trim_end(),
            };
        }
        let (whole, fraction) = match rest.split_once('.') {
            Some((whole, fraction)) if self.has_point => (whole, fraction),
            Some(_) => return None,
            None => (rest, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let pattern: String = self.whole.iter().collect();
        let groups: Vec<&str> = whole.split(',').rev().collect();
        let wanted: Vec<&str> = pattern.split(',').rev().collect();
        if groups.len() > wanted.len() {
            return None;
        }
        for (place, wanted) in wanted.iter().enumerate() {
            let group = groups.get(place).copied().unwrap_or("");
            let is_exact = wanted.starts_with('0') && group.len() != wanted.len();
            if group.len() > wanted.len() || is_exact || !is_digits(group) {
                return None;
            }
        }
        if fraction.len() > self.fraction.len() || !is_digits(fraction) {
            return None;
        }
        let digits: String = whole.chars().filter(|c| *c != ',').chain(fraction.chars()).collect();
        if digits.is_empty() {
            return None;
        }
        let zeros = 10_i128.pow((self.fraction.len() - fraction.len()) as u32);
        let value = digits.parse::<i128>().ok()?.checked_mul(zeros)?;
        Some(if negative == Some(true) { -value } else { value })
    }

    /// Appends a number; with `#` for each digit where it does not fit.
    fn write(&self, value: i128, scale: usize, out: &mut String) {
        let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let fits = whole.len() <= self.whole_digits() && fraction.len() <= self.fraction.len();
        let negative = value < 0;
        if self.sign_first {
            match (self.sign, negative) {
                (Sign::Both, false) => out.push('+'),
                (Sign::Both | Sign::Minus, true) => out.push('-'),
                (Sign::Minus, false) => out.push(' '),
                _ => {}
            }
        } else if self.sign == Sign::Brackets && negative {
            out.push('<');
        }
        if self.dollar && self.dollar_first {
            out.push('$');
        }
        // A space goes before a sign that is there already.
        let push_space = |out: &mut String| match out.pop() {
            Some(sign @ ('+' | '-' | '<')) => {
                out.push(' ');
                out.push(sign);
            }
            Some(other) => {
                out.push(other);
                out.push(' ');
            }
            None => out.push(' '),
        };
        let mut left = self.whole_digits();
        let (mut has_digit, mut has_zeros, mut begins) = (false, false, true);
        for c in &self.whole {
            if *c == ',' {
                match has_digit && fits {
                    true => out.push(','),
                    false if fits => push_space(out),
                    false => out.push(' '),
                }
                begins = true;
                continue;
            }
            // The first of a group says whether zeros are written in all of it.
            if begins {
                (has_zeros, begins) = (*c == '0', false);
            }
            let digit = whole.len().checked_sub(left).and_then(|at| whole[at..].chars().next());
            left -= 1;
            match (fits, digit) {
                (false, _) => out.push('#'),
                (true, Some(digit)) => {
                    out.push(digit);
                    has_digit = true;
                }
                (true, None) if has_zeros || has_digit => {
                    out.push('0');
                    has_digit = true;
                }
                (true, None) => push_space(out),
            }
        }
        if self.has_point {
            if fits && out.ends_with(' ') && !self.whole.is_empty() {
                out.pop();
                out.push('0');
            }
            out.push('.');
            for (place, _) in self.fraction.iter().enumerate() {
                let digit = fraction.as_bytes().get(place).copied().map_or('0', char::from);
                out.push(if fits { digit } else { '#' });
            }
        }
        if self.dollar && !self.dollar_first {
            out.push('$');
        }
        if !self.sign_first {
            match (self.sign, negative) {
                (Sign::Both, false) => out.push('+'),
                (Sign::Both | Sign::Minus, true) => out.push('-'),
                (Sign::Minus, false) => out.push(' '),
                (Sign::Brackets, true) => out.push('>'),
                (Sign::Brackets, false) => out.push_str("  "),
                _ => {}
            }
        }
    }
}

/// Texts as numbers by a pattern, which is the same for all.
fn read(columns: &[ArrayRef], kind: &DataType, tolerant: bool) -> Result<ArrayRef> {
    let mut last: Option<(String, Pattern)> = None;
    let values = numbers::<Decimal128Type>(columns, |row| {
        let format = texts(columns, 1).value(row);
        if last.as_ref().is_none_or(|(known, _)| known != format) {
            last = Some((format.to_owned(), Pattern::parse(format)?));
        }
        let Some((_, pattern)) = &last else { return Ok(None) };
        let text = texts(columns, 0).value(row);
        match pattern.read(text) {
            None if !tolerant => exec_err!(
                "[INVALID_FORMAT.MISMATCH_INPUT] The format is invalid: {}. The input \"STRING\" {text} does not match the format",
                pattern.text
            ),
            value => Ok(value),
        }
    })?;
    let values: PrimitiveArray<Decimal128Type> = values.as_primitive().clone();
    Ok(Arc::new(values.with_data_type(kind.clone())))
}

/// `to_number(text, format)`, and what it is cast to by its caller.
pub(crate) fn to_number(tolerant: bool) -> Arc<ScalarUDF> {
    fn widest(_: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(38, 0))
    }
    match tolerant {
        true => kernel("try_to_number", widest, |columns, kind| read(columns, kind, true)),
        false => kernel("to_number", widest, |columns, kind| read(columns, kind, false)),
    }
}

/// Puts the point into whole numbers of 38 digits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WithPoint {
    to: DataType,
    signature: Signature,
}

/// The function that makes a DECIMAL of its digits.
pub(crate) fn with_point(precision: u8, scale: i8) -> ScalarUDF {
    ScalarUDF::new_from_impl(WithPoint {
        to: DataType::Decimal128(precision, scale),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

impl ScalarUDFImpl for WithPoint {
    fn name(&self) -> &str {
        "with_point"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.first() {
            Some(ColumnarValue::Array(values)) => {
                let values: PrimitiveArray<Decimal128Type> = values.as_primitive().clone();
                Ok(ColumnarValue::Array(Arc::new(values.with_data_type(self.to.clone()))))
            }
            Some(ColumnarValue::Scalar(ScalarValue::Decimal128(value, ..))) => {
                let values = PrimitiveArray::<Decimal128Type>::from(vec![*value]);
                let values = values.with_data_type(self.to.clone());
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?))
            }
            _ => exec_err!("a DECIMAL is made of its digits"),
        }
    }
}

/// `to_char(number, format)` of a DECIMAL.
pub(crate) fn to_char() -> Arc<ScalarUDF> {
    kernel("number_to_char", text, |columns, _| {
        let mut last: Option<(String, Pattern)> = None;
        let scale = match columns[0].data_type() {
            DataType::Decimal128(_, scale) => usize::try_from(*scale).unwrap_or(0),
            _ => 0,
        };
        strings(columns, |row, out| {
            let format = texts(columns, 1).value(row);
            if last.as_ref().is_none_or(|(known, _)| known != format) {
                last = Some((format.to_owned(), Pattern::parse(format)?));
            }
            if let Some((_, pattern)) = &last {
                pattern.write(columns[0].as_primitive::<Decimal128Type>().value(row), scale, out);
            }
            Ok(true)
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn written(value: i128, scale: usize, format: &str) -> String {
        let mut out = String::new();
        Pattern::parse(format).unwrap().write(value, scale, &mut out);
        out
    }

    #[test]
    fn numbers_are_written_by_patterns() {
        for (value, scale, format, wanted) in [
            (454, 0, "999", "454"),
            (-124_548, 1, "99G999D9S", "12,454.8-"),
            (0, 0, "999", "   "),
            (-5, 0, "99PR", " <5>"),
            (5, 0, "99PR", " 5  "),
            (5, 0, "MI99", "  5"),
            (-5, 0, "MI99", " -5"),
            (5, 1, "9.99", "0.50"),
            (1999, 3, "9.9", "#.#"),
            (12, 0, "9,999", "   12"),
            (5, 0, "9,099", "  005"),
            (5, 0, "9099", "   5"),
            (12_345, 0, "9,999", "# ###"),
            (1, 0, "0,000", "0,001"),
            (-12, 0, "MI$99", "-$12"),
            (-5, 0, "$999PR", "<$  5>"),
            (0, 0, "S99.99", "  +.00"),
            (-123, 0, "S9", "-#"),
        ] {
            assert_eq!(written(value, scale, format), wanted, "{format}");
        }
    }

    #[test]
    fn numbers_are_read_by_patterns() {
        let read = |text, format| Pattern::parse(format).unwrap().read(text);
        assert_eq!(read("-1,234.5", "S9,999.9"), Some(-12_345));
        assert_eq!(read("12,454.8-", "99,999.9S"), Some(-124_548));
        assert_eq!(read("<12>", "99PR"), Some(-12));
        assert_eq!(read("12", "9,999"), Some(12));
        assert_eq!(read("1234", "9,999"), None);
        assert_eq!(read("12", "000"), None);
        assert_eq!(read("5", "$9"), None);
        assert_eq!(read(".5", "9.9"), Some(5));
    }
}
