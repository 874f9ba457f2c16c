//! Texts made of others, character by character.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{as_first, bytes, double, int, kernel, text, texts, written};
use super::rows::{are_present, binaries, numbers, rows_of, strings};

/// `char(number)`: the character of its last 8 bits, and none of a number below zero.
pub(crate) fn char_of() -> Arc<ScalarUDF> {
    kernel("char", text, |columns, _| {
        let numbers = columns[0].as_primitive::<Int64Type>();
        written(numbers.len(), |row, out| {
            if numbers.is_valid(row) && numbers.value(row) >= 0 {
                out.push(char::from(numbers.value(row) as u8));
            }
            Ok(numbers.is_valid(row))
        })
    })
}

/// `initcap(text)`: words have spaces between them, and nothing else.
pub(crate) fn initcap() -> Arc<ScalarUDF> {
    kernel("initcap", text, |columns, _| {
        strings(columns, |row, out| {
            let lower = texts(columns, 0).value(row).to_lowercase();
            let mut is_first = true;
            for c in lower.chars() {
                if is_first {
                    push_title(c, out);
                } else {
                    out.push(c);
                }
                is_first = c == ' ';
            }
            Ok(true)
        })
    })
}

/// A letter as the first of a word.
fn push_title(c: char, out: &mut String) {
    let title = match c {
        'ǆ' => 'ǅ',
        'ǉ' => 'ǈ',
        'ǌ' => 'ǋ',
        'ǳ' => 'ǲ',
        'ა'..='ჿ' => c,
        _ => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            return out.extend(upper.flat_map(char::to_lowercase));
        }
    };
    out.push(title);
}

/// `translate(text, from, to)`.
pub(crate) fn translate() -> Arc<ScalarUDF> {
    kernel("translate", text, |columns, _| {
        strings(columns, |row, out| {
            let (from, to) = (texts(columns, 1).value(row), texts(columns, 2).value(row));
            for c in texts(columns, 0).value(row).chars() {
                match from.chars().position(|known| known == c) {
                    Some(place) => out.extend(to.chars().nth(place)),
                    None => out.push(c),
                }
            }
            Ok(true)
        })
    })
}

/// `replace(text, part, by)`; growth knows it by its name.
pub(crate) fn replace() -> Arc<ScalarUDF> {
    kernel("replace", text, |columns, _| {
        strings(columns, |row, out| {
            let (input, part) = (texts(columns, 0).value(row), texts(columns, 1).value(row));
            if part.is_empty() {
                out.push_str(input);
                return Ok(true);
            }
            let mut rest = input;
            while let Some(at) = rest.find(part) {
                out.push_str(&rest[..at]);
                out.push_str(texts(columns, 2).value(row));
                rest = &rest[at + part.len()..];
            }
            out.push_str(rest);
            Ok(true)
        })
    })
}

/// `reverse(text)`.
pub(crate) fn reverse_text() -> Arc<ScalarUDF> {
    kernel("reverse_text", text, |columns, _| {
        strings(columns, |row, out| {
            out.extend(texts(columns, 0).value(row).chars().rev());
            Ok(true)
        })
    })
}

/// `reverse(bytes)`.
pub(crate) fn reverse_bytes() -> Arc<ScalarUDF> {
    kernel("reverse_bytes", as_first, |columns, _| {
        binaries(columns, |row, out| {
            out.extend(bytes(columns, 0).value(row).iter().rev());
            Ok(true)
        })
    })
}

/// `reverse(array)`.
pub(crate) fn reverse_array() -> Arc<ScalarUDF> {
    kernel("reverse_array", as_first, |columns, _| {
        let lists = columns[0].as_list::<i32>();
        let mut places = Vec::with_capacity(lists.values().len());
        let offsets = lists.value_offsets();
        let first = offsets.first().copied().unwrap_or(0);
        for ends in offsets.windows(2) {
            places.extend((ends[0]..ends[1]).rev().map(|place| place as u64));
        }
        let values = take(lists.values(), &UInt64Array::from(places), None)?;
        let (DataType::List(field), offsets) = (lists.data_type(), lists.offsets()) else {
            return exec_err!("reverse() takes an array");
        };
        let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
        Ok(Arc::new(arrow::array::ListArray::try_new(
            Arc::clone(field),
            arrow::buffer::OffsetBuffer::new(offsets.into()),
            values,
            lists.nulls().cloned(),
        )?))
    })
}

