//! Rows in the compact form of scripts: JSON values with commas between columns and semicolons
//! between rows.

use std::cmp::Ordering;

use serde_json::Value;

/// The columns of a row.
pub(super) type Row = Vec<Value>;

/// The rows of one line.
pub(super) fn parse(line: &str) -> Result<Vec<Row>, String> {
    split(line, ';')
        .into_iter()
        .map(|row| split(row, ',').into_iter().map(value).collect())
        .collect()
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|_| format!("`{text}` is no JSON value"))
}

/// Cuts at a separator that is neither in a text nor in brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = in_text,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            c if c == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

pub(super) fn print(row: &Row) -> String {
    row.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

/// An order for reading: nulls, numbers, texts, and the rest as text.
pub(super) fn compare(a: &Row, b: &Row) -> Ordering {
    let by_column = a.iter().zip(b).map(|(a, b)| compare_values(a, b));
    by_column.fold(Ordering::Equal, Ordering::then)
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN))
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}

#[test]
fn a_row_of_a_script_is_read_as_it_is_printed() {
    let line = r#"1, null, "a; b, \"c\"", {"x": [1, 2]}; 2.5"#;
    let rows = parse(line).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(print(&rows[0]), r#"1, null, "a; b, \"c\"", {"x":[1,2]}"#);
    assert_eq!(print(&rows[1]), "2.5");
    assert!(parse("1, two").unwrap_err().contains("`two`"));
}
