//! Functions of regular expressions, which are Java's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ScalarUDF;
use fancy_regex::{Captures, Regex, RegexBuilder};

use super::java_pattern::{Fault, is_line_end, translate};
use super::kernel::{boolean, check_bytes, int, kernel, text, texts};
use super::rows::{are_present, numbers, rows_of, strings, truths};

/// Steps back that one match may take.
const BACKTRACK_MAX: usize = 1_000_000;

/// A pattern that is ready.
struct Pattern {
    /// For texts with line ends, where that makes a difference.
    of_lines: Option<Regex>,
    plain: Regex,
}

/// The pattern of the last row: mostly it is that of all.
struct Patterns {
    function: &'static str,
    last: Option<(String, Pattern)>,
}

/// A pattern, and the text that it is matched with.
struct Search<'p, 't> {
    regex: &'p Regex,
    function: &'static str,
    text: &'t str,
}

impl Patterns {
    fn new(function: &'static str) -> Patterns {
        Patterns { function, last: None }
    }

    fn search<'p, 't>(&'p mut self, pattern: &str, text: &'t str) -> Result<Search<'p, 't>> {
        if self.last.as_ref().is_none_or(|(last, _)| last != pattern) {
            self.last = Some((pattern.to_owned(), compiled(self.function, pattern)?));
        }
        let Some((_, pattern)) = &self.last else {
            return exec_err!("{}(): there is no pattern", self.function);
        };
        let regex = match &pattern.of_lines {
            Some(of_lines) if has_line_end(text) => of_lines,
            _ => &pattern.plain,
        };
        Ok(Search { regex, function: self.function, text })
    }
}

/// Whether there is a line end. Nearly all texts have none, and no byte that one may begin with.
fn has_line_end(text: &str) -> bool {
    let may_begin = |byte: u8| matches!(byte, b'\n' | b'\r' | 0xc2 | 0xe2);
    let may_be = text.bytes().fold(false, |may_be, byte| may_be | may_begin(byte));
    may_be && text.contains(is_line_end)
}

fn compiled(function: &str, pattern: &str) -> Result<Pattern> {
    let translated = |has_lines| {
        translate(pattern, has_lines).map_err(|fault| refused(function, pattern, &fault))
    };
    let build = |text: &str| {
        let built = RegexBuilder::new(text).backtrack_limit(BACKTRACK_MAX).build();
        built.map_err(|error| refused(function, pattern, &Fault::Unknown(error.to_string())))
    };
    let plain = translated(false)?;
    let of_lines = match plain.knows_lines {
        true => Some(build(&translated(true)?.pattern)?),
        false => None,
    };
    Ok(Pattern { of_lines, plain: build(&plain.pattern)? })
}

fn refused(function: &str, pattern: &str, fault: &Fault) -> DataFusionError {
    DataFusionError::Execution(match fault {
        Fault::Invalid(why) => format!(
            "[INVALID_PARAMETER_VALUE.PATTERN] The value of parameter(s) `regexp` in `{function}` is invalid: '{pattern}': {why}"
        ),
        Fault::Unknown(what) => format!(
            "[UNSUPPORTED_FEATURE] {function}(): the pattern '{pattern}' has what is not supported here: {what}"
        ),
    })
}

/// Checks a pattern that is written out.
///
/// # Errors
/// It is none, or has what is not supported.
pub(crate) fn check(function: &str, pattern: &str) -> Result<()> {
    compiled(function, pattern).map(|_| ())
}

impl<'t> Search<'_, 't> {
    fn fail<T>(&self, error: &fancy_regex::Error) -> Result<T> {
        exec_err!(
            "[UNSUPPORTED_FEATURE] {}(): the pattern takes too many steps ({error}); write a simpler one",
            self.function
        )
    }

    fn is_match(&self) -> Result<bool> {
        self.regex.is_match(self.text).or_else(|error| self.fail(&error))
    }

    fn find(&self, from: usize) -> Result<Option<(usize, usize)>> {
        match self.regex.find_from_pos(self.text, from) {
            Ok(found) => Ok(found.map(|found| (found.start(), found.end()))),
            Err(error) => self.fail(&error),
        }
    }

    fn captures(&self, from: usize) -> Result<Option<Captures<'t>>> {
        self.regex.captures_from_pos(self.text, from).or_else(|error| self.fail(&error))
    }

    /// Where the next match is looked for after one; none at the end.
    fn after(&self, (start, end): (usize, usize)) -> Result<Option<usize>> {
        if end > start {
            return Ok(Some(end));
        }
        let Some(next) = self.text[end..].chars().next() else { return Ok(None) };
        let from = end + next.len_utf8();
        // Java looks between the halves of such a character, too.
        if next.len_utf8() == 4 && self.find(from)?.is_some_and(|found| found == (from, from)) {
            return exec_err!(
                "[UNSUPPORTED_FEATURE] {}(): an empty match beside '{next}', a character beyond U+FFFF, is not supported",
                self.function
            );
        }
        Ok(Some(from))
    }

    /// Calls for each match.
    fn each(&self, mut found: impl FnMut(usize, usize) -> Result<bool>) -> Result<()> {
        let mut from = Some(0);
        while let Some(at) = from {
            let Some((start, end)) = self.find(at)? else { return Ok(()) };
            if !found(start, end)? {
                return Ok(());
            }
            from = self.after((start, end))?;
        }
        Ok(())
    }

    /// The number of a group.
    fn group(&self, group: i32) -> Result<usize> {
        let last = self.regex.captures_len() - 1;
        match usize::try_from(group) {
            Ok(group) if group <= last => Ok(group),
            _ => exec_err!(
                "[INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX] The value of parameter(s) `idx` in `{}` is invalid: Expects group index between 0 and {last}, but got {group}",
                self.function
            ),
        }
    }
}

