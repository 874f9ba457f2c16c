//! Where the words and rows of an answer go: to the process's streams, or into lines that a view
//! shows.

use std::sync::Arc;

use parking_lot::Mutex;
use tidemill_connectors::ConsoleOutput;

use super::printed;
use crate::print::say;

/// Takes an answer part by part. Clones share what was kept.
#[derive(Clone)]
pub(super) struct Answer {
    /// `None`: it goes to standard output and standard error.
    kept: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Answer {
    /// Rows go to standard output, words about them to standard error.
    pub(super) fn of_process() -> Answer {
        Answer { kept: None }
    }

    /// Keeps everything, in the order in which it comes.
    pub(super) fn kept() -> Answer {
        Answer { kept: Some(Arc::default()) }
    }

    /// A line about the rows.
    pub(super) fn say(&self, line: &str) {
        match &self.kept {
            None => say(line),
            Some(kept) => kept.lock().extend_from_slice(format!("{line}\n").as_bytes()),
        }
    }

    /// Whole lines that belong to the rows.
    pub(super) fn print(&self, text: &str) {
        match &self.kept {
            None => drop(printed(text)),
            Some(kept) => kept.lock().extend_from_slice(text.as_bytes()),
        }
    }

    /// Where a console sink prints the rows.
    pub(super) fn console(&self) -> ConsoleOutput {
        match &self.kept {
            None => ConsoleOutput::stdout(),
            Some(kept) => ConsoleOutput::shared(Arc::clone(kept) as Arc<Mutex<_>>),
        }
    }

    /// What was kept so far.
    pub(super) fn lines(&self) -> Vec<String> {
        let kept = self.kept.iter().map(|kept| String::from_utf8_lossy(&kept.lock()).into_owned());
        kept.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}
