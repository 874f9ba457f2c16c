//! Transforms: rows for rows.

use tidemill_core::{FunctionKind, FunctionSignature};

use super::Kind;
use crate::instance::Instance;
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Transform,
    interface: "tidemill:plugin/transforms@0.2.0",
    exports: &["call"],
    arguments: Arguments::ByName,
    check,
    for_rows: Some(Instance::call_with_rows),
};

fn check(signature: &FunctionSignature) -> Result<(), String> {
    let declares = signature.input.is_some() && signature.output.is_some();
    match signature.passes_others && !declares {
        true => Err("it lets columns through, and does not declare what it needs and what it adds"
            .to_owned()),
        false => Ok(()),
    }
}
