//! The files of a range, and how they are cut into slices.
//!
//! A range's files, one after the other, are one long string of bytes. A slice is an equal share
//! of it: which rows it has follows from the files' recorded sizes and the number of slices, and
//! slices in order are the range in order.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_core::{ConnectorError, Slice, SourceRange};

use super::log::METADATA_DIR;

/// A range below this many bytes a slice is read by fewer slices: opening a file costs more than
/// reading this much.
const SLICE_BYTES_MIN: u64 = 64 * 1024;

/// One file, as it was when its range was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct FilePart {
    pub(crate) path: String,
    pub(crate) size: u64,
    /// Modification time in milliseconds since 1970-01-01 UTC.
    #[serde(rename = "modificationTime")]
    pub(crate) modified_ms: i64,
    /// Whether it may lie elsewhere by way of a link. Who reads it says so; it is not recorded.
    #[serde(skip)]
    pub(crate) takes_outside: bool,
}

/// The bytes `start..end` of a file: what one slice has of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileSpan {
    pub(crate) part: FilePart,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The files that the log recorded for a range.
pub(crate) fn parts_of(range: &SourceRange) -> Result<Vec<FilePart>, ConnectorError> {
    if range.parts == Value::Null {
        return Ok(Vec::new());
    }
    Vec::<FilePart>::deserialize(&range.parts).map_err(|error| {
        ConnectorError::fatal(format!("the log has {} as the files of a range", range.parts))
            .caused_by(error)
    })
}

/// What a slice has of each file. A line or row group belongs to the slice in which it begins.
pub(crate) fn spans(parts: Vec<FilePart>, slice: Slice) -> Vec<FileSpan> {
    spans_where(parts, slice, |_| true)
}

/// What a slice has of each file, of which some are cut. Another one is of the slice in which it
/// begins, and its span has no end: what is in it may be longer than the file.
pub(crate) fn spans_where(
    parts: Vec<FilePart>,
    slice: Slice,
    is_cut: impl Fn(&FilePart) -> bool,
) -> Vec<FileSpan> {
    let (from, to) = share(&parts, slice);
    let mut before = 0_u64;
    let mut spans = Vec::new();
    for part in parts {
        let after = before.saturating_add(part.size);
        let (start, end) = match is_cut(&part) {
            true => (from.clamp(before, after) - before, to.clamp(before, after) - before),
            false if (from..to).contains(&before) && part.size > 0 => (0, u64::MAX),
            false => (0, 0),
        };
        before = after;
        if start < end {
            spans.push(FileSpan { part, start, end });
        }
    }
    spans
}

/// The bytes of the range that a slice has.
fn share(parts: &[FilePart], slice: Slice) -> (u64, u64) {
    // What a log of others says of sizes may be anything.
    let total = parts.iter().fold(0_u64, |total, part| total.saturating_add(part.size));
    let count = (slice.count as u64).min(total.div_ceil(SLICE_BYTES_MIN)).max(1);
    let bound = |index: u64| {
        let share = u128::from(total) * u128::from(index.min(count)) / u128::from(count);
        u64::try_from(share).unwrap_or(total)
    };
    (bound(slice.index as u64), bound(slice.index as u64 + 1))
}

/// Opens a file of a range, and refuses one that no longer has what the range recorded.
pub(crate) fn open(part: &FilePart) -> Result<File, ConnectorError> {
    let failed = |error: std::io::Error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => format!(
                "the file {} was there when its batch was planned and is gone; put it back as it was, for a batch reads the files that it was planned with",
                part.path
            ),
            _ => format!("could not open the file {}", part.path),
        };
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                ConnectorError::fatal(message).caused_by(error)
            }
            _ => ConnectorError::retryable(message).caused_by(error),
        }
    };
    let path = Path::new(&part.path);
    let file = File::open(path).map_err(failed)?;
    if !part.takes_outside {
        refuse_outside(path, &file)?;
    }
    let found = file.metadata().map_err(failed)?.len();
    if found != part.size {
        return Err(ConnectorError::fatal(format!(
            "the file {} had {} bytes when its batch was planned and has {found}; files must not change once they are in the directory: put it back as it was",
            part.path, part.size
        )));
    }
    Ok(file)
}

/// Refuses a file of a directory with a log that lies elsewhere by way of a link, which may have been
/// put there since the log was read. Who is to read what lies elsewhere names it by its own path.
fn refuse_outside(path: &Path, file: &File) -> Result<(), ConnectorError> {
    let has_log = |directory: &&Path| directory.join(METADATA_DIR).is_dir();
    let Some(directory) = path.ancestors().skip(1).find(has_log) else {
        return Ok(());
    };
    let failed = |error: std::io::Error| {
        let message = format!("could not see where the file {} lies", path.display());
        ConnectorError::retryable(message).caused_by(error)
    };
    // What was opened, and not what the path leads to by now.
    let opened = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
    let real = match std::fs::read_link(opened) {
        Ok(real) => real,
        Err(_) => std::fs::canonicalize(path).map_err(failed)?,
    };
    if real.starts_with(std::fs::canonicalize(directory).map_err(failed)?) {
        return Ok(());
    }
    Err(ConnectorError::fatal(format!(
        "the file {} is a link to {}, which does not lie in its directory; a log names files of its own directory",
        path.display(),
        real.display()
    )))
}

/// When a file was last modified, in milliseconds since 1970-01-01 UTC.
pub(crate) fn modified_ms(about: &Metadata) -> i64 {
    // Every platform that we run on knows the time; one that did not would read files in order
    // of their paths.
    let modified = about.modified().unwrap_or(UNIX_EPOCH);
    match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// A failed read of an open file.
pub(crate) fn read_failed(part: &FilePart, error: std::io::Error) -> ConnectorError {
    ConnectorError::retryable(format!("could not read the file {}", part.path)).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sizes: &[u64]) -> Vec<FilePart> {
        let part = |(i, size): (usize, &u64)| FilePart {
            path: i.to_string(),
            size: *size,
            modified_ms: 0,
            takes_outside: false,
        };
        sizes.iter().enumerate().map(part).collect()
    }

    #[test]
    fn spans_of_all_slices_are_the_whole_range_once() {
        let parts = parts(&[1 << 20, 0, 5, 3 << 20, 77]);
        for count in 1..9 {
            let mut reached = vec![0; parts.len()];
            for index in 0..count {
                for span in spans(parts.clone(), Slice { index, count }) {
                    let file: usize = span.part.path.parse().expect("a test path is a number");
                    assert_eq!(span.start, reached[file]);
                    reached[file] = span.end;
                }
            }
            assert_eq!(reached, parts.iter().map(|part| part.size).collect::<Vec<_>>());
        }
    }

    #[test]
    fn whole_files_are_dealt_once_and_in_order() {
        let parts = parts(&[1 << 20, 5, 3 << 20, 77, 2 << 20]);
        for count in 1..9 {
            let dealt: Vec<FilePart> = (0..count)
                .flat_map(|index| spans_where(parts.clone(), Slice { index, count }, |_| false))
                .map(|span| span.part)
                .collect();
            assert_eq!(dealt, parts);
        }
    }

    #[test]
    fn one_big_file_is_split_and_a_small_one_is_not() {
        let used = |size| {
            (0..4)
                .filter(|&index| !spans(parts(&[size]), Slice { index, count: 4 }).is_empty())
                .count()
        };
        assert_eq!(used(1 << 20), 4);
        assert_eq!(used(1000), 1);
    }
}
