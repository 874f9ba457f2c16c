//! Prints every batch: as Spark's table, or with `format = "json"` as one line a row.
//!
//! Nothing is printed before `commit`, and then all at once. The console keeps no mark: a batch
//! that runs again is printed again (as in Spark).

mod output;
mod table;

use std::io::{ErrorKind, Seek, SeekFrom, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tempfile::SpooledTempFile;
use tidemill_codec::{EncodeOptions, JsonEncoder, WrittenTimes};
use tidemill_core::{Begin, ConnectorError, Delivery, Held, Sink};
use tidemill_time::Zone;

use crate::mark::not_begun;
use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};
pub use output::ConsoleOutput;
use table::Table;

const OPTIONS: Known = Known { built: &["numRows", "truncate", "format"], later: &[] };

/// Rows that a table may be asked to show: widths are known only when all are there.
const TABLE_ROWS_MAX: usize = 100_000;

/// JSON lines of a batch are kept in memory up to this many bytes, and in a temporary file beyond.
const LINES_BYTES_MAX: usize = 8 << 20;

/// A console sink that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct ConsolePlan {
    layout: Layout,
    schema: Option<SchemaRef>,
    time_zone: Zone,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Table { rows_max: usize, truncate: bool },
    Json,
}

impl ConsolePlan {
    pub(crate) const DESCRIPTION: &str = "ConsoleSink";

    pub(crate) fn new(config: &SinkConfig, place: &str) -> Result<ConsolePlan, ConfigError> {
        let options = Options::check(place, &config.options, &[OPTIONS])?;
        let rows_max = options.number("numRows", 1)?.unwrap_or(20);
        if rows_max > TABLE_ROWS_MAX {
            let most = format!("at most {TABLE_ROWS_MAX} rows can be shown; use format = \"json\"");
            return Err(options.bad("numRows", &most));
        }
        let truncate = options.bool("truncate", true)?;
        let layout = match options.text("format").map(str::to_lowercase).as_deref() {
            None | Some("table") => Layout::Table { rows_max, truncate },
            Some("json") => Layout::Json,
            Some(_) => return Err(options.bad("format", "it has to be table or json")),
        };
        Ok(ConsolePlan { layout, schema: config.schema.clone(), time_zone: config.time_zone })
    }

    pub(crate) fn open(&self, output: ConsoleOutput) -> ConsoleSink {
        ConsoleSink { plan: self.clone(), output, open: None }
    }
}

/// A running console sink.
pub(crate) struct ConsoleSink {
    plan: ConsolePlan,
    output: ConsoleOutput,
    open: Option<(Delivery, Shown)>,
}

/// What `commit` will print.
enum Shown {
    Table(Table),
    Json(SpooledTempFile),
}

impl Sink for ConsoleSink {
    fn description(&self) -> String {
        ConsolePlan::DESCRIPTION.to_owned()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(Held::Unknown)
    }

    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError> {
        let shown = match self.plan.layout {
            Layout::Table { rows_max, truncate } => {
                Shown::Table(Table::new(rows_max, truncate, self.plan.schema.clone()))
            }
            Layout::Json => Shown::Json(SpooledTempFile::new(LINES_BYTES_MAX)),
        };
        self.open = Some((delivery, shown));
        Ok(Begin::Wanted)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        let (delivery, shown) = self.open.as_mut().ok_or_else(not_begun)?;
        match shown {
            Shown::Table(table) => table.add(rows, self.plan.time_zone),
            Shown::Json(lines) => {
                let text = json_lines(delivery, rows, self.plan.time_zone)?;
                lines.write_all(&text).map_err(|error| {
                    ConnectorError::retryable("could not keep the batch in a temporary file")
                        .caused_by(error)
                })?;
            }
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        self.open.as_ref().map(|_| ()).ok_or_else(not_begun)
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        let (delivery, shown) = self.open.take().ok_or_else(not_begun)?;
        let printed = self.output.print(|out| match shown {
            Shown::Table(table) => table.print(delivery.batch, out),
            Shown::Json(mut lines) => {
                lines.seek(SeekFrom::Start(0))?;
                std::io::copy(&mut lines, out).map(|_| ())
            }
        });
        printed.map_err(|error| {
            let message = format!("could not print batch {}", delivery.batch);
            // A reader like `head` has enough and goes: no failure of anybody.
            let failed = match error.kind() {
                ErrorKind::BrokenPipe => ConnectorError::unread(message),
                _ => ConnectorError::fatal(message),
            };
            failed.caused_by(error)
        })
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.open = None;
        Ok(())
    }
}

fn json_lines(
    delivery: &Delivery,
    rows: &RecordBatch,
    zone: Zone,
) -> Result<Vec<u8>, ConnectorError> {
    let keep_nulls =
        EncodeOptions { times: WrittenTimes::in_zone(zone), ..EncodeOptions::default() };
    let failed = |error| {
        ConnectorError::fatal("the rows cannot be printed as JSON; use the table").caused_by(error)
    };
    let encoder = JsonEncoder::new(&rows.schema(), keep_nulls).map_err(failed)?;
    let encoded = encoder.rows(rows).map_err(failed)?;
    let head = format!("{{\"batch_id\":{},\"row\":", delivery.batch);
    let mut text = Vec::new();
    for row in 0..rows.num_rows() {
        text.extend_from_slice(head.as_bytes());
        encoded.write(row, &mut text);
        text.extend_from_slice(b"}\n");
    }
    Ok(text)
}
