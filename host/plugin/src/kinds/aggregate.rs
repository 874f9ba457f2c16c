//! Aggregates: a value for each group of rows.

use tidemill_core::FunctionKind;

use super::{Kind, check_call};
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Aggregate,
    interface: "tidemill:plugin/aggregates@0.2.0",
    exports: &["update", "merge", "states", "results"],
    arguments: Arguments::ByPosition,
    check: check_call,
    for_rows: None,
};
