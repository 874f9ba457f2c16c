//! Relations: what has rows.

use serde::{Deserialize, Serialize};

use super::{Call, Expression, Position, SortOrder};

/// Something that has rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A table by its name: a source, a step before, a table of a WITH.
    Read {
        /// As it is written, without quotes; its parts are joined by points.
        name: String,
        /// Where it stands.
        at: Option<Position>,
    },
    /// One row without columns: a SELECT without FROM reads it.
    OneRow,
    /// `VALUES (1, 'a'), …`. The columns are `col1`, `col2`, ….
    Values(Vec<Vec<Expression>>),
    /// A call in FROM, of a generator or of another function that gives rows.
    TableFunction {
        /// The call.
        call: Box<Call>,
        /// Where it stands.
        at: Option<Position>,
    },
    /// SELECT of a row each.
    Project {
        /// What is read.
        input: Box<Relation>,
        /// The columns.
        items: Vec<Expression>,
    },
    /// WHERE.
    Filter {
        /// What is read.
        input: Box<Relation>,
        /// Which rows pass.
        condition: Expression,
    },
    /// SELECT with GROUP BY, or with aggregates alone.
    Aggregate {
        /// What is read.
        input: Box<Relation>,
        /// GROUP BY.
        grouping: Grouping,
        /// The columns: of what is grouped by, and of aggregates.
        items: Vec<Expression>,
    },
    /// HAVING. Its names are those of the items below it, and those that the items read.
    Having {
        /// A SELECT.
        input: Box<Relation>,
        /// Which groups pass.
        condition: Expression,
    },
    /// QUALIFY: a condition on what is computed over windows of rows. Its names are those of the items
    /// below it, and those that the items read.
    Qualify {
        /// A SELECT.
        input: Box<Relation>,
        /// Which rows pass.
        condition: Expression,
    },
    /// DISTRIBUTE BY: which rows are computed together. It changes none of them.
    RepartitionByExpression {
        /// What is read.
        input: Box<Relation>,
        /// Rows that are equal in these are together.
        by: Vec<Expression>,
    },
    /// A column with another value, in its place.
    WithColumn {
        /// What is read.
        input: Box<Relation>,
        /// The column, which is called so from here on.
        name: String,
        /// Its value.
        value: Expression,
    },
    /// PIVOT: values of columns become columns of their own.
    Pivot(Box<Pivot>),
    /// UNPIVOT: columns become rows.
    Unpivot(Box<Unpivot>),
    /// SELECT DISTINCT.
    Distinct(Box<Relation>),
    /// ORDER BY. Its names are those of the items below it, and those that the items read.
    Sort {
        /// What is read.
        input: Box<Relation>,
        /// By the first, then by the second …; of `*` alone, by all columns (ORDER BY ALL).
        order: Vec<SortOrder>,
    },
    /// LIMIT.
    Limit {
        /// What is read.
        input: Box<Relation>,
        /// How many rows.
        count: Expression,
    },
    /// OFFSET.
    Offset {
        /// What is read.
        input: Box<Relation>,
        /// How many rows are left out.
        count: Expression,
    },
    /// Rows of two relations beside each other.
    Join(Box<Join>),
    /// UNION, INTERSECT, EXCEPT.
    SetOperation(Box<SetOperation>),
    /// A name before the columns' names, and other names for these.
    SubqueryAlias {
        /// What is read.
        input: Box<Relation>,
        /// The name.
        name: String,
        /// Names of the columns; empty: as they are.
        columns: Vec<String>,
        /// Where the name stands.
        at: Option<Position>,
    },
    /// WITH.
    With(Box<With>),
    /// LATERAL VIEW: the rows of a generator beside the row that they come of.
    LateralView(Box<LateralView>),
    /// Spark's `withWatermark`.
    WithWatermark(Box<WithWatermark>),
    /// Spark's `dropDuplicates` and `dropDuplicatesWithinWatermark`.
    Deduplicate(Box<Deduplicate>),
    /// A transform of a plugin.
    PluginTransform {
        /// What is read.
        input: Box<Relation>,
        /// The plugin.
        plugin: String,
        /// Its function.
        function: String,
    },
    /// A stateful function of a plugin (Spark's `transformWithState`).
    PluginStateful(Box<PluginStateful>),
}

/// GROUP BY.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// By these; none: all rows are one group.
    By(Vec<Expression>),
    /// GROUP BY ALL: by the items that have no aggregate.
    All,
    /// ROLLUP: by all, by all but the last, …, by none. Each may be several expressions.
    Rollup(Vec<Vec<Expression>>),
    /// CUBE: by each subset.
    Cube(Vec<Vec<Expression>>),
    /// GROUPING SETS.
    Sets(Vec<Vec<Expression>>),
    /// By several of these at once: `GROUP BY a, ROLLUP (b)`.
    Several(Vec<Grouping>),
}

