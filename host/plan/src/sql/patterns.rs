//! Java's patterns of times as those of chrono, which DataFusion formats with.

/// The pattern of `to_char` that gives what Spark's `date_format` gives, or what in it has no
/// equal.
pub(super) fn to_chrono(pattern: &str) -> Result<String, String> {
    let mut chrono = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => chrono.push('\''),
            '\'' => loop {
                match chars.next() {
                    Some('\'') if chars.next_if_eq(&'\'').is_some() => chrono.push('\''),
                    Some('\'') => break,
                    Some(c) => literal(&mut chrono, c),
                    None => return Err("a quote is not closed".to_owned()),
                }
            },
            c if c.is_ascii_alphabetic() => {
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                chrono.push_str(field(c, count)?);
            }
            c => literal(&mut chrono, c),
        }
    }
    Ok(chrono)
}

fn literal(chrono: &mut String, c: char) {
    if c == '%' {
        chrono.push('%');
    }
    chrono.push(c);
}

fn field(letter: char, count: usize) -> Result<&'static str, String> {
    Ok(match (letter, count) {
        ('y' | 'u', 2) => "%y",
        ('y' | 'u', 1 | 3 | 4) => "%Y",
        ('M' | 'L', 1) => "%-m",
        ('M' | 'L', 2) => "%m",
        ('M' | 'L', 3) => "%b",
        ('M' | 'L', 4) => "%B",
        ('d', 1) => "%-d",
        ('d', 2) => "%d",
        ('D', 1) => "%-j",
        ('D', 3) => "%j",
        ('E', 1..=3) => "%a",
        ('E', 4) => "%A",
        ('H', 1) => "%-H",
        ('H', 2) => "%H",
        ('h', 1) => "%-I",
        ('h', 2) => "%I",
        ('m', 1) => "%-M",
        ('m', 2) => "%M",
        ('s', 1) => "%-S",
        ('s', 2) => "%S",
        ('S', 3) => "%3f",
        ('S', 6) => "%6f",
        ('S', 9) => "%9f",
        ('a', 1) => "%p",
        // The session's zone is UTC.
        ('X', 1..=3) => "Z",
        ('x', 3) => "+00:00",
        ('x' | 'Z', 2) | ('Z', 1 | 3) => "+0000",
        ('V', 2) | ('z', 1..=3) => "UTC",
        _ => {
            return Err(format!(
                "\"{}\" is not written here; known are yyyy yy MMMM MMM MM M dd d DDD D EEEE E HH H hh h mm m ss s SSS SSSSSS a XXX VV z and 'text'",
                letter.to_string().repeat(count)
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    #[test]
    fn patterns_are_those_of_java() {
        assert_eq!(to_chrono("yyyy-MM-dd'T'HH:mm:ss.SSSXXX").unwrap(), "%Y-%m-%dT%H:%M:%S.%3fZ");
        assert_eq!(to_chrono("d MMM yy, h 'o''clock' a").unwrap(), "%-d %b %y, %-I o'clock %p");
        assert_eq!(to_chrono("100%").unwrap(), "100%%");
        assert!(to_chrono("QQQ").unwrap_err().contains("\"QQQ\""));
        assert!(to_chrono("'open").is_err());
    }
}
