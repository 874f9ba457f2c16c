//! Orders in files, the same for the same arguments.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

const CATEGORIES: [&str; 10] =
    ["books", "toys", "food", "games", "music", "garden", "sports", "auto", "baby", "health"];
const SEED: u64 = 7;

/// Event time of the first order, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_750_000_000_000;
/// Event time between orders, and how far an order may lag behind.
const STEP_MS: u64 = 2;
const LATENESS_MS: u64 = 60_000;

/// Rows of a file, where there are many: a batch of five files is half a million.
pub(super) const ROWS_PER_FILE: u64 = 100_000;

/// Gives the directory with `rows` orders in `files` files, about 120 bytes an order. Makes it
/// where it is not there yet. The files' modification times follow their names.
pub(super) fn orders(bench: &Path, rows: u64, files: u64) -> Result<PathBuf> {
    let directory = bench.join(format!("orders-{rows}-in-{files}"));
    if directory.exists() {
        return Ok(directory);
    }
    eprintln!("bench: writing {rows} orders to {}", directory.display());
    let unfinished = directory.with_extension("part");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    let mut random = fastrand::Rng::with_seed(SEED);
    for file in 0..files {
        let path = unfinished.join(format!("part-{file:05}.json"));
        let range = rows * file / files..rows * (file + 1) / files;
        write(&path, range, &mut random)
            .and_then(|file_of| {
                let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + file);
                file_of.set_modified(modified)
            })
            .with_context(|| format!("writing {}", path.display()))?;
    }
    std::fs::rename(&unfinished, &directory)?;
    Ok(directory)
}

fn write(
    path: &Path,
    orders: std::ops::Range<u64>,
    random: &mut fastrand::Rng,
) -> std::io::Result<File> {
    let mut out = BufWriter::new(File::create(path)?);
    for order in orders {
        let placed = BEGIN_MS + order * STEP_MS - random.u64(0..=LATENESS_MS);
        writeln!(
            out,
            "{{\"order_id\":\"o{:010}\",\"user_id\":\"u{:06}\",\"amount\":{:.2},\
             \"category\":\"{}\",\"order_time\":\"{}\"}}",
            order + 1,
            random.u32(0..100_000),
            random.f64() * 500.0,
            CATEGORIES[random.usize(..CATEGORIES.len())],
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(placed)),
        )?;
    }
    Ok(out.into_inner()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn rows_are_dealt_to_files_in_the_order_of_their_times() {
        let bench = tempfile::tempdir().unwrap();
        let directory = orders(bench.path(), 10, 3).unwrap();
        let file = |n: u32| directory.join(format!("part-{n:05}.json"));
        let lines = |n| std::fs::read_to_string(file(n)).unwrap().lines().count();
        assert_eq!((lines(0), lines(1), lines(2)), (3, 3, 4));
        let modified = |n| file(n).metadata().unwrap().modified().unwrap();
        assert!(modified(0) < modified(1) && modified(1) < modified(2));
    }
}
