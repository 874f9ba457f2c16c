//! A pull parser of JSON that behaves as Jackson does, which is what Spark reads with.
//!
//! Two traits of Jackson show in Spark's rows, so they are kept here:
//! - The name of a field and the start of its value are read in one step, but the text inside a
//!   string only when someone asks for it. A bad escape in a column that is read is an error of
//!   that column; in one that is not, it is an error of the row.
//! - After an error reading goes on where it stopped. Spark catches errors inside a column and
//!   asks for the next token, so where that is decides which later fields are found.

mod strings;

use super::options::Grammar;

/// Values nested deeper than this are an error. Jackson's limit.
pub(super) const NESTING_MAX: usize = 1_000;
/// Digits of the longest number. Jackson's limit.
const NUMBER_LEN_MAX: usize = 1_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    StartObject,
    EndObject,
    StartArray,
    EndArray,
    FieldName,
    String,
    Int,
    Float,
    True,
    False,
    Null,
}

/// The text is not JSON here. What exactly is wrong shows in no row, so nothing is kept of it.
#[derive(Debug)]
pub(super) struct SyntaxError;

/// What kind of text it is, as Jackson has a parser for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// A value that Spark holds as a string: `from_json`.
    Value,
    /// A line of a file, in bytes.
    Line,
}

pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
    grammar: Grammar,
    text: Text,
    current: Option<Token>,
    /// The value after the field name that is current.
    next: Option<Token>,
    /// The current token is a string whose text is not yet read.
    is_pending: bool,
    string: String,
    /// The last number, or the name of a number that is none ("NaN").
    number: String,
    token_start: usize,
    contexts: Vec<Context>,
}

struct Context {
    kind: Kind,
    values: usize,
    name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Object,
    Array,
}

type Result<T> = std::result::Result<T, SyntaxError>;

impl<'a> Tokens<'a> {
    pub(super) fn new(bytes: &'a [u8], text: Text, grammar: Grammar) -> Tokens<'a> {
        Tokens {
            bytes,
            at: 0,
            grammar,
            text,
            current: None,
            next: None,
            is_pending: false,
            string: String::new(),
            number: String::new(),
            token_start: 0,
            contexts: vec![Context { kind: Kind::Root, values: 0, name: None }],
        }
    }

    pub(super) fn current(&self) -> Option<Token> {
        self.current
    }

    pub(super) fn text_kind(&self) -> Text {
        self.text
    }

    /// Name of the field that the current token is, or is the value of.
    pub(super) fn current_name(&self) -> Option<&str> {
        let is_start = matches!(self.current, Some(Token::StartObject | Token::StartArray));
        let up = if is_start && self.contexts.len() > 1 { 2 } else { 1 };
        self.contexts.get(self.contexts.len() - up)?.name.as_deref()
    }

    /// The text of the current string.
    pub(super) fn string(&mut self) -> Result<&str> {
        if self.is_pending {
            self.is_pending = false;
            self.read_string(b'"')?;
        }
        Ok(&self.string)
    }

    /// The current number as it is written, or `NaN`, `Infinity`, `-Infinity`.
    pub(super) fn number(&self) -> &str {
        &self.number
    }

    /// The text from the start of the current token to where reading is.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn token_start(&self) -> usize {
        self.token_start
    }

    pub(super) fn next_token(&mut self) -> Result<Option<Token>> {
        if self.current == Some(Token::FieldName) {
            self.current = self.next.take();
            match self.current {
                Some(Token::StartObject) => self.open(Kind::Object)?,
                Some(Token::StartArray) => self.open(Kind::Array)?,
                _ => {}
            }
            return Ok(self.current);
        }
        if self.is_pending {
            self.is_pending = false;
            self.read_string(b'"')?;
        }
        let Some(mut byte) = self.skip_space()? else {
            if self.context().kind != Kind::Root {
                return Err(SyntaxError);
            }
            self.current = None;
            return Ok(None);
        };
        if matches!(byte, b'}' | b']') {
            return self.close(byte).map(Some);
        }
        let context = self.context_mut();
        context.values += 1;
        if context.kind != Kind::Root && context.values > 1 {
            if byte != b',' {
                return Err(self.unexpected());
            }
            byte = self.skip_space()?.ok_or(SyntaxError)?;
        }
        let in_object = self.context().kind == Kind::Object;
        if in_object {
            self.read_name(byte)?;
            self.current = Some(Token::FieldName);
            if self.skip_space()? != Some(b':') {
                return Err(self.unexpected());
            }
            byte = self.skip_space()?.ok_or(SyntaxError)?;
        }
        self.token_start = self.at - 1;
        let token = self.read_value(byte)?;
        if in_object {
            self.next = Some(token);
            return Ok(self.current);
        }
        self.current = Some(token);
        match token {
            Token::StartObject => self.open(Kind::Object)?,
            Token::StartArray => self.open(Kind::Array)?,
            _ => {}
        }
        Ok(self.current)
    }

