//! The encodings that Spark reads texts in: those that its option `encoding` takes.

/// How the characters of a text are bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encoding {
    /// What everything else is made into.
    #[default]
    Utf8,
    /// `US-ASCII`. Other bytes are no characters.
    Ascii,
    /// `ISO-8859-1`: a byte is a character.
    Latin1,
    /// `UTF-16`: as its byte order mark says, and big end first without one.
    Utf16,
    /// `UTF-16BE`
    Utf16Be,
    /// `UTF-16LE`
    Utf16Le,
    /// `UTF-32`: as its byte order mark says, and big end first without one.
    Utf32,
}

const NAMES: [(&str, Encoding); 7] = [
    ("ISO-8859-1", Encoding::Latin1),
    ("US-ASCII", Encoding::Ascii),
    ("UTF-16", Encoding::Utf16),
    ("UTF-16BE", Encoding::Utf16Be),
    ("UTF-16LE", Encoding::Utf16Le),
    ("UTF-32", Encoding::Utf32),
    ("UTF-8", Encoding::Utf8),
];

impl Encoding {
    /// That of a name, in any case.
    ///
    /// # Errors
    /// It is none of the seven that Spark takes.
    pub fn named(name: &str) -> Result<Encoding, String> {
        let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, encoding)| *encoding).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("[INVALID_PARAMETER_VALUE.CHARSET] give one of {}", known.join(", "))
        })
    }

    /// Whether a character has bytes that are others by themselves, so that a file cannot be taken
    /// apart at bytes.
    #[must_use]
    pub fn is_wide(self) -> bool {
        !matches!(self, Encoding::Utf8 | Encoding::Ascii | Encoding::Latin1)
    }

    /// Whether the byte order mark of a text says which of two it is.
    #[must_use]
    pub fn needs_mark(self) -> bool {
        matches!(self, Encoding::Utf16 | Encoding::Utf32)
    }

    /// What JSON without a name of its encoding is in, by its first bytes: there is a zero in them
    /// unless it is UTF-8, as its first characters are ASCII's (RFC 4627, section 3).
    #[must_use]
    pub fn of_json(front: &[u8]) -> Encoding {
        match front {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Encoding::Utf32,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Encoding::Utf16,
            [0, 0, 0, _, ..] => Encoding::Utf32,
            [0, _, ..] => Encoding::Utf16Be,
            [_, 0, ..] => Encoding::Utf16Le,
            _ => Encoding::Utf8,
        }
    }
}

/// Makes UTF-8 of a text that comes in pieces. What is no character becomes U+FFFD, as in Java.
#[derive(Debug)]
pub struct Recoder {
    encoding: Encoding,
    /// Bytes of a character that has not come whole.
    rest: Vec<u8>,
    /// The byte order mark, or that there is none, has been seen.
    is_begun: bool,
    little_end_first: bool,
    /// The first half of a pair.
    high: Option<u16>,
}

impl Recoder {
    /// At the front of a text in an encoding.
    #[must_use]
    pub fn new(encoding: Encoding) -> Recoder {
        Recoder {
            encoding,
            rest: Vec::new(),
            is_begun: !encoding.needs_mark(),
            little_end_first: encoding == Encoding::Utf16Le,
            high: None,
        }
    }

