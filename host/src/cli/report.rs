//! What is said of a query while it runs.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemill_core::{BatchSpec, Progress, Secrets, SourceRange, Trigger};
use tidemill_engine::{EngineError, Outcome, QueryEvent};

use super::arguments::ProgressArgument;
use crate::job::{Job, JobSource};
use crate::print::say;

/// Prints a query's events on standard error: to a person at a terminal what it does and waits
/// for, to a log what is out of the ordinary.
pub(super) struct Reporter {
    lines: Lines,
    /// Before each line for a person, where the process runs several queries.
    prefix: String,
    /// What it waits for when it has nothing to do.
    waits_for: String,
    checkpoint: String,
    secrets: Secrets,
    said: Mutex<Said>,
    /// Where lines go; a test reads them.
    print: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lines {
    /// For a person at a terminal.
    Readable,
    Json,
    /// What is out of the ordinary alone.
    None,
}

/// What was said so far.
#[derive(Default)]
struct Said {
    /// The last batch that is committed, of earlier runs, too.
    last_batch: Option<u64>,
    waits: bool,
    /// Whether the job took the place of another, and it was not said yet.
    is_reloaded: bool,
}

impl Reporter {
    /// `is_one`: the process runs this query alone.
    pub(super) fn new(job: &Job, is_one: bool, progress: ProgressArgument) -> Reporter {
        let lines = match progress {
            ProgressArgument::Json => Lines::Json,
            _ if Reporter::talks_to_person(progress) => Lines::Readable,
            ProgressArgument::Auto | ProgressArgument::None => Lines::None,
        };
        Reporter::to(job, is_one, lines, Box::new(say))
    }

    /// Tells of what is out of the ordinary alone, by `print`.
    pub(super) fn by(job: &Job, print: Box<dyn Fn(&str) + Send + Sync>) -> Reporter {
        Reporter::to(job, true, Lines::None, print)
    }

