//! What a transform gives.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Field, Schema};
use tidemill_types::sql_name;

use crate::rows::{Given, Selection};
use crate::{Error, Result};

/// Where a transform that takes one gives its rows, as often as it likes: what it gave does not take
/// room in its memory any longer.
///
/// ```
/// use tidemill_plugin::prelude::*;
///
/// /// Each row as often as its number says.
/// #[transform(input = "n BIGINT", output = "n BIGINT")]
/// fn repeated(rows: RecordBatch, _ctx: &BatchContext, out: &mut Output<'_>) -> Result<()> {
///     let numbers: &arrow::array::Int64Array = rows["n"].as_primitive();
///     for (row, n) in numbers.values().iter().enumerate() {
///         for _ in 0..*n {
///             out.give(rows.slice(row, 1))?;
///         }
///     }
///     Ok(())
/// }
///
/// #[derive(Row)]
/// struct Number {
///     n: i64,
/// }
///
/// let rows = Number::to_batch(&[Number { n: 2 }, Number { n: 0 }, Number { n: 1 }])?;
/// let given = Output::collected(|out| repeated(rows, &BatchContext::default(), out))?;
/// assert_eq!(given.len(), 3);
/// # Ok::<(), Error>(())
/// ```
pub struct Output<'a> {
    give: &'a mut dyn FnMut(RecordBatch) -> Result<()>,
}

impl Output<'_> {
    /// Gives rows of the declared columns.
    pub fn give(&mut self, rows: RecordBatch) -> Result<()> {
        (self.give)(rows)
    }

    /// What `call` gives. For unit tests of a transform.
    pub fn collected(call: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<Vec<RecordBatch>> {
        let mut given = Vec::new();
        let mut give = |rows| {
            given.push(rows);
            Ok(())
        };
        call(&mut Output { give: &mut give })?;
        Ok(given)
    }

    pub(crate) fn new(give: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Output<'_> {
        Output { give }
    }
}

/// What a transform with `reads` gives: which rows of its input, and the columns that it sets.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow::array::BooleanArray;
/// use tidemill_plugin::prelude::*;
///
/// /// Drops what has no name. All other columns go through.
/// #[transform(reads = "name STRING")]
/// fn named(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
///     let names = rows["name"].as_string::<i32>();
///     Ok(Selected::kept(names.iter().map(|name| Some(name.is_some())).collect()))
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Selected {
    rows: Rows,
    columns: Vec<ArrayRef>,
}

#[derive(Debug)]
enum Rows {
    All,
    Kept(BooleanArray),
    Taken(UInt32Array),
}

impl Selected {
    /// All rows of the input.
    #[must_use]
    pub fn all() -> Selected {
        Selected { rows: Rows::All, columns: Vec::new() }
    }

    /// The rows of the input where `mask` is true. It has a value for each row; a null drops the row.
    #[must_use]
    pub fn kept(mask: BooleanArray) -> Selected {
        Selected { rows: Rows::Kept(mask), columns: Vec::new() }
    }

    /// The rows of the input with these numbers, in this order. A row may come any number of times.
    #[must_use]
    pub fn taken(rows: UInt32Array) -> Selected {
        Selected { rows: Rows::Taken(rows), columns: Vec::new() }
    }

    /// The next of the columns that the attribute's `sets` names. It has a value for each row that is
    /// selected.
    #[must_use]
    pub fn set(mut self, column: ArrayRef) -> Selected {
        self.columns.push(column);
        self
    }

    /// The rows as the host takes them, checked: `rows` came in, and these columns were declared.
    pub(crate) fn given(self, rows: usize, declared: &Schema) -> Result<Given> {
        let (selection, selected) = match self.rows {
            Rows::All => (Selection::All, rows),
            Rows::Kept(mask) => kept(&mask, rows)?,
            Rows::Taken(taken) => {
                check_taken(&taken, rows)?;
                let selected = taken.len();
                (Selection::Taken(taken), selected)
            }
        };
        check_columns(&self.columns, selected, declared)?;
        Ok(Given { selection, columns: self.columns })
    }
}

fn kept(mask: &BooleanArray, rows: usize) -> Result<(Selection, usize)> {
    if mask.len() != rows {
        let found = mask.len();
        return Err(Error::fatal(format!(
            "the mask of the kept rows has {found} values for {rows} rows; give one for each row of \
             the input"
        )));
    }
    let bits = match mask.nulls() {
        Some(nulls) => mask.values() & nulls.inner(),
        None => mask.values().clone(),
    };
    let bytes = bits.sliced().slice_with_length(0, rows.div_ceil(8));
    Ok((Selection::Kept(bytes), bits.count_set_bits()))
}

fn check_taken(taken: &UInt32Array, rows: usize) -> Result<()> {
    if taken.null_count() > 0 {
        return Err(Error::fatal("among the numbers of the taken rows are nulls; leave these out"));
    }
    match taken.values().iter().find(|row| **row as usize >= rows) {
        Some(row) => Err(Error::fatal(format!(
            "row {row} is taken and the input has {rows} rows, numbered from 0 on"
        ))),
        None => Ok(()),
    }
}

fn check_columns(columns: &[ArrayRef], rows: usize, declared: &Schema) -> Result<()> {
    let (found, wanted) = (columns.len(), declared.fields().len());
    if found != wanted {
        let names: Vec<&str> = declared.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::fatal(format!(
            "{found} columns are set, and the attribute's `sets` names {wanted} ({}); call `set` \
             once for each",
            names.join(", ")
        )));
    }
    for (column, field) in columns.iter().zip(declared.fields()) {
        let name = field.name();
        if !tidemill_block::fits(field.data_type(), column.data_type()) {
            let (found, wanted) = (sql_name(column.data_type()), sql_name(field.data_type()));
            return Err(Error::fatal(format!(
                "the column \"{name}\" is set to values of {found}, and declared as {wanted}"
            )));
        }
        if column.len() != rows {
            let found = column.len();
            return Err(Error::fatal(format!(
                "the column \"{name}\" is set to {found} values, and {rows} rows are selected; give \
                 one for each of these"
            )));
        }
        check_nulls(column, field)?;
    }
    Ok(())
}

/// Refuses nulls where the declaration has no place for them.
pub(crate) fn check_nulls(column: &dyn Array, declared: &Field) -> Result<()> {
    if declared.is_nullable() || column.null_count() == 0 {
        return Ok(());
    }
    let (name, nulls) = (declared.name(), column.null_count());
    Err(Error::fatal(format!(
        "the column \"{name}\" has {nulls} nulls and is declared NOT NULL; declare it without, or \
         give values"
    )))
}
