//! Texts of others, on their way to a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with its control characters written out (`\u{1b}`), all but line breaks and tabs.
///
/// Names, values and reasons come from files, topics and plugins. A terminal would take what
/// stands in them for a command: to clear the screen, to name a window, to type for the user.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(commands) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing into a string does not fail.
        let _ = if commands(c) {
            write!(written, "{}", c.escape_debug())
        } else {
            write!(written, "{c}")
        };
    }
    Cow::Owned(written)
}

fn commands(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(printable("\u{1b}[2J\u{7}\r\u{9b}1m"), "\\u{1b}[2J\\u{7}\\r\\u{9b}1m");
        assert!(matches!(printable("a line\n\tand ü 他"), Cow::Borrowed(_)));
    }
}
