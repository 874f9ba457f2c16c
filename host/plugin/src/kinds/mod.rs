//! The kinds of functions: what each needs of a plugin, and how it is called, in a file a kind.

pub(crate) mod aggregate;
pub(crate) mod handler;
mod scalar;
pub(crate) mod stateful;
mod transform;

use arrow::array::RecordBatch;
use tidemill_core::{FunctionKind, FunctionSignature, PluginFailure, PluginRows};

use crate::instance::Instance;
use crate::schema::Arguments;

/// How an instance is called with rows, for which it gives rows.
pub(crate) type CallWithRows = fn(&mut Instance, &RecordBatch) -> Result<PluginRows, PluginFailure>;

/// What the host knows of a kind of function.
pub(crate) struct Kind {
    pub(crate) kind: FunctionKind,
    /// The interface of the contract that a plugin exports for it.
    pub(crate) interface: &'static str,
    /// Its functions.
    pub(crate) exports: &'static [&'static str],
    /// How the columns of its input are found.
    pub(crate) arguments: Arguments,
    /// What a signature of this kind has to say.
    pub(crate) check: fn(&FunctionSignature) -> Result<(), String>,
    /// Calls an instance with rows, for which it gives rows, where the kind is called so.
    pub(crate) for_rows: Option<CallWithRows>,
}

/// All kinds.
pub(crate) fn kinds() -> impl Iterator<Item = &'static Kind> {
    FunctionKind::ALL.into_iter().map(of)
}

/// What the host knows of this kind.
pub(crate) fn of(kind: FunctionKind) -> &'static Kind {
    match kind {
        FunctionKind::Scalar => &scalar::KIND,
        FunctionKind::Transform => &transform::KIND,
        FunctionKind::Aggregate => &aggregate::KIND,
        FunctionKind::Stateful => &stateful::KIND,
        FunctionKind::ForeachBatch => &handler::KIND,
    }
}

/// Arguments and one result are declared: the plan has to know them.
fn check_call(signature: &FunctionSignature) -> Result<(), String> {
    let columns = signature.output.as_ref().map(|output| output.fields().len());
    match (&signature.input, columns) {
        (Some(_), Some(1)) => Ok(()),
        (None, _) | (_, None) => Err("it does not declare its arguments and its result".to_owned()),
        (Some(_), Some(columns)) => Err(format!("it declares a result of {columns} columns")),
    }
}
