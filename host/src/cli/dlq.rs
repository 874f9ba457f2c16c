//! `tidemill dlq`: the dead letters of a job.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write as _};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde_json::{Value, json};
use tidemill_core::{BatchId, format_millis};

use super::arguments::{DlqArguments, DlqVerb, DropArguments, ShowArguments};
use super::check::code_of;
use super::report::grouped;
use super::table::table;
use super::{ENDED_WELL, complain, job_of, printed};
use crate::print::say;
use crate::query::{PrepareError, StoredLetters};

/// Letters that `show` prints in a table, where nothing else is asked for.
const TABLE_ROWS: u64 = 100;

/// One dead letter.
struct Letter {
    batch: u64,
    /// Milliseconds since 1970-01-01 UTC.
    time_ms: i64,
    step: String,
    plugin: String,
    function: String,
    digest: String,
    reason: String,
    row: String,
}

pub(super) fn dlq(arguments: &DlqArguments) -> u8 {
    let job = match job_of(&arguments.job, &arguments.changes) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let secrets = job.secrets.clone();
    let stored = StoredLetters::of(job);
    let done = stored.and_then(|stored| match &arguments.verb {
        DlqVerb::List(list) => list_all(&stored, list.json),
        DlqVerb::Show(asked) => show(&stored, asked),
        DlqVerb::Drop(asked) => drop_some(&stored, asked),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&secrets, &error);
            code_of(error.is_retryable())
        }
    }
}

/// What is common to the letters of a line: batch, step, plugin and function.
type Group = (u64, String, String, String);

/// How many letters a group has, when its batch ran, and the reason of the first.
struct Counted {
    rows: u64,
    time_ms: i64,
    reason: String,
}

fn counted(stored: &StoredLetters) -> Result<BTreeMap<Group, Counted>, PrepareError> {
    let mut groups: BTreeMap<Group, Counted> = BTreeMap::new();
    for letter in letters(stored)? {
        let Letter { batch, time_ms, step, plugin, function, reason, .. } = letter?;
        let new = || Counted { rows: 0, time_ms, reason };
        groups.entry((batch, step, plugin, function)).or_insert_with(new).rows += 1;
    }
    Ok(groups)
}

fn list_all(stored: &StoredLetters, is_json: bool) -> Result<u8, PrepareError> {
    let groups = counted(stored)?;
    if is_json {
        let lines = groups.iter().map(|((batch, step, plugin, function), counted)| {
            let value = json!({
                "batch_id": batch,
                "batch_time": format_millis(counted.time_ms),
                "step": step,
                "plugin": plugin,
                "function": function,
                "rows": counted.rows,
                "reason": counted.reason,
            });
            format!("{value}\n")
        });
        return Ok(printed(&lines.collect::<String>()));
    }
    if groups.is_empty() {
        say("there are no dead letters");
        return Ok(ENDED_WELL);
    }
    let head = ["batch", "time", "rows", "step", "function", "reason of the first"];
    let lines = groups.iter().map(|((batch, step, plugin, function), counted)| {
        [
            batch.to_string(),
            format_millis(counted.time_ms),
            grouped(counted.rows),
            step.clone(),
            format!("{plugin}.{function}"),
            counted.reason.clone(),
        ]
    });
    Ok(printed(&stored.job().secrets.conceal(&table(head, lines))))
}

