//! LIKE.

use std::sync::Arc;

use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{boolean, kernel, texts};
use super::rows::truths;

/// `like(text, pattern, escape)`.
pub(crate) fn like() -> Arc<ScalarUDF> {
    kernel("like", boolean, |columns, _| {
        let mut last: Option<(String, Vec<Part>)> = None;
        truths(columns, |row| {
            let (pattern, escape) = (texts(columns, 1).value(row), texts(columns, 2).value(row));
            if last.as_ref().is_none_or(|(known, _)| known != pattern) {
                last = Some((pattern.to_owned(), parts(pattern, escape)?));
            }
            let parts = last.as_ref().map_or(&[] as &[Part], |(_, parts)| parts);
            Ok(Some(is_like(texts(columns, 0).value(row), parts)))
        })
    })
}

/// A part of a pattern of LIKE.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    One(char),
    Any,
    All,
}

fn parts(pattern: &str, escape: &str) -> Result<Vec<Part>> {
    let escape = escape.chars().next();
    let mut chars = pattern.chars();
    let mut parts = Vec::new();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if Some(c) == escape => match chars.next() {
                Some(next) if matches!(next, '_' | '%') || Some(next) == escape => Part::One(next),
                Some(next) => {
                    return exec_err!(
                        "[INVALID_FORMAT.ESC_IN_THE_MIDDLE] The format is invalid: '{pattern}'. The escape character is not allowed to precede '{next}'"
                    );
                }
                None => {
                    return exec_err!(
                        "[INVALID_FORMAT.ESC_AT_THE_END] The format is invalid: '{pattern}'. The escape character is not allowed to end with"
                    );
                }
            },
            '_' => Part::Any,
            '%' if parts.last() == Some(&Part::All) => continue,
            '%' => Part::All,
            c => Part::One(c),
        });
    }
    Ok(parts)
}

/// Whether a text is as a pattern says. Only the last `%` is ever gone back to.
fn is_like(text: &str, parts: &[Part]) -> bool {
    let (mut rest, mut part) = (text, 0);
    let mut back: Option<(&str, usize)> = None;
    loop {
        let next = rest.chars().next();
        match (parts.get(part), next) {
            (None, None) => return true,
            (Some(Part::All), _) => {
                part += 1;
                back = Some((rest, part));
                continue;
            }
            (Some(Part::Any), Some(c)) => {
                (rest, part) = (&rest[c.len_utf8()..], part + 1);
                continue;
            }
            (Some(Part::One(wanted)), Some(c)) if *wanted == c => {
                (rest, part) = (&rest[c.len_utf8()..], part + 1);
                continue;
            }
            _ => {}
        }
        // The last `%` takes one more.
        let Some((from, after)) = back else { return false };
        let Some(c) = from.chars().next() else { return false };
        (rest, part) = (&from[c.len_utf8()..], after);
        back = Some((rest, after));
    }
}
