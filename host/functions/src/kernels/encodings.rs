//! Bytes as texts and back: character sets, base 64 and base 32.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{binary, bytes, kernel, text, texts};
use super::rows::{binaries, strings};

/// A character set of Java's that Spark knows.
#[derive(Clone, Copy, PartialEq)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16,
    Utf16Be,
    Utf16Le,
    Utf32,
}

impl Charset {
    fn named(name: &str, function: &str) -> Result<Charset> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "us-ascii" => Charset::Ascii,
            "iso-8859-1" => Charset::Latin1,
            "utf-8" => Charset::Utf8,
            "utf-16" => Charset::Utf16,
            "utf-16be" => Charset::Utf16Be,
            "utf-16le" => Charset::Utf16Le,
            "utf-32" => Charset::Utf32,
            _ => {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.CHARSET] The value of parameter(s) `charset` in `{function}` is invalid: expects one of the iso-8859-1, us-ascii, utf-16, utf-16be, utf-16le, utf-32, utf-8, but got {name}"
                );
            }
        })
    }

    /// Appends a text; false where a character is not in the set.
    fn encode(self, text: &str, out: &mut Vec<u8>) -> bool {
        match self {
            Charset::Utf8 => out.extend_from_slice(text.as_bytes()),
            Charset::Ascii | Charset::Latin1 => {
                let last = if self == Charset::Ascii { 0x7F } else { 0xFF };
                for c in text.chars() {
                    if c as u32 > last {
                        return false;
                    }
                    out.push(c as u8);
                }
            }
            Charset::Utf16 | Charset::Utf16Be => {
                if self == Charset::Utf16 && !text.is_empty() {
                    out.extend_from_slice(&[0xFE, 0xFF]);
                }
                out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
            Charset::Utf16Le => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Charset::Utf32 => out.extend(text.chars().flat_map(|c| (c as u32).to_be_bytes())),
        }
        true
    }

    /// Appends a text; false where bytes are none.
    fn decode(self, bytes: &[u8], out: &mut String) -> bool {
        let (mark, rest) = bytes.split_at(bytes.len().min(2));
        match self {
            Charset::Utf8 => {
                return std::str::from_utf8(bytes).map(|text| out.push_str(text)).is_ok();
            }
            Charset::Ascii if !bytes.is_ascii() => return false,
            Charset::Ascii | Charset::Latin1 => out.extend(bytes.iter().copied().map(char::from)),
            Charset::Utf16 if mark == [0xFF, 0xFE] => return utf16(rest, u16::from_le_bytes, out),
            Charset::Utf16 if mark == [0xFE, 0xFF] => return utf16(rest, u16::from_be_bytes, out),
            Charset::Utf16 | Charset::Utf16Be => return utf16(bytes, u16::from_be_bytes, out),
            Charset::Utf16Le => return utf16(bytes, u16::from_le_bytes, out),
            Charset::Utf32 => {
                let (is_little, bytes) = match bytes {
                    [0, 0, 0xFE, 0xFF, rest @ ..] => (false, rest),
                    [0xFF, 0xFE, 0, 0, rest @ ..] => (true, rest),
                    all => (false, all),
                };
                for unit in bytes.chunks(4) {
                    let Ok(unit) = <[u8; 4]>::try_from(unit) else { return false };
                    let number =
                        if is_little { u32::from_le_bytes(unit) } else { u32::from_be_bytes(unit) };
                    let Some(c) = char::from_u32(number) else { return false };
                    out.push(c);
                }
            }
        }
        true
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut String) -> bool {
    if !bytes.len().is_multiple_of(2) {
        return false;
    }
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    for c in char::decode_utf16(units) {
        let Ok(c) = c else { return false };
        out.push(c);
    }
    true
}

fn malformed<T>(function: &str, charset: &str) -> Result<T> {
    exec_err!(
        "[MALFORMED_CHARACTER_CODING] Invalid value found when performing `{function}` with {charset}"
    )
}

/// Checks the name of a character set.
///
/// # Errors
/// Spark knows none of that name.
pub(crate) fn check_charset(name: &str, function: &str) -> Result<()> {
    Charset::named(name, function).map(|_| ())
}

/// `encode(text, charset)`; growth knows it by its name.
pub(crate) fn encode() -> Arc<ScalarUDF> {
    kernel("encode", binary, |columns, _| {
        binaries(columns, |row, out| {
            let name = texts(columns, 1).value(row);
            match Charset::named(name, "encode")?.encode(texts(columns, 0).value(row), out) {
                true => Ok(true),
                false => malformed("encode", name),
            }
        })
    })
}

/// `decode(bytes, charset)`.
pub(crate) fn decode() -> Arc<ScalarUDF> {
    kernel("decode", text, |columns, _| {
        strings(columns, |row, out| {
            let name = texts(columns, 1).value(row);
            match Charset::named(name, "decode")?.decode(bytes(columns, 0).value(row), out) {
                true => Ok(true),
                false => malformed("decode", name),
            }
        })
    })
}

/// A text's bytes are always UTF-8 here; bytes may be none.
pub(crate) fn validate_utf8(tolerant: bool) -> Arc<ScalarUDF> {
    fn valid(columns: &[ArrayRef], tolerant: bool) -> Result<ArrayRef> {
        strings(columns, |row, out| {
            let bytes = bytes(columns, 0).value(row);
            match std::str::from_utf8(bytes) {
                Ok(text) => out.push_str(text),
                Err(_) if tolerant => return Ok(false),
                Err(error) => {
                    let from = error.valid_up_to();
                    let end = from + error.error_len().unwrap_or(bytes.len() - from);
                    let shown: String =
                        bytes[from..end].iter().map(|byte| format!("\\x{byte:02X}")).collect();
                    return exec_err!(
                        "[INVALID_UTF8_STRING] Invalid UTF8 byte sequence found in string: {shown}"
                    );
                }
            }
            Ok(true)
        })
    }
    match tolerant {
        true => kernel("try_validate_utf8", text, |columns, _| valid(columns, true)),
        false => kernel("validate_utf8", text, |columns, _| valid(columns, false)),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters in a line of MIME.
const LINE: usize = 76;

/// `base64(bytes)`, in lines as MIME has them; growth knows it by its name.
pub(crate) fn base64() -> Arc<ScalarUDF> {
    kernel("base64", text, |columns, _| {
        strings(columns, |row, out| {
            let mut length = 0;
            for group in bytes(columns, 0).value(row).chunks(3) {
                if length == LINE {
                    out.push_str("\r\n");
                    length = 0;
                }
                let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
                let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
                for place in 0..4 {
                    match place <= group.len() {
                        true => out.push(BASE64[(bits >> (18 - 6 * place)) as usize & 63].into()),
                        false => out.push('='),
                    }
                }
                length += 4;
            }
            Ok(true)
        })
    })
}

fn base64_digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// As Java's decoder of MIME, which skips what is no digit.
fn from_base64(text: &str, out: &mut Vec<u8>) -> std::result::Result<(), &'static str> {
    let all = text.as_bytes();
    let (mut bits, mut shift, mut at) = (0_u32, 18_i32, 0);
    while at < all.len() {
        let byte = all[at];
        at += 1;
        if byte == b'=' {
            if shift == 6 && all.get(at) != Some(&b'=') || shift == 18 {
                return Err("Input byte array has wrong 4-byte ending unit");
            }
            at += usize::from(shift == 6);
            break;
        }
        let Some(digit) = base64_digit(byte) else { continue };
        bits |= digit << shift;
        shift -= 6;
        if shift < 0 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, shift) = (0, 18);
        }
    }
    match shift {
        6 => out.push((bits >> 16) as u8),
        0 => out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8]),
        12 => return Err("Last unit does not have enough valid bits"),
        _ => {}
    }
    match all[at..].iter().any(|byte| base64_digit(*byte).is_some() || *byte == b'=') {
        true => Err("Input byte array has incorrect ending byte"),
        false => Ok(()),
    }
}

