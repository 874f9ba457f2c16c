//! Malformed rows of a source: counted while a range is read, told once when its batch is done.
//!
//! A batch may be read ahead, by several threads, and again after a failure. So rows are counted
//! by range, slice and columns; what is read again counts anew. (What is malformed depends on the
//! columns that are read: of a source that a query reads twice, the larger count is told.)

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tidemill_core::{ConnectorError, Slice, SourceRange};

/// The key of the count in a source's figures of a batch.
pub(crate) const MALFORMED_ROWS: &str = "malformedRows";

/// Ranges that are counted at a time: one runs, and the next is read ahead. One that never comes
/// to its commit is pushed out by later ones.
const RANGES_MAX: usize = 4;

/// Where a row is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It begins at a byte of a file of lines.
    Line {
        /// The file.
        path: String,
        /// Bytes before it.
        offset: u64,
    },
    /// It is somewhere in a file that has no lines.
    File(String),
    /// A record: `offset 7 of events-0`.
    Record(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { path, offset } => match line_number(path, *offset) {
                Some(line) => write!(f, "line {line} of the file {path}"),
                None => write!(f, "byte {offset} of the file {path}"),
            },
            Place::File(path) => write!(f, "the file {path}"),
            Place::Record(place) => f.write_str(place),
        }
    }
}

/// Number of the line that begins at a byte of a file, from 1. A reader does not count lines,
/// since a slice may begin anywhere; who is to be told one has it counted.
fn line_number(path: &str, offset: u64) -> Option<u64> {
    const BLOCK_BYTES: usize = 1 << 16;
    let mut file = File::open(path).ok()?.take(offset);
    let mut block = vec![0; BLOCK_BYTES];
    let (mut line, mut ends_with_return) = (1, false);
    loop {
        let len = file.read(&mut block).ok()?;
        if len == 0 {
            return Some(line + u64::from(ends_with_return));
        }
        for &byte in &block[..len] {
            match byte {
                b'\n' => line += 1,
                _ if ends_with_return => line += 1,
                _ => {}
            }
            ends_with_return = byte == b'\r';
        }
    }
}

/// An error at a row, with the row's place before it.
pub(crate) fn failed_at(place: &Place, error: &dyn fmt::Display) -> ConnectorError {
    ConnectorError::fatal(format!("{place}: {error}"))
}

/// What one slice of a range showed.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Seen>);

#[derive(Default, Clone)]
struct Seen {
    rows: u64,
    first: Option<Place>,
    /// Files with another header, and what is wrong with the first one's.
    headers: u64,
    header: Option<String>,
}

impl Tally {
    /// So many more malformed rows, the first of which is there.
    pub(crate) fn add(&self, rows: u64, first: impl FnOnce() -> Place) {
        if rows == 0 {
            return;
        }
        let mut seen = self.0.lock();
        seen.rows += rows;
        seen.first.get_or_insert_with(first);
    }

    /// A file's header is not the schema's.
    pub(crate) fn add_header(&self, path: &str, problem: &str) {
        let mut seen = self.0.lock();
        seen.headers += 1;
        seen.header.get_or_insert_with(|| format!("the file {path}: {problem}"));
    }
}

/// Columns and slice.
type Reading = (Vec<usize>, usize);

struct Counted {
    end: Value,
    readings: BTreeMap<Reading, Arc<Tally>>,
}

/// The counts of one source.
#[derive(Default)]
pub(crate) struct MalformedRows(Mutex<VecDeque<Counted>>);

impl MalformedRows {
    /// A slice of a range is about to be read, maybe again.
    pub(crate) fn begin(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut ranges = self.0.lock();
        let place = ranges.iter().position(|counted| counted.end == range.end);
        let place = place.unwrap_or_else(|| {
            if ranges.len() == RANGES_MAX {
                ranges.pop_front();
            }
            ranges.push_back(Counted { end: range.end.clone(), readings: BTreeMap::new() });
            ranges.len() - 1
        });
        ranges[place].readings.insert((projection.to_vec(), slice.index), Arc::clone(&tally));
        tally
    }

