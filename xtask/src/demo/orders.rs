//! Makes up orders and writes them as JSON files, as a shop's systems would drop them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};

use crate::plugins::replace;

pub(crate) const ORDERS_PER_SECOND: u64 = 2_000;
const FILES_PER_SECOND: u64 = 4;

/// Orders arrive up to this long after they were placed.
const LATENESS: Duration = Duration::from_secs(60);

/// As people type them: the plugin writes them in one way.
const CATEGORIES: [&str; 6] = ["books", "Books", "toys", " toys", "garden", "MUSIC"];

const SEED: u64 = 7;

/// A thread that writes files until it is stopped.
pub(crate) struct Generator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Generator {
    pub(crate) fn start(directory: &Path) -> Result<Generator> {
        // A demo that goes on does not repeat the orders of the last one.
        let files = std::fs::read_dir(directory)?.count() as u64;
        let stop = Arc::new(AtomicBool::new(false));
        let (directory, stopped) = (directory.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || write_files(&directory, files, &stopped));
        Ok(Generator { stop, thread })
    }

    /// Ends it and gives the number of orders written.
    pub(crate) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread that makes up orders panicked"))?
    }
}

fn write_files(directory: &Path, first: u64, stop: &AtomicBool) -> Result<u64> {
    let mut random = fastrand::Rng::with_seed(SEED + first);
    let begin = Instant::now();
    let per_file = ORDERS_PER_SECOND / FILES_PER_SECOND;
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = first + written / per_file;
        let lines = orders(&mut random, number * per_file, per_file, SystemTime::now());
        replace(&path(directory, number), lines.as_bytes())?;
        written += per_file;
        let due = begin + Duration::from_millis(written * 1_000 / ORDERS_PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(written)
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("orders-{number:08}.json"))
}

/// `count` orders, one JSON object a line, placed in the last minute before `now`. One in a
/// hundred has no usable amount.
fn orders(random: &mut fastrand::Rng, first: u64, count: u64, now: SystemTime) -> String {
    let mut lines = String::new();
    for id in first..first + count {
        let user = random.u32(0..100_000);
        let amount = random.f64() * if random.u8(0..100) == 0 { -500.0 } else { 500.0 };
        let category = CATEGORIES[random.usize(..CATEGORIES.len())];
        let late = Duration::from_millis(random.u64(0..=LATENESS.as_millis() as u64));
        let placed = humantime::format_rfc3339_millis(now - late);
        let _ = writeln!(
            lines,
            "{{\"order_id\":\"o{id:010}\",\"user_id\":\"u{user:06}\",\"amount\":{amount:.2},\
             \"category\":\"{category}\",\"order_time\":\"{placed}\"}}"
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn orders_are_json_lines_and_the_same_for_the_same_seed() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let some = || orders(&mut fastrand::Rng::with_seed(1), 5, 3, now);
        let rows: Vec<serde_json::Value> =
            some().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0]["order_id"], "o0000000005");
        assert!(rows[0]["order_time"].as_str().unwrap().starts_with("2023-11-14T22:1"));
        assert_eq!(some(), some());
    }
}
