//! Spark's table, as `show` prints it.
//!
//! ```text
//! -------------------------------------------
//! Batch: 0
//! -------------------------------------------
//! +--------+-----+
//! |category|count|
//! +--------+-----+
//! |   books|    2|
//! +--------+-----+
//! ```

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_codec::{Shown, format_cell};
use tidemill_core::BatchId;
use tidemill_time::Zone;

/// Spark's `show` cuts cells to this many characters.
const CELL_CHARS_MAX: usize = 20;

/// No column is narrower.
const COLUMN_WIDTH_MIN: usize = 3;

/// What one batch prints: its first rows, and whether there are more.
pub(super) struct Table {
    rows_max: usize,
    truncate: bool,
    schema: Option<SchemaRef>,
    rows: Vec<Vec<String>>,
    has_more: bool,
}

impl Table {
    pub(super) fn new(rows_max: usize, truncate: bool, schema: Option<SchemaRef>) -> Table {
        Table { rows_max, truncate, schema, rows: Vec::new(), has_more: false }
    }

    /// Times are what the clocks of a zone show.
    pub(super) fn add(&mut self, batch: &RecordBatch, zone: Zone) {
        self.schema = Some(batch.schema());
        for row in 0..batch.num_rows() {
            if self.rows.len() == self.rows_max {
                self.has_more = true;
                return;
            }
            let columns = batch.columns().iter().zip(batch.schema_ref().fields());
            let cells = columns.map(|(column, field)| {
                self.cell(&format_cell(column, row, Shown::of_column(field, zone)))
            });
            self.rows.push(cells.collect());
        }
    }

    fn cell(&self, text: &str) -> String {
        let text = escape(text);
        if !self.truncate || text.chars().count() <= CELL_CHARS_MAX {
            return text;
        }
        text.chars().take(CELL_CHARS_MAX - 3).chain("...".chars()).collect()
    }

    pub(super) fn print(&self, batch: BatchId, out: &mut dyn Write) -> io::Result<()> {
        const RULE: &str = "-------------------------------------------";
        let mut text = format!("{RULE}\nBatch: {batch}\n{RULE}\n");
        let fields = self.schema.iter().flat_map(|schema| schema.fields());
        let names: Vec<String> = fields.map(|field| self.cell(field.name())).collect();
        let widths = self.widths(&names);
        let mut rule = String::from("+");
        for width in &widths {
            rule.push_str(&"-".repeat(*width));
            rule.push('+');
        }
        rule.push('\n');
        text.push_str(&rule);
        self.push_line(&names, &widths, &mut text);
        text.push_str(&rule);
        for row in &self.rows {
            self.push_line(row, &widths, &mut text);
        }
        text.push_str(&rule);
        if self.has_more {
            let rows = if self.rows_max == 1 { "row" } else { "rows" };
            text.push_str(&format!("only showing top {} {rows}\n", self.rows_max));
        }
        text.push('\n');
        out.write_all(text.as_bytes())
    }

    fn widths(&self, names: &[String]) -> Vec<usize> {
        let mut widths = vec![COLUMN_WIDTH_MIN; names.len()];
        for cells in std::iter::once(names).chain(self.rows.iter().map(Vec::as_slice)) {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(shown_width(cell));
            }
        }
        widths
    }

    /// Cells are aligned to the right, but to the left where they are shown whole (as in Spark).
    fn push_line(&self, cells: &[String], widths: &[usize], text: &mut String) {
        text.push('|');
        for (cell, width) in cells.iter().zip(widths) {
            let padding = " ".repeat(width - shown_width(cell));
            let (before, after) =
                if self.truncate { (padding.as_str(), "") } else { ("", padding.as_str()) };
            text.push_str(before);
            text.push_str(cell);
            text.push_str(after);
            text.push('|');
        }
        text.push('\n');
    }
}

/// Keeps a cell on its line, as Spark's `SchemaUtils.escapeMetaCharacters`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{b}' => escaped.push_str("\\v"),
            '\u{7}' => escaped.push_str("\\a"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Columns on a terminal, by Spark's list of wide characters (`Utils.stringHalfWidth`).
fn shown_width(text: &str) -> usize {
    let width = |character: char| match character {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe10}'..='\u{fe19}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}' => 2,
        _ => 1,
    };
    text.chars().map(width).sum()
}
