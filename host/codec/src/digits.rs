//! How many digits a number has that is written out, as Java's `BigDecimal` counts them.

/// Of a number without its sign: all its digits but zeros in front, and those behind the point.
/// A `scale` below zero stands for zeros before the point that are not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Digits {
    pub(crate) precision: i64,
    pub(crate) scale: i64,
}

impl Digits {
    /// Of `-12.50`, `.5`, `1e3`; `None` where it is no number.
    pub(crate) fn of(text: &str) -> Option<Digits> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            None => (unsigned, 0),
            Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !are_digits(whole) || !are_digits(fraction)
        {
            return None;
        }
        let all = whole.bytes().chain(fraction.bytes());
        let significant = all.skip_while(|byte| *byte == b'0').count();
        Some(Digits {
            precision: i64::try_from(significant).ok()?.max(1),
            scale: i64::try_from(fraction.len()).ok()? - exponent,
        })
    }
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