fn ints(columns: &[ArrayRef], place: usize, row: usize) -> i32 {
    columns[place].as_primitive::<Int32Type>().value(row)
}

/// ARRAY<STRING>.
pub(crate) fn text_array(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
}

/// A builder of arrays of texts.
pub(crate) fn text_lists() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new())
}

/// Whether a pattern is in a text: `rlike(text, pattern)`.
pub(crate) fn rlike() -> Arc<ScalarUDF> {
    kernel("rlike", boolean, |columns, _| {
        let mut patterns = Patterns::new("rlike");
        truths(columns, |row| {
            let search =
                patterns.search(texts(columns, 1).value(row), texts(columns, 0).value(row))?;
            search.is_match().map(Some)
        })
    })
}

/// `regexp_count(text, pattern)`.
pub(crate) fn count() -> Arc<ScalarUDF> {
    kernel("regexp_count", int, |columns, _| {
        let mut patterns = Patterns::new("regexp_count");
        numbers::<Int32Type>(columns, |row| {
            let search =
                patterns.search(texts(columns, 1).value(row), texts(columns, 0).value(row))?;
            let mut count = 0;
            search.each(|_, _| {
                count += 1;
                Ok(true)
            })?;
            Ok(Some(count))
        })
    })
}

/// `regexp_instr(text, pattern[, group])`; Spark does not look at the group.
pub(crate) fn instr() -> Arc<ScalarUDF> {
    kernel("regexp_instr", int, |columns, _| {
        let mut patterns = Patterns::new("regexp_instr");
        numbers::<Int32Type>(columns, |row| {
            let text = texts(columns, 0).value(row);
            let found = patterns.search(texts(columns, 1).value(row), text)?.find(0)?;
            Ok(Some(found.map_or(0, |(start, _)| text[..start].chars().count() as i32 + 1)))
        })
    })
}

/// `regexp_substr(text, pattern)`: null where there is no match, or an empty one.
pub(crate) fn substr() -> Arc<ScalarUDF> {
    kernel("regexp_substr", text, |columns, _| {
        let mut patterns = Patterns::new("regexp_substr");
        strings(columns, |row, out| {
            let text = texts(columns, 0).value(row);
            let found = patterns.search(texts(columns, 1).value(row), text)?.find(0)?;
            if let Some((start, end)) = found {
                out.push_str(&text[start..end]);
            }
            Ok(!out.is_empty())
        })
    })
}

/// `regexp_extract(text, pattern, group)`.
pub(crate) fn extract() -> Arc<ScalarUDF> {
    kernel("regexp_extract", text, |columns, _| {
        let mut patterns = Patterns::new("regexp_extract");
        let (subjects, regexes) = (texts(columns, 0), texts(columns, 1));
        let groups = columns[2].as_primitive::<Int32Type>();
        strings(columns, |row, out| {
            let text = subjects.value(row);
            let search = patterns.search(regexes.value(row), text)?;
            match groups.value(row) {
                // The whole match is found without its groups, which take longer.
                0 => {
                    if let Some((start, end)) = search.find(0)? {
                        out.push_str(&text[start..end]);
                    }
                }
                wanted => {
                    if let Some(found) = search.captures(0)? {
                        let group = search.group(wanted)?;
                        out.push_str(found.get(group).map_or("", |group| group.as_str()));
                    }
                }
            }
            Ok(true)
        })
    })
}

