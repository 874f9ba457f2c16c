//! Transforms: rows for rows.

use arrow::array::RecordBatch;
use tidemill_core::{FunctionInstance, FunctionKind, FunctionSignature, PluginError, PluginRows};

use super::Kind;
use crate::instance::Instance;
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Transform,
    interface: "tidemill:plugin/transforms@0.2.0",
    exports: &["call"],
    arguments: Arguments::ByName,
    check,
    for_rows: Some(|instance| Box::new(Transform(instance))),
};

fn check(signature: &FunctionSignature) -> Result<(), String> {
    let declares = signature.input.is_some() && signature.output.is_some();
    match signature.passes_others && !declares {
        true => Err("it lets columns through, and does not declare what it needs and what it adds"
            .to_owned()),
        false => Ok(()),
    }
}

struct Transform(Instance);

impl FunctionInstance for Transform {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        self.0.measured(rows.num_rows(), |instance| instance.call_with_rows(rows))
    }
}
