//! `get_json_object` and what else looks into a text in JSON, as Spark's evaluators do.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::datatypes::Int32Type;
use datafusion::common::{Result, plan_datafusion_err};
use datafusion::logical_expr::ScalarUDF;
use tidemill_codec::{JsonOptions, format_cell, json_type};
use tidemill_time::UTC;

use super::csv::Options;
use super::json_tree::{Json, parse};
use super::kernel::{int, kernel, text, texts};
use super::regexes::{text_array, text_lists};
use super::rows::{are_present, numbers, rows_of, strings};

/// A step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    Items,
    /// `.*`, which finds nothing.
    Fields,
}

/// How texts are written, and arrays.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Raw,
    Quoted,
    Flat,
}

/// The steps of a path; none where it is none.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.trim_start().strip_prefix('$')?;
    let mut steps = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(steps);
        }
        if let Some(after) = rest.strip_prefix(".*").or_else(|| rest.strip_prefix("['*']")) {
            steps.push(Step::Fields);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("['") {
            let (name, after) = after.split_once('\'')?;
            rest = after.trim_start().strip_prefix(']')?;
            (!name.is_empty() && !name.contains('?')).then_some(())?;
            steps.push(Step::Field(name.trim_start().to_owned()));
        } else if let Some(after) = rest.strip_prefix('.') {
            let after = after.trim_start();
            let end = after.find(['.', '[']).unwrap_or(after.len());
            (end > 0).then_some(())?;
            steps.push(Step::Field(after[..end].to_owned()));
            rest = &after[end..];
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            let index = index.trim();
            steps.push(match index {
                "*" => Step::Items,
                _ if index.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Step::Index(index.parse().ok()?)
                }
                _ => return None,
            });
            rest = after;
        }
    }
}

/// A writer of JSON: items of an array have commas between them.
pub(super) struct Writer {
    out: String,
    /// Whether each open array has an item.
    open: Vec<bool>,
    /// Whether characters beyond U+FFFF are written as two escapes: Jackson does where it writes
    /// bytes.
    escapes: bool,
}

impl Writer {
    fn new(escapes: bool) -> Writer {
        Writer { out: String::new(), open: Vec::new(), escapes }
    }

    /// A value as Jackson copies it into bytes.
    pub(super) fn text_of(value: &Json) -> String {
        let mut writer = Writer::new(true);
        writer.push(value);
        writer.out
    }

    fn begin_value(&mut self) {
        if let Some(has_item) = self.open.last_mut() {
            if *has_item {
                self.out.push(',');
            }
            *has_item = true;
        }
    }

    fn begin_array(&mut self) {
        self.begin_value();
        self.out.push('[');
        self.open.push(false);
    }

    fn end_array(&mut self) {
        self.open.pop();
        self.out.push(']');
    }

    fn value(&mut self, value: &Json) {
        self.begin_value();
        self.push(value);
    }

