//! Cases of a job: input rows, batch by batch, and the rows that its sink has to get.
//!
//! ```text
//! job.toml
//! job.test/first/batches/0/orders.jsonl    rows of the source `orders`, at the first moment
//! job.test/first/batches/1/orders.jsonl    … at the next one
//! job.test/first/static/products.jsonl     a [static.products], where the case has its own
//! job.test/first/expected.jsonl            what the sink gets: {"batch_id":0,"row":{…}}
//! job.test/first/case.toml                 times and order, where the defaults will not do
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use serde::Deserialize;
use tempfile::TempDir;
use tidemill_codec::{EncodeOptions, JsonEncoder};
use tidemill_connectors::{ConsoleOutput, OptionText};
use tidemill_core::Trigger;
use tidemill_engine::{DEAD_LETTERS, EngineError, StopSignal};
use tidemill_time::{UTC, parse_timestamp};
use tidemill_types::Interval;

use super::case_rows::{CaseRows, check_rows};
use super::error::{PrepareError, invalid};
use super::planning::plan_now;
use super::prepare::{Prepared, StartError};
use super::shared::Shared;
use crate::job::{Job, JobSink, JobSource, JobTarget};

/// Ending of the folder with the cases of a job.
const FOLDER: &str = "test";
const BATCHES: &str = "batches";
const STATIC: &str = "static";
const EXPECTED: &str = "expected.jsonl";
const SETTINGS: &str = "case.toml";
const ROWS: &str = "jsonl";

/// Time of the first batch, and between two of them, where a case does not say.
const BEGINS: &str = "2026-01-01T00:00:00Z";
const EVERY: &str = "1 minute";

/// One case.
pub struct Case {
    /// Where the rows are that the sink has to get.
    pub expected: PathBuf,
    /// Whether the order of a batch's rows counts.
    pub is_ordered: bool,
    begins_ms: i64,
    every_ms: i64,
    /// By source, for each moment.
    rows: BTreeMap<String, Vec<Option<PathBuf>>>,
    statics: BTreeMap<String, PathBuf>,
}

/// A case by its name, or what is wrong with it.
pub type FoundCase = (String, Result<Case, PrepareError>);

/// `case.toml`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    begins: Option<String>,
    every: Option<String>,
    ordered: bool,
}

/// What came of a case.
pub enum Played {
    /// The lines that the sink got: the console's JSON lines, and after them rows that plugins
    /// refused.
    Gave(Vec<String>),
    /// A batch failed.
    Failed(EngineError),
}

/// The cases of a job, by name, or what is wrong with one.
///
/// # Errors
/// There are none.
pub fn cases_of(job: &Job) -> Result<Vec<FoundCase>, PrepareError> {
    let folder = job.path.with_extension(FOLDER);
    let mut cases = Vec::new();
    for (name, path) in listed(&folder)? {
        if path.is_dir() {
            let case = Case::read(&path, job);
            cases.push((name, case));
        }
    }
    if cases.is_empty() {
        let source = job.sources.first().map_or("SOURCE", |source| source.name.as_str());
        return Err(invalid(format!(
            "there are no cases in {0}; write rows into {0}/first/{BATCHES}/0/{source}.{ROWS}, a JSON object a line, then look at what `tidemill test {1} --bless` makes of them",
            folder.display(),
            job.path.display()
        )));
    }
    Ok(cases)
}

