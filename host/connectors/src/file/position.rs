//! Which files a source has given out already.
//!
//! Spark's SeenFilesMap: a file is new when it was not seen and is not older than the last purge
//! allows. Purging goes by the newest *file's* time and never by a clock, so that a query that
//! stood still for a month forgets nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::parts::FilePart;

/// The position of a file source, as a snapshot keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Number of the last range, as Spark counts them; -1 before the first.
    #[serde(rename = "logOffset")]
    pub(crate) log_offset: i64,
    #[serde(rename = "newestFileTime")]
    newest_ms: i64,
    #[serde(rename = "purgedBefore")]
    purged_before_ms: i64,
    seen: BTreeMap<String, i64>,
}

impl Default for Position {
    fn default() -> Position {
        Position { log_offset: -1, newest_ms: 0, purged_before_ms: i64::MIN, seen: BTreeMap::new() }
    }
}

/// What decides whether two files are the same, and for how long one is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// `maxFileAge`; `None`: for ever.
    pub(crate) max_age_ms: Option<i64>,
    /// `fileNameOnly`: the folder does not matter.
    pub(crate) name_only: bool,
}

impl Position {
    pub(crate) fn is_new(&self, memory: Memory, part: &FilePart) -> bool {
        part.modified_ms >= self.purged_before_ms && !self.seen.contains_key(memory.key(part))
    }

    /// Moves over one range.
    pub(crate) fn add_range(&mut self, memory: Memory, log_offset: i64, parts: &[FilePart]) {
        self.log_offset = log_offset;
        for part in parts {
            self.seen.insert(memory.key(part).to_owned(), part.modified_ms);
            self.newest_ms = self.newest_ms.max(part.modified_ms);
        }
        if let Some(max_age_ms) = memory.max_age_ms {
            self.purged_before_ms = self.newest_ms.saturating_sub(max_age_ms);
            self.seen.retain(|_, modified_ms| *modified_ms >= self.purged_before_ms);
        }
    }
}

impl Memory {
    fn key(self, part: &FilePart) -> &str {
        match part.path.rsplit_once('/') {
            Some((_, name)) if self.name_only => name,
            _ => &part.path,
        }
    }
}
