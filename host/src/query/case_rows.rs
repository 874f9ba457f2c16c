//! Rows of a test's case, in place of those of a job's sources, and the clock that goes with them.
//!
//! A case is a list of *moments*. At each, all sources are asked once for their next range: the rows
//! that the case has for that moment, or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use serde_json::{Map, Value, json};
use tidemill_codec::{JsonDecoder, JsonOptions};
use tidemill_connectors::{OptionText, SourceConfig, plan_source};
use tidemill_core::{
    AskAgain, ConnectorError, RangeReader, ReadLimit, RowStream, Slice, Source, SourceRange,
    TableReader, nearest,
};
use tidemill_engine::Clock;
use tidemill_time::Zone;
use tidemill_types::format_type;

use super::statics::StaticReader;

/// The rows of all sources.
#[derive(Clone)]
pub(super) struct CaseRows {
    /// By source, for each moment a file of JSON lines, if there is one.
    files: BTreeMap<String, Vec<Option<PathBuf>>>,
    /// The moment that comes next.
    next: Arc<AtomicUsize>,
}

impl CaseRows {
    pub(super) fn new(files: BTreeMap<String, Vec<Option<PathBuf>>>) -> CaseRows {
        CaseRows { files, next: Arc::default() }
    }

    /// A source whose table has these columns.
    pub(super) fn source(&self, name: &str, columns: SchemaRef, zone: Zone) -> CaseSource {
        CaseSource {
            name: name.to_owned(),
            columns,
            zone,
            files: self.files.get(name).cloned().unwrap_or_default(),
            next: Arc::clone(&self.next),
        }
    }

    /// The time of the first moment, and how long each lasts, in milliseconds.
    pub(super) fn clock(&self, begins_ms: i64, every_ms: i64) -> Arc<dyn Clock> {
        Arc::new(CaseClock { begins_ms, every_ms, next: Arc::clone(&self.next) })
    }
}

/// One source of a case that could be opened.
#[derive(Clone)]
pub(super) struct CaseSource {
    name: String,
    columns: SchemaRef,
    zone: Zone,
    files: Vec<Option<PathBuf>>,
    next: Arc<AtomicUsize>,
}

impl CaseSource {
    /// Opens it before its first moment.
    pub(super) fn open(&self) -> Result<Box<dyn Source>, ConnectorError> {
        let tables = self.files.iter().map(|file| {
            let Some(file) = file else { return Ok(None) };
            rows_of(&self.name, file, &self.columns, self.zone).map(Some)
        });
        let tables = tables.collect::<Result<Vec<_>, ConnectorError>>()?;
        let reader = Arc::new(CaseReader { columns: Arc::clone(&self.columns), tables });
        let (source, next) = (self.clone(), 0);
        Ok(Box::new(RunningCase { source, next, reader }))
    }
}

/// Refuses a row with a member that no column has, which would be a row of nulls without a word, and one
/// with a value that is none of its column's.
pub(super) fn check_rows(
    file: &Path,
    columns: &SchemaRef,
    zone: Zone,
) -> Result<(), ConnectorError> {
    let wrong = |number: usize, reason: String| {
        ConnectorError::fatal(format!("{}:{}: {reason}", file.display(), number + 1))
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        ConnectorError::fatal(format!("could not read {}: {error}", file.display()))
    })?;
    let mode = BTreeMap::from([("mode".to_owned(), "FAILFAST".to_owned())]);
    let options = JsonOptions::parse(&mode, zone);
    let options = options.map_err(|error| ConnectorError::fatal(error.to_string()))?;
    let decoder = JsonDecoder::new(Arc::clone(columns), options.clone());
    let mut decoder = decoder.map_err(|error| ConnectorError::fatal(error.to_string()))?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| wrong(number, error.to_string()))?;
        let names = || columns.fields().iter().map(|field| field.name().as_str());
        let is_column = |name: &str| names().any(|column| column.eq_ignore_ascii_case(name));
        if let Some(name) = row.keys().find(|name| !is_column(name)) {
            let advice = match nearest(name, names()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(wrong(number, format!("there is no column \"{name}\"; {advice}")));
        }
        let decoded = decoder.decode_text(line.as_bytes());
        decoded.map_err(|_| wrong(number, misfit(&row, columns, &options)))?;
    }
    // The rows are not wanted here, and a column that nobody reads may be missing although it is NOT NULL.
    Ok(())
}