impl Case {
    fn read(path: &Path, job: &Job) -> Result<Case, PrepareError> {
        let settings = settings(&path.join(SETTINGS))?;
        let wrong = |key: &str, text: &str, wanted: &str| {
            invalid(format!("{}: {key} = \"{text}\": {wanted}", path.join(SETTINGS).display()))
        };
        let begins = settings.begins.as_deref().unwrap_or(BEGINS);
        let begins_ms = parse_timestamp(begins, UTC).map(|micros| micros.div_euclid(1_000));
        let begins_ms = begins_ms.ok_or_else(|| {
            wrong("begins", begins, "it has to be a time like 2026-01-01T00:00:00Z")
        })?;
        let every = settings.every.as_deref().unwrap_or(EVERY);
        let interval: Result<Interval, _> = every.parse();
        let every_ms =
            interval.map_err(|error| wrong("every", every, &error.to_string()))?.millis();
        if every_ms < 0 {
            return Err(wrong("every", every, "it must not be negative"));
        }
        let tables = |tables: &[JobSource]| tables.iter().map(|table| table.name.clone()).collect();
        let statics = rows_in(&path.join(STATIC), tables(&job.statics))?;
        Ok(Case {
            expected: path.join(EXPECTED),
            is_ordered: settings.ordered,
            begins_ms,
            every_ms,
            rows: moments(&path.join(BATCHES), tables(&job.sources))?,
            statics,
        })
    }

    /// Plays it.
    ///
    /// # Errors
    /// The job, a plugin or the case is wrong.
    pub fn play(&self, job: &Job) -> Result<Played, StartError> {
        let place = TempDir::new().map_err(|error| {
            PrepareError::Exhausted(format!("there is no temporary directory: {error}"))
        })?;
        let printed = Arc::new(Mutex::new(Vec::new()));
        let writer: Arc<Mutex<dyn io::Write + Send>> = printed.clone();
        let rows = CaseRows::new(self.rows.clone());
        let mut shared = Shared::new(false);
        shared.console = ConsoleOutput::shared(writer);
        shared.clock = rows.clock(self.begins_ms, self.every_ms);
        shared.case = Some(rows);
        let handler = match &job.sink {
            JobSink::ForeachBatch { plugin, function } => Some((plugin, function)),
            JobSink::Place(_) => None,
        };
        let prepared = plan_now(Prepared::new(self.alone(job, place.path()), &shared))??;
        if let Some((plugin, function)) = handler {
            prepared.check_handler(plugin, function)?;
        }
        for table in &job.statics {
            if let (Some(rows), Some(columns)) = (self.statics.get(&table.name), &table.schema) {
                check_rows(rows, columns, prepared.zone()).map_err(PrepareError::from)?;
            }
        }
        let mut query = prepared.start(StopSignal::new(), Box::new(|_| ()))?;
        if let Err(error) = query.run() {
            return Ok(Played::Failed(error));
        }
        drop(query);
        let text = String::from_utf8_lossy(&printed.lock()).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let letters = format!("{}_{DEAD_LETTERS}", job.name);
        lines.extend(shared.tables.get(&letters).iter().flat_map(|table| refused(&table.rows())));
        Ok(Played::Gave(lines))
    }

    /// The job with nothing around it but the rows of the case: a checkpoint of its own, and no place
    /// outside.
    fn alone(&self, job: &Job, place: &Path) -> Job {
        let mut job = job.clone();
        job.checkpoint = place.join("checkpoint");
        job.trigger = Trigger::AvailableNow;
        job.options.retries = 0;
        job.plugins.iter_mut().for_each(|plugin| plugin.watch = Some(false));
        // The order of rows, and of sums of doubles, must not depend on the machine.
        job.options.scan_partitions = job.options.scan_partitions.or(Some(1));
        job.targets.clear();
        job.sink = JobSink::Place(target("console", &[("format", "json")]));
        if let Some(letters) = &mut job.dead_letters {
            letters.place = target("memory", &[]);
        }
        for source in &mut job.sources {
            // Where the columns are known, its files need not be there.
            let is_missing = source.path.as_ref().is_some_and(|path| !path.exists());
            if is_missing && source.schema.is_some() {
                source.path = Some(place.to_owned());
            }
        }
        for table in &mut job.statics {
            if let Some(rows) = self.statics.get(&table.name) {
                table.infers = table.schema.is_none();
                table.format = "json".to_owned();
                table.path = Some(rows.clone());
                table.options = BTreeMap::from([("mode".to_owned(), OptionText::from("FAILFAST"))]);
            }
        }
        job
    }
}