/// `unbase64(text)`.
pub(crate) fn unbase64() -> Arc<ScalarUDF> {
    kernel("unbase64", binary, |columns, _| {
        binaries(columns, |row, out| match from_base64(texts(columns, 0).value(row), out) {
            Ok(()) => Ok(true),
            Err(why) => exec_err!("unbase64(): {why}"),
        })
    })
}

/// Appends the bytes of hexadecimal digits; of an odd number, the first has a byte for itself.
fn from_hex(text: &str, out: &mut Vec<u8>) -> bool {
    let mut high = 0;
    let is_odd = !text.len().is_multiple_of(2);
    for (place, c) in text.bytes().enumerate() {
        let Some(digit) = char::from(c).to_digit(16) else { return false };
        if (place % 2 == 0) != is_odd {
            high = digit << 4;
        } else {
            out.push((high | digit) as u8);
            high = 0;
        }
    }
    true
}

/// `to_binary(text, format)`, where the format is one that `is_binary_format` knows.
pub(crate) fn to_binary(tolerant: bool) -> Arc<ScalarUDF> {
    fn converted(columns: &[ArrayRef], tolerant: bool) -> Result<ArrayRef> {
        binaries(columns, |row, out| {
            let text = texts(columns, 0).value(row);
            let format = texts(columns, 1).value(row).to_ascii_uppercase();
            let is_good = match format.as_str() {
                "HEX" => from_hex(text, out),
                "BASE64" => {
                    let padding =
                        text.trim_end().len() - text.trim_end().trim_end_matches('=').len();
                    let is_clean = text.bytes().all(|byte| {
                        base64_digit(byte).is_some() || byte == b'=' || byte.is_ascii_whitespace()
                    });
                    is_clean && padding <= 2 && from_base64(text, out).is_ok()
                }
                "UTF-8" | "UTF8" => {
                    out.extend_from_slice(text.as_bytes());
                    true
                }
                _ => false,
            };
            match (is_good, tolerant) {
                (false, false) => exec_err!(
                    "[CONVERSION_INVALID_INPUT] The value '{text}' ('{format}') cannot be converted to \"BINARY\" because it is malformed. Correct the value as per the syntax, or change its format. Use `try_to_binary` to tolerate malformed input and return NULL instead"
                ),
                (is_good, _) => Ok(is_good),
            }
        })
    }
    match tolerant {
        true => kernel("try_to_binary", binary, |columns, _| converted(columns, true)),
        false => kernel("to_binary", binary, |columns, _| converted(columns, false)),
    }
}

