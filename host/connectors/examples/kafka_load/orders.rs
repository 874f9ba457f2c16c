//! The orders that the file benchmark reads, line by line: both measure the same bytes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::Result;

/// Calls `with` for the first `rows` orders, each without its line's end.
pub(crate) fn each(
    directory: &Path,
    rows: u64,
    mut with: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        files.push(entry?.path());
    }
    files.sort();
    let (mut row, mut line) = (0, Vec::new());
    for file in files {
        let mut file = BufReader::with_capacity(1 << 20, File::open(file)?);
        while row < rows && file.read_until(b'\n', &mut line)? > 0 {
            with(row, line.trim_ascii_end())?;
            line.clear();
            row += 1;
        }
    }
    if row < rows {
        let found = format!("{} has {row} orders, {rows} are asked for", directory.display());
        return Err(found.into());
    }
    Ok(())
}
