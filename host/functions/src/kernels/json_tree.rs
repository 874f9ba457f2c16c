//! A text in JSON as a tree, as Jackson reads it for Spark's functions: `'` may stand for `"`, and
//! what comes after the value is not looked at.

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Truth(bool),
    /// As it is written.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Values in values, beyond which Jackson gives up.
const DEPTH_MAX: usize = 1000;
/// Digits of a number, beyond which Jackson gives up.
const DIGITS_MAX: usize = 1000;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// The value that a text begins with; none where it is malformed.
pub(super) fn parse(text: &str) -> Option<Json> {
    Reader { text, at: 0, depth: 0 }.value()
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Json> {
        self.skip_space();
        match self.peek()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            quote @ (b'"' | b'\'') => self.string(quote).map(Json::Text),
            b't' => self.word("true", Json::Truth(true)),
            b'f' => self.word("false", Json::Truth(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Json>) -> Option<Json> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Some(value)
    }

    fn object(&mut self) -> Option<Json> {
        let mut fields = Vec::new();
        self.skip_space();
        if self.takes(b'}') {
            return Some(Json::Object(fields));
        }
        loop {
            self.skip_space();
            let quote = self.peek().filter(|byte| matches!(byte, b'"' | b'\''))?;
            let name = self.string(quote)?;
            self.skip_space();
            if !self.takes(b':') {
                return None;
            }
            fields.push((name, self.value()?));
            self.skip_space();
            if self.takes(b'}') {
                return Some(Json::Object(fields));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn array(&mut self) -> Option<Json> {
        let mut items = Vec::new();
        self.skip_space();
        if self.takes(b']') {
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.takes(b']') {
                return Some(Json::Array(items));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        let rest = self.text.get(self.at..)?.strip_prefix(word)?;
        let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        self.at += word.len();
        (!goes_on).then_some(value)
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - from
    }

    fn number(&mut self) -> Option<Json> {
        let from = self.at;
        self.takes(b'-');
        let is_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (is_zero && whole > 1) {
            return None;
        }
        if self.takes(b'.') && self.digits() == 0 {
            return None;
        }
        if self.takes(b'e') || self.takes(b'E') {
            if !self.takes(b'+') {
                self.takes(b'-');
            }
            if self.digits() == 0 {
                return None;
            }
        }
        let ends = matches!(
            self.peek(),
            None | Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}' | b':')
        );
        let text = self.text.get(from..self.at)?;
        (ends && text.len() <= DIGITS_MAX).then(|| Json::Number(text.to_owned()))
    }

    fn string(&mut self, quote: u8) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let c = self.text.get(self.at..)?.chars().next()?;
            self.at += c.len_utf8();
            match c {
                c if c == char::from(quote) => return Some(out),
                '\\' => {
                    let escaped = self.peek()?;
                    self.at += 1;
                    out.push(match escaped {
                        b'"' | b'\\' | b'/' | b'\'' => char::from(escaped),
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode()?,
                        _ => return None,
                    });
                }
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    /// Behind `\u`. A half of a pair is `?`, as Java writes it.
    fn unicode(&mut self) -> Option<char> {
        let high = self.unit()?;
        if (0xD800..0xDC00).contains(&high) && self.text.get(self.at..)?.starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.unit()?;
            if let Some(Ok(c)) = char::decode_utf16([high, low]).next() {
                return Some(c);
            }
            self.at = before;
        }
        Some(char::from_u32(high.into()).unwrap_or('?'))
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hexadecimal.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    }
}
