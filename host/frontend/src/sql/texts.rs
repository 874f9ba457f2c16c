//! Texts in SQL, as Spark reads them (SparkParserUtils.unescapeSQLString): with escapes after
//! backslashes, unless an `r` stands before the quote, and one after the other they are one.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Reads the texts among tokens that are as they were written.
pub(super) fn read(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut read: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Whether the last token that is no whitespace is a text.
    let mut follows_text = false;
    for mut token in tokens {
        let (text, quote) = match &token.token {
            Token::SingleQuotedString(text) => (text, '\''),
            Token::DoubleQuotedString(text) => (text, '"'),
            other => {
                follows_text &= matches!(other, Token::Whitespace(_));
                read.push(token);
                continue;
            }
        };
        let is_raw = matches!(
            read.last().map(|token| &token.token),
            Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("r")
        );
        let value = if is_raw {
            read.pop();
            text.clone()
        } else {
            unescaped(text, quote)
        };
        if follows_text && let Some(text) = read.iter_mut().rev().find_map(as_text) {
            text.push_str(&value);
            continue;
        }
        token.token = match quote {
            '"' => Token::DoubleQuotedString(value),
            _ => Token::SingleQuotedString(value),
        };
        read.push(token);
        follows_text = true;
    }
    read
}

fn as_text(token: &mut TokenWithSpan) -> Option<&mut String> {
    match &mut token.token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Some(text),
        _ => None,
    }
}

/// `\%` and `\_` stay as they are, for LIKE.
fn unescaped(text: &str, quote: char) -> String {
    let mut value = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == quote {
            // Two of them are one.
            rest.next();
            value.push(quote);
            continue;
        }
        if character != '\\' {
            value.push(character);
            continue;
        }
        let number = |digits: usize, radix: u32| {
            let digits = rest.as_str().get(..digits)?;
            char::from_u32(u32::from_str_radix(digits, radix).ok()?)
        };
        // By the letter after the backslash, how many characters follow that belong to it.
        let escape = rest.clone().next();
        let long = match escape {
            Some('u') => rest.as_str().get(1..5).and_then(hex).map(|value| (value, 5)),
            Some('U') => rest.as_str().get(1..9).and_then(hex).map(|value| (value, 9)),
            Some('0'..='3') => number(3, 8).map(|value| (value, 3)),
            _ => None,
        };
        if let Some((escaped, length)) = long {
            value.push(escaped);
            rest.nth(length - 1);
            continue;
        }
        rest.next();
        match escape {
            None => value.push('\\'),
            Some('0') => value.push('\0'),
            Some('b') => value.push('\u{8}'),
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('Z') => value.push('\u{1a}'),
            Some(wildcard @ ('%' | '_')) => value.extend(['\\', wildcard]),
            Some(other) => value.push(other),
        }
    }
    value
}

fn hex(digits: &str) -> Option<char> {
    if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_sparks() {
        for (written, value) in [
            (r"\\d+", r"\d+"),
            (r"\d+", "d+"),
            (r"tab\tnew\nline", "tab\tnew\nline"),
            (r"it\'s", "it's"),
            ("it''s", "it's"),
            (r"10\%\_", r"10\%\_"),
            (r"\u0041\U0001F600\101", "A\u{1f600}A"),
            (r"\0\Z", "\0\u{1a}"),
            (r"end\\", r"end\"),
        ] {
            assert_eq!(unescaped(written, '\''), value, "{written}");
        }
    }
}
