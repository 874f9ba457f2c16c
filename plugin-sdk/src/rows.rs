//! The rows that a call gives.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::buffer::Buffer;

use crate::bindings::tidemill::plugin::rows as host;
use crate::{Result, crossing};

/// Rows of a call's output: which ones, and the columns that were made for them.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) selection: Selection,
    pub(crate) columns: Vec<ArrayRef>,
}

/// What the rows of the output are of the input's. The contract explains them.
#[derive(Debug)]
pub(crate) enum Selection {
    Fresh(u32),
    All,
    /// The bits, from the first one on.
    Kept(Buffer),
    Taken(UInt32Array),
}

/// Hands rows to the host.
pub(crate) fn give(given: Given) -> Result<()> {
    let selection = match &given.selection {
        Selection::Fresh(rows) => host::Selection::Fresh(*rows),
        Selection::All => host::Selection::All,
        Selection::Kept(bits) => host::Selection::Kept(bits.as_slice()),
        Selection::Taken(rows) => host::Selection::Taken(rows.values()),
    };
    crossing::lend(&given.columns, |columns| host::give(selection, columns))
}
