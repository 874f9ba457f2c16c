//! `tidemill replay`: a batch that is in the log is run again, and looked at.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use parking_lot::Mutex;
use tidemill_connectors::ConsoleOutput;
use tidemill_core::{BatchId, ConnectorError, Digest};
use tidemill_engine::EngineError;

use super::answer::Answer;
use super::arguments::{ReplayArguments, RowFormat};
use super::check::code_of;
use super::differences::only;
use super::printed_rows::PrintedRows;
use super::report::grouped;
use super::{ENDED_WELL, FAILED, complain, job_of};
use crate::job::{Job, JobSink};
use crate::query::{PrepareError, Replay, ReplayOutcome, ReplayedRows};

pub(super) fn replay(arguments: &ReplayArguments) -> u8 {
    let job = match job_of(&arguments.job, &arguments.changes) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let secrets = job.secrets.clone();
    let batch = BatchId(arguments.batch);
    let answer = Answer::of_process();
    let replayed = Replay::of(job, batch).and_then(|replay| match &arguments.plugin {
        None => show(&replay, batch, arguments.format, &answer),
        Some(plugin) => compare(&replay, batch, plugin, arguments.format, &answer),
    });
    match replayed {
        Ok(Ended::Well) => ENDED_WELL,
        Ok(Ended::Failed(error)) => {
            complain(&secrets, &error);
            FAILED
        }
        Err(error) => {
            complain(&secrets, &error);
            code_of(error.is_retryable())
        }
    }
}

enum Ended {
    Well,
    Failed(String),
}

/// Shows the rows of the batch.
fn show(
    replay: &Replay,
    batch: BatchId,
    format: RowFormat,
    answer: &Answer,
) -> Result<Ended, PrepareError> {
    let outcome = replay.as_logged()?;
    tell(replay, batch, &outcome, answer);
    let rows = match &outcome.rows {
        Ok(rows) => rows,
        Err(error) => return Ok(failed(batch, "", error)),
    };
    print(&outcome, &rows.blocks, format, batch, answer)?;
    answer.say(&counted(batch, "", rows));
    Ok(Ended::Well)
}

/// Shows in which rows the batch would be another one with another file of a plugin.
fn compare(
    replay: &Replay,
    batch: BatchId,
    given: &str,
    format: RowFormat,
    answer: &Answer,
) -> Result<Ended, PrepareError> {
    let (plugin, file) = replay.plugin_of(given)?;
    let Some(ran) = replay.ran(&plugin) else {
        return Err(PrepareError::Invalid(format!("batch {batch} ran no plugin \"{plugin}\"")));
    };
    let digest = Replay::digest_of(&plugin, file)?;
    let before = replay.as_logged()?;
    tell(replay, batch, &before, answer);
    let after = replay.with(&plugin, file)?;
    let names = [
        format!(" with {} of \"{plugin}\", as it ran", ran.short()),
        format!(" with {} of {}", digest.short(), file.display()),
    ];
    let after_rows = match &after.rows {
        Ok(rows) => rows,
        Err(error) => return Ok(failed(batch, &names[1], error)),
    };
    let after_lines = lines(&after, after_rows)?;
    let before_lines = match &before.rows {
        Ok(rows) => lines(&before, rows)?,
        Err(error) => {
            let reason = format!("batch {batch}{} fails: {error}", names[0]);
            answer.say(&replay.job().secrets.conceal(&reason));
            Vec::new()
        }
    };
    let only_before = only(&before_lines, &after_lines);
    let only_after = only(&after_lines, &before_lines);
    if let Ok(rows) = &before.rows {
        let side = Side { outcome: &before, rows, name: "before", with: &names[0] };
        side.show(&before_lines, &only_before, format, batch, answer)?;
    }
    let side = Side { outcome: &after, rows: after_rows, name: "after", with: &names[1] };
    side.show(&after_lines, &only_after, format, batch, answer)?;
    if only_before.is_empty() && only_after.is_empty() {
        answer.say("there is no difference");
    }
    Ok(Ended::Well)
}

/// Shows what the new file of a plugin, which has these bytes, changes in a batch.
pub(super) fn show_difference(
    job: Job,
    batch: BatchId,
    plugin: &str,
    digest: Digest,
    answer: &Answer,
) -> Result<(), PrepareError> {
    let file = job.plugins.iter().find(|known| known.name == plugin);
    let Some(file) = file.map(|plugin| plugin.path.clone()) else { return Ok(()) };
    if Replay::digest_of(plugin, &file)? != digest {
        // It has changed again, or others were chosen in its place.
        return Ok(());
    }
    let file = file.display();
    let replay = Replay::of(job, batch)?;
    let ended = compare(&replay, batch, &format!("{plugin}={file}"), RowFormat::Table, answer)?;
    tell_end(&replay, ended, answer);
    Ok(())
}

/// Runs a batch again as it ran, and where the file of a plugin is another one now, shows what that
/// changes; otherwise shows the rows.
pub(super) fn show_again(job: Job, batch: BatchId, answer: &Answer) -> Result<(), PrepareError> {
    let replay = Replay::of(job, batch)?;
    let mut is_same = true;
    for plugin in &replay.job().plugins {
        let (name, file) = (&plugin.name, &plugin.path);
        let Some(ran) = replay.ran(name) else { continue };
        if Replay::digest_of(name, file)? != ran {
            is_same = false;
            let given = format!("{name}={}", file.display());
            let ended = compare(&replay, batch, &given, RowFormat::Table, answer)?;
            tell_end(&replay, ended, answer);
        }
    }
    if is_same {
        let ended = show(&replay, batch, RowFormat::Table, answer)?;
        tell_end(&replay, ended, answer);
    }
    Ok(())
}