/// Bytes one after the other; growth knows it by its name.
pub(crate) fn concat_bytes() -> Arc<ScalarUDF> {
    kernel(
        "concat",
        |_| Ok(DataType::Binary),
        |columns, _| {
            binaries(columns, |row, out| {
                (0..columns.len())
                    .for_each(|place| out.extend_from_slice(bytes(columns, place).value(row)));
                Ok(true)
            })
        },
    )
}

/// `levenshtein(text, text[, most])`: -1 where there is more to change.
pub(crate) fn levenshtein() -> Arc<ScalarUDF> {
    kernel("levenshtein", int, |columns, _| {
        numbers::<Int32Type>(columns, |row| {
            let left: Vec<char> = texts(columns, 0).value(row).chars().collect();
            let right: Vec<char> = texts(columns, 1).value(row).chars().collect();
            let mut costs: Vec<i32> = (0..=right.len() as i32).collect();
            for (i, one) in left.iter().enumerate() {
                let mut diagonal = costs[0];
                costs[0] = i as i32 + 1;
                for (j, other) in right.iter().enumerate() {
                    let cost = diagonal + i32::from(one != other);
                    diagonal = costs[j + 1];
                    costs[j + 1] = cost.min(diagonal + 1).min(costs[j] + 1);
                }
            }
            let distance = costs[right.len()];
            let is_far = columns
                .get(2)
                .is_some_and(|most| distance > most.as_primitive::<Int32Type>().value(row));
            Ok(Some(if is_far { -1 } else { distance }))
        })
    })
}

/// `jaro_winkler_similarity(text, text)`.
pub(crate) fn jaro_winkler() -> Arc<ScalarUDF> {
    kernel("jaro_winkler_similarity", double, |columns, _| {
        numbers::<Float64Type>(columns, |row| {
            let left: Vec<char> = texts(columns, 0).value(row).chars().collect();
            let right: Vec<char> = texts(columns, 1).value(row).chars().collect();
            Ok(Some(similarity(&left, &right)))
        })
    })
}

