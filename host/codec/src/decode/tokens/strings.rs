//! What is inside of strings: escapes, and base64 where a column is binary.

use super::{Result, SyntaxError, Text, Tokens};
use crate::text::decode_base64;

impl Tokens<'_> {
    /// The current string, which is base64. Where it is not, reading goes on inside the string.
    pub(in crate::decode) fn binary(&mut self) -> Result<Vec<u8>> {
        if !self.is_pending {
            return decode_base64(&self.string).ok_or(SyntaxError);
        }
        let mut out = Vec::new();
        loop {
            let first = loop {
                match self.take().ok_or(SyntaxError)? {
                    0..=b' ' => {}
                    b'"' => {
                        self.is_pending = false;
                        return Ok(out);
                    }
                    byte => break self.sextet(byte)?.ok_or(SyntaxError)?,
                }
            };
            let second = self.take().ok_or(SyntaxError)?;
            let bits = first << 6 | self.sextet(second)?.ok_or(SyntaxError)?;
            let third = self.take_unless_quote()?;
            let Some(third) = self.sextet(third)? else {
                if self.take().ok_or(SyntaxError)? != b'=' {
                    return Err(SyntaxError);
                }
                out.push((bits >> 4) as u8);
                continue;
            };
            let bits = bits << 6 | third;
            let fourth = self.take_unless_quote()?;
            match self.sextet(fourth)? {
                Some(fourth) => {
                    let bits = bits << 6 | fourth;
                    out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
                }
                None => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
            }
        }
    }

    /// A quote here means that padding is missing. It is left to end the string.
    fn take_unless_quote(&mut self) -> Result<u8> {
        match self.peek() {
            Some(b'"') => Err(SyntaxError),
            _ => self.take().ok_or(SyntaxError),
        }
    }

    /// Six bits of base64, or `None` for padding.
    fn sextet(&mut self, byte: u8) -> Result<Option<u32>> {
        let byte = match byte {
            b'\\' => match self.escape()? {
                Unit::Char(c) => u8::try_from(c).map_err(|_| SyntaxError)?,
                Unit::Escaped(code) => u8::try_from(code).map_err(|_| SyntaxError)?,
            },
            byte => byte,
        };
        Ok(Some(match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => return Ok(None),
            _ => return Err(self.unexpected()),
        }))
    }

    /// Reads a string after its opening quote into `self.string`.
    pub(super) fn read_string(&mut self, quote: u8) -> Result<()> {
        self.string.clear();
        // A first half of a character that UTF-16 writes in two; Java makes one alone a "?".
        let mut high: Option<u32> = None;
        loop {
            let byte = self.take().ok_or(SyntaxError)?;
            let unit = match byte {
                b'\\' => self.escape()?,
                0..=0x1f if !self.grammar.control_chars => return Err(SyntaxError),
                _ if byte == quote => {
                    self.string.extend(high.map(|_| '?'));
                    return Ok(());
                }
                0..=0x7f => Unit::Char(char::from(byte)),
                _ if self.text == Text::Line => self.wide_char(byte)?,
                _ => {
                    self.at -= 1;
                    let c = self.peek_char();
                    self.at += c.map_or(1, char::len_utf8);
                    Unit::Char(c.ok_or(SyntaxError)?)
                }
            };
            match (high.take(), unit) {
                (Some(first), Unit::Escaped(second @ 0xdc00..=0xdfff)) => {
                    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    self.string.extend(char::from_u32(code));
                }
                (first, unit) => {
                    self.string.extend(first.map(|_| '?'));
                    match unit {
                        Unit::Char(c) => self.string.push(c),
                        Unit::Escaped(code @ 0xd800..=0xdbff) => high = Some(code),
                        Unit::Escaped(code) => {
                            self.string.push(char::from_u32(code).unwrap_or('?'))
                        }
                    }
                }
            }
        }
    }

    /// A character of several bytes, of which the first was taken. As Jackson reads them: only the
    /// bits that say how long it is are looked at, and after an error reading goes on behind the
    /// byte that does not fit, be it the closing quote.
    fn wide_char(&mut self, first: u8) -> Result<Unit> {
        let (more, bits) = match first {
            0xc0..=0xdf => (1, first & 0x1f),
            0xe0..=0xef => (2, first & 0x0f),
            0xf0..=0xf7 => (3, first & 0x07),
            _ => return Err(SyntaxError),
        };
        let mut code = u32::from(bits);
        for _ in 0..more {
            let byte = self.take().ok_or(SyntaxError)?;
            if byte & 0xc0 != 0x80 {
                return Err(SyntaxError);
            }
            code = code << 6 | u32::from(byte & 0x3f);
        }
        match code {
            // Half a character, which belongs into an escape if anywhere.
            0xd800..=0xdfff => Err(SyntaxError),
            // More than there are characters: two halves that make none.
            0x11_0000.. => {
                self.string.push('?');
                Ok(Unit::Char('?'))
            }
            _ => Ok(Unit::Escaped(code)),
        }
    }

    fn escape(&mut self) -> Result<Unit> {
        let c = match self.take().ok_or(SyntaxError)? {
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'f' => '\u{c}',
            b'r' => '\r',
            byte @ (b'"' | b'/' | b'\\') => char::from(byte),
            b'u' => {
                let mut code = 0;
                for _ in 0..4 {
                    let byte = self.take().ok_or(SyntaxError)?;
                    code = code * 16 + char::from(byte).to_digit(16).ok_or(SyntaxError)?;
                }
                return Ok(Unit::Escaped(code));
            }
            b'\'' if self.grammar.single_quotes => '\'',
            _ => {
                self.at -= 1;
                let c = self.peek_char();
                self.at += c.map_or(1, char::len_utf8);
                c.filter(|_| self.grammar.any_escape).ok_or(SyntaxError)?
            }
        };
        Ok(Unit::Char(c))
    }
}

enum Unit {
    Char(char),
    /// A code, which may be half a character.
    Escaped(u32),
}
