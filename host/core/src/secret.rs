//! What a job knows and nobody else may see.
//!
//! A secret is kept out of sight twice. [`Secret`] is a value without a text of its own: whoever
//! wants it has to say [`Secret::reveal`]. [`Secrets`] is for the texts that others make of it, as a
//! database's driver does in its errors: whatever leaves the process goes through
//! [`Secrets::conceal`].

use std::borrow::Cow;
use std::fmt;

/// What is shown in place of a secret that has no name.
const HIDDEN: &str = "…";

/// A value that is used, and not shown: it has no `Display`, and its `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Secret<T> {
        Secret(value)
    }

    /// The value, for the one who needs it: a client that logs in, a guest whose own it is.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The secret texts of a job, and what is shown where one of them occurs.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Longer texts before those that they may contain.
    hidden: Vec<Hidden>,
}

#[derive(Clone, PartialEq, Eq)]
struct Hidden {
    text: Secret<String>,
    shown: String,
}

impl Secrets {
    /// Shorter texts are part of ordinary words and numbers. Replaced wherever they occur, they
    /// would make messages unreadable, and a text so short keeps nothing secret anyway.
    pub const BYTES_MIN: usize = 5;

    /// Adds a text. `name` is shown in its place; `None`: `…`.
    ///
    /// Of a text of several lines each line is hidden by itself as well, and so is the form that
    /// the text has in quotes, with its escapes: messages cut and quote what they show.
    pub fn add(&mut self, text: &str, name: Option<&str>) {
        let text = text.trim();
        let quoted = format!("{text:?}");
        // One quote at each end; an escaped one beside it belongs to the text.
        let escaped = &quoted[1..quoted.len() - 1];
        let lines = text.lines().filter(|line| line.len() < text.len());
        for text in std::iter::once(text).chain([escaped]).chain(lines) {
            let text = text.trim();
            let shown = name.unwrap_or(HIDDEN).to_owned();
            let hidden = Hidden { text: Secret::new(text.to_owned()), shown };
            let is_known = self.hidden.iter().any(|known| known.text == hidden.text);
            if text.len() >= Secrets::BYTES_MIN && !is_known {
                self.hidden.push(hidden);
            }
        }
        self.hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.text.reveal().len()));
    }

    /// Adds all texts of others.
    pub fn extend(&mut self, others: &Secrets) {
        for Hidden { text, shown } in &others.hidden {
            self.add(text.reveal(), Some(shown));
        }
    }

    /// The text without the secrets, for eyes outside of the process.
    #[must_use]
    pub fn conceal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut concealed = Cow::Borrowed(text);
        for Hidden { text, shown } in &self.hidden {
            if concealed.contains(text.reveal().as_str()) {
                concealed = Cow::Owned(concealed.replace(text.reveal().as_str(), shown));
            }
        }
        concealed
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.hidden.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_no_text_of_its_own() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "… Some(…)");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_text_is_hidden_wherever_it_occurs() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2", Some("${PASSWORD}"));
        secrets.add("postgres://u:hunter2@h", None);
        assert_eq!(secrets.conceal("at postgres://u:hunter2@h/db"), "at …/db");
        assert_eq!(secrets.conceal("hunter2, hunter2!"), "${PASSWORD}, ${PASSWORD}!");
        assert_eq!(secrets.conceal("nothing"), "nothing");
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }

    #[test]
    fn a_text_is_hidden_in_quotes_and_line_by_line() {
        let mut secrets = Secrets::default();
        secrets.add("first line\nthe \"second\"\n", None);
        assert_eq!(secrets.conceal(&format!("{:?}", "first line\nthe \"second\"")), "\"…\"");
        assert_eq!(secrets.conceal("bad: the \"second\""), "bad: …");
    }

    #[test]
    fn what_is_part_of_any_word_is_left() {
        let mut secrets = Secrets::default();
        secrets.add("a", None);
        secrets.add("", None);
        assert_eq!(secrets.conceal("a batch"), "a batch");
    }
}
