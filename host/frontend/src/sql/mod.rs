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

/// Reads one SELECT, of tables that have these sizes.
///
/// # Errors
/// It is none, or too large, or asks what there is no plan for.
pub fn parse_query(text: &str, size_of: &dyn Fn(&str) -> Option<QuerySize>) -> Result<Parsed> {
    let query = parse::query_of(text)?;
    let size = limits::measure(&query, size_of)?;
    let relation = Conversion::default().query(*query)?;
    Ok(Parsed { relation, size })
}

/// The parser's tree into a plan. Its methods are in the files of what they convert.
#[derive(Default)]
struct Conversion {
    /// The windows that the SELECT at hand gives names, in lower case.
    windows: Vec<(String, WindowSpec)>,
    /// Expressions that were put in the place of windows' names so far.
    window_parts: usize,
}