    /// Adds a piece to `text`, as UTF-8. Where it is the last one, what is not whole is told as
    /// such.
    pub fn push(&mut self, piece: &[u8], is_last: bool, text: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Utf8 => return text.extend_from_slice(piece),
            Encoding::Latin1 => {
                return piece.iter().for_each(|byte| push(char::from(*byte), text));
            }
            Encoding::Ascii => {
                let ascii = |byte: &u8| {
                    if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER }
                };
                return piece.iter().map(ascii).for_each(|c| push(c, text));
            }
            Encoding::Utf16 | Encoding::Utf16Be | Encoding::Utf16Le | Encoding::Utf32 => {}
        }
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(piece);
        let taken = match self.encoding {
            Encoding::Utf32 => self.push_utf32(&bytes, text),
            _ => self.push_utf16(&bytes, text),
        };
        self.rest = bytes.split_off(taken);
        let is_cut = !self.rest.is_empty() || self.high.is_some();
        if is_last && is_cut {
            self.rest.clear();
            self.high = None;
            push(char::REPLACEMENT_CHARACTER, text);
        }
    }

    /// Gives how many bytes it took.
    fn push_utf16(&mut self, bytes: &[u8], text: &mut Vec<u8>) -> usize {
        let (units, rest) = bytes.as_chunks::<2>();
        for unit in units {
            if !self.is_begun {
                self.is_begun = true;
                self.little_end_first = *unit == [0xff, 0xfe];
                if self.little_end_first || *unit == [0xfe, 0xff] {
                    continue;
                }
            }
            let unit = match self.little_end_first {
                true => u16::from_le_bytes(*unit),
                false => u16::from_be_bytes(*unit),
            };
            self.push_unit(unit, text);
        }
        bytes.len() - rest.len()
    }

    fn push_unit(&mut self, unit: u16, text: &mut Vec<u8>) {
        if let Some(high) = self.high.take() {
            match char::decode_utf16([high, unit]).next() {
                Some(Ok(c)) => return push(c, text),
                _ => push(char::REPLACEMENT_CHARACTER, text),
            }
        }
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER), text),
        }
    }

    fn push_utf32(&mut self, bytes: &[u8], text: &mut Vec<u8>) -> usize {
        let (units, rest) = bytes.as_chunks::<4>();
        for unit in units {
            if !self.is_begun {
                self.is_begun = true;
                self.little_end_first = *unit == [0xff, 0xfe, 0, 0];
                if self.little_end_first || *unit == [0, 0, 0xfe, 0xff] {
                    continue;
                }
            }
            let code = match self.little_end_first {
                true => u32::from_le_bytes(*unit),
                false => u32::from_be_bytes(*unit),
            };
            push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), text);
        }
        bytes.len() - rest.len()
    }
}

fn push(c: char, text: &mut Vec<u8>) {
    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recoded(encoding: Encoding, pieces: &[&[u8]]) -> String {
        let mut recoder = Recoder::new(encoding);
        let mut text = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            recoder.push(piece, at + 1 == pieces.len(), &mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn a_text_is_the_same_however_it_is_cut() {
        let text = "a\u{e9}\u{20ac}\u{1f600}z";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
        let utf32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        let marked: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16(u16::to_le_bytes)).collect();
        let little32 = "\u{feff}a\u{1f600}".chars().flat_map(|c| u32::from(c).to_le_bytes());
        for (encoding, bytes, wanted) in [
            (Encoding::Utf8, text.as_bytes().to_vec(), text),
            (Encoding::Utf16Le, utf16(u16::to_le_bytes), text),
            (Encoding::Utf16Be, utf16(u16::to_be_bytes), text),
            (Encoding::Utf16, utf16(u16::to_be_bytes), text),
            (Encoding::Utf16, marked, text),
            (Encoding::Utf32, utf32, text),
            (Encoding::Utf32, little32.collect(), "a\u{1f600}"),
            (Encoding::Latin1, b"a\xe9\x93".to_vec(), "a\u{e9}\u{93}"),
            (Encoding::Ascii, b"a\xe9".to_vec(), "a\u{fffd}"),
        ] {
            for cut in 0..=bytes.len() {
                let (one, other) = bytes.split_at(cut);
                assert_eq!(recoded(encoding, &[one, other]), wanted, "{encoding:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        assert_eq!(recoded(Encoding::Utf16Be, &[&[0xd8, 0, 0, b'a']]), "\u{fffd}a");
        assert_eq!(recoded(Encoding::Utf16Be, &[&[0xdc, 0, 0, b'a']]), "\u{fffd}a");
        assert_eq!(recoded(Encoding::Utf16Be, &[&[0, b'a', 0xd8, 0]]), "a\u{fffd}");
        assert_eq!(recoded(Encoding::Utf16Be, &[&[0, b'a', 0]]), "a\u{fffd}");
        assert_eq!(recoded(Encoding::Utf32, &[&[0, 0x11, 0, 0, 0, 0, 0, b'a']]), "\u{fffd}a");
    }
}
