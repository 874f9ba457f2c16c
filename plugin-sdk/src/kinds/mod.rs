//! The kinds of function. What a kind needs is in its file: what its attribute makes of the author's
//! function, what is called once the function is opened, and the export that the host calls.

pub(crate) mod aggregate;
pub(crate) mod handler;
pub(crate) mod scalar;
pub(crate) mod stateful;
pub(crate) mod transform;

use std::any::Any;

use arrow::datatypes::{Schema, SchemaRef};

use crate::Result;
use crate::bindings::tidemill::plugin::types::{self, FunctionKind, Origin, Variable};

/// A function with one of the attributes, as [`plugin!`](crate::plugin) takes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of a plugin",
    note = "give the function one of the attributes #[scalar], #[transform], #[foreach_batch], or the \
            implementation of the type #[aggregate] or #[stateful]"
)]
pub trait Exported {
    /// Name in the plugin.
    const NAME: &'static str;

    /// What the host is told, and what it calls.
    fn function() -> Function;
}

/// A function of the plugin.
pub struct Function {
    /// Text of the doc comment.
    pub documentation: &'static str,
    /// Whether it gives the same value for the same arguments.
    pub deterministic: bool,
    /// The function itself.
    pub body: Box<dyn Body>,
}

/// What the attribute of a kind makes of a function.
pub trait Body {
    /// What the host is told before there is an input.
    fn declared(&self) -> Declared;

    /// The function for an input of these columns.
    fn open(self: Box<Self>, input: &SchemaRef) -> Result<Opened>;
}

/// What a function says of itself before there is an input.
pub struct Declared {
    pub(crate) kind: FunctionKind,
    pub(crate) input: Option<SchemaRef>,
    pub(crate) output: Option<SchemaRef>,
    pub(crate) passes_others: bool,
    pub(crate) state: Vec<Variable>,
    /// What the kind has for itself.
    pub(crate) properties: Vec<(String, String)>,
}

impl Declared {
    /// A function that takes any rows, and says no more of itself.
    pub(crate) fn of(kind: FunctionKind) -> Declared {
        let (state, properties) = (Vec::new(), Vec::new());
        Declared { kind, input: None, output: None, passes_others: false, state, properties }
    }
}

/// A function that the host can call.
pub struct Opened {
    pub(crate) output: SchemaRef,
    /// Columns of the input that cross.
    pub(crate) reads: Vec<u32>,
    /// For each column of the output.
    pub(crate) origins: Vec<Origin>,
    pub(crate) call: Box<dyn Any>,
}

/// What is called of an opened function, as the export of its kind finds it.
pub(crate) trait Called: Any {
    /// What the kind is called.
    const KIND: &'static str;
}

impl Opened {
    /// All columns of the output are made of these of the input.
    pub(crate) fn making(output: SchemaRef, reads: Vec<u32>, call: impl Called) -> Opened {
        let origins = output.fields().iter().map(|_| Origin::Made).collect();
        Opened { output, reads, origins, call: Box::new(call) }
    }
}

impl Function {
    /// As `describe` tells it to the host.
    pub(crate) fn describe(&self, name: &str) -> types::Function {
        let Declared { kind, input, output, passes_others, state, properties } =
            self.body.declared();
        types::Function {
            name: name.to_owned(),
            kind,
            input: input.as_deref().map(written),
            output: output.as_deref().map(written),
            passes_others,
            state,
            deterministic: self.deterministic,
            documentation: self.documentation.to_owned(),
            properties,
        }
    }
}

/// The columns as a text.
pub(crate) fn written(schema: &Schema) -> String {
    tidemill_block::write_schema(schema).expect("the attributes make columns of SQL's types")
}

/// Names the columns of an earlier form of the state, among the properties that the host knows.
const MIGRATION: &str = "migration";

/// What the host is told of the earlier forms of the state that are taken over, in the order of their numbers.
fn migrations(earlier: Vec<SchemaRef>) -> impl Iterator<Item = (String, String)> {
    earlier.into_iter().map(|columns| (MIGRATION.to_owned(), written(&columns)))
}

/// The columns of an earlier form of the state by its number.
fn earlier_form(name: &str, earlier: Vec<SchemaRef>, migration: u32) -> Result<SchemaRef> {
    let form = earlier.into_iter().nth(migration as usize);
    form.ok_or_else(|| no_migration(name, migration))
}

/// The host asks for a migration that there is not.
#[must_use]
pub fn no_migration(name: &str, migration: u32) -> crate::Error {
    crate::Error::fatal(format!("{name} has no migration with the number {migration}"))
}

/// The columns of a text that an attribute has read before.
pub(crate) fn columns_of(ddl: &str) -> SchemaRef {
    tidemill_block::read_schema(ddl).expect("the attribute has read it")
}

/// All columns, by their numbers.
pub(crate) fn all_of(schema: &Schema) -> Vec<u32> {
    // A schema has at most ten thousand columns: it came as a text.
    (0..schema.fields().len() as u32).collect()
}