fn target(format: &str, options: &[(&str, &str)]) -> JobTarget {
    let options = options.iter().map(|(name, text)| ((*name).to_owned(), OptionText::from(*text)));
    JobTarget { format: format.to_owned(), path: None, options: options.collect() }
}

fn settings(path: &Path) -> Result<Settings, PrepareError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        text => text.map_err(|error| unreadable(path, &error))?,
    };
    toml::from_str(&text).map_err(|error| {
        invalid(format!(
            "{}: {}; it has begins, every and ordered",
            path.display(),
            error.message()
        ))
    })
}

/// For each table and moment the file of its rows. Moments are folders with numbers from 0.
fn moments(
    folder: &Path,
    tables: Vec<String>,
) -> Result<BTreeMap<String, Vec<Option<PathBuf>>>, PrepareError> {
    let mut numbers = Vec::new();
    for (name, path) in listed(folder)? {
        let number: Result<usize, _> = name.parse();
        match number {
            Ok(number) if path.is_dir() => numbers.push((number, path)),
            _ => {
                return Err(invalid(format!(
                    "{} is no folder of a batch; name them 0, 1, 2 and so on",
                    path.display()
                )));
            }
        }
    }
    numbers.sort();
    let mut moments: BTreeMap<String, Vec<Option<PathBuf>>> = BTreeMap::new();
    for (place, (number, path)) in numbers.iter().enumerate() {
        if place != *number {
            return Err(invalid(format!(
                "there is no {}, and {} comes after it; a moment without rows is an empty folder",
                folder.join(place.to_string()).display(),
                path.display()
            )));
        }
        let mut rows = rows_in(path, tables.clone())?;
        for table in &tables {
            moments.entry(table.clone()).or_default().push(rows.remove(table));
        }
    }
    if numbers.is_empty() {
        return Err(invalid(format!(
            "there are no batches in {}; the rows of a source are in 0/SOURCE.{ROWS} there",
            folder.display()
        )));
    }
    Ok(moments)
}

/// By table the files of a folder. One that is of no table is refused.
fn rows_in(folder: &Path, tables: Vec<String>) -> Result<BTreeMap<String, PathBuf>, PrepareError> {
    let mut files = BTreeMap::new();
    for (name, path) in listed(folder)? {
        let table = name.strip_suffix(ROWS).and_then(|name| name.strip_suffix('.'));
        let Some(table) = table.filter(|table| tables.iter().any(|known| known == table)) else {
            let known: Vec<String> = tables.iter().map(|table| format!("{table}.{ROWS}")).collect();
            return Err(invalid(format!(
                "{} is of none of the job's tables; there can be: {}",
                path.display(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
        };
        files.insert(table.to_owned(), path.clone());
    }
    Ok(files)
}

/// What is in a folder, by name, but for hidden files; nothing where there is none.
fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, PrepareError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(folder, &error))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push((name, entry.path()));
        }
    }
    names.sort();
    Ok(names)
}

/// Columns of dead letters that a case can rely on: step, plugin, function, reason and row.
const REFUSED_COLUMNS: [usize; 5] = [2, 3, 4, 6, 7];

/// Dead letters as lines.
fn refused(letters: &[arrow::array::RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for block in letters {
        let batches = block.column(0).as_primitive::<Int64Type>();
        let Ok(columns) = block.project(&REFUSED_COLUMNS) else { continue };
        let Ok(encoder) = JsonEncoder::new(&columns.schema(), EncodeOptions::default()) else {
            continue;
        };
        let Ok(encoded) = encoder.rows(&columns) else { continue };
        for row in 0..block.num_rows() {
            let mut text = Vec::new();
            encoded.write(row, &mut text);
            let batch = if batches.is_null(row) { 0 } else { batches.value(row) };
            let text = String::from_utf8_lossy(&text);
            lines.push(format!("{{\"batch_id\":{batch},\"refused\":{text}}}"));
        }
    }
    lines
}

fn unreadable(path: &Path, error: &io::Error) -> PrepareError {
    invalid(format!("{} cannot be read: {error}", path.display()))
}
