//! Runs a job as a process, and says what it cost.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;

/// How often the memory is looked at. Its peak is kept by the kernel, so that only the last
/// moments can be missed.
const MEMORY_INTERVAL: Duration = Duration::from_millis(5);

/// Lines of the command's messages that are kept for the case that it fails.
const MESSAGES_MAX: usize = 20;

/// A run that ended well.
pub(super) struct Run {
    pub(super) wall: Duration,
    /// User and system time of the whole process.
    pub(super) cpu: Duration,
    /// Peak of the resident memory; `None` where there is no `/proc`.
    pub(super) peak_kib: Option<u64>,
    /// Records, with the time since the process' start at which they came.
    pub(super) records: Vec<(Duration, Progress)>,
}

impl Run {
    pub(super) fn rows(&self) -> u64 {
        self.records.iter().map(|(_, progress)| progress.input_rows).sum()
    }

    /// Batches that had rows.
    pub(super) fn batches(&self) -> impl Iterator<Item = &(Duration, Progress)> {
        self.records.iter().filter(|(_, progress)| progress.input_rows > 0)
    }
}

/// Runs `tidemill run JOB` to its end. `watch` sees each record as it comes, and may act on the
/// process.
pub(super) fn run(
    tidemill: &Path,
    arguments: &[&str],
    job: &Path,
    mut watch: impl FnMut(Duration, &Progress, &Child) -> Result<()>,
) -> Result<Run> {
    let cpu_before = children_cpu()?;
    let begin = Instant::now();
    let mut child = Command::new(tidemill)
        .args(arguments)
        .arg(job)
        .args(["--progress", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", tidemill.display()))?;
    let memory = Memory::watch(child.id());
    let stderr = child.stderr.take().context("standard error is piped")?;
    let (mut records, mut messages) = (Vec::new(), VecDeque::new());
    for line in BufReader::new(stderr).lines() {
        let (at, line) = (begin.elapsed(), line?);
        match Progress::parse(&line) {
            Some(progress) => {
                if let Err(error) = watch(at, &progress, &child) {
                    child.kill()?;
                    child.wait()?;
                    return Err(error);
                }
                records.push((at, progress));
            }
            None => {
                messages.truncate(MESSAGES_MAX - 1);
                messages.push_front(line);
            }
        }
    }
    let status = child.wait()?;
    let wall = begin.elapsed();
    if !status.success() {
        messages.make_contiguous().reverse();
        let said = Vec::from(messages).join("\n");
        bail!("{} ended with {status} on {}:\n{said}", tidemill.display(), job.display());
    }
    Ok(Run { wall, cpu: children_cpu()? - cpu_before, peak_kib: memory.peak_kib(), records })
}

/// Processor time of all children that have ended, in the kernel's steps of 10 ms.
fn children_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("measuring needs Linux")?;
    // The second field is the program's name in brackets and may hold anything. After it come, as
    // proc(5) counts, the fields from 3 on.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| -> Result<u64> {
        Ok(fields.get(field - 3).context("a short /proc/self/stat")?.parse()?)
    };
    Ok(Duration::from_millis((ticks(16)? + ticks(17)?) * 10))
}

/// Looks at the memory of a process until asked for its peak.
struct Memory {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Option<u64>>,
}

impl Memory {
    fn watch(pid: u32) -> Memory {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peak = None;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak_kib(pid).max(peak);
                std::thread::sleep(MEMORY_INTERVAL);
            }
            peak
        });
        Memory { stop, thread }
    }

    fn peak_kib(self) -> Option<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().flatten()
    }
}

fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
