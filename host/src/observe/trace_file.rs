//! The file of a trace: the trace event format of Chrome, which Perfetto reads, too.
//!
//! ```text
//! {"displayTimeUnit":"ms","traceEvents":[      begin
//! {"name":"batch","ph":"X","ts":…,"dur":…},    one event a line
//! …
//! ]}                                           end, overwritten by the next events
//! ```
//!
//! Each write ends with the end, so that the file is whole whenever the process stops.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::print::say;

const BEGIN: &str = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
const END: &str = "\n]}\n";

/// Slices of a trace: some 200 MB. A few batches of very many rows have as many as a great many
/// small ones, so a number of batches alone is no bound.
const SLICES_MAX: u64 = 1_000_000;
/// Text that is kept before it is written; a batch that ends is written in any case.
const TEXT_BYTES: usize = 256 * 1024;

/// A section of a thread's time.
pub(super) struct Slice {
    pub(super) name: &'static str,
    /// Since the trace began.
    pub(super) begin: Duration,
    pub(super) length: Duration,
    /// Shared by the slices of a span.
    pub(super) arguments: Arc<Map<String, Value>>,
}

/// A slice as the file has it: a complete event.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'a str,
    /// Microseconds with the nanoseconds behind the point, as is `dur`.
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u64,
    args: &'a Map<String, Value>,
}

/// Where slices go, until there are enough of them.
pub(super) struct TraceFile {
    path: PathBuf,
    batches_max: u64,
    is_open: AtomicBool,
    slices: AtomicU64,
    writer: Mutex<Writer>,
}

struct Writer {
    file: File,
    process: u32,
    /// Where the events end in the file.
    end: u64,
    /// Events that are not in the file yet.
    text: Vec<u8>,
    has_events: bool,
    batches: u64,
    /// Tracks that have their name.
    tracks: BTreeSet<u64>,
}

impl TraceFile {
    pub(super) fn create(path: &Path, batches_max: u64) -> io::Result<TraceFile> {
        let mut writer = Writer {
            file: File::create(path)?,
            process: std::process::id(),
            end: BEGIN.len() as u64,
            text: Vec::new(),
            has_events: false,
            batches: 0,
            tracks: BTreeSet::new(),
        };
        writer.file.write_all(format!("{BEGIN}{END}").as_bytes())?;
        writer.event(&json!({
            "name": "process_name", "ph": "M", "pid": writer.process, "args": { "name": "tidemill" },
        }));
        Ok(TraceFile {
            path: path.to_owned(),
            batches_max,
            is_open: AtomicBool::new(true),
            slices: AtomicU64::new(0),
            writer: Mutex::new(writer),
        })
    }

    /// Whether there is room for more.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Counts a slice that is about to be kept.
    pub(super) fn takes_slice(&self) -> bool {
        self.is_open() && self.slices.fetch_add(1, Ordering::Relaxed) < SLICES_MAX
    }

    /// Slices of one thread, the inner ones before those that they are in.
    pub(super) fn add(
        &self,
        track: u64,
        thread: Option<&str>,
        slices: Vec<Slice>,
        ends_batch: bool,
    ) {
        let mut writer = self.writer();
        if !self.is_open() {
            return;
        }
        writer.name_track(track, thread);
        slices.iter().for_each(|slice| writer.slice(track, slice));
        writer.batches += u64::from(ends_batch);
        let has_all_batches = writer.batches >= self.batches_max;
        let is_full = has_all_batches || self.slices.load(Ordering::Relaxed) >= SLICES_MAX;
        let mut written = Ok(());
        if is_full || ends_batch || writer.text.len() > TEXT_BYTES {
            written = writer.write();
        }
        if let Err(error) = written {
            self.is_open.store(false, Ordering::Relaxed);
            tracing::warn!(%error, "the trace {} cannot be written and ends", self.path.display());
        } else if is_full {
            self.is_open.store(false, Ordering::Relaxed);
            let path = self.path.display();
            let batches = writer.batches;
            // Asked for, so it is said whatever is logged.
            say(&format!(
                "the trace {path} is full with {batches} batches; the job goes on without"
            ));
        }
    }

    pub(super) fn finish(&self) {
        if self.is_open()
            && let Err(error) = self.writer().write()
        {
            tracing::warn!(%error, "the trace {} lacks its end", self.path.display());
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Writer {
    fn name_track(&mut self, track: u64, thread: Option<&str>) {
        if self.tracks.insert(track) {
            self.event(&json!({
                "name": "thread_name", "ph": "M", "pid": self.process, "tid": track,
                "args": { "name": thread.unwrap_or("thread") },
            }));
        }
    }

    fn slice(&mut self, track: u64, slice: &Slice) {
        self.event(&Event {
            name: slice.name,
            ph: "X",
            ts: micros(slice.begin),
            dur: micros(slice.length),
            pid: self.process,
            tid: track,
            args: &slice.arguments,
        });
    }

    fn event(&mut self, event: &impl Serialize) {
        if std::mem::replace(&mut self.has_events, true) {
            self.text.extend(b",\n");
        }
        // Numbers and texts into memory: nothing that could fail.
        let _ = serde_json::to_writer(&mut self.text, event);
    }

    /// Puts the events over the end, and a new end after them.
    fn write(&mut self) -> io::Result<()> {
        let bytes = self.text.len() as u64;
        self.text.extend(END.as_bytes());
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&self.text)?;
        self.end += bytes;
        self.text.clear();
        Ok(())
    }
}

/// Microseconds with the nanoseconds behind the point.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}