    fn to(
        job: &Job,
        is_one: bool,
        lines: Lines,
        print: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Reporter {
        Reporter {
            lines,
            prefix: if is_one { String::new() } else { format!("{}: ", job.name) },
            waits_for: waits_for(job),
            checkpoint: job.checkpoint.display().to_string(),
            secrets: job.secrets.clone(),
            said: Mutex::default(),
            print,
        }
    }

    /// Whether somebody at a terminal is told what goes on, if this is what was asked for.
    pub(super) fn talks_to_person(progress: ProgressArgument) -> bool {
        progress == ProgressArgument::Auto && std::io::stderr().is_terminal()
    }

    fn talks(&self) -> bool {
        self.lines == Lines::Readable
    }

    pub(super) fn tell(&self, event: &QueryEvent<'_>) {
        match event {
            QueryEvent::Progress(progress) => self.tell_of_batch(progress),
            // Of a place that does not answer, the source says it itself.
            QueryEvent::Running { .. } | QueryEvent::Unanswered(_) => {}
            QueryEvent::Idle => self.tell_of_wait(),
            QueryEvent::Started { next, is_replay } => self.tell_of_start(next.0, *is_replay),
            QueryEvent::Adopted { batch, place } => self.say(&format!(
                "batch {batch} is in {place} and was not in the checkpoint, which was put back from a copy: it runs again as it was, and the place keeps what it has"
            )),
            QueryEvent::Skipped { spec, holding } => self.say(&skipped(spec, holding)),
            QueryEvent::Replanned { spec } => self.say(&format!(
                "batch {} is planned anew, and reads what its sources have now: {}",
                spec.batch,
                ranges(spec)
            )),
            QueryEvent::Reloaded { plugin, digest, batch } => {
                let digest = digest.short();
                self.say(&format!("reloaded plugin \"{plugin}\": batch {batch} runs {digest}"));
            }
            QueryEvent::ReloadRefused { plugin, reason } => self.say(&format!(
                "the new plugin \"{plugin}\" is refused, and the old one goes on: {reason}"
            )),
            QueryEvent::Migrating { batch, operators } => {
                let of = if *operators == 1 { "an operator" } else { "operators" };
                self.say(&format!(
                    "batch {batch} takes over the state of {of} that an earlier generation of a plugin left"
                ));
            }
            QueryEvent::Retrying { batch, reason, wait } => {
                self.say(&format!(
                    "batch {batch} is tried again in {} s: {reason}",
                    wait.as_secs()
                ));
            }
        }
    }

    /// The query that is about to run takes the place of one whose job was changed.
    pub(super) fn job_reloaded(&self) {
        self.said().is_reloaded = true;
    }

    /// A changed job is not taken.
    pub(super) fn job_refused(&self, reason: &str) {
        self.say(&format!("the changed job is refused, and the one from before goes on: {reason}"));
    }

    /// The last word. An error has its own.
    pub(super) fn end(&self, outcome: &Result<Outcome, EngineError>) {
        let done = match self.said().last_batch {
            Some(batch) => format!("after batch {batch}"),
            None => "before the first batch".to_owned(),
        };
        match outcome {
            _ if !self.talks() => {}
            Ok(Outcome::Stopped) => self.say(&format!("stopped {done}; start again to go on")),
            Ok(Outcome::Finished) => {
                self.say(&format!("ended {done}: all that was there is processed"));
            }
            // Whoever reads no more does not want to hear of it.
            Ok(Outcome::Unread) | Err(_) => {}
        }
    }

    fn tell_of_start(&self, next: u64, is_replay: bool) {
        self.said().last_batch = next.checked_sub(1);
        let how = match next {
            _ if is_replay => "replays",
            0 => "starts with",
            _ => "goes on with",
        };
        let is_reloaded = std::mem::take(&mut self.said().is_reloaded);
        if is_reloaded {
            self.say(&format!("reloaded the job: batch {next} runs as it says now"));
        } else if self.talks() {
            self.say(&format!("{how} batch {next}; checkpoint {}", self.checkpoint));
        } else if how != "starts with" {
            tracing::info!("{}{how} batch {next}", self.prefix);
        }
    }

    fn tell_of_batch(&self, progress: &Progress) {
        self.said().last_batch = Some(progress.batch_id);
        match self.lines {
            // Figures alone, which no secret is to be looked for in.
            Lines::Readable => (self.print)(&format!("{}{}", self.prefix, readable(progress))),
            Lines::Json => {
                if let Ok(line) = serde_json::to_string(progress) {
                    (self.print)(&line);
                }
            }
            Lines::None => {}
        }
    }

    /// Once is enough: after that the person knows.
    fn tell_of_wait(&self) {
        if self.talks() && !std::mem::replace(&mut self.said().waits, true) {
            self.say(&format!("waits for {}; Ctrl-C ends it", self.waits_for));
        }
    }

    fn say(&self, line: &str) {
        (self.print)(&self.secrets.conceal(&format!("{}{line}", self.prefix)));
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waits_for(job: &Job) -> String {
    let source = |source: &JobSource| match &source.path {
        Some(path) => format!("{} ({}, {})", source.name, source.format, path.display()),
        None => format!("{} ({})", source.name, source.format),
    };
    let sources: Vec<String> = job.sources.iter().map(source).collect();
    let every = match job.trigger {
        Trigger::ProcessingTime(interval) => format!(", every {interval}"),
        Trigger::AsSoonAsPossible | Trigger::AvailableNow | Trigger::Once => String::new(),
    };
    format!("rows of {}{every}", sources.join(", "))
}

fn skipped(spec: &BatchSpec, holding: &[String]) -> String {
    let held = match holding {
        [] => "its rows are in no place that keeps marks".to_owned(),
        places => format!("{} had its rows already and keeps them", places.join(" and ")),
    };
    format!(
        "batch {} is skipped: {held}, and state is as if there were none; it was to read {}",
        spec.batch,
        ranges(spec)
    )
}

/// What a batch reads, in one line.
fn ranges(spec: &BatchSpec) -> String {
    /// Of a source's own words: enough for a few files.
    const TEXT_CHARS: usize = 600;
    if spec.ranges.is_empty() {
        return "nothing".to_owned();
    }
    let range = |(name, range): (&String, &SourceRange)| {
        let parts =
            if range.parts.is_null() { String::new() } else { format!(", {}", range.parts) };
        let text = format!("{} to {}{parts}", range.start, range.end);
        let cut: String = text.chars().take(TEXT_CHARS).collect();
        let more = if cut.len() < text.len() { " …" } else { "" };
        format!("source \"{name}\" from {cut}{more}")
    };
    spec.ranges.iter().map(range).collect::<Vec<_>>().join("; ")
}

fn readable(progress: &Progress) -> String {
    let mut line = format!(
        "batch {}: {} rows in, {} out, {} ms",
        progress.batch_id,
        grouped(progress.num_input_rows),
        grouped(progress.sink.num_output_rows.unsigned_abs()),
        progress.batch_duration
    );
    if progress.num_input_rows > 0 && progress.processed_rows_per_second.is_finite() {
        line += &format!(", {} rows/s", grouped(progress.processed_rows_per_second as u64));
    }
    let dropped: u64 =
        progress.state_operators.iter().map(|op| op.num_rows_dropped_by_watermark).sum();
    let held: u64 = progress.state_operators.iter().map(|op| op.num_rows_total).sum();
    if !progress.state_operators.is_empty() {
        line += &format!(", state {}", grouped(held));
    }
    if dropped > 0 {
        line += &format!(", {} late", grouped(dropped));
    }
    if let Some(letters) = progress.dead_letters.filter(|letters| *letters > 0) {
        line += &format!(", {} refused", grouped(letters));
    }
    if let Some(watermark) = &progress.event_time.watermark {
        line += &format!(", watermark {watermark}");
    }
    line
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use std::sync::Arc;

    use tidemill_core::BatchId;

    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    const JOB: &str = "name = \"orders\"\ntrigger = { processing_time = \"10 seconds\" }\n[source.o]\nformat = \"json\"\npath = \"in\"\nschema = \"a INT\"\noptions = { password = \"hunter2\" }\n[sink]\nformat = \"noop\"\n";

    /// What a reporter says of some events.
    fn told(lines: Lines, is_one: bool, events: impl FnOnce(&Reporter)) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!(
            "tidemill-report-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("job.toml"), JOB).unwrap();
        let job = Job::read(&folder.join("job.toml"), &[]).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let print = Box::new(move |line: &str| ear.lock().unwrap().push(line.to_owned()));
        events(&Reporter::to(&job, is_one, lines, print));
        let place = folder.display().to_string();
        let heard = heard.lock().unwrap();
        heard.iter().map(|line| line.replace(&place, "DIR")).collect()
    }

    fn start_wait_and_stop(reporter: &Reporter) {
        reporter.tell(&QueryEvent::Started { next: BatchId(6), is_replay: false });
        reporter.tell(&QueryEvent::Idle);
        reporter.tell(&QueryEvent::Idle);
        reporter.end(&Ok(Outcome::Stopped));
    }

    #[test]
    fn a_person_is_told_where_it_goes_on_what_it_waits_for_and_where_it_stopped() {
        let told = told(Lines::Readable, true, start_wait_and_stop);
        assert_eq!(
            told,
            [
                "goes on with batch 6; checkpoint DIR/.tidemill/orders",
                "waits for rows of o (json, DIR/in), every 10 seconds; Ctrl-C ends it",
                "stopped after batch 5; start again to go on",
            ]
        );
    }

    #[test]
    fn a_query_among_several_says_which_it_is() {
        let told = told(Lines::Readable, false, |reporter| {
            reporter.tell(&QueryEvent::Started { next: BatchId(0), is_replay: false });
            reporter.end(&Ok(Outcome::Finished));
        });
        assert!(told[0].starts_with("orders: starts with batch 0"), "{told:?}");
        assert!(told[1].starts_with("orders: ended before the first batch"), "{told:?}");
    }

    #[test]
    fn a_log_has_nothing_of_it() {
        assert_eq!(told(Lines::None, true, start_wait_and_stop), [""; 0]);
        assert_eq!(told(Lines::Json, true, start_wait_and_stop), [""; 0]);
    }

    #[test]
    fn what_failed_is_told_without_secrets() {
        let told = told(Lines::None, true, |reporter| {
            let reason = EngineError::Execution("at \"hunter2\" nobody answers".to_owned());
            let wait = std::time::Duration::from_secs(4);
            reporter.tell(&QueryEvent::Retrying { batch: BatchId(3), reason: &reason, wait });
            reporter.tell(&QueryEvent::ReloadRefused { plugin: "p", reason: "no hunter2" });
        });
        assert_eq!(told[0], "batch 3 is tried again in 4 s: at \"…\" nobody answers");
        assert!(told[1].ends_with(": no …"), "{told:?}");
    }
}