fn show(stored: &StoredLetters, asked: &ShowArguments) -> Result<u8, PrepareError> {
    let is_table = !asked.json && !asked.rows;
    let limit = asked.limit.or(is_table.then_some(TABLE_ROWS)).unwrap_or(u64::MAX);
    let (mut shown, mut more) = (Vec::new(), 0_u64);
    let mut taken = 0;
    for letter in letters(stored)? {
        let letter = letter?;
        if asked.batch.is_some_and(|batch| batch != letter.batch) {
            continue;
        }
        if taken >= limit {
            more += 1;
            continue;
        }
        taken += 1;
        if is_table {
            let function = format!("{}.{}", letter.plugin, letter.function);
            shown.push([
                letter.batch.to_string(),
                letter.step,
                function,
                letter.reason,
                letter.row,
            ]);
            continue;
        }
        let line = if asked.rows { letter.row } else { as_json(&letter).to_string() };
        let code = printed(&format!("{line}\n"));
        if code != ENDED_WELL {
            return Ok(code);
        }
    }
    if is_table && !shown.is_empty() {
        let head = ["batch", "step", "function", "reason", "row"];
        let text = table(head, shown.into_iter());
        let code = printed(&stored.job().secrets.conceal(&text));
        if code != ENDED_WELL {
            return Ok(code);
        }
    }
    match (taken, more, asked.batch) {
        (0, _, None) => say("there are no dead letters"),
        (0, _, Some(batch)) => say(&format!("there are no dead letters of batch {batch}")),
        (_, 0, _) => {}
        (_, more, _) => say(&format!("and {} more; --limit shows more of them", grouped(more))),
    }
    Ok(ENDED_WELL)
}

fn drop_some(stored: &StoredLetters, asked: &DropArguments) -> Result<u8, PrepareError> {
    let found = counted(stored)?;
    let wanted = found.iter().filter(|((batch, ..), _)| asked.dropped.has(*batch));
    let rows: u64 = wanted.map(|(_, counted)| counted.rows).sum();
    let whose = match asked.dropped.batch {
        Some(batch) => format!("of batch {batch}"),
        None => format!("of {}", stored.job().name),
    };
    if rows == 0 {
        let what = format!("there are no dead letters {whose}");
        return match asked.dropped.batch {
            Some(_) => Err(PrepareError::Invalid(what)),
            None => {
                say(&what);
                Ok(ENDED_WELL)
            }
        };
    }
    let rows = grouped(rows);
    if !asked.yes && !confirmed(&format!("drop the {rows} dead letters {whose} for good?"))? {
        say("nothing was dropped");
        return Ok(ENDED_WELL);
    }
    stored.drop_batches(&|BatchId(batch)| asked.dropped.has(batch))?;
    say(&format!("dropped {rows} dead letters {whose}"));
    Ok(ENDED_WELL)
}

/// Asks somebody at a terminal.
fn confirmed(question: &str) -> Result<bool, PrepareError> {
    if !io::stdin().is_terminal() {
        return Err(PrepareError::Invalid(
            "nobody is there to be asked whether the letters are to be dropped for good; add --yes"
                .to_owned(),
        ));
    }
    let mut stderr = io::stderr();
    // Where it cannot be shown, the answer says so.
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn letters(
    stored: &StoredLetters,
) -> Result<impl Iterator<Item = Result<Letter, PrepareError>>, PrepareError> {
    Ok(stored.rows()?.flat_map(|rows| match rows {
        Ok(rows) => letters_of(&rows).into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(PrepareError::from(error))],
    }))
}

/// The letters of some rows. What a file lacks, which somebody changed, is empty.
fn letters_of(rows: &RecordBatch) -> Vec<Letter> {
    let text = |column: usize, row: usize| {
        let texts = rows.column(column).as_string::<i32>();
        if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
    };
    let batches = rows.column(0).as_primitive::<Int64Type>();
    let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
    let letter = |row: usize| Letter {
        batch: u64::try_from(batches.value(row)).unwrap_or(0),
        time_ms: times.value(row).div_euclid(1_000),
        step: text(2, row),
        plugin: text(3, row),
        function: text(4, row),
        digest: text(5, row),
        reason: text(6, row),
        row: text(7, row),
    };
    (0..rows.num_rows()).map(letter).collect()
}

fn as_json(letter: &Letter) -> Value {
    json!({
        "batch_id": letter.batch,
        "batch_time": format_millis(letter.time_ms),
        "step": letter.step,
        "plugin": letter.plugin,
        "function": letter.function,
        "digest": letter.digest,
        "reason": letter.reason,
        "row": letter.row,
    })
}