    fn push(&mut self, value: &Json) {
        match value {
            Json::Null => self.out.push_str("null"),
            Json::Truth(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => push_number(number, &mut self.out),
            Json::Text(text) => self.push_text(text),
            Json::Array(items) => {
                self.out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        self.out.push(',');
                    }
                    self.push(item);
                }
                self.out.push(']');
            }
            Json::Object(fields) => {
                self.out.push('{');
                for (place, (name, value)) in fields.iter().enumerate() {
                    if place > 0 {
                        self.out.push(',');
                    }
                    self.push_text(name);
                    self.out.push(':');
                    self.push(value);
                }
                self.out.push('}');
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if c < ' ' || (self.escapes && c.len_utf16() == 2) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a String cannot fail.
                        let _ = write!(self.out, "\\u{unit:04X}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A number as Java writes it: one with a point or an exponent is a double.
fn push_number(number: &str, out: &mut String) {
    if !number.contains(['.', 'e', 'E']) {
        return out.push_str(if number == "-0" { "0" } else { number });
    }
    let value: f64 = number.parse().unwrap_or(f64::NAN);
    let text = format_cell(&Float64Array::from(vec![value]), 0, UTC);
    match value.is_finite() {
        true => out.push_str(&text),
        false => _ = write!(out, "\"{text}\""),
    }
}

/// Writes what a path leads to; says whether there is something.
fn follow(value: &Json, path: &[Step], style: Style, out: &mut Writer) -> bool {
    match (value, path) {
        (Json::Text(text), []) if style == Style::Raw => out.out.push_str(text),
        (Json::Array(items), []) if style == Style::Flat => {
            return items.iter().fold(false, |found, item| follow(item, path, style, out) | found);
        }
        (value, []) => out.value(value),
        (Json::Object(fields), [Step::Field(name), rest @ ..]) => {
            let mut named =
                fields.iter().filter(|(known, value)| known == name && *value != Json::Null);
            return named.any(|(_, value)| follow(value, rest, style, out));
        }
        (Json::Array(items), [Step::Items, Step::Items, rest @ ..]) => {
            out.begin_array();
            let found = items
                .iter()
                .fold(false, |found, item| follow(item, rest, Style::Flat, out) | found);
            out.end_array();
            return found;
        }
        (Json::Array(items), [Step::Items, rest @ ..]) if style != Style::Quoted => {
            let inner = if style == Style::Raw { Style::Quoted } else { style };
            // One match alone is written without an array.
            let mut buffer = Writer::new(false);
            buffer.begin_array();
            let count = items.iter().filter(|item| follow(item, rest, inner, &mut buffer)).count();
            buffer.end_array();
            if count > 0 {
                out.begin_value();
                let all = &buffer.out;
                out.out.push_str(if count > 1 { all } else { &all[1..all.len() - 1] });
            }
            return count > 0;
        }
        (Json::Array(items), [Step::Items, rest @ ..]) => {
            out.begin_array();
            let found = items
                .iter()
                .fold(false, |found, item| follow(item, rest, Style::Quoted, out) | found);
            out.end_array();
            return found;
        }
        (Json::Array(items), [Step::Index(index), rest @ ..]) => {
            let style = if rest.first() == Some(&Step::Items) { Style::Quoted } else { style };
            return items.get(*index).is_some_and(|item| follow(item, rest, style, out));
        }
        _ => return false,
    }
    true
}

/// `get_json_object(text, path)`; growth knows it by its name.
pub(crate) fn get_json_object() -> Arc<ScalarUDF> {
    kernel("get_json_object", text, |columns, _| {
        let mut last: Option<(String, Option<Vec<Step>>)> = None;
        strings(columns, |row, out| {
            let path = texts(columns, 1).value(row);
            if last.as_ref().is_none_or(|(known, _)| known != path) {
                last = Some((path.to_owned(), steps(path)));
            }
            let Some((_, Some(steps))) = &last else { return Ok(false) };
            let Some(value) = parse(texts(columns, 0).value(row)) else { return Ok(false) };
            let mut writer = Writer::new(true);
            let found = follow(&value, steps, Style::Raw, &mut writer);
            out.push_str(&writer.out);
            Ok(found)
        })
    })
}

/// `json_array_length(text)`.
pub(crate) fn array_length() -> Arc<ScalarUDF> {
    kernel("json_array_length", int, |columns, _| {
        numbers::<Int32Type>(columns, |row| match parse(texts(columns, 0).value(row)) {
            Some(Json::Array(items)) => Ok(Some(items.len() as i32)),
            _ => Ok(None),
        })
    })
}

/// `json_object_keys(text)`.
pub(crate) fn object_keys() -> Arc<ScalarUDF> {
    kernel("json_object_keys", text_array, |columns, _| {
        let mut lists = text_lists();
        for row in 0..rows_of(columns) {
            let value = are_present(columns, row).then(|| parse(texts(columns, 0).value(row)));
            match value.flatten() {
                Some(Json::Object(fields)) => {
                    fields.iter().for_each(|(name, _)| lists.values().append_value(name));
                    lists.append(true);
                }
                _ => lists.append_null(),
            }
        }
        Ok(Arc::new(lists.finish()))
    })
}

/// The schema of a text in JSON, in SQL's words.
///
/// # Errors
/// It is malformed, or an option is unknown.
pub(crate) fn schema_of(text: &str, options: &Options) -> Result<String> {
    let options = JsonOptions::parse(options, UTC)
        .map_err(|error| plan_datafusion_err!("[INVALID_OPTIONS] schema_of_json(): {error}"))?;
    let kind = json_type(text, &options).map_err(|error| plan_datafusion_err!("{error}"))?;
    Ok(tidemill_types::sql_name(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(text: &str, path: &str) -> Option<String> {
        let mut writer = Writer::new(true);
        follow(&parse(text)?, &steps(path)?, Style::Raw, &mut writer).then_some(writer.out)
    }

    #[test]
    fn paths_lead_where_spark_goes() {
        let is = |text, path, wanted: Option<&str>| {
            assert_eq!(got(text, path).as_deref(), wanted, "{path}")
        };
        is(r#"{"a":{"b":[1,2,{"c":"x"}]}}"#, "$.a.b[2].c", Some("x"));
        is(r#"{"a":[{"b":1},{"b":2}]}"#, "$.a[*].b", Some("[1,2]"));
        is(r#"{"a":[{"b":1}]}"#, "$.a[*].b", Some("1"));
        is("[[1,2],[3]]", "$[*][*]", Some("[1,2,3]"));
        is("[[1,2],[3]]", "$[*]", Some("[[1,2],[3]]"));
        is(r#"{"a":null}"#, "$.a", None);
        is(r#"{"a":[null]}"#, "$.a[0]", Some("null"));
        is(r#"{"a":1"#, "$.a", None);
        is(r#"{"a":1.10}"#, "$", Some(r#"{"a":1.1}"#));
        is(r#"{"a":1}"#, "$.*", None);
        is(r#"{"a":"😀"}"#, "$", Some("{\"a\":\"\\uD83D\\uDE00\"}"));
    }
}
