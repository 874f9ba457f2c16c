//! Passing over JSON text without making anything of it, and without missing an error in it.
//!
//! Every function takes the position where something begins and gives the position after it, or
//! `None` where the text is not plain JSON there. `None` does not say that Spark would refuse it:
//! that is for the slow path to find out.

/// Objects and arrays inside of one another that are followed here: one bit each.
const DEPTH_MAX: u32 = 64;

/// Longest number taken here. Jackson refuses those above 1,000 digits.
const NUMBER_LEN_MAX: usize = 100;

/// The first byte at or after `at` that is no space.
#[inline]
pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Position of the first byte at or after `at` that is a quote, a backslash or a control
/// character.
#[inline]
pub(super) fn special(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = special_bits(u64::from_le_bytes(*chunk));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let offset = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(at + offset)
}

/// The high bit of every byte of `word` that is special. Bits above the lowest one may be wrong:
/// a subtraction borrows from them.
#[inline]
fn special_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let backslashes = backslash.wrapping_sub(ONES) & !backslash;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & HIGH
}

/// A string without escapes: its end, which is its closing quote.
#[inline]
pub(super) fn plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    let end = special(bytes, at + 1)?;
    (bytes[end] == b'"').then_some(end)
}

/// A string with its quotes.
pub(super) fn string(bytes: &[u8], mut at: usize) -> Option<usize> {
    at += 1;
    loop {
        at = special(bytes, at)?;
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => return Some(at + 1),
            (b'\\', Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            (b'\\', Some(b'u')) => {
                let digits = bytes.get(at + 2..at + 6)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                at += 6;
            }
            _ => return None,
        }
    }
}

/// Any value.
#[inline]
pub(super) fn value(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'{' | b'[' => nested(bytes, at),
        _ => scalar(bytes, at),
    }
}

#[inline]
fn scalar(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string(bytes, at),
        b'-' | b'0'..=b'9' => number(bytes, at),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        _ => None,
    }
}

#[inline]
pub(super) fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let start = at;
    let mut at = at + usize::from(bytes[at] == b'-');
    at = match bytes.get(at)? {
        b'0' => at + 1,
        _ => digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(signed))?;
    }
    (at - start <= NUMBER_LEN_MAX).then_some(at)
}

/// At least one digit.
#[inline]
fn digits(bytes: &[u8], at: usize) -> Option<usize> {
    let len = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then_some(at + len)
}

/// An object or array, with all that is in it.
fn nested(bytes: &[u8], mut at: usize) -> Option<usize> {
    // One bit for each that is open, the innermost lowest: 1 is an object.
    let mut kinds: u64 = 0;
    let mut depth = 0;
    loop {
        // A value begins here.
        match bytes.get(at)? {
            open @ (b'{' | b'[') => {
                if depth == DEPTH_MAX {
                    return None;
                }
                let is_object = *open == b'{';
                kinds = kinds << 1 | u64::from(is_object);
                depth += 1;
                at = space(bytes, at + 1);
                match (bytes.get(at)?, is_object) {
                    (b'}', true) | (b']', false) => {}
                    (_, true) => {
                        at = name(bytes, at)?;
                        continue;
                    }
                    (_, false) => continue,
                }
            }
            _ => at = space(bytes, scalar(bytes, at)?),
        }
        // A value has ended, or something empty is about to.
        loop {
            let in_object = kinds & 1 == 1;
            match (bytes.get(at)?, in_object) {
                (b'}', true) | (b']', false) => {
                    kinds >>= 1;
                    depth -= 1;
                    at += 1;
                    if depth == 0 {
                        return Some(at);
                    }
                    at = space(bytes, at);
                }
                (b',', true) => {
                    at = name(bytes, space(bytes, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at = space(bytes, at + 1);
                    break;
                }
                _ => return None,
            }
        }
    }
}

/// A name with its colon and the space around it.
fn name(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let at = space(bytes, string(bytes, at)?);
    (bytes.get(at) == Some(&b':')).then(|| space(bytes, at + 1))
}