    /// The batch that ended here is done: warns of what it had, and gives the count.
    pub(crate) fn settle(&self, end: &Value, source: &str) -> u64 {
        let seen = {
            let mut ranges = self.0.lock();
            let place = ranges.iter().position(|counted| counted.end == *end);
            match place.and_then(|place| ranges.remove(place)) {
                Some(counted) => counted.largest(),
                None => return 0,
            }
        };
        if let Some(header) = &seen.header {
            tracing::warn!(
                "{} of {source}; the first is {header}",
                counted_as(
                    seen.headers,
                    "file has another header than the schema",
                    "files have another header than the schema"
                )
            );
        }
        if let Some(first) = &seen.first {
            tracing::warn!(
                "{} of {source}; the first is at {first}",
                counted_as(seen.rows, "malformed row", "malformed rows")
            );
        }
        seen.rows
    }
}

impl Counted {
    /// The sums of all slices, for the columns that had most.
    fn largest(&self) -> Seen {
        let mut sums: BTreeMap<&Vec<usize>, Seen> = BTreeMap::new();
        // In order of slices, so that the first is the range's first.
        for ((columns, _), tally) in &self.readings {
            let seen = tally.0.lock();
            let sum = sums.entry(columns).or_default();
            sum.rows += seen.rows;
            sum.headers += seen.headers;
            sum.first = sum.first.take().or_else(|| seen.first.clone());
            sum.header = sum.header.take().or_else(|| seen.header.clone());
        }
        sums.into_values().max_by_key(|seen| (seen.rows, seen.headers)).unwrap_or_default()
    }
}

fn counted_as(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn range(end: i64) -> SourceRange {
        SourceRange { start: json!(end - 1), end: json!(end), parts: Value::Null }
    }

    fn place(offset: u64) -> Place {
        Place::Line { path: "nowhere".to_owned(), offset }
    }

    #[test]
    fn a_slice_that_is_read_again_counts_once() {
        let rows = MalformedRows::default();
        let slice = |index| Slice { index, count: 2 };
        rows.begin(&range(1), slice(0), &[0]).add(3, || place(0));
        rows.begin(&range(1), slice(0), &[0]).add(2, || place(0));
        rows.begin(&range(1), slice(1), &[0]).add(1, || place(9));
        // The next range is read ahead meanwhile.
        rows.begin(&range(2), slice(0), &[0]).add(7, || place(20));
        assert_eq!(rows.settle(&json!(1), "s"), 3);
        assert_eq!(rows.settle(&json!(1), "s"), 0, "told once");
        assert_eq!(rows.settle(&json!(2), "s"), 7);
    }

    #[test]
    fn of_two_readings_of_a_source_the_larger_count_is_told() {
        let rows = MalformedRows::default();
        let slice = Slice { index: 0, count: 1 };
        rows.begin(&range(1), slice, &[0]).add(1, || place(0));
        rows.begin(&range(1), slice, &[0, 1]).add(4, || place(0));
        assert_eq!(rows.settle(&json!(1), "s"), 4);
    }

    #[test]
    fn ranges_that_are_never_done_are_forgotten() {
        let rows = MalformedRows::default();
        for end in 0..100 {
            rows.begin(&range(end), Slice { index: 0, count: 1 }, &[]).add(1, || place(0));
        }
        assert_eq!(rows.0.lock().len(), RANGES_MAX);
        assert_eq!(rows.settle(&json!(99), "s"), 1);
    }

    #[test]
    fn a_place_has_the_line_that_an_editor_shows() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\nb\r\nc\rd\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let line = |offset| line_number(&path, offset).unwrap();
        assert_eq!([0, 2, 5, 7].map(line), [1, 2, 3, 4]);
    }
}