/// `PIVOT (aggregates FOR columns IN (values))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pivot {
    /// What is read. Columns that nothing else names are grouped by.
    pub input: Relation,
    /// What is computed for each value.
    pub aggregates: Vec<Expression>,
    /// The columns that values are of.
    pub columns: Vec<Expression>,
    /// The values, each of which is a column for each aggregate.
    pub values: Vec<PivotValue>,
}

/// A value of PIVOT: one for each column, and a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PivotValue {
    /// Constants.
    pub values: Vec<Expression>,
    /// The column's name; none: the text of the value.
    pub name: Option<String>,
}

/// `UNPIVOT (values FOR name IN (columns))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unpivot {
    /// What is read.
    pub input: Relation,
    /// The names of the columns of values.
    pub values: Vec<String>,
    /// The name of the column of names.
    pub name: String,
    /// The columns that become rows, as many as there are values.
    pub rows: Vec<UnpivotRow>,
    /// INCLUDE NULLS: rows whose values are all null stay.
    pub keeps_nulls: bool,
}

/// Columns that become a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnpivotRow {
    /// The columns.
    pub columns: Vec<Expression>,
    /// What the row is called; none: as the columns.
    pub name: Option<String>,
}

/// How rows of two relations meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// The left side.
    pub left: Relation,
    /// The right side.
    pub right: Relation,
    /// Which rows are there.
    pub kind: JoinKind,
    /// ON.
    pub condition: Option<Expression>,
    /// USING: each is one column above the join.
    pub using: Vec<String>,
    /// NATURAL: USING of all names that both have.
    pub is_natural: bool,
    /// LATERAL: the right side reads columns of the left one.
    pub is_lateral: bool,
    /// Where the join stands.
    pub at: Option<Position>,
}

/// Which rows a join has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// Pairs that meet; also CROSS.
    Inner,
    /// And those of the left side that meet none.
    LeftOuter,
    /// And those of the right side that meet none.
    RightOuter,
    /// And those of both.
    FullOuter,
    /// Those of the left side that meet one.
    LeftSemi,
    /// Those of the left side that meet none.
    LeftAnti,
}

/// UNION, INTERSECT or EXCEPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetOperation {
    /// The left side, whose columns' names are the result's.
    pub left: Relation,
    /// The right side.
    pub right: Relation,
    /// Which of them.
    pub kind: SetKind,
    /// ALL: rows are counted, and not taken once.
    pub is_all: bool,
    /// BY NAME: columns meet by name, and not by place.
    pub by_name: bool,
}

/// Which set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetKind {
    /// Rows of either.
    Union,
    /// Rows of both.
    Intersect,
    /// Rows of the left one alone.
    Except,
}

/// WITH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct With {
    /// Tables by name; each sees those before it.
    pub tables: Vec<Cte>,
    /// What reads them.
    pub input: Relation,
}

/// A table of a WITH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cte {
    /// Its name.
    pub name: String,
    /// Names of its columns; empty: as they are.
    pub columns: Vec<String>,
    /// Its rows.
    pub query: Relation,
}

/// LATERAL VIEW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateralView {
    /// What is read.
    pub input: Relation,
    /// The call of a generator.
    pub generator: Expression,
    /// OUTER: a row of which no row comes stays, with nulls.
    pub is_outer: bool,
    /// The name before the columns' names.
    pub name: String,
    /// Names of the columns; empty: as the generator calls them.
    pub columns: Vec<String>,
}

/// Spark's `withWatermark(column, delay)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WithWatermark {
    /// What is read.
    pub input: Relation,
    /// A TIMESTAMP column.
    pub column: String,
    /// How far behind the largest event time the watermark stays, in microseconds. Not negative.
    pub delay_micros: i64,
    /// How long the input may have no rows before it no longer holds the query's watermark back, in
    /// microseconds; none: it always does.
    pub idle_micros: Option<i64>,
}

/// Spark's `dropDuplicates`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deduplicate {
    /// What is read.
    pub input: Relation,
    /// Columns that make rows equal; empty: all.
    pub columns: Vec<String>,
    /// Whether a row is forgotten once the watermark has passed its event time by the delay.
    pub within_watermark: bool,
}

/// Spark's `transformWithState`, with a plugin's function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginStateful {
    /// What is read.
    pub input: Relation,
    /// The plugin.
    pub plugin: String,
    /// Its function.
    pub function: String,
    /// Columns whose values make a key.
    pub key: Vec<String>,
    /// By which time its timers are due.
    pub time_mode: TimeMode,
    /// Rows that it has for keys before all others.
    pub initial_state: Option<Relation>,
}

/// The time by which timers are due and state is forgotten (Spark's TimeMode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeMode {
    /// There are no timers, and nothing is forgotten by itself.
    None,
    /// The batch's time.
    ProcessingTime,
    /// The watermark.
    EventTime,
}

impl TimeMode {
    /// All of them.
    pub const ALL: [TimeMode; 3] = [TimeMode::None, TimeMode::ProcessingTime, TimeMode::EventTime];

    /// As a job writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TimeMode::None => "none",
            TimeMode::ProcessingTime => "processing_time",
            TimeMode::EventTime => "event_time",
        }
    }
}