fn similarity(left: &[char], right: &[char]) -> f64 {
    if left.is_empty() && right.is_empty() {
        return 1.0;
    }
    let reach = (left.len().max(right.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; right.len()];
    let mut matched = Vec::new();
    for (i, c) in left.iter().enumerate() {
        let until = right.len().min(i + reach + 1);
        let found = (i.saturating_sub(reach)..until).find(|j| !taken[*j] && right[*j] == *c);
        if let Some(j) = found {
            taken[j] = true;
            matched.push(*c);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let others = right.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(c, _)| c);
    let moved = matched.iter().zip(others).filter(|(one, other)| one != other).count();
    let count = matched.len() as f64;
    let jaro = (count / left.len() as f64
        + count / right.len() as f64
        + (count - moved as f64 / 2.0) / count)
        / 3.0;
    let prefix = left.iter().zip(right).take(4).take_while(|(one, other)| one == other).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

/// `mask(text, upper, lower, digit, other)`: what is null stays as it is.
pub(crate) fn mask() -> Arc<ScalarUDF> {
    kernel("mask", text, |columns, _| {
        strings(&columns[..1], |row, out| {
            let by = |place: usize| {
                let by = texts(columns, place);
                by.is_valid(row).then(|| by.value(row).chars().next()).flatten()
            };
            let (upper, lower, digit, other) = (by(1), by(2), by(3), by(4));
            for c in texts(columns, 0).value(row).chars() {
                let by = match c {
                    c if c.is_uppercase() => upper,
                    c if c.is_lowercase() => lower,
                    c if c.is_ascii_digit() => digit,
                    _ => other,
                };
                out.push(by.unwrap_or(c));
            }
            Ok(true)
        })
    })
}

/// `elt(number, …)`: all arguments but the first are of one type.
pub(crate) fn elt() -> Arc<ScalarUDF> {
    kernel(
        "elt",
        |kinds| Ok(kinds.get(1).cloned().unwrap_or(DataType::Utf8)),
        |columns, kind| {
            let place = |row: usize| -> Result<Option<usize>> {
                if columns[0].is_null(row) {
                    return Ok(None);
                }
                let number = columns[0].as_primitive::<Int32Type>().value(row);
                match usize::try_from(number) {
                    Ok(place) if (1..columns.len()).contains(&place) => {
                        Ok(columns[place].is_valid(row).then_some(place))
                    }
                    _ => exec_err!(
                        "[INVALID_ARRAY_INDEX] The index {number} is out of bounds. The array has {} elements. Use the SQL function `get()` to tolerate accessing element at invalid index and return NULL instead",
                        columns.len() - 1
                    ),
                }
            };
            if kind.is_binary() {
                let mut builder = arrow::array::BinaryBuilder::new();
                for row in 0..rows_of(columns) {
                    builder
                        .append_option(place(row)?.map(|place| bytes(columns, place).value(row)));
                }
                return Ok(Arc::new(builder.finish()) as ArrayRef);
            }
            let mut builder = StringBuilder::new();
            for row in 0..rows_of(columns) {
                builder.append_option(place(row)?.map(|place| texts(columns, place).value(row)));
            }
            Ok(Arc::new(builder.finish()))
        },
    )
}

/// ARRAY<ARRAY<STRING>>.
fn text_arrays(_: &[DataType]) -> Result<DataType> {
    let inner = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    Ok(DataType::List(Arc::new(Field::new_list_field(inner, true))))
}

/// `sentences(text)`, of ASCII: beyond that Java's rules of language decide.
pub(crate) fn sentences() -> Arc<ScalarUDF> {
    kernel("sentences", text_arrays, |columns, _| {
        let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
        for row in 0..rows_of(columns) {
            if !are_present(&columns[..1], row) {
                lists.append_null();
                continue;
            }
            let input = texts(columns, 0).value(row);
            if !input.is_ascii() {
                return exec_err!(
                    "[UNSUPPORTED_FEATURE] sentences(): texts beyond ASCII are not supported"
                );
            }
            for sentence in split_sentences(input) {
                let words = lists.values();
                for word in split_words(sentence) {
                    words.values().append_value(word);
                }
                words.append(true);
            }
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    })
}

/// Sentences end behind `?`, `!` or, where no small letter follows, `.`.
fn split_sentences(input: &str) -> Vec<&str> {
    let bytes = input.as_bytes();
    let (mut sentences, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let end = bytes[at];
        at += 1;
        if !matches!(end, b'.' | b'?' | b'!') {
            continue;
        }
        while at < bytes.len()
            && matches!(bytes[at], b'.' | b'?' | b'!' | b'"' | b'\'' | b')' | b']')
        {
            at += 1;
        }
        let spaces = bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let next = bytes.get(at + spaces);
        let is_end = match end {
            b'.' => spaces > 0 && next.is_some_and(|next| !next.is_ascii_lowercase()),
            _ => next.is_some(),
        };
        if is_end {
            at += spaces;
            sentences.push(&input[begin..at]);
            begin = at;
        }
    }
    if begin < input.len() {
        sentences.push(&input[begin..]);
    }
    sentences
}

/// Words of letters and digits; a mark between two of them is a part of one.
fn split_words(sentence: &str) -> impl Iterator<Item = &str> {
    let bytes = sentence.as_bytes();
    let is_word = move |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let joins = move |at: usize| {
        at > 0
            && is_word(at - 1)
            && is_word(at + 1)
            && match bytes[at] {
                b'.' | b'\'' | b'-' | b'_' => true,
                b',' => bytes[at - 1].is_ascii_digit() && bytes[at + 1].is_ascii_digit(),
                _ => false,
            }
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !is_word(at) {
            at += 1;
        }
        let begin = at;
        while at < bytes.len() && (is_word(at) || joins(at)) {
            at += 1;
        }
        (begin < at).then(|| &sentence[begin..at])
    })
}
