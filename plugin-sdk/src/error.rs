//! How a plugin says that something went wrong.

use std::fmt;

use crate::bindings::tidemill::plugin::types::Failure;

/// What the functions of a plugin give back.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, and with it what the host does next.
///
/// Every error of the standard library and of other crates turns into [`Error::Fatal`] with `?`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The row cannot be processed: it is refused, and the others go on. Where a function gets many rows
    /// at once, as a transform does, it is the whole call that fails.
    BadRow(String),
    /// The whole input cannot be processed. The host's and the SDK's word; a function of yours says
    /// [`bad_row`](Error::bad_row) or [`fatal`](Error::fatal).
    BadInput(String),
    /// The same call may succeed later: the host waits and tries the batch again.
    Retryable(String),
    /// The same call will fail again: the batch fails.
    Fatal(String),
}

impl Error {
    /// The row cannot be processed.
    pub fn bad_row(reason: impl fmt::Display) -> Error {
        Error::BadRow(reason.to_string())
    }

    /// The same call may succeed later.
    pub fn retryable(reason: impl fmt::Display) -> Error {
        Error::Retryable(reason.to_string())
    }

    /// The same call will fail again.
    pub fn fatal(reason: impl fmt::Display) -> Error {
        Error::Fatal(reason.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadRow(reason)
            | Error::BadInput(reason)
            | Error::Retryable(reason)
            | Error::Fatal(reason) => f.write_str(reason),
        }
    }
}

// `Error` is not a `std::error::Error` itself, or this would overlap with `From<T> for T`.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Error::Fatal(text)
    }
}

// Not `From`: that would overlap with the blanket implementation, as failures are errors too.
impl Error {
    pub(crate) fn bad_input(reason: impl fmt::Display) -> Error {
        Error::BadInput(reason.to_string())
    }

    pub(crate) fn from_host(failure: Failure) -> Error {
        match failure {
            Failure::BadInput(reason) => Error::BadInput(reason),
            Failure::Retryable(reason) => Error::Retryable(reason),
            Failure::Fatal(reason) => Error::Fatal(reason),
        }
    }

    pub(crate) fn into_host(self) -> Failure {
        match self {
            Error::BadRow(reason) | Error::BadInput(reason) => Failure::BadInput(reason),
            Error::Retryable(reason) => Failure::Retryable(reason),
            Error::Fatal(reason) => Failure::Fatal(reason),
        }
    }
}
