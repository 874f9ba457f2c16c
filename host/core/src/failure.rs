//! What can go wrong at a source, a sink or a target.

use std::error::Error;

/// A place outside could not do what it was asked.
///
/// The message says what was asked and what was found. Whether the same call may succeed later
/// is decided where the error is made, and nowhere guessed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    message: String,
    kind: Kind,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Retryable,
    Fatal,
    Unread,
}

impl ConnectorError {
    /// The same call may succeed later: the place is busy or away.
    pub fn retryable(message: impl Into<String>) -> ConnectorError {
        ConnectorError { message: message.into(), kind: Kind::Retryable, source: None }
    }

    /// The same call will fail again.
    pub fn fatal(message: impl Into<String>) -> ConnectorError {
        ConnectorError { message: message.into(), kind: Kind::Fatal, source: None }
    }

    /// Whoever read what the sink writes has gone: the other end of a pipe. Nothing is wrong, and
    /// nothing more is wanted.
    pub fn unread(message: impl Into<String>) -> ConnectorError {
        ConnectorError { message: message.into(), kind: Kind::Unread, source: None }
    }

    /// Adds what lies beneath; it is shown after the message.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> ConnectorError {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == Kind::Retryable
    }

    /// Whether nobody reads the sink any more.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.kind == Kind::Unread
    }
}
