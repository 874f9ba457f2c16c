//! An unresolved plan: what a query asks for, before anybody knows what its names mean.
//!
//! It has the vocabulary of Spark Connect, no type of DataFusion or of the parser, and can be
//! written as JSON and read again. Whatever front end there is makes one of these.

mod expression;
mod relation;
mod sign;

pub use expression::{
    Argument, Branch, Call, Expression, Frame, FrameBound, FrameUnits, Literal, SortOrder,
    Subquery, WindowSpec,
};
pub use relation::{
    Cte, Deduplicate, Grouping, Join, JoinKind, LateralView, Pivot, PivotValue, PluginStateful,
    Relation, SetKind, SetOperation, TimeMode, Unpivot, UnpivotRow, With, WithWatermark,
};
pub use sign::Sign;

use serde::{Deserialize, Serialize};

/// A place in a text, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character in it.
    pub column: u64,
}