/// Which value of a row that could not be read is none of its column's.
fn misfit(row: &Map<String, Value>, columns: &Schema, options: &JsonOptions) -> String {
    let wrong = row.iter().find_map(|(name, value)| {
        let mut fields = columns.fields().iter();
        let field = fields.find(|field| field.name().eq_ignore_ascii_case(name))?;
        let alone = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let mut decoder = JsonDecoder::new(alone, options.clone()).ok()?;
        let text = json!({ name.as_str(): value }).to_string();
        decoder.decode_text(text.as_bytes()).err()?;
        Some(format!(
            "{name} is {value}, which is no {}",
            format_type(field.data_type()).to_uppercase()
        ))
    });
    wrong.unwrap_or_else(|| "a value is none of its column's type".to_owned())
}

/// The rows of a file of JSON lines. A value that is none of its column's type is an error.
fn rows_of(
    name: &str,
    file: &Path,
    columns: &SchemaRef,
    time_zone: Zone,
) -> Result<StaticReader, ConnectorError> {
    check_rows(file, columns, time_zone)?;
    let planned = plan_source(SourceConfig {
        name: name.to_owned(),
        format: "json".to_owned(),
        path: Some(file.to_owned()),
        schema: Some(Arc::clone(columns)),
        time_zone,
        options: BTreeMap::from([("mode".to_owned(), OptionText::from("FAILFAST"))]),
        ..SourceConfig::default()
    });
    let planned = planned.map_err(|error| ConnectorError::fatal(error.to_string()))?;
    StaticReader::open(&planned)
}

struct RunningCase {
    source: CaseSource,
    /// Its next moment.
    next: usize,
    reader: Arc<CaseReader>,
}

impl Source for RunningCase {
    fn description(&self) -> String {
        format!("Case[{}]", self.source.name)
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.source.columns)
    }

    fn next_range(&mut self, _: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        let moment = self.next;
        self.next += 1;
        self.source.next.fetch_max(self.next, Ordering::Relaxed);
        let has_rows = self.source.files.get(moment).is_some_and(Option::is_some);
        let range = SourceRange { start: json!(moment), end: json!(self.next), parts: Value::Null };
        Ok(has_rows.then_some(range))
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn advance(&mut self, _: &SourceRange) -> Result<(), ConnectorError> {
        Err(restarted())
    }

    fn position(&self) -> Value {
        json!(self.next)
    }

    fn restore(&mut self, _: &Value) -> Result<(), ConnectorError> {
        Err(restarted())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Arc::clone(&self.reader) as Arc<dyn RangeReader>
    }

    /// A moment without rows is no end, while others come after it.
    fn ask_again(&self) -> AskAgain {
        match self.next < self.source.files.len() {
            true => AskAgain::Unanswered(Duration::ZERO),
            false => AskAgain::NowAndThen,
        }
    }
}

fn restarted() -> ConnectorError {
    ConnectorError::fatal("a case is played from its beginning, and its checkpoint is new")
}

struct CaseReader {
    columns: SchemaRef,
    /// For each moment.
    tables: Vec<Option<StaticReader>>,
}

impl RangeReader for CaseReader {
    fn may_wait(&self) -> bool {
        false
    }

    /// All rows are in the first slice, so that they keep their order.
    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        let moment = range.start.as_u64().and_then(|moment| usize::try_from(moment).ok());
        let table = moment.and_then(|moment| self.tables.get(moment)?.as_ref());
        let Some(table) = table.filter(|_| slice.index == 0) else {
            return Ok(Box::new(std::iter::empty()));
        };
        let misfit =
            |error| ConnectorError::fatal("a row of the case lacks a value").caused_by(error);
        let columns = Arc::new(self.columns.project(projection).map_err(misfit)?);
        Ok(Box::new(table.read(projection)?.map(move |rows| {
            let rows = rows?;
            // JSON has columns that may be null; the source's may not all.
            let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let (columns, values) = (Arc::clone(&columns), rows.columns().to_vec());
            RecordBatch::try_new_with_options(columns, values, &count).map_err(misfit)
        })))
    }
}

/// Goes on by a step for each moment, and stands still between them.
struct CaseClock {
    begins_ms: i64,
    every_ms: i64,
    next: Arc<AtomicUsize>,
}

impl CaseClock {
    fn passed_ms(&self) -> i64 {
        let moments = i64::try_from(self.next.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        moments.saturating_mul(self.every_ms)
    }
}

impl Clock for CaseClock {
    fn now_ms(&self) -> i64 {
        self.begins_ms.saturating_add(self.passed_ms())
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.passed_ms().unsigned_abs())
    }
}
