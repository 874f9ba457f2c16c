//! Parts of texts and of bytes, counted in characters or in bytes as Spark's UTF8String and
//! ByteArray count them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{as_first, boolean, bytes, int, kernel, text, texts};
use super::rows::{binaries, numbers, strings, truths};

fn whole(columns: &[ArrayRef], place: usize, row: usize) -> i32 {
    columns[place].as_primitive::<Int32Type>().value(row)
}

/// From where to where `SUBSTRING(… FROM place FOR count)` goes in what has so many characters.
fn span(characters: usize, place: i32, count: i32) -> (usize, usize) {
    let len = characters as i64;
    let start = match place {
        1.. => i64::from(place) - 1,
        0 => 0,
        _ => len + i64::from(place),
    };
    let end = (start + i64::from(count)).clamp(i64::from(i32::MIN), i64::from(i32::MAX)).min(len);
    let start = start.max(0);
    if end <= start { (0, 0) } else { (start as usize, end as usize) }
}

/// The byte at which a character begins, or the end.
fn byte_of(text: &str, character: usize) -> usize {
    if character == 0 {
        return 0;
    }
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

/// A part of a text.
fn part(text: &str, place: i32, count: i32) -> &str {
    if text.is_ascii() {
        let (start, end) = span(text.len(), place, count);
        return &text[start..end];
    }
    // From the beginning, the end need not be known.
    let characters =
        if place > 0 && count < i32::MAX { usize::MAX >> 1 } else { text.chars().count() };
    let (start, end) = span(characters, place, count);
    let rest = &text[byte_of(text, start)..];
    &rest[..byte_of(rest, end - start)]
}

/// A part of bytes.
fn part_of(bytes: &[u8], place: i32, count: i32) -> &[u8] {
    let (start, end) = span(bytes.len(), place, count);
    &bytes[start..end]
}

/// `substring(text or bytes, place, count)`.
pub(crate) fn substring() -> Arc<ScalarUDF> {
    kernel("substring", as_first, |columns, kind| {
        let at = |row| (whole(columns, 1, row), whole(columns, 2, row));
        if kind.is_binary() {
            return binaries(columns, |row, out| {
                let (place, count) = at(row);
                out.extend_from_slice(part_of(bytes(columns, 0).value(row), place, count));
                Ok(true)
            });
        }
        strings(columns, |row, out| {
            let (place, count) = at(row);
            out.push_str(part(texts(columns, 0).value(row), place, count));
            Ok(true)
        })
    })
}

/// `right(text, count)`.
pub(crate) fn right() -> Arc<ScalarUDF> {
    kernel("right", text, |columns, _| {
        strings(columns, |row, out| {
            let count = whole(columns, 1, row);
            if count > 0 {
                out.push_str(part(texts(columns, 0).value(row), -count, i32::MAX));
            }
            Ok(true)
        })
    })
}

/// `overlay(text or bytes, replacement, place, count)`: a negative count is the replacement's length.
pub(crate) fn overlay() -> Arc<ScalarUDF> {
    kernel("overlay", as_first, |columns, kind| {
        let at = |row, length: usize| {
            let (place, count) = (whole(columns, 2, row), whole(columns, 3, row));
            let count = if count >= 0 { count } else { length as i32 };
            (place.wrapping_sub(1), place.wrapping_add(count))
        };
        if kind.is_binary() {
            return binaries(columns, |row, out| {
                let (input, by) = (bytes(columns, 0).value(row), bytes(columns, 1).value(row));
                let (before, after) = at(row, by.len());
                out.extend_from_slice(part_of(input, 1, before));
                out.extend_from_slice(by);
                out.extend_from_slice(part_of(input, after, i32::MAX));
                Ok(true)
            });
        }
        strings(columns, |row, out| {
            let (input, by) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let (before, after) = at(row, by.chars().count());
            out.push_str(part(input, 1, before));
            out.push_str(by);
            out.push_str(part(input, after, i32::MAX));
            Ok(true)
        })
    })
}

/// The place of a text in another, from a place on; both counted from 1.
fn located(part: &str, text: &str, from: i32) -> i32 {
    if from < 1 {
        return 0;
    }
    if part.is_empty() {
        return 1;
    }
    let skipped = from as usize - 1;
    let begin = byte_of(text, skipped);
    text[begin..].find(part).map_or(0, |at| (text[..begin + at].chars().count() + 1) as i32)
}

/// The place of an occurrence of a text in another: from a place on, or, where that is negative,
/// back from a place that is counted from the end. Occurrences may overlap.
fn occurrence(text: &str, part: &str, from: i32, wanted: i32) -> i32 {
    if from == 0 {
        return 0;
    }
    if part.is_empty() {
        return 1;
    }
    let starts = |(at, _): &(usize, char)| text[*at..].starts_with(part);
    let skipped = from.unsigned_abs() as usize - 1;
    let nth = wanted as usize - 1;
    let found = if from > 0 {
        text.char_indices().skip(skipped).filter(starts).nth(nth)
    } else {
        text.char_indices().rev().skip(skipped).filter(starts).nth(nth)
    };
    found.map_or(0, |(at, _)| text[..at].chars().count() as i32 + 1)
}

/// `instr(text, part, from, occurrence)`.
pub(crate) fn instr() -> Arc<ScalarUDF> {
    kernel("instr", int, |columns, _| {
        numbers::<Int32Type>(columns, |row| {
            let (text, part) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let (from, wanted) = (whole(columns, 2, row), whole(columns, 3, row));
            if wanted < 1 {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.OCCURRENCE] The value of parameter(s) `occurrence` in `instr` is invalid: expects a positive integer, but got {wanted}"
                );
            }
            Ok(Some(match (from, wanted) {
                (1, 1) => located(part, text, 1),
                _ => occurrence(text, part, from, wanted),
            }))
        })
    })
}

