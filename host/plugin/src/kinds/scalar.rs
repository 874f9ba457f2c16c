//! Scalars: a value for each row.

use arrow::array::RecordBatch;
use tidemill_core::{FunctionInstance, FunctionKind, PluginError, PluginRows, Selection};

use super::{Kind, check_call};
use crate::instance::Instance;
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Scalar,
    interface: "tidemill:plugin/scalars@0.2.0",
    exports: &["call"],
    arguments: Arguments::ByPosition,
    check: check_call,
    for_rows: Some(|instance| Box::new(Scalar(instance))),
};

struct Scalar(Instance);

impl FunctionInstance for Scalar {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        self.0.measured(rows.num_rows(), |instance| {
            let answer = instance.call_with_rows(rows)?;
            let found: Vec<usize> =
                answer.given.iter().map(|given| given.selection.rows(rows.num_rows())).collect();
            match answer.given.as_slice() {
                [given] if given.selection == Selection::All => Ok(answer),
                _ => Err(crate::instance::unusable(format!(
                    "it gave {found:?} rows of its own for {} rows; a scalar gives one column for all",
                    rows.num_rows()
                ))),
            }
        })
    }
}
