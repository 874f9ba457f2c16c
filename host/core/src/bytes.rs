//! Sizes in bytes, as a job writes them.

/// Bytes of a size: a whole number and a unit in any case, `"256 MiB"`, `"64m"`, `"1gb"`, or a bare
/// number of bytes. `None` where it is none, or does not fit.
///
/// All units are powers of 1,024, with or without an `i`: that is what `64m` and `1gb` mean in
/// Spark (`JavaUtils.byteStringAs`), and one text must not be two numbers in one job.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_sparks_powers_of_1024() {
        for text in ["64 MiB", "64MiB", "64 MB", "64mb", "64m", "64 M", "65536k", "67108864"] {
            assert_eq!(parse_bytes(text), Some(64 << 20), "{text}");
        }
        assert_eq!(parse_bytes("1gb"), Some(1 << 30));
        assert_eq!(parse_bytes("2 PiB"), Some(2 << 50));
        assert_eq!(parse_bytes("7 b"), Some(7));
    }

    #[test]
    fn what_is_no_size_is_none() {
        for text in ["", "MiB", "-1 MiB", "1.5 GiB", "1 parsec", "99999999999 PiB", "1e3", "٣"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
