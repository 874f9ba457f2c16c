//! Scalars: a value for each row.

use arrow::array::RecordBatch;
use tidemill_core::{FunctionKind, PluginFailure, PluginRows, Selection};

use super::{Kind, check_call};
use crate::instance::{Instance, unusable};
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Scalar,
    interface: "tidemill:plugin/scalars@0.2.0",
    exports: &["call"],
    arguments: Arguments::ByPosition,
    check: check_call,
    for_rows: Some(call),
};

fn call(instance: &mut Instance, rows: &RecordBatch) -> Result<PluginRows, PluginFailure> {
    let answer = instance.call_with_rows(rows)?;
    let found: Vec<usize> =
        answer.given.iter().map(|given| given.selection.rows(rows.num_rows())).collect();
    match answer.given.as_slice() {
        [given] if given.selection == Selection::All => Ok(answer),
        _ => Err(unusable(format!(
            "it gave {found:?} rows of its own for {} rows; a scalar gives one column for all",
            rows.num_rows()
        ))),
    }
}
