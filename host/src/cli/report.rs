//! What is said of a query while it runs.

use std::io::{IsTerminal, Write};

use tidemill_core::{BatchSpec, Progress, SourceRange};
use tidemill_engine::QueryEvent;

use super::arguments::ProgressArgument;

/// Prints a query's events on standard error.
pub(super) struct Reporter {
    query: String,
    batches: bool,
    json: bool,
}

impl Reporter {
    pub(super) fn new(query: &str, progress: ProgressArgument) -> Reporter {
        let batches = match progress {
            ProgressArgument::Auto => std::io::stderr().is_terminal(),
            ProgressArgument::Json => true,
            ProgressArgument::None => false,
        };
        Reporter { query: query.to_owned(), batches, json: progress == ProgressArgument::Json }
    }

    pub(super) fn tell(&self, event: &QueryEvent<'_>) {
        match event {
            QueryEvent::Progress(progress) if self.batches && self.json => {
                if let Ok(line) = serde_json::to_string(progress) {
                    say(&line);
                }
            }
            QueryEvent::Progress(progress) if self.batches => say(&readable(progress)),
            QueryEvent::Progress(_)
            | QueryEvent::Running { .. }
            | QueryEvent::Idle
            // The source says it itself.
            | QueryEvent::Unanswered(_) => {}
            QueryEvent::Started { next, is_replay } => {
                let how = if *is_replay { "replays" } else { "goes on with" };
                if next.0 > 0 || *is_replay {
                    tracing::info!(query = self.query, "{how} batch {next}");
                }
            }
            QueryEvent::Adopted { batch, place } => say(&format!(
                "batch {batch} is in {place} and was not in the checkpoint, which was put back from a copy: it runs again as it was, and the place keeps what it has"
            )),
            QueryEvent::Skipped { spec, holding } => say(&skipped(spec, holding)),
            QueryEvent::Replanned { spec } => say(&format!(
                "batch {} is planned anew, and reads what its sources have now: {}",
                spec.batch,
                ranges(spec)
            )),
            QueryEvent::Reloaded { plugin, digest, batch } => {
                say(&format!("reloaded plugin \"{plugin}\": batch {batch} runs {}", digest.short()))
            }
            QueryEvent::ReloadRefused { plugin, reason } => say(&format!(
                "the new plugin \"{plugin}\" is refused, and the old one goes on: {reason}"
            )),
            QueryEvent::Retrying { batch, reason, wait } => {
                say(&format!("batch {batch} is tried again in {} s: {reason}", wait.as_secs()))
            }
        }
    }
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

fn say(line: &str) {
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
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
    if let Some(watermark) = &progress.event_time.watermark {
        line += &format!(", watermark {watermark}");
    }
    line
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