/// `regexp_extract_all(text, pattern, group)`.
pub(crate) fn extract_all() -> Arc<ScalarUDF> {
    kernel("regexp_extract_all", text_array, |columns, _| {
        let mut patterns = Patterns::new("regexp_extract_all");
        let mut lists = text_lists();
        let mut bytes = 0;
        for row in 0..rows_of(columns) {
            if !are_present(columns, row) {
                lists.append_null();
                continue;
            }
            let search =
                patterns.search(texts(columns, 1).value(row), texts(columns, 0).value(row))?;
            let mut from = Some(0);
            while let Some(at) = from {
                let Some(found) = search.captures(at)? else { break };
                let group = search.group(ints(columns, 2, row))?;
                let text = found.get(group).map_or("", |group| group.as_str());
                bytes = check_bytes(bytes, text.len())?;
                lists.values().append_value(text);
                from = match found.get(0) {
                    Some(all) => search.after((all.start(), all.end()))?,
                    None => None,
                };
            }
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    })
}

/// `split(text, pattern, limit)`: Java's String.split, with what is empty at the end.
pub(crate) fn split() -> Arc<ScalarUDF> {
    kernel("split", text_array, |columns, _| {
        let mut patterns = Patterns::new("split");
        let mut lists = text_lists();
        for row in 0..rows_of(columns) {
            if !are_present(columns, row) {
                lists.append_null();
                continue;
            }
            let (text, pattern) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let limit = usize::try_from(ints(columns, 2, row)).ok().filter(|limit| *limit > 0);
            let parts = lists.values();
            if pattern.is_empty() && !text.is_empty() {
                push_characters(text, limit, parts);
            } else {
                let search = patterns.search(pattern, text)?;
                let (mut begin, mut count) = (0, 1);
                search.each(|start, end| {
                    if limit.is_some_and(|limit| count >= limit) {
                        return Ok(false);
                    }
                    // Nothing at all before the text is no part.
                    if end > 0 {
                        parts.append_value(&text[begin..start]);
                        (begin, count) = (end, count + 1);
                    }
                    Ok(true)
                })?;
                parts.append_value(&text[begin..]);
            }
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    })
}

/// The characters of a text, of which the last part has the rest.
fn push_characters(text: &str, limit: Option<usize>, parts: &mut StringBuilder) {
    let mut count = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c.len_utf8() == rest.len() || limit.is_some_and(|limit| count >= limit) {
            break;
        }
        parts.append_value(&rest[..c.len_utf8()]);
        (rest, count) = (&rest[c.len_utf8()..], count + 1);
    }
    parts.append_value(rest);
}

/// `regexp_replace(text, pattern, replacement, position)`; growth knows it by its name.
pub(crate) fn replace() -> Arc<ScalarUDF> {
    kernel("regexp_replace", text, |columns, _| {
        let mut patterns = Patterns::new("regexp_replace");
        strings(columns, |row, out| {
            let (whole, pattern) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let (by, position) = (texts(columns, 2).value(row), ints(columns, 3, row));
            if position < 1 {
                return exec_err!(
                    "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] regexp_replace(): The position must be between (0, 2147483647] (current value = {position})"
                );
            }
            let Some(from) = byte_of(whole, position as usize - 1) else {
                out.push_str(whole);
                return Ok(true);
            };
            // Java takes the rest for a text of its own: `^` is at its beginning.
            out.push_str(&whole[..from]);
            let text = &whole[from..];
            let search = patterns.search(pattern, text)?;
            let is_plain = !by.contains(['\\', '$']);
            let mut copied = 0;
            let mut next = Some(0);
            while let Some(at) = next {
                let (start, end) = if is_plain {
                    let Some((start, end)) = search.find(at)? else { break };
                    out.push_str(&text[copied..start]);
                    out.push_str(by);
                    (start, end)
                } else {
                    let Some(found) = search.captures(at)? else { break };
                    let Some(all) = found.get(0) else { break };
                    out.push_str(&text[copied..all.start()]);
                    if !push_replacement(by, &found, out) {
                        return exec_err!(
                            "[INVALID_REGEXP_REPLACE] Could not perform regexp_replace for source = \"{whole}\", pattern = \"{pattern}\", replacement = \"{by}\" and position = {position}"
                        );
                    }
                    (all.start(), all.end())
                };
                copied = end;
                next = search.after((start, end))?;
            }
            out.push_str(&text[copied..]);
            Ok(true)
        })
    })
}

/// Where so many characters end; none beyond the text.
fn byte_of(text: &str, characters: usize) -> Option<usize> {
    match characters {
        0 => Some(0),
        _ => text.char_indices().nth(characters).map(|(at, _)| at),
    }
}

/// Appends a replacement as Java reads it: `$1`, `${name}`, and a backslash before what is meant as
/// it is. False where it is malformed.
fn push_replacement(by: &str, found: &Captures<'_>, out: &mut String) -> bool {
    let mut chars = by.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c) => out.push(c),
                None => return false,
            },
            '$' if chars.next_if_eq(&'{').is_some() => {
                let mut name = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(c) if c.is_ascii_alphanumeric() => name.push(c),
                        _ => return false,
                    }
                }
                match found.name(&name) {
                    Some(group) => out.push_str(group.as_str()),
                    None => return false,
                }
            }
            '$' => {
                let Some(first) = chars.next().and_then(|c| c.to_digit(10)) else { return false };
                let mut group = first as usize;
                if group >= found.len() {
                    return false;
                }
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    let longer = group * 10 + digit as usize;
                    if longer >= found.len() {
                        break;
                    }
                    group = longer;
                    chars.next();
                }
                out.push_str(found.get(group).map_or("", |group| group.as_str()));
            }
            c => out.push(c),
        }
    }
    true
}
