//! Where a script is played: a directory, and a query of this process that stays up from run to
//! run.
//!
//! The query is held while files are put in place. It tells when it has found nothing more to do
//! ([`QueryEvent::Idle`]), and does not go on before the script does: so all files of a step are
//! there before a batch is made, and a step is over when everything that it put there, and the
//! batches without data that follow, are done.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tidemill::job::Job;
use tidemill::query::{PrepareError, Prepared, Shared};
use tidemill_connectors::ConsoleOutput;
use tidemill_core::{EventTimeProgress, Progress, StateProgress};
use tidemill_engine::{EngineError, Outcome as Ended, QueryEvent, StopSignal};
use tidemill_tests::{Finished, Workbench};
use tidemill_types::parse_schema;
use toml::Table;

use super::expectation::{Batch, FIGURES, Figure, Outcome, seconds};
use super::row::{self, Row};

/// No batch of a script takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Stage {
    bench: Workbench,
    job: Table,
    /// How many were written.
    files: i64,
    printed: Printed,
    running: Option<Running>,
    /// Of the last batch.
    operators: Vec<StateProgress>,
}

struct Running {
    stop: StopSignal,
    told: Receiver<Told>,
    /// Lets an idle query go on.
    go_on: SyncSender<()>,
    query: JoinHandle<Result<Ended, EngineError>>,
}

/// What the query tells the script.
enum Told {
    Batch(Box<Progress>),
    Idle,
}

impl Stage {
    pub(super) fn new(job: &Table) -> Stage {
        let mut stage = Stage {
            bench: Workbench::new(),
            job: Table::new(),
            files: 0,
            printed: Printed::default(),
            running: None,
            operators: Vec::new(),
        };
        stage.restart(job);
        stage
    }

    /// Ends the query, and lays these words over those of its job.
    pub(super) fn restart(&mut self, changes: &Table) {
        self.end();
        self.job.extend(changes.clone());
        let job = completed(&self.job);
        for name in ["source", "static"].iter().flat_map(|kind| tables(&job, kind)) {
            std::fs::create_dir_all(self.bench.path(&format!("input/{}", name.0))).unwrap();
        }
        self.bench.write("job.toml", job.to_string());
    }

    /// Puts a file of these rows where a table reads.
    pub(super) fn add(&mut self, table: &str, lines: &[String]) -> Result<(), String> {
        let job = completed(&self.job);
        let mut known = ["source", "static"].iter().flat_map(|kind| tables(&job, kind));
        let known = known.find(|(name, _)| *name == table);
        let (_, words) = known.ok_or_else(|| format!("the job has no table \"{table}\""))?;
        let word = |key: &str| words.get(key).and_then(toml::Value::as_str);
        let content = match (word("format"), word("schema")) {
            (Some("text"), _) => lines.iter().map(|line| format!("{}\n", line.trim())).collect(),
            (_, Some(schema)) => json_lines(schema, lines)?,
            _ => return Err(format!("\"{table}\" has no schema")),
        };
        self.bench.write_input(&format!("input/{table}/{:04}", self.files), self.files, content);
        self.files += 1;
        Ok(())
    }

    /// Processes all that is there, and says what happened.
    pub(super) fn run(&mut self, in_order: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut records = Vec::new();
        if let Err(failure) = self.process(&mut records) {
            outcome.fails.push(failure);
        }
        let mut rows = self.printed.take();
        for record in &records {
            let mut rows = rows.remove(&record.batch_id).unwrap_or_default();
            if !in_order {
                rows.sort_by(row::compare);
            }
            outcome.batches.push(batch(record, rows));
        }
        if let Some(last) = records.last() {
            self.operators.clone_from(&last.state_operators);
        }
        outcome.figures = FIGURES.iter().map(|name| self.figure(name, &records)).collect();
        outcome
    }

    /// Runs the query until it is idle, or until it ends.
    fn process(&mut self, records: &mut Vec<Progress>) -> Result<(), String> {
        let running = match self.running.take() {
            Some(running) => {
                running.go_on.send(()).expect("the query waits for it");
                running
            }
            None => self.start()?,
        };
        loop {
            match running.told.recv_timeout(PATIENCE) {
                Ok(Told::Batch(record)) => records.push(*record),
                Ok(Told::Idle) => {
                    self.running = Some(running);
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => return running.end(),
                Err(RecvTimeoutError::Timeout) => panic!("no end of the batches"),
            }
        }
    }

    fn start(&self) -> Result<Running, String> {
        let prepared = self.prepare().map_err(|error| error.to_string())?;
        let stop = StopSignal::new();
        let (tell, told) = sync_channel(1);
        let (go_on, wait) = sync_channel(1);
        // Nobody listens any more, and nobody is waited for, once the script has ended the query.
        let on_event = move |event: QueryEvent<'_>| match event {
            QueryEvent::Progress(record) => {
                let _ = tell.send(Told::Batch(Box::new(record.clone())));
            }
            QueryEvent::Idle => {
                let _ = tell.send(Told::Idle);
                let _ = wait.recv();
            }
            _ => {}
        };
        let query = prepared.start(stop.clone(), Box::new(on_event));
        let mut query = query.map_err(|error| error.to_string())?;
        let query = thread::spawn(move || query.run());
        Ok(Running { stop, told, go_on, query })
    }

    fn prepare(&self) -> Result<Prepared, PrepareError> {
        let mut shared = Shared::new(false);
        shared.console = ConsoleOutput::shared(Arc::clone(&self.printed.text) as _);
        let job = Job::read(&self.bench.path("job.toml"), &[])?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _alone = crate::planning();
        runtime.block_on(Prepared::new(job, &shared))
    }

