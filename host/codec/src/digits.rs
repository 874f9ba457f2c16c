//! Digits as Java reads them: of any script, and how many of them a `BigDecimal` has.

/// The most digits of a DECIMAL.
pub(crate) const DIGITS_MAX: i64 = tidemill_types::DECIMAL_DIGITS_MAX as i64;

/// Of a number without its sign: all its digits but zeros in front, and those behind the point.
/// A `scale` below zero stands for zeros before the point that are not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Digits {
    pub(crate) precision: i64,
    pub(crate) scale: i64,
}

/// A number as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'t> {
    pub(crate) is_negative: bool,
    /// The digits before the point.
    whole: &'t str,
    /// The digits behind it.
    fraction: &'t str,
    /// How far the point is moved to the right; beyond [`EXPONENT_MAX`], so far.
    pub(crate) exponent: i64,
}

/// Far more than any decimal has, and little enough for sums not to overflow.
const EXPONENT_MAX: i64 = 1 << 40;

impl<'t> Parts<'t> {
    /// Of `-12.50`, `.5`, `1e3`; `None` where it is no number.
    pub(crate) fn of(text: &'t str) -> Option<Parts<'t>> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            None => (unsigned, 0),
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_empty = whole.is_empty() && fraction.is_empty();
        let is_number = !is_empty && are_digits(whole) && are_digits(fraction);
        let is_negative = text.starts_with('-');
        is_number.then_some(Parts { is_negative, whole, fraction, exponent })
    }

    /// The digits without zeros in front.
    pub(crate) fn significant(&self) -> impl Iterator<Item = u8> + 't {
        self.whole.bytes().chain(self.fraction.bytes()).skip_while(|byte| *byte == b'0')
    }

    /// How many digits are behind the point, as they are written.
    pub(crate) fn behind_point(&self) -> Option<i64> {
        i64::try_from(self.fraction.len()).ok()
    }
}

fn are_digits(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !are_digits(digits) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Some(if text.starts_with('-') { -size } else { size })
}

impl Digits {
    /// Of a number's text; `None` where it is none, or its exponent is no INT, as in Java.
    pub(crate) fn of(text: &str) -> Option<Digits> {
        let parts = Parts::of(text)?;
        let exponent = i64::from(i32::try_from(parts.exponent).ok()?);
        Some(Digits {
            precision: i64::try_from(parts.significant().count()).ok()?.max(1),
            scale: parts.behind_point()? - exponent,
        })
    }
}

/// The text with digits of other scripts written as ASCII's, where Java takes them.
pub(crate) fn ascii_digits(cell: &str) -> String {
    /// The zeros of the scripts that Java 17 knows, in the plane where it looks at them.
    const ZEROS: [u32; 36] = [
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
        0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
        0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0,
        0xff10,
    ];
    let ascii = |c: char| {
        let code = u32::from(c);
        let zero = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code));
        zero.and_then(|zero| char::from_digit(code - zero, 10)).unwrap_or(c)
    };
    cell.chars().map(ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_as_java_counts_them() {
        let of = |text| Digits::of(text).map(|digits| (digits.precision, digits.scale));
        assert_eq!(of("12.50"), Some((4, 2)));
        assert_eq!(of("-0.001"), Some((1, 3)));
        assert_eq!(of("1e3"), Some((1, -3)));
        assert_eq!(of("1.5E-3"), Some((2, 4)));
        assert_eq!(of("000"), Some((1, 0)));
        assert_eq!(of("0.00"), Some((1, 2)));
        assert_eq!(of(".5"), Some((1, 1)));
        assert_eq!(of("5."), Some((1, 0)));
        for none in ["", ".", "x", "1e", "--1", "1.2.3", "NaN"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