/// Whether `to_binary` knows a format.
pub(crate) fn is_binary_format(format: &str) -> bool {
    ["hex", "utf-8", "utf8", "base64"].contains(&format.to_ascii_lowercase().as_str())
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// `to_base32(bytes)`.
pub(crate) fn to_base32() -> Arc<ScalarUDF> {
    kernel("base32", text, |columns, _| {
        strings(columns, |row, out| {
            for group in bytes(columns, 0).value(row).chunks(5) {
                let bits = (0..5).fold(0_u64, |bits, place| {
                    bits << 8 | u64::from(group.get(place).copied().unwrap_or(0))
                });
                let digits = (group.len() * 8).div_ceil(5);
                for place in 0..8 {
                    match place < digits {
                        true => out.push(BASE32[(bits >> (35 - 5 * place)) as usize & 31].into()),
                        false => out.push('='),
                    }
                }
            }
            Ok(true)
        })
    })
}

/// `from_base32(text)`: what is no digit is skipped, and `=` ends it.
pub(crate) fn from_base32() -> Arc<ScalarUDF> {
    kernel("from_base32", binary, |columns, _| {
        binaries(columns, |row, out| {
            let text = texts(columns, 0).value(row).bytes().take_while(|byte| *byte != b'=');
            let digits: Vec<u64> = text
                .filter_map(|byte| {
                    BASE32.iter().position(|known| *known == byte.to_ascii_uppercase())
                })
                .map(|digit| digit as u64)
                .collect();
            for group in digits.chunks(8) {
                let bits = group.iter().fold(0, |bits, digit| bits << 5 | digit);
                match group.len() {
                    1 => out.push((bits >> 2) as u8),
                    count => {
                        let bits = bits << (64 - 5 * count);
                        out.extend_from_slice(&bits.to_be_bytes()[..count * 5 / 8]);
                    }
                }
            }
            Ok(true)
        })
    })
}