    /// Runs the command on the job, which is to be refused: what it created, and how it ended.
    pub(super) fn refused(&mut self) -> (Vec<String>, Finished) {
        self.end();
        let before = self.bench.names("");
        let mut finished = self.check();
        // A job that can be started might never end.
        if finished.code == Some(2) {
            finished = self.bench.run(&["run", "job.toml"]);
        }
        let mut created = self.bench.names("");
        created.retain(|name| !before.contains(name));
        (created, finished)
    }

    /// Asks the command whether the job can be started.
    pub(super) fn check(&self) -> Finished {
        self.bench.run(&["check", "job.toml"])
    }

    fn figure(&self, name: &str, records: &[Progress]) -> Figure {
        let by_operator = |figure: &dyn Fn(usize) -> u64| {
            let figures = (0..self.operators.len()).map(|operator| figure(operator).to_string());
            figures.collect::<Vec<_>>().join(" ")
        };
        let sum = |figure: &dyn Fn(&StateProgress) -> u64| {
            by_operator(&|at| {
                records.iter().map(|record| figure(&record.state_operators[at])).sum()
            })
        };
        let value = match name {
            "state" => by_operator(&|at| self.operators[at].num_rows_total),
            "updated" => sum(&|operator| operator.num_rows_updated),
            "removed" => sum(&|operator| operator.num_rows_removed),
            "dropped" => sum(&|operator| operator.num_rows_dropped_by_watermark),
            _ => records.iter().rev().find_map(|r| event_times(&r.event_time)).unwrap_or_default(),
        };
        Figure { name: name.to_owned(), value }
    }

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.stop();
            // An idle query ends well.
            running.end().unwrap();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.stop();
            let _ = running.end();
        }
    }
}

impl Running {
    /// Waits for the end of a query that was asked to end, or does so by itself.
    fn end(self) -> Result<(), String> {
        drop((self.go_on, self.told));
        match self.query.join() {
            Ok(ended) => ended.map(|_| ()).map_err(|error| error.to_string()),
            Err(_) => Err("the query's thread panicked".to_owned()),
        }
    }
}

/// What a console sink printed since it was last asked.
#[derive(Default)]
struct Printed {
    text: Arc<Mutex<Text>>,
}

#[derive(Default)]
struct Text(Vec<u8>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Printed {
    fn take(&self) -> BTreeMap<u64, Vec<Row>> {
        let text = String::from_utf8(std::mem::take(&mut self.text.lock().0)).unwrap();
        let rows = tidemill_tests::printed_rows(&text).into_iter();
        let columns = |row: Value| row.as_object().unwrap().values().cloned().collect();
        rows.map(|(batch, rows)| (batch, rows.into_iter().map(columns).collect())).collect()
    }
}

/// The tables of a kind that a job has, and what it says of each.
fn tables<'a>(job: &'a Table, kind: &str) -> impl Iterator<Item = (&'a String, &'a Table)> {
    let tables = job.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
    tables.filter_map(|(name, words)| Some((name, words.as_table()?)))
}

/// The job with the words that a script leaves out: where its tables are, and its sink.
fn completed(job: &Table) -> Table {
    let mut job = job.clone();
    for kind in ["source", "static"] {
        let tables = job.get_mut(kind).and_then(toml::Value::as_table_mut);
        for (name, table) in tables.into_iter().flatten() {
            set_default(table, "format", "json");
            if ["json", "csv", "parquet", "text"].map(Some).contains(&table["format"].as_str()) {
                set_default(table, "path", format!("input/{name}"));
            }
        }
    }
    let sink = toml::toml! {
        format = "console"
        options = { format = "json" }
    };
    job.entry("sink").or_insert(sink.into());
    job
}

fn set_default(table: &mut toml::Value, key: &str, value: impl Into<toml::Value>) {
    table.as_table_mut().expect("a table").entry(key).or_insert(value.into());
}

/// Rows as lines of JSON, whose columns are those of the schema. A line that begins with a brace
/// stays as it is.
fn json_lines(schema: &str, lines: &[String]) -> Result<String, String> {
    let schema = parse_schema(schema).map_err(|error| error.to_string())?;
    let mut text = String::new();
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.starts_with('#')) {
        if line.starts_with('{') {
            text += &format!("{line}\n");
            continue;
        }
        for row in row::parse(line)? {
            if row.len() != schema.fields().len() {
                return Err(format!("`{}` has not as many columns as the table", row::print(&row)));
            }
            let names = schema.fields().iter().map(|field| field.name().clone());
            let row: Map<String, Value> = names.zip(row).collect();
            text += &format!("{}\n", Value::Object(row));
        }
    }
    Ok(text)
}

fn batch(record: &Progress, rows: Vec<Row>) -> Batch {
    Batch {
        number: record.batch_id,
        has_data: record.sources.iter().any(|source| source.start_offset != source.end_offset),
        watermark_ms: record.event_time.watermark.as_deref().map(millis),
        rows,
    }
}

fn event_times(times: &EventTimeProgress) -> Option<String> {
    let text = |time: &Option<String>| time.as_deref().map(|time| seconds(millis(time)));
    Some(format!("{} to {}, mean {}", text(&times.min)?, text(&times.max)?, text(&times.avg)?))
}

/// A time of a progress record.
fn millis(time: &str) -> i64 {
    string_to_timestamp_nanos(time).expect("an ISO time").div_euclid(1_000_000)
}
