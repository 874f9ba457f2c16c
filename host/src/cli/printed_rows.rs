//! Rows as the console sink prints them.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_connectors::{ConsoleOutput, OptionText, SinkConfig, SinkContext, plan_sink};
use tidemill_core::{Attempt, BatchId, ConnectorError, Delivery, EncodedSpec, QueryId, Sink};
use tidemill_time::Zone;

use super::arguments::RowFormat;
use crate::query::PrepareError;

/// Rows that are shown as a table; the console takes no more.
const TABLE_ROWS: &str = "100000";

/// The rows of one batch, which are printed at their end.
pub(super) struct PrintedRows(Box<dyn Sink>);

impl PrintedRows {
    /// With these columns, as the rows of `batch`.
    pub(super) fn begin(
        format: RowFormat,
        schema: SchemaRef,
        time_zone: Zone,
        batch: BatchId,
        console: ConsoleOutput,
    ) -> Result<PrintedRows, PrepareError> {
        let options: &[(&str, &str)] = match format {
            RowFormat::Table => &[("numRows", TABLE_ROWS), ("truncate", "false")],
            RowFormat::Json => &[("format", "json")],
        };
        let options =
            options.iter().map(|(key, value)| ((*key).to_owned(), OptionText::from(*value)));
        let planned = plan_sink(SinkConfig {
            name: "rows".to_owned(),
            format: "console".to_owned(),
            options: options.collect::<BTreeMap<_, _>>(),
            schema: Some(schema),
            time_zone,
            ..SinkConfig::default()
        })?;
        let query_id = QueryId("rows".to_owned());
        let context = SinkContext { query_id, console, tables: Default::default() };
        let mut sink = planned.open(&context)?;
        // The console keeps no mark, which is what a spec is for.
        let spec = EncodedSpec::from_text("{}");
        sink.begin(Delivery { batch, spec, attempt: Attempt::FIRST, call: 1 })?;
        Ok(PrintedRows(sink))
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.0.write(rows)
    }

    pub(super) fn print(mut self) -> Result<(), ConnectorError> {
        self.0.prepare()?;
        self.0.commit()
    }
}
