//! Java's regular expressions (java.util.regex.Pattern), written as `fancy-regex` reads them.
//!
//! What is read otherwise there is spelled out: `\d`, `\w`, `\s` and letters without case are of
//! ASCII, `.` and `$` know five line ends, `[` nests and `&&` intersects. What has no equal is
//! refused.

use std::fmt::Write as _;

/// Why a pattern is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Java does not take it.
    Invalid(String),
    /// Java takes it, and this does not.
    Unknown(String),
}

/// A pattern in the other language.
#[derive(Debug)]
pub(crate) struct Translated {
    /// What it is where a text has line ends.
    pub(crate) pattern: String,
    /// Whether line ends count: else a text without any is matched by a simpler one.
    pub(crate) knows_lines: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    any_case: bool,
    multiline: bool,
    dot_all: bool,
    unix_lines: bool,
    comments: bool,
    unicode_case: bool,
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    out: String,
    groups: usize,
    names: Vec<String>,
    flags: Flags,
    has_lines: bool,
    knows_lines: bool,
    depth: usize,
}

/// Groups in groups, beyond which no pattern is meant.
const DEPTH_MAX: usize = 100;

type Done<T = ()> = Result<T, Fault>;

fn invalid<T>(what: impl Into<String>) -> Done<T> {
    Err(Fault::Invalid(what.into()))
}

fn unknown<T>(what: impl Into<String>) -> Done<T> {
    Err(Fault::Unknown(what.into()))
}

/// Translates a pattern; for texts without line ends where not `has_lines`.
pub(crate) fn translate(pattern: &str, has_lines: bool) -> Done<Translated> {
    let mut translator = Translator {
        chars: pattern.chars().collect(),
        at: 0,
        out: String::with_capacity(pattern.len() + 16),
        groups: 0,
        names: Vec::new(),
        flags: Flags::default(),
        has_lines,
        knows_lines: false,
        depth: 0,
    };
    translator.alternatives()?;
    if translator.at < translator.chars.len() {
        return invalid("Unmatched closing ')'");
    }
    Ok(Translated { pattern: translator.out, knows_lines: translator.knows_lines })
}

const SPACE: &str = r"[\x{20}\t\n\x{0B}\x{0C}\r]";
const LINE_ENDS: &str = r"[\n\x{0B}\x{0C}\r\x{85}\x{2028}\x{2029}]";
const BLANKS: &str = r"[\x{20}\t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]";

/// The class without what is in it.
fn negated(class: &str) -> String {
    format!("[^{class}]")
}

fn push_literal(c: char, out: &mut String) {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => out.push(c),
        c if !c.is_ascii() => out.push(c),
        // Writing to a String cannot fail.
        c => _ = write!(out, "\\x{{{:X}}}", c as u32),
    }
}