/// `locate(part, text, from)`: 0 where only the place is null.
pub(crate) fn locate() -> Arc<ScalarUDF> {
    kernel("locate", int, |columns, _| {
        numbers::<Int32Type>(&columns[..2], |row| {
            let from = if columns[2].is_null(row) { 0 } else { whole(columns, 2, row) };
            Ok(Some(located(texts(columns, 0).value(row), texts(columns, 1).value(row), from)))
        })
    })
}

/// `split_part(text, separator, part)`.
pub(crate) fn split_part() -> Arc<ScalarUDF> {
    kernel("split_part", text, |columns, _| {
        strings(columns, |row, out| {
            let (input, separator) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let number = whole(columns, 2, row);
            if number == 0 {
                return exec_err!(
                    "[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1)"
                );
            }
            let nth = number.unsigned_abs() as usize - 1;
            let part = match (separator.is_empty(), number > 0) {
                (true, _) => (nth == 0).then_some(input),
                (false, true) => input.split(separator).nth(nth),
                (false, false) => {
                    let count = input.split(separator).count();
                    (nth < count)
                        .then(|| count - 1 - nth)
                        .and_then(|n| input.split(separator).nth(n))
                }
            };
            out.push_str(part.unwrap_or(""));
            Ok(true)
        })
    })
}

/// `substring_index(text, separator, count)`. Separators may overlap.
pub(crate) fn substring_index() -> Arc<ScalarUDF> {
    kernel("substring_index", text, |columns, _| {
        strings(columns, |row, out| {
            let (input, separator) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let count = whole(columns, 2, row);
            if separator.is_empty() || count == 0 {
                return Ok(true);
            }
            let at = |from: usize| {
                let found = input.as_bytes()[from..]
                    .windows(separator.len())
                    .position(|window| window == separator.as_bytes());
                found.map(|found| from + found)
            };
            if count > 0 {
                let (mut from, mut end) = (0, input.len());
                for n in 1..=count {
                    match at(from) {
                        Some(found) if n == count => end = found,
                        Some(found) => from = found + 1,
                        None => break,
                    }
                }
                out.push_str(&input[..end]);
            } else {
                let bytes = input.as_bytes();
                let mut begin = 0;
                // Where the next separator may begin, at most.
                let mut until = (input.len() + 1).checked_sub(separator.len());
                for n in 1..=count.unsigned_abs() {
                    let found = until.and_then(|until| {
                        (0..until).rev().find(|at| bytes[*at..].starts_with(separator.as_bytes()))
                    });
                    match found {
                        Some(found) if n == count.unsigned_abs() => begin = found + separator.len(),
                        Some(found) => until = Some(found),
                        None => break,
                    }
                }
                out.push_str(&input[begin..]);
            }
            Ok(true)
        })
    })
}