fn tell_end(replay: &Replay, ended: Ended, answer: &Answer) {
    match ended {
        Ended::Well => {}
        Ended::Failed(reason) => answer.say(&replay.job().secrets.conceal(&reason)),
    }
}

/// What has to be known of the rows.
fn tell(replay: &Replay, batch: BatchId, outcome: &ReplayOutcome, answer: &Answer) {
    for change in &outcome.changes {
        answer.say(&format!(
            "{change} has changed since batch {batch} ran: it runs with what is there now"
        ));
    }
    if !replay.is_committed() {
        answer.say(&format!("batch {batch} is not committed: it failed, or is pending"));
    }
    if let JobSink::ForeachBatch { plugin, function } = &replay.job().sink {
        answer.say(&format!(
            "the rows are those that {plugin}.{function} would be given; it is not called"
        ));
    }
}

fn failed(batch: BatchId, with: &str, error: &EngineError) -> Ended {
    let advice = match error.is_retryable() {
        true => "Run the replay again: this may pass.",
        false => {
            "A replay reads what the batch read, so that input that is gone or other than it was has to be put back. What failed on its rows can be tried otherwise, and nothing comes of it: another plugin with --plugin FILE, another setting with --set KEY=VALUE, or the job's file changed."
        }
    };
    Ended::Failed(format!("batch {batch}{with} fails: {error}\n{advice}"))
}

fn counted(batch: BatchId, with: &str, rows: &ReplayedRows) -> String {
    let given: usize = rows.blocks.iter().map(RecordBatch::num_rows).sum();
    let refused = match rows.replayed.dead_letters {
        0 => String::new(),
        refused => format!(", {} refused", grouped(refused)),
    };
    format!(
        "batch {batch}{with}: {} of {}{refused}",
        rows_text(given as u64),
        grouped(rows.replayed.input_rows)
    )
}

fn rows_text(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} row{plural}", grouped(count))
}

fn print(
    outcome: &ReplayOutcome,
    blocks: &[RecordBatch],
    format: RowFormat,
    batch: BatchId,
    answer: &Answer,
) -> Result<(), PrepareError> {
    let (schema, console) = (Arc::clone(&outcome.schema), answer.console());
    let mut rows = PrintedRows::begin(format, schema, outcome.zone, batch, console)?;
    blocks.iter().try_for_each(|block| rows.write(block))?;
    match rows.print() {
        // Whoever reads has enough.
        Err(error) if error.is_unread() => Ok(()),
        printed => Ok(printed?),
    }
}

/// Each row as the console prints it as JSON.
fn lines(outcome: &ReplayOutcome, rows: &ReplayedRows) -> Result<Vec<String>, PrepareError> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let console = ConsoleOutput::shared(Arc::clone(&kept) as Arc<Mutex<_>>);
    let (schema, zone) = (Arc::clone(&outcome.schema), outcome.zone);
    let mut printed = PrintedRows::begin(RowFormat::Json, schema, zone, BatchId::FIRST, console)?;
    rows.blocks.iter().try_for_each(|block| printed.write(block))?;
    printed.print()?;
    let text = String::from_utf8_lossy(&kept.lock()).into_owned();
    let row = |line: &str| {
        let row = line.strip_prefix("{\"batch_id\":0,\"row\":").unwrap_or(line);
        row.strip_suffix('}').unwrap_or(row).to_owned()
    };
    Ok(text.lines().map(row).collect())
}

/// One of two runs that are compared.
struct Side<'a> {
    outcome: &'a ReplayOutcome,
    rows: &'a ReplayedRows,
    name: &'a str,
    with: &'a str,
}

impl Side<'_> {
    /// Shows the rows at these places, which the other one has not.
    fn show(
        &self,
        lines: &[String],
        places: &[usize],
        format: RowFormat,
        batch: BatchId,
        answer: &Answer,
    ) -> Result<(), PrepareError> {
        answer.say(&counted(batch, self.with, self.rows));
        if places.is_empty() {
            return Ok(());
        }
        if let RowFormat::Json = format {
            let only = places.iter().filter_map(|place| lines.get(*place));
            let only = only.map(|row| format!("{{\"only\":\"{}\",\"row\":{row}}}\n", self.name));
            answer.print(&only.collect::<String>());
            return Ok(());
        }
        let misfit = |error| ConnectorError::fatal("the rows cannot be shown").caused_by(error);
        let all = concat_batches(&self.outcome.schema, &self.rows.blocks).map_err(misfit)?;
        // Rows of one batch are fewer than 2^32.
        let taken = UInt32Array::from_iter_values(places.iter().map(|place| *place as u32));
        let only = take_record_batch(&all, &taken).map_err(misfit)?;
        answer.print(&format!("only{}: {}\n", self.with, rows_text(only.num_rows() as u64)));
        print(self.outcome, &[only], format, batch, answer)
    }
}
