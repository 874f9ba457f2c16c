//! The qualifiers that relations have in plans. Each is a number behind a character that no text has,
//! so that they can be told from what somebody wrote, and taken out of what is shown.

use datafusion::common::TableReference;

/// A character that is in no alphabet (the first of Unicode's private ones).
const MARK: char = '\u{e000}';

/// The qualifier of the relation of a number.
pub(crate) fn qualifier(number: usize) -> TableReference {
    TableReference::bare(format!("{MARK}{number}"))
}

/// A text without qualifiers, as the query has it.
#[must_use]
pub fn without_qualifiers(text: &str) -> String {
    let mut parts = text.split(MARK);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        // It may be in quotes.
        let rest = match name.strip_prefix('"') {
            Some(rest) => {
                if kept.ends_with('"') {
                    kept.pop();
                }
                rest
            }
            None => name,
        };
        kept.push_str(rest.strip_prefix('.').unwrap_or(rest));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_stays() {
        let plan = format!("sum({MARK}12.price + \"{MARK}3\".`a b`) = 'x#12.5'");
        assert_eq!(without_qualifiers(&plan), "sum(price + `a b`) = 'x#12.5'");
        assert_eq!(without_qualifiers("a#1.b"), "a#1.b");
    }
}
