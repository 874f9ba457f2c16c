//! Maps of texts: `str_to_map`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::maps::{checked, map_of};
use crate::kernels::kernel::{kernel, texts};

/// `str_to_map(text, between pairs, between key and value)`.
pub(crate) fn str_to_map() -> Arc<ScalarUDF> {
    kernel(
        "str_to_map",
        |_| Ok(map_of(DataType::Utf8, DataType::Utf8)),
        |columns, kind| {
            let (text, pairs, parts) = (texts(columns, 0), texts(columns, 1), texts(columns, 2));
            let (mut keys, mut values) = (StringBuilder::new(), StringBuilder::new());
            let mut lengths = Vec::with_capacity(text.len());
            let mut valid = Vec::with_capacity(text.len());
            for row in 0..text.len() {
                let is_there = columns.iter().all(|column| column.is_valid(row));
                valid.push(is_there);
                if !is_there {
                    lengths.push(0);
                    continue;
                }
                let between_pairs = delimiter(pairs.value(row))?;
                let between_parts = delimiter(parts.value(row))?;
                let pairs = split(text.value(row), &between_pairs);
                lengths.push(pairs.len());
                for pair in pairs {
                    match pair.split_once(between_parts.as_str()) {
                        Some((key, value)) if !between_parts.is_empty() => {
                            keys.append_value(key);
                            values.append_value(value);
                        }
                        // Nothing stands behind the first character.
                        Some(_) if pair.chars().count() > 1 => {
                            let first = pair.chars().next().map_or(0, char::len_utf8);
                            keys.append_value(&pair[..first]);
                            values.append_value(&pair[first..]);
                        }
                        _ => {
                            keys.append_value(pair);
                            values.append_null();
                        }
                    }
                }
            }
            let entries: (ArrayRef, ArrayRef) =
                (Arc::new(keys.finish()), Arc::new(values.finish()));
            let nulls = NullBuffer::from(valid);
            checked(kind, OffsetBuffer::from_lengths(lengths), entries, Some(nulls))
        },
    )
}

/// A text at each place of a delimiter; each character, where that is empty.
fn split<'a>(text: &'a str, between: &str) -> Vec<&'a str> {
    if between.is_empty() && !text.is_empty() {
        let ends = text.char_indices().map(|(start, c)| &text[start..start + c.len_utf8()]);
        return ends.collect();
    }
    if between.is_empty() { vec![text] } else { text.split(between).collect() }
}

/// What a delimiter stands for, which is a regular expression: those are read that stand for one
/// text.
fn delimiter(pattern: &str) -> Result<String> {
    const SPECIAL: &str = "\\^$.|?*+()[]{}";
    let mut literal = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => literal.push('\n'),
                Some('t') => literal.push('\t'),
                Some(c) if !c.is_alphanumeric() => literal.push(c),
                _ => return unknown(pattern),
            },
            ']' | '}' => literal.push(c),
            c if SPECIAL.contains(c) => return unknown(pattern),
            c => literal.push(c),
        }
    }
    Ok(literal)
}

fn unknown<T>(pattern: &str) -> Result<T> {
    exec_err!(
        "[UNSUPPORTED_FEATURE] str_to_map(): the delimiter '{pattern}' is a regular expression that stands for more than one text; write one that stands for one"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    #[test]
    fn delimiters_stand_for_one_text() {
        assert_eq!(delimiter(",").unwrap(), ",");
        assert_eq!(delimiter("\\|\\|").unwrap(), "||");
        for pattern in ["|", "[0-9]", ".", "\\d"] {
            let error = delimiter(pattern).unwrap_err().to_string();
            assert!(error.contains("[UNSUPPORTED_FEATURE]"), "{error}");
        }
        assert_eq!(split("abc", ""), ["a", "b", "c"]);
        assert_eq!(split("", ","), [""]);
        assert_eq!(split("a,", ","), ["a", ""]);
    }
}
