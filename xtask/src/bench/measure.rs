//! Runs a job as a process, and says what it cost.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::process::interrupt;
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
    /// The records as they were printed.
    pub(super) lines: Vec<String>,
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
    watch: impl FnMut(Duration, &Progress, &Child) -> Result<()>,
) -> Result<Run> {
    Process::start(tidemill, arguments, job)?.finish(watch)
}

/// Runs a job that has no end while `act` does something to it, then stops it.
pub(super) fn run_beside<T>(
    tidemill: &Path,
    job: &Path,
    act: impl FnOnce(&Live) -> Result<T>,
) -> Result<T> {
    let process = Process::start(tidemill, &["run"], job)?;
    let live = Live { id: process.child.id(), batches: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            process.finish(|_, progress, _| {
                let has_rows = u64::from(progress.input_rows > 0);
                live.batches.fetch_add(has_rows, Ordering::Relaxed);
                Ok(())
            })
        });
        let acted = act(&live);
        if !reading.is_finished() {
            interrupt(live.id)?;
        }
        // A job that failed by itself says more than what was expected of it in vain.
        reading.join().map_err(|_| anyhow!("reading the job's records failed"))??;
        acted
    })
}

/// A job that is running.
pub(super) struct Live {
    id: u32,
    batches: AtomicU64,
}

impl Live {
    /// User and system time so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        process_cpu(self.id)
    }

    /// Batches so far that had rows.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Peak of the resident memory so far.
    pub(super) fn peak_kib(&self) -> Option<u64> {
        peak_kib(self.id)
    }
}

/// A job's process.
struct Process {
    command: String,
    begin: Instant,
    cpu_before: Duration,
    child: Child,
    memory: Memory,
}

impl Process {
    fn start(tidemill: &Path, arguments: &[&str], job: &Path) -> Result<Process> {
        let cpu_before = children_cpu()?;
        let begin = Instant::now();
        let child = Command::new(tidemill)
            .args(arguments)
            .arg(job)
            .args(["--progress", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", tidemill.display()))?;
        let memory = Memory::watch(child.id());
        let command = format!("{} on {}", tidemill.display(), job.display());
        Ok(Process { command, begin, cpu_before, child, memory })
    }

    fn finish(
        mut self,
        mut watch: impl FnMut(Duration, &Progress, &Child) -> Result<()>,
    ) -> Result<Run> {
        let stderr = self.child.stderr.take().context("standard error is piped")?;
        let (mut records, mut lines, mut messages) = (Vec::new(), Vec::new(), VecDeque::new());
        for line in BufReader::new(stderr).lines() {
            let (at, line) = (self.begin.elapsed(), line?);
            match Progress::parse(&line) {
                Some(progress) => {
                    if let Err(error) = watch(at, &progress, &self.child) {
                        self.child.kill()?;
                        self.child.wait()?;
                        return Err(error);
                    }
                    records.push((at, progress));
                    lines.push(line);
                }
                None => {
                    messages.truncate(MESSAGES_MAX - 1);
                    messages.push_front(line);
                }
            }
        }
        let status = self.child.wait()?;
        let wall = self.begin.elapsed();
        if !status.success() {
            messages.make_contiguous().reverse();
            let said = Vec::from(messages).join("\n");
            bail!("{} ended with {status}:\n{said}", self.command);
        }
        let cpu = children_cpu()? - self.cpu_before;
        Ok(Run { wall, cpu, peak_kib: self.memory.peak_kib(), records, lines })
    }
}

/// User and system time of a process so far.
pub(super) fn process_cpu(id: u32) -> Result<Duration> {
    ticks(&format!("/proc/{id}/stat"), [14, 15])
}

/// Processor time of all children that have ended.
pub(super) fn children_cpu() -> Result<Duration> {
    ticks("/proc/self/stat", [16, 17])
}

/// The sum of two fields of a `stat` file, which are in the kernel's steps of 10 ms.
fn ticks(path: &str, sum: [usize; 2]) -> Result<Duration> {
    let stat = std::fs::read_to_string(path)
        .with_context(|| format!("reading {path}; measuring needs Linux"))?;
    // The second field is the program's name in brackets and may hold anything. After it come, as
    // proc(5) counts, the fields from 3 on.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let mut all = 0;
    for field in sum {
        all += fields.get(field - 3).with_context(|| format!("a short {path}"))?.parse::<u64>()?;
    }
    Ok(Duration::from_millis(all * 10))
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