/// `find_in_set(text, list)`.
pub(crate) fn find_in_set() -> Arc<ScalarUDF> {
    kernel("find_in_set", int, |columns, _| {
        numbers::<Int32Type>(columns, |row| {
            let (wanted, list) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            let place = list.split(',').position(|item| item == wanted).map_or(0, |at| at + 1);
            Ok(Some(place as i32))
        })
    })
}

/// Whether bytes are within others, or at an end.
fn bytes_are(columns: &[ArrayRef], test: fn(&[u8], &[u8]) -> bool) -> Result<ArrayRef> {
    truths(columns, |row| {
        Ok(Some(test(bytes(columns, 0).value(row), bytes(columns, 1).value(row))))
    })
}

/// `contains(bytes, bytes)`.
pub(crate) fn contains_bytes() -> Arc<ScalarUDF> {
    kernel("contains_bytes", boolean, |columns, _| {
        bytes_are(columns, |all, part| {
            part.is_empty() || all.windows(part.len()).any(|window| window == part)
        })
    })
}

/// `startswith(bytes, bytes)`.
pub(crate) fn starts_with_bytes() -> Arc<ScalarUDF> {
    kernel("startswith_bytes", boolean, |columns, _| bytes_are(columns, <[u8]>::starts_with))
}

/// `endswith(bytes, bytes)`.
pub(crate) fn ends_with_bytes() -> Arc<ScalarUDF> {
    kernel("endswith_bytes", boolean, |columns, _| bytes_are(columns, <[u8]>::ends_with))
}

/// `lpad(text or bytes, count, pad)`; growth knows it by its name.
pub(crate) fn lpad() -> Arc<ScalarUDF> {
    kernel("lpad", as_first, |columns, kind| padded(columns, kind, true))
}

/// `rpad(text or bytes, count, pad)`; growth knows it by its name.
pub(crate) fn rpad() -> Arc<ScalarUDF> {
    kernel("rpad", as_first, |columns, kind| padded(columns, kind, false))
}

fn padded(columns: &[ArrayRef], kind: &DataType, before: bool) -> Result<ArrayRef> {
    if kind.is_binary() {
        return binaries(columns, |row, out| {
            let (input, pad) = (bytes(columns, 0).value(row), bytes(columns, 2).value(row));
            let wanted = usize::try_from(whole(columns, 1, row)).unwrap_or(0);
            let kept = &input[..input.len().min(wanted)];
            let missing = if pad.is_empty() { 0 } else { wanted - kept.len() };
            let filling = pad.iter().copied().cycle().take(missing);
            if before {
                out.extend(filling);
                out.extend_from_slice(kept);
            } else {
                out.extend_from_slice(kept);
                out.extend(filling);
            }
            Ok(true)
        });
    }
    strings(columns, |row, out| {
        let (input, pad) = (texts(columns, 0).value(row), texts(columns, 2).value(row));
        let wanted = usize::try_from(whole(columns, 1, row)).unwrap_or(0);
        let kept = &input[..byte_of(input, wanted)];
        let missing = if pad.is_empty() { 0 } else { wanted - kept.chars().count() };
        let filling = pad.chars().cycle().take(missing);
        if before {
            out.extend(filling);
            out.push_str(kept);
        } else {
            out.push_str(kept);
            out.extend(filling);
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_in_characters() {
        assert_eq!(part("a😀b", 2, 1), "😀");
        assert_eq!(part("abc", -5, 3), "a");
        assert_eq!(part("äbc", -2, i32::MAX), "bc");
        assert_eq!(part("abc", 0, 2), "ab");
        assert_eq!(part("abc", 2, -1), "");
        assert_eq!(located("c", "ä😀c", 2), 3);
        assert_eq!(located("", "abc", 3), 1);
        assert_eq!(occurrence("abcabc", "b", -3, 1), 2);
        assert_eq!(occurrence("aaaa", "aa", 1, 3), 3);
        assert_eq!(occurrence("aaaa", "aa", -1, 2), 2);
        assert_eq!(occurrence("abcabc", "abc", -4, 1), 1);
    }
}