impl Translator {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn takes(&mut self, wanted: &str) -> bool {
        let is_there = wanted.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c));
        if is_there {
            self.at += wanted.chars().count();
        }
        is_there
    }

    /// Skips what the flag `x` leaves out.
    fn skip_comments(&mut self) {
        while self.flags.comments {
            match self.peek() {
                Some(' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r') => self.at += 1,
                Some('#') => while self.next().is_some_and(|c| !is_line_end(c)) {},
                _ => return,
            }
        }
    }

    fn alternatives(&mut self) -> Done {
        loop {
            self.skip_comments();
            match self.peek() {
                None | Some(')') => return Ok(()),
                Some('|') => {
                    self.at += 1;
                    self.out.push('|');
                }
                Some(_) => self.term()?,
            }
        }
    }

    fn term(&mut self) -> Done {
        let start = self.out.len();
        let was_flags = self.atom()?;
        if !was_flags {
            self.quantifier(start)?;
        }
        Ok(())
    }

    /// Writes one; says whether it was flags, which are no atom.
    fn atom(&mut self) -> Done<bool> {
        let Some(c) = self.next() else { return Ok(false) };
        match c {
            '(' => return self.group(),
            '[' => {
                let class = self.class()?;
                self.push_class(&class);
            }
            '\\' => self.escape()?,
            '.' => {
                let any = match (self.flags.dot_all, self.flags.unix_lines) {
                    (true, _) => "(?s:.)",
                    (false, true) => r"[^\n]",
                    (false, false) => r"[^\n\r\x{85}\x{2028}\x{2029}]",
                };
                self.out.push_str(any);
            }
            '^' if self.flags.multiline => {
                self.knows_lines = true;
                self.out.push_str(if self.flags.unix_lines {
                    r"(?:(?!\z)(?:\A|(?<=\n)))"
                } else {
                    r"(?:(?!\z)(?:\A|(?<=[\n\x{85}\x{2028}\x{2029}])|(?<=\r)(?!\n)))"
                });
            }
            '^' => self.out.push_str(r"\A"),
            '$' => self.end(),
            '*' | '+' | '?' => return invalid(format!("Dangling meta character '{c}'")),
            '{' => return invalid("Illegal repetition"),
            c => self.literal(c),
        }
        Ok(false)
    }

    /// `$`, and `\Z` where lines are one.
    fn end(&mut self) {
        self.knows_lines = true;
        self.out.push_str(match (self.flags.multiline, self.flags.unix_lines, self.has_lines) {
            (_, _, false) => r"\z",
            (true, true, _) => r"(?:\z|(?=\n))",
            (true, false, _) => r"(?:\z|(?=[\r\x{85}\x{2028}\x{2029}])|(?<!\r)(?=\n))",
            (false, true, _) => r"(?=\n?\z)",
            (false, false, _) => r"(?:(?=(?:\r\n|[\r\x{85}\x{2028}\x{2029}])?\z)|(?<!\r)(?=\n\z))",
        });
    }

    fn literal(&mut self, c: char) {
        let flags = self.flags;
        if flags.any_case && flags.unicode_case {
            self.out.push_str("(?i:");
            push_literal(c, &mut self.out);
            self.out.push(')');
        } else if flags.any_case && c.is_ascii_alphabetic() {
            let (lower, upper) = (c.to_ascii_lowercase(), c.to_ascii_uppercase());
            // Writing to a String cannot fail.
            let _ = write!(self.out, "[{lower}{upper}]");
        } else {
            push_literal(c, &mut self.out);
        }
    }

    fn push_class(&mut self, class: &str) {
        if self.flags.any_case && self.flags.unicode_case {
            // Writing to a String cannot fail.
            let _ = write!(self.out, "(?i:{class})");
        } else {
            self.out.push_str(class);
        }
    }

    fn quantifier(&mut self, start: usize) -> Done {
        self.skip_comments();
        let mut times = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                c.to_string()
            }
            Some('{') => {
                self.at += 1;
                self.counts()?
            }
            _ => return Ok(()),
        };
        match self.peek() {
            Some('?') => {
                self.at += 1;
                times.push('?');
            }
            Some('+') => {
                self.at += 1;
                self.out.insert_str(start, "(?>");
                times.push(')');
            }
            _ => {}
        }
        self.out.push_str(&times);
        Ok(())
    }

    fn counts(&mut self) -> Done<String> {
        let mut number = || {
            let mut digits = String::new();
            while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                digits.push(c);
                self.at += 1;
            }
            digits
        };
        let least = number();
        let Ok(from) = least.parse::<u32>() else { return invalid("Illegal repetition") };
        if self.takes("}") {
            return Ok(format!("{{{from}}}"));
        }
        if !self.takes(",") {
            return invalid("Unclosed counted closure");
        }
        if self.takes("}") {
            return Ok(format!("{{{from},}}"));
        }
        let mut most = String::new();
        while let Some(c) = self.peek().filter(char::is_ascii_digit) {
            most.push(c);
            self.at += 1;
        }
        match most.parse::<u32>() {
            Ok(to) if self.takes("}") && from <= to => Ok(format!("{{{from},{to}}}")),
            _ => invalid("Illegal repetition range"),
        }
    }

    fn group(&mut self) -> Done<bool> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return unknown("groups are nested too deeply");
        }
        let outer = self.flags;
        if self.takes("?") {
            if self.takes(":") {
                self.out.push_str("(?:");
            } else if self.takes("=") {
                self.out.push_str("(?=");
            } else if self.takes("!") {
                self.out.push_str("(?!");
            } else if self.takes(">") {
                self.out.push_str("(?>");
            } else if self.takes("<=") {
                self.out.push_str("(?<=");
            } else if self.takes("<!") {
                self.out.push_str("(?<!");
            } else if self.takes("<") {
                let name = self.name('>')?;
                if self.names.contains(&name) {
                    return invalid(format!("Named capturing group <{name}> is already defined"));
                }
                self.groups += 1;
                // Writing to a String cannot fail.
                let _ = write!(self.out, "(?<{name}>");
                self.names.push(name);
            } else if self.set_flags()? {
                self.depth -= 1;
                return Ok(true);
            } else {
                self.out.push_str("(?:");
            }
        } else {
            self.groups += 1;
            self.out.push('(');
        }
        self.alternatives()?;
        if !self.takes(")") {
            return invalid("Unclosed group");
        }
        self.out.push(')');
        self.flags = outer;
        self.depth -= 1;
        Ok(false)
    }

    /// Reads flags; says whether they stand for themselves, `(?i)`.
    fn set_flags(&mut self) -> Done<bool> {
        let mut is_on = true;
        loop {
            match self.next() {
                Some('-') if is_on => is_on = false,
                Some('i') => self.flags.any_case = is_on,
                Some('m') => self.flags.multiline = is_on,
                Some('s') => self.flags.dot_all = is_on,
                Some('d') => self.flags.unix_lines = is_on,
                Some('x') => self.flags.comments = is_on,
                Some('u') => self.flags.unicode_case = is_on,
                Some('U') => return unknown("the flag U"),
                Some(')') => return Ok(true),
                Some(':') => return Ok(false),
                _ => return invalid("Unknown inline modifier"),
            }
        }
    }

    fn name(&mut self, end: char) -> Done<String> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some(c) if c == end && !name.is_empty() => return Ok(name),
                Some(c) if c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty()) => {
                    name.push(c);
                }
                _ => return invalid("a group's name is of letters and digits"),
            }
        }
    }

    /// What a backslash begins, outside of a class.
    fn escape(&mut self) -> Done {
        if let Some(class) = self.named_class()? {
            self.push_class(&class);
            return Ok(());
        }
        let Some(c) = self.peek() else { return invalid("Unexpected internal error") };
        match c {
            'A' => self.out.push_str(r"\A"),
            'z' => self.out.push_str(r"\z"),
            'Z' => {
                self.at += 1;
                let flags = self.flags;
                self.flags.multiline = false;
                self.end();
                self.flags = flags;
                return Ok(());
            }
            'b' if self.peek_at(1) == Some('{') => return unknown(r"\b{g}"),
            'b' => self.out.push_str(r"\b"),
            'B' => self.out.push_str(r"\B"),
            'G' => self.out.push_str(r"\G"),
            'R' => {
                self.out.push_str("(?:\\r\\n|");
                self.out.push_str(LINE_ENDS);
                self.out.push(')');
            }
            'X' => return unknown(r"\X"),
            'k' => {
                self.at += 1;
                if !self.takes("<") {
                    return invalid("\\k is not followed by '<' for named capturing group");
                }
                let name = self.name('>')?;
                if !self.names.contains(&name) {
                    return invalid(format!("named capturing group <{name}> does not exist"));
                }
                self.back_reference(&format!(r"\k<{name}>"))?;
                return Ok(());
            }
            '1'..='9' => {
                self.at += 1;
                let mut group = c as usize - '0' as usize;
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
                    let longer = group * 10 + digit as usize;
                    if longer > self.groups {
                        break;
                    }
                    group = longer;
                    self.at += 1;
                }
                if group > self.groups {
                    return unknown(format!(
                        "a reference to the group {group}, which is not there yet"
                    ));
                }
                self.back_reference(&format!(r"\{group}"))?;
                return Ok(());
            }
            'Q' => {
                self.at += 1;
                while self.at < self.chars.len() && !self.takes("\\E") {
                    if let Some(c) = self.next() {
                        // A quantifier behind the quotation is the last character's.
                        let start = self.out.len();
                        self.literal(c);
                        if self.takes("\\E") {
                            return self.quantifier(start);
                        }
                    }
                }
                return Ok(());
            }
            'E' => return invalid("Illegal/unsupported escape sequence"),
            _ => {
                let c = self.character()?;
                self.literal(c);
                return Ok(());
            }
        }
        self.at += 1;
        Ok(())
    }

    fn back_reference(&mut self, text: &str) -> Done {
        if self.flags.any_case {
            return unknown("a reference to a group without regard to case");
        }
        // Writing to a String cannot fail.
        let _ = write!(self.out, "(?:{text})");
        Ok(())
    }

    /// A character behind a backslash.
    fn character(&mut self) -> Done<char> {
        let Some(c) = self.next() else { return invalid("Unexpected internal error") };
        Ok(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            'c' => match self.next() {
                Some(c) if c.is_ascii() => char::from(c as u8 ^ 64),
                _ => return invalid("Illegal control escape sequence"),
            },
            '0' => {
                let (mut value, mut count) = (0, 0);
                while count < 3
                    && value < 32
                    && let Some(digit) = self.peek().and_then(|c| c.to_digit(8))
                {
                    (value, count) = (value * 8 + digit, count + 1);
                    self.at += 1;
                }
                if count == 0 {
                    return invalid("Illegal octal escape sequence");
                }
                char::from_u32(value).unwrap_or('\0')
            }
            'x' if self.takes("{") => {
                let mut value = 0_u32;
                loop {
                    match self.next() {
                        Some('}') => break,
                        Some(c) if c.is_ascii_hexdigit() && value < 0x11_0000 => {
                            value = value * 16 + c.to_digit(16).unwrap_or(0);
                        }
                        _ => return invalid("Unclosed hexadecimal escape sequence"),
                    }
                }
                match char::from_u32(value) {
                    Some(c) => c,
                    None => return invalid("Hexadecimal codepoint is too big"),
                }
            }
            'x' => match self.hexadecimal(2).and_then(char::from_u32) {
                Some(c) => c,
                None => return invalid("Illegal hexadecimal escape sequence"),
            },
            'u' => {
                let Some(unit) = self.hexadecimal(4) else {
                    return invalid("Illegal Unicode escape sequence");
                };
                let mut units = vec![unit as u16];
                if (0xD800..0xDC00).contains(&unit) && self.takes("\\u") {
                    units.extend(self.hexadecimal(4).map(|low| low as u16));
                }
                match char::decode_utf16(units).collect::<Result<Vec<_>, _>>().as_deref() {
                    Ok([c]) => *c,
                    _ => return unknown("a half of a surrogate pair"),
                }
            }
            'N' => return unknown(r"\N{…}"),
            c if c.is_ascii_alphabetic() || c.is_ascii_digit() => {
                return invalid("Illegal/unsupported escape sequence");
            }
            c => c,
        })
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..digits {
            value = value * 16 + self.next()?.to_digit(16)?;
        }
        Some(value)
    }

    /// `\d`, `\p{…}` and the like, without the backslash; none where it is no class.
    fn named_class(&mut self) -> Done<Option<String>> {
        let Some(c) = self.peek() else { return Ok(None) };
        let class = match c.to_ascii_lowercase() {
            'd' => "[0-9]",
            'w' => "[a-zA-Z_0-9]",
            's' => SPACE,
            'h' => BLANKS,
            'v' => LINE_ENDS,
            'p' => {
                self.at += 1;
                let class = self.property()?;
                return Ok(Some(if c == 'P' { negated(&class) } else { class }));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(if c.is_ascii_uppercase() { negated(class) } else { class.to_owned() }))
    }

    fn property(&mut self) -> Done<String> {
        let name: String = match self.next() {
            Some('{') => {
                let mut name = String::new();
                loop {
                    match self.next() {
                        Some('}') => break name,
                        Some(c) => name.push(c),
                        None => return invalid("Unclosed character family"),
                    }
                }
            }
            Some(c) => c.to_string(),
            None => return invalid("Illegal/unsupported escape sequence"),
        };
        let any_case = self.flags.any_case;
        let ascii = match name.as_str() {
            "Lower" | "Upper" if any_case => "[a-zA-Z]",
            "Lower" => "[a-z]",
            "Upper" => "[A-Z]",
            "ASCII" => r"[\x00-\x7F]",
            "Alpha" => "[a-zA-Z]",
            "Digit" => "[0-9]",
            "Alnum" => "[a-zA-Z0-9]",
            "Punct" => r"[!-/:-@\[-`{-~]",
            "Graph" => r"[!-~]",
            "Print" => r"[\x20-~]",
            "Blank" => r"[\x20\t]",
            "Cntrl" => r"[\x00-\x1F\x7F]",
            "XDigit" => "[0-9a-fA-F]",
            "Space" => SPACE,
            "L1" => r"[\x{00}-\x{FF}]",
            "LD" => r"[\p{L}\p{Nd}]",
            "all" => r"[\x{0}-\x{10FFFF}]",
            "javaLowerCase" => r"[\p{Lowercase}]",
            "javaUpperCase" => r"[\p{Uppercase}]",
            "javaLetter" => r"[\p{L}]",
            "javaDigit" => r"[\p{Nd}]",
            "javaLetterOrDigit" => r"[\p{L}\p{Nd}]",
            "javaAlphabetic" => r"[\p{Alphabetic}]",
            "IsDigit" => r"[\p{Nd}]",
            "IsLetter" => r"[\p{L}]",
            "IsPunctuation" => r"[\p{P}]",
            "IsControl" => r"[\p{Cc}]",
            "IsTitlecase" => r"[\p{Lt}]",
            "IsHex_Digit" => {
                r"[\p{Nd}0-9a-fA-F\x{FF10}-\x{FF19}\x{FF21}-\x{FF26}\x{FF41}-\x{FF46}]"
            }
            _ => "",
        };
        if !ascii.is_empty() {
            return Ok(ascii.to_owned());
        }
        let (key, value) = name.split_once('=').unwrap_or(("", &name));
        let value = match key.to_ascii_lowercase().as_str() {
            "" => value.strip_prefix("Is").unwrap_or(value),
            "script" | "sc" | "general_category" | "gc" => value,
            _ => return unknown(format!("\\p{{{name}}}")),
        };
        let is_word = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_word || value.is_empty() || value.starts_with("In") || value.starts_with("java") {
            return unknown(format!("\\p{{{name}}}"));
        }
        // Without case, each of the three cases is any of them.
        if any_case && matches!(value, "Lu" | "Ll" | "Lt" | "Lowercase" | "Uppercase") {
            return Ok(r"[\p{Lu}\p{Ll}\p{Lt}]".to_owned());
        }
        Ok(format!("[\\p{{{value}}}]"))
    }

    /// A class, behind its `[`.
    fn class(&mut self) -> Done<String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return unknown("classes are nested too deeply");
        }
        let mut out = String::from("[");
        if self.takes("^") {
            out.push('^');
        }
        let start = out.len();
        loop {
            self.skip_comments();
            let Some(c) = self.next() else { return invalid("Unclosed character class") };
            match c {
                ']' if out.len() > start => break,
                '[' => out.push_str(&self.class()?),
                '&' if self.peek() == Some('&') => {
                    self.at += 1;
                    while self.takes("&") {}
                    if out.len() == start || self.peek() == Some(']') {
                        return unknown("an intersection with nothing");
                    }
                    out.push_str("&&");
                }
                '\\' if self.peek() == Some('Q') => {
                    self.at += 1;
                    while self.at < self.chars.len() && !self.takes("\\E") {
                        if let Some(c) = self.next() {
                            self.push_range(c, c, &mut out);
                        }
                    }
                }
                '\\' => match self.named_class()? {
                    Some(class) => out.push_str(&class),
                    None => {
                        let from = self.character()?;
                        self.range(from, &mut out)?;
                    }
                },
                c => self.range(c, &mut out)?,
            }
        }
        self.depth -= 1;
        out.push(']');
        Ok(out)
    }

    /// A character of a class, or a range that begins with it.
    fn range(&mut self, from: char, out: &mut String) -> Done {
        let is_range =
            self.peek() == Some('-') && !matches!(self.peek_at(1), None | Some(']' | '['));
        if !is_range {
            self.push_range(from, from, out);
            return Ok(());
        }
        self.at += 1;
        let to = match self.next() {
            Some('\\') => {
                if let Some(class) = self.named_class()? {
                    self.push_range(from, from, out);
                    self.push_range('-', '-', out);
                    out.push_str(&class);
                    return Ok(());
                }
                self.character()?
            }
            Some(c) => c,
            None => return invalid("Unclosed character class"),
        };
        if to < from {
            return invalid("Illegal character range");
        }
        self.push_range(from, to, out);
        Ok(())
    }

    fn push_range(&self, from: char, to: char, out: &mut String) {
        let mut push = |from: char, to: char| {
            push_literal(from, out);
            if from != to {
                out.push('-');
                push_literal(to, out);
            }
        };
        push(from, to);
        if !self.flags.any_case || self.flags.unicode_case {
            return;
        }
        let (lower_from, lower_to) = (from.max('a'), to.min('z'));
        if lower_from <= lower_to {
            push(lower_from.to_ascii_uppercase(), lower_to.to_ascii_uppercase());
        }
        let (upper_from, upper_to) = (from.max('A'), to.min('Z'));
        if upper_from <= upper_to {
            push(upper_from.to_ascii_lowercase(), upper_to.to_ascii_lowercase());
        }
    }
}

/// Whether a character ends a line, by Java.
pub(crate) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn of(pattern: &str) -> String {
        translate(pattern, false).unwrap().pattern
    }

    #[test]
    fn what_both_read_alike_stays() {
        assert_eq!(of("a(b|c)*?d{2,3}"), "a(b|c)*?d{2,3}");
        assert_eq!(of(r"^\d+$"), r"\A[0-9]+\z");
    }

    #[test]
    fn what_java_reads_otherwise_is_spelled_out() {
        assert_eq!(of("(?i)aä"), "[aA]ä");
        assert_eq!(of("a++"), "(?>a+)");
        assert_eq!(of("[a-c&&[^b]]"), "[a-c&&[^b]]");
        assert_eq!(of(r"\Qa.b\E+"), r"a\x{2E}b+");
        assert_eq!(of("(?x) a b # c"), "ab");
        assert_eq!(of("[]a]"), r"[\x{5D}a]");
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for pattern in ["(", ")", "*a", "[a", "a{", "a{3,2}", r"\y", "(?<1>a)", "a**"] {
            assert!(matches!(translate(pattern, true), Err(Fault::Invalid(_))), "{pattern}");
        }
        assert!(matches!(translate(r"\X", true), Err(Fault::Unknown(_))));
    }
}
