//! What is wrong with a job, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tidemill_core::Secrets;

/// A place in a job's text. Lines and columns count from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// Its line.
    pub line: usize,
    /// The character of the line.
    pub column: usize,
}

impl Location {
    pub(super) fn of(path: &Path, text: &str, span: &Range<usize>) -> Location {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Location {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// A job cannot be used. Nothing was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JobError {
    /// There is no such file.
    #[error("could not read the job {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
        /// Whether it lacked something that it may have later, like handles.
        may_pass: bool,
    },
    /// It is no TOML, or not a job's.
    #[error("{location}: {reason}")]
    Syntax {
        /// Where.
        location: Location,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A part of the format that is not built.
    #[error("{}: {what} is not supported yet", path.display())]
    NotSupportedYet {
        /// The file.
        path: PathBuf,
        /// The part, as the file writes it.
        what: String,
    },
    /// A value that makes no sense.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was found, and what to write instead.
        reason: String,
    },
    /// `--set` does not fit.
    #[error("--set {key}: {reason}")]
    Override {
        /// Its key; the value may be a secret.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl JobError {
    /// Whether the same file may be read later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, JobError::Read { may_pass: true, .. })
    }

    /// The same error without what the environment gave.
    pub(super) fn concealed(mut self, secrets: &Secrets) -> JobError {
        match &mut self {
            JobError::Read { reason, .. }
            | JobError::Syntax { reason, .. }
            | JobError::NotSupportedYet { what: reason, .. }
            | JobError::Invalid { reason, .. }
            | JobError::Override { reason, .. } => *reason = secrets.conceal(reason).into_owned(),
        }
        self
    }
}
