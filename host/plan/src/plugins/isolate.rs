//! What a function gives for parts of its rows, put together: those with which it traps were looked for by
//! halving.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::SchemaRef;
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use tidemill_core::{Given, PluginFailure, PluginRows, RefusedRow, Selection};

/// What was given for parts of the rows of one call, in their order.
pub(super) struct Halves {
    rows: usize,
    parts: Vec<Part>,
    refused: Vec<RefusedRow>,
}

/// So many rows from one on, and what was given for them; `None` for one with which it traps.
struct Part {
    from: usize,
    rows: usize,
    given: Option<Vec<Given>>,
}

impl Halves {
    pub(super) fn new(rows: usize) -> Halves {
        Halves { rows, parts: Vec::new(), refused: Vec::new() }
    }

    pub(super) fn add(&mut self, from: usize, rows: usize, given: PluginRows) {
        let PluginRows { given, refused } = given;
        // Fewer than 2^32: they are of a record batch.
        let moved = |refused: RefusedRow| RefusedRow { row: refused.row + from as u32, ..refused };
        self.refused.extend(refused.into_iter().map(moved));
        self.parts.push(Part { from, rows, given: Some(given) });
    }

    /// The function traps with this row.
    pub(super) fn refuse(&mut self, row: usize, failure: &PluginFailure) {
        self.refused.push(RefusedRow { row: row as u32, reason: format!("it {failure}") });
        self.parts.push(Part { from: row, rows: 1, given: None });
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// As if the function had been called with all rows. A scalar, which gives `output`, has a value for
    /// each: null for those that it does not have.
    pub(super) fn joined(self, output: Option<&SchemaRef>) -> Result<PluginRows> {
        let given = match output {
            Some(output) => vec![self.column(output)?],
            None => self.taken(),
        };
        Ok(PluginRows { given, refused: self.refused })
    }

    fn column(&self, output: &SchemaRef) -> Result<Given> {
        let data_type = output.field(0).data_type();
        let column = |part: &Part| -> Result<ArrayRef> {
            let Some(given) = &part.given else { return Ok(new_null_array(data_type, part.rows)) };
            let column = given.first().and_then(|given| given.made.first()).map(Arc::clone);
            column
                .filter(|column| column.len() == part.rows)
                .ok_or_else(|| internal_datafusion_err!("a scalar did not give one value a row"))
        };
        let columns = self.parts.iter().map(column).collect::<Result<Vec<_>>>()?;
        let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
        debug_assert_eq!(columns.iter().map(|column| column.len()).sum::<usize>(), self.rows);
        Ok(Given { selection: Selection::All, made: vec![concat(&columns)?] })
    }

    /// The same rows, by their numbers among all.
    fn taken(&self) -> Vec<Given> {
        let of_part = |part: &Part| {
            let (from, rows) = (part.from as u32, part.rows as u32);
            let moved = move |given: &Given| {
                let numbers = |numbers: &mut dyn Iterator<Item = u32>| {
                    Selection::Taken(UInt32Array::from_iter_values(numbers))
                };
                let selection = match &given.selection {
                    Selection::Fresh(count) => Selection::Fresh(*count),
                    Selection::All => numbers(&mut (from..from + rows)),
                    Selection::Kept(marks) => {
                        let marked = (0..).zip(marks).filter(|(_, mark)| *mark == Some(true));
                        numbers(&mut marked.map(|(row, _): (u32, _)| from + row))
                    }
                    Selection::Taken(taken) => {
                        numbers(&mut taken.values().iter().map(|row| from + row))
                    }
                };
                Given { selection, made: given.made.clone() }
            };
            part.given.iter().flatten().map(moved).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of_part).collect()
    }
}
