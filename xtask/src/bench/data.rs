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
/// How far the events for operators with state lag behind.
const SLIGHT_MS: u64 = 5_000;

/// Rows of a file, where there are many: a batch of five files is half a million.
pub(super) const ROWS_PER_FILE: u64 = 100_000;

/// Gives the directory with `rows` orders in `files` files, about 120 bytes an order. Makes it
/// where it is not there yet. The files' modification times follow their names.
pub(super) fn orders(bench: &Path, rows: u64, files: u64) -> Result<PathBuf> {
    let directory = bench.join(format!("orders-{rows}-in-{files}"));
    let sizes: Vec<u64> =
        (0..files).map(|file| rows * (file + 1) / files - rows * file / files).collect();
    write(&directory, &sizes, |out, order, random| {
        let placed = at(order * STEP_MS + LATENESS_MS - random.u64(0..=LATENESS_MS));
        writeln!(
            out,
            "{{\"order_id\":\"o{:010}\",\"user_id\":\"u{:06}\",\"amount\":{:.2},\
             \"category\":\"{}\",\"order_time\":\"{placed}\"}}",
            order + 1,
            random.u32(0..100_000),
            random.f64() * 500.0,
            CATEGORIES[random.usize(..CATEGORIES.len())],
        )
    })?;
    Ok(directory)
}

/// Two streams of `rows` each over twenty minutes, in `left` and `right`: a minute and one of
/// 50,000 keys have a row on either side, in the mean.
pub(super) fn sides(bench: &Path, rows: u64) -> Result<PathBuf> {
    let directory = bench.join(format!("sides-{rows}"));
    for (seed, (name, p)) in (SEED..).zip([("left", "l"), ("right", "r")]) {
        write_seeded(&directory.join(name), &even(rows), seed, |out, row, random| {
            let time = at(row * 1_200_000 / rows + random.u64(0..=SLIGHT_MS));
            let key = random.u32(0..50_000);
            writeln!(
                out,
                "{{\"{p}id\":\"{p}{row:07}\",\"k\":\"k{key:05}\",\"{p}v\":{},\"{p}t\":\"{time}\"}}",
                random.u32(0..1_000),
            )
        })?;
    }
    Ok(directory)
}

/// Half as many rows more than `distinct` identifiers: every third row repeats an earlier one.
pub(super) fn repeated(bench: &Path, distinct: u64) -> Result<PathBuf> {
    let directory = bench.join(format!("repeated-{distinct}"));
    write(&directory.join("events"), &even(distinct * 3 / 2), |out, row, random| {
        let new = row - row / 3;
        let id = if row % 3 == 2 { random.u64(0..new) } else { new };
        event(out, &format!("e{id:07}"), "k", row, random)
    })?;
    Ok(directory)
}

/// Rows of 100,000 users over ten minutes.
pub(super) fn visits(bench: &Path, rows: u64) -> Result<PathBuf> {
    let directory = bench.join(format!("visits-{rows}"));
    write(&directory.join("events"), &even(rows), |out, row, random| {
        let user = format!("u{:06}", random.u32(0..100_000));
        event(out, &format!("e{row:07}"), &user, row * 600_000 / rows, random)
    })?;
    Ok(directory)
}

/// Each of `keys` once, then `batches` files of `rows` of them.
pub(super) fn keys(bench: &Path, keys: u64, batches: usize, rows: u64) -> Result<PathBuf> {
    let directory = bench.join(format!("keys-{keys}"));
    let mut sizes = vec![500_000; (keys / 500_000) as usize];
    sizes.resize(sizes.len() + batches, rows);
    write(&directory.join("events"), &sizes, |out, row, random| {
        let key = if row < keys { row } else { random.u64(0..keys) };
        writeln!(out, "{{\"k\":\"k{key:07}\"}}")
    })?;
    Ok(directory)
}

fn event(
    out: &mut dyn Write,
    id: &str,
    key: &str,
    at_ms: u64,
    random: &mut fastrand::Rng,
) -> std::io::Result<()> {
    let (value, time) = (random.u32(0..1_000), at(at_ms + random.u64(0..=SLIGHT_MS)));
    writeln!(out, "{{\"id\":\"{id}\",\"k\":\"{key}\",\"v\":{value},\"ts\":\"{time}\"}}")
}

fn even(rows: u64) -> Vec<u64> {
    vec![ROWS_PER_FILE; (rows / ROWS_PER_FILE) as usize]
}

/// An event time, in milliseconds from the earliest.
fn at(ms: u64) -> humantime::Rfc3339Timestamp {
    let time = UNIX_EPOCH + Duration::from_millis(BEGIN_MS - LATENESS_MS + ms);
    humantime::format_rfc3339_millis(time)
}

fn write(
    directory: &Path,
    sizes: &[u64],
    row: impl FnMut(&mut dyn Write, u64, &mut fastrand::Rng) -> std::io::Result<()>,
) -> Result<()> {
    write_seeded(directory, sizes, SEED, row)
}

/// Writes files of so many rows each where the directory is not there yet. `row` is told the
/// number of the row.
fn write_seeded(
    directory: &Path,
    sizes: &[u64],
    seed: u64,
    mut row: impl FnMut(&mut dyn Write, u64, &mut fastrand::Rng) -> std::io::Result<()>,
) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    let rows: u64 = sizes.iter().sum();
    eprintln!("bench: writing {rows} rows to {}", directory.display());
    let unfinished = directory.with_extension("part");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut next = 0..rows;
    for (file, size) in sizes.iter().enumerate() {
        let path = unfinished.join(format!("part-{file:05}.json"));
        let mut write = || {
            let mut out = BufWriter::new(File::create(&path)?);
            for number in next.by_ref().take(*size as usize) {
                row(&mut out, number, &mut random)?;
            }
            let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + file as u64);
            out.into_inner()?.set_modified(modified)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
    }
    std::fs::rename(&unfinished, directory)?;
    Ok(())
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
