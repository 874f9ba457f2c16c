//! The parts of a query that expressions stand in.

use std::fmt;

/// Where an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clause {
    Select,
    From,
    Values,
    Where,
    On,
    Using,
    LateralView,
    GroupBy,
    Having,
    Qualify,
    Pivot,
    Unpivot,
    DistributeBy,
    OrderBy,
    Limit,
    Offset,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clause::Select => "SELECT",
            Clause::From => "FROM",
            Clause::Values => "VALUES",
            Clause::Where => "WHERE",
            Clause::On => "ON",
            Clause::Using => "USING",
            Clause::LateralView => "LATERAL VIEW",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::Qualify => "QUALIFY",
            Clause::Pivot => "PIVOT",
            Clause::Unpivot => "UNPIVOT",
            Clause::DistributeBy => "DISTRIBUTE BY",
            Clause::OrderBy => "ORDER BY",
            Clause::Limit => "LIMIT",
            Clause::Offset => "OFFSET",
        })
    }
}