    /// If the current token opens an object or array, moves to the token that closes it.
    pub(super) fn skip_children(&mut self) -> Result<()> {
        if !matches!(self.current, Some(Token::StartObject | Token::StartArray)) {
            return Ok(());
        }
        let mut open = 1;
        while open > 0 {
            match self.next_token()? {
                Some(Token::StartObject | Token::StartArray) => open += 1,
                Some(Token::EndObject | Token::EndArray) => open -= 1,
                Some(_) => {}
                None => return Err(SyntaxError),
            }
        }
        Ok(())
    }

    fn context(&self) -> &Context {
        // The root is never closed.
        &self.contexts[self.contexts.len() - 1]
    }

    fn context_mut(&mut self) -> &mut Context {
        let last = self.contexts.len() - 1;
        &mut self.contexts[last]
    }

    fn open(&mut self, kind: Kind) -> Result<()> {
        self.contexts.push(Context { kind, values: 0, name: None });
        if self.contexts.len() > NESTING_MAX + 1 { Err(SyntaxError) } else { Ok(()) }
    }

    fn close(&mut self, byte: u8) -> Result<Token> {
        let (kind, token) = match byte {
            b'}' => (Kind::Object, Token::EndObject),
            _ => (Kind::Array, Token::EndArray),
        };
        if self.context().kind != kind {
            return Err(SyntaxError);
        }
        self.contexts.pop();
        self.current = Some(token);
        Ok(token)
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes the first byte that is neither space nor comment.
    fn skip_space(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.take() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'/' => self.skip_comment()?,
                0..=0x1f => return Err(SyntaxError),
                _ => return Ok(Some(byte)),
            }
        }
        Ok(None)
    }

    fn skip_comment(&mut self) -> Result<()> {
        if !self.grammar.comments {
            return Err(SyntaxError);
        }
        match self.take() {
            Some(b'/') => {
                while self.take().is_some_and(|byte| byte != b'\n' && byte != b'\r') {}
                Ok(())
            }
            Some(b'*') => {
                while let Some(byte) = self.take() {
                    if byte == b'*' && self.peek() == Some(b'/') {
                        self.at += 1;
                        return Ok(());
                    }
                }
                Err(SyntaxError)
            }
            _ => Err(SyntaxError),
        }
    }

    fn read_name(&mut self, first: u8) -> Result<()> {
        match first {
            b'"' => self.read_string(b'"')?,
            b'\'' if self.grammar.single_quotes => self.read_string(b'\'')?,
            _ if self.grammar.unquoted_names => {
                let start = self.at - 1;
                self.at = start;
                self.skip_while(is_name_part);
                if self.at == start {
                    self.at += 1;
                    return Err(SyntaxError);
                }
                self.string = String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned();
            }
            _ => return Err(SyntaxError),
        }
        let name = std::mem::take(&mut self.string);
        self.context_mut().name = Some(name);
        Ok(())
    }

    fn read_value(&mut self, first: u8) -> Result<Token> {
        match first {
            b'"' => {
                self.is_pending = true;
                Ok(Token::String)
            }
            b'{' => Ok(Token::StartObject),
            b'[' => Ok(Token::StartArray),
            b't' => self.literal("true", 1).map(|()| Token::True),
            b'f' => self.literal("false", 1).map(|()| Token::False),
            b'n' => self.literal("null", 1).map(|()| Token::Null),
            b'-' => match self.peek() {
                Some(b'0'..=b'9') => self.read_number(),
                _ => self.infinity("-Infinity"),
            },
            b'0'..=b'9' => {
                self.at -= 1;
                self.read_number()
            }
            b'\'' if self.grammar.single_quotes => {
                self.read_string(b'\'')?;
                Ok(Token::String)
            }
            b'N' => self.non_number("NaN", 1, "NaN"),
            b'I' => self.non_number("Infinity", 1, "Infinity"),
            b'+' => self.infinity("Infinity"),
            _ => Err(self.unexpected_value(first)),
        }
    }

    fn unexpected_value(&mut self, first: u8) -> SyntaxError {
        if !first.is_ascii() && self.text == Text::Line {
            // Jackson takes the byte for a letter, and the next one for no character at all.
            self.at = (self.at + 1).min(self.bytes.len());
            return SyntaxError;
        }
        self.at -= 1;
        match self.peek_char() {
            Some(c) if c.is_alphabetic() || c == '_' || c == '$' => self.skip_word(),
            c => self.at += c.map_or(1, char::len_utf8),
        }
        SyntaxError
    }

    /// The byte that was taken last fits nowhere. Goes on after its character.
    fn unexpected(&mut self) -> SyntaxError {
        while self.text == Text::Value && matches!(self.peek(), Some(0x80..=0xbf)) {
            self.at += 1;
        }
        SyntaxError
    }

    /// `INF` or `Infinity` after a sign.
    fn infinity(&mut self, name: &str) -> Result<Token> {
        if self.take() != Some(b'I') {
            return Err(SyntaxError);
        }
        if self.take() != Some(b'N') {
            self.at = (self.at - 1).min(self.bytes.len());
            return self.non_number("Infinity", 1, name);
        }
        self.non_number("INF", 2, name)
    }

    fn non_number(&mut self, word: &str, from: usize, name: &str) -> Result<Token> {
        self.literal(word, from)?;
        if !self.grammar.non_numeric_numbers {
            return Err(SyntaxError);
        }
        name.clone_into(&mut self.number);
        Ok(Token::Float)
    }

    /// Takes the rest of `word`, of which `from` bytes are taken already.
    fn literal(&mut self, word: &str, from: usize) -> Result<()> {
        for expected in word.bytes().skip(from) {
            if self.peek() != Some(expected) {
                self.skip_word();
                return Err(SyntaxError);
            }
            self.at += 1;
        }
        match self.peek_char() {
            Some(c) if is_identifier_part(c) => {
                self.skip_word();
                Err(SyntaxError)
            }
            _ => Ok(()),
        }
    }

    /// Passes over what Jackson would quote in its message. Its parser of bytes takes the
    /// character after the word, too.
    fn skip_word(&mut self) {
        self.skip_while(is_identifier_part);
        if self.text == Text::Line {
            self.at += self.peek_char().map_or(0, char::len_utf8);
        }
    }

    fn skip_while(&mut self, condition: impl Fn(char) -> bool) {
        while let Some(c) = self.peek_char().filter(|c| condition(*c)) {
            self.at += c.len_utf8();
        }
    }

    fn peek_char(&self) -> Option<char> {
        let rest = &self.bytes[self.at..];
        let len = match rest.first()? {
            0..=0x7f => 1,
            0x80..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        std::str::from_utf8(rest.get(..len)?).ok()?.chars().next()
    }

    /// Reads a number; a sign was taken, its digits were not.
    fn read_number(&mut self) -> Result<Token> {
        self.number.clear();
        if self.at > 0 && self.bytes[self.at - 1] == b'-' {
            self.number.push('-');
        }
        if self.peek() == Some(b'0') && matches!(self.bytes.get(self.at + 1), Some(b'0'..=b'9')) {
            self.at += 1;
            if !self.grammar.leading_zeros {
                return Err(SyntaxError);
            }
            while self.peek() == Some(b'0')
                && matches!(self.bytes.get(self.at + 1), Some(b'0'..=b'9'))
            {
                self.at += 1;
            }
        }
        let starts_with_zero = self.peek() == Some(b'0');
        self.digits()?;
        let after_whole = self.at + 1;
        let token = self.fraction_and_exponent();
        // Jackson has a faster way for numbers in characters, and stops elsewhere in it.
        if token.is_err() && self.text == Text::Value && !starts_with_zero {
            self.at = after_whole;
        }
        let token = token?;
        if self.number.len() > NUMBER_LEN_MAX { Err(SyntaxError) } else { Ok(token) }
    }

    fn fraction_and_exponent(&mut self) -> Result<Token> {
        let mut token = Token::Int;
        if self.peek() == Some(b'.') {
            token = Token::Float;
            self.push_number_byte();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            token = Token::Float;
            self.push_number_byte();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.push_number_byte();
            }
            self.digits()?;
        }
        Ok(token)
    }

    fn push_number_byte(&mut self) {
        let byte = self.take().map(char::from);
        self.number.extend(byte);
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<()> {
        let before = self.number.len();
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.push_number_byte();
        }
        if self.number.len() == before {
            self.take();
            return Err(SyntaxError);
        }
        Ok(())
    }
}

/// Java's `isJavaIdentifierPart`, nearly.
fn is_identifier_part(c: char) -> bool {
    let is_ignorable = match c {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' => true,
        '\u{feff}' => true,
        _ => c.is_control() && !('\t'..='\r').contains(&c),
    };
    c.is_alphanumeric() || c == '_' || c == '$' || is_ignorable
}

/// Characters of a name without quotes.
fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || "_$@#*-+".contains(c)
}
