//! SQL text into an unresolved plan.
//!
//! ```text
//! text ──texts, dialect, intervals──▶ the parser's tree ──limits──▶ query, select, … ──▶ spec
//! ```
//!
//! What names mean, which functions there are and what types they take is the resolver's business.
//! Here the shapes of Spark's SQL are read, and those that there is no plan for are refused by name.

mod aggregates;
mod call;
mod dialect;
mod expression;
mod from;
mod grouping;
mod intervals;
mod limits;
mod literal;
mod parse;
mod pipes;
mod pivots;
mod position;
mod query;
mod select;
#[cfg(test)]
mod tests;
mod texts;
mod window;

pub use limits::QuerySize;

use crate::Result;
use crate::spec::{Relation, WindowSpec};

/// A SELECT that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it asks for.
    pub relation: Relation,
    /// What it brings into the plan of who reads it.
    pub size: QuerySize,
}

/// What the names in a text stand for, as far as that decides how it is read. Nothing is known of
/// names beside Spark's functions by itself.
pub trait Names {
    /// What a table brings into the plan of who reads it.
    fn size_of(&self, _table: &str) -> Option<QuerySize> {
        None
    }

    /// Whether a function that is none of Spark's folds rows into groups.
    fn is_aggregate(&self, _function: &str) -> bool {
        false
    }
}

impl Names for () {}

/// Reads one SELECT.
///
/// # Errors
/// It is none, or too large, or asks what there is no plan for.
pub fn parse_query(text: &str, names: &dyn Names) -> Result<Parsed> {
    let query = parse::query_of(text)?;
    let size = limits::measure(&query, &|table| names.size_of(table))?;
    let relation = Conversion::of(names).query(*query)?;
    Ok(Parsed { relation, size })
}

/// The parser's tree into a plan. Its methods are in the files of what they convert.
struct Conversion<'a> {
    names: &'a dyn Names,
    /// The windows that the SELECT at hand gives names, in lower case.
    windows: Vec<(String, WindowSpec)>,
    /// Expressions that were put in the place of windows' names so far.
    window_parts: usize,
}

impl Conversion<'_> {
    fn of(names: &dyn Names) -> Conversion<'_> {
        Conversion { names, windows: Vec::new(), window_parts: 0 }
    }
}
