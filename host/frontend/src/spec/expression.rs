//! Expressions.

use serde::{Deserialize, Serialize};

use super::{Position, Relation};

/// Something that has a value, or several columns, in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// A value that is written out.
    Literal(Literal),
    /// A column, or a field in one: `t.c.f`. Its parts are as they are written.
    Attribute {
        /// At least one.
        name: Vec<String>,
        /// Where it stands.
        at: Option<Position>,
    },
    /// All columns: `*`, `t.*`, `* EXCEPT (a, b)`; also the fields of a struct, `s.*`.
    Star {
        /// What stands before the star; empty: all there are.
        qualifier: Vec<String>,
        /// Columns that are left out.
        except: Vec<String>,
        /// Where it stands.
        at: Option<Position>,
    },
    /// A call of a function, or of an operator, whose name is its sign.
    Call(Box<Call>),
    /// `(x, y) -> body`.
    Lambda {
        /// The variables.
        parameters: Vec<String>,
        /// What it gives.
        body: Box<Expression>,
    },
    /// A name for a value, or for the columns of a generator.
    Alias {
        /// The value.
        value: Box<Expression>,
        /// One, or a generator's.
        names: Vec<String>,
    },
    /// `CAST(value AS kind)`.
    Cast {
        /// The value.
        value: Box<Expression>,
        /// The type, in DDL.
        kind: String,
        /// Whether what cannot be cast is null.
        is_try: bool,
        /// Where it stands.
        at: Option<Position>,
    },
    /// `value[key]`, and `value.key` of what is no name.
    Extract {
        /// An array, a map or a struct.
        value: Box<Expression>,
        /// Index, key or the name of a field.
        key: Box<Expression>,
        /// Whether it is written with a point.
        is_field: bool,
    },
    /// `CASE [operand] WHEN … THEN … [ELSE …] END`.
    Case {
        /// What is compared with the conditions; none: they are conditions.
        operand: Option<Box<Expression>>,
        /// In their order; at least one.
        branches: Vec<Branch>,
        /// Otherwise; none: null.
        otherwise: Option<Box<Expression>>,
    },
    /// A function over a window of rows: `call OVER (…)`.
    Over {
        /// The function.
        call: Box<Call>,
        /// The window.
        window: WindowSpec,
    },
    /// A query within an expression.
    Subquery {
        /// What is asked of it.
        kind: Subquery,
        /// The query.
        query: Box<Relation>,
        /// Where it stands.
        at: Option<Position>,
    },
    /// `(a, b)`: a struct, or a list of values for IN.
    Tuple(Vec<Expression>),
}

/// A value that is written out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Literal {
    /// NULL, of no type.
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// A number without the letter of its type, as it is written and without a sign: an INT, a BIGINT
    /// or a DECIMAL, whatever fits; with an exponent a DOUBLE.
    Number(String),
    /// A number with the letter of its type.
    TypedNumber {
        /// As it is written.
        digits: String,
        /// TINYINT, SMALLINT, BIGINT, FLOAT, DOUBLE or DECIMAL.
        kind: String,
    },
    /// STRING.
    String(String),
    /// BINARY, as hexadecimal digits.
    Binary(String),
    /// `DATE'…'`, `TIMESTAMP'…'`, `TIMESTAMP_NTZ'…'`: a text that is read as that type.
    Typed {
        /// The type.
        kind: String,
        /// The text.
        text: String,
    },
    /// An interval, by its units: `1 DAY 2 HOURS`.
    Interval(String),
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// As it is written; of operators the sign, such as `+`, or the word in lower case, such as `and`.
    pub name: String,
    /// In their order.
    pub arguments: Vec<Argument>,
    /// `f(DISTINCT …)`.
    pub is_distinct: bool,
    /// `FILTER (WHERE …)`.
    pub filter: Option<Expression>,
    /// `WITHIN GROUP (ORDER BY …)`.
    pub within_group: Vec<SortOrder>,
    /// IGNORE NULLS (true) or RESPECT NULLS (false), where it is written.
    pub ignores_nulls: Option<bool>,
    /// Where it stands.
    pub at: Option<Position>,
}

impl Call {
    /// A call that has nothing but arguments.
    #[must_use]
    pub fn new(name: impl Into<String>, arguments: Vec<Expression>, at: Option<Position>) -> Call {
        Call {
            name: name.into(),
            arguments: arguments.into_iter().map(|value| Argument { name: None, value }).collect(),
            is_distinct: false,
            filter: None,
            within_group: Vec::new(),
            ignores_nulls: None,
            at,
        }
    }
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Argument {
    /// The parameter, where it is named: `name => value`.
    pub name: Option<String>,
    /// The value.
    pub value: Expression,
}

/// `WHEN condition THEN result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// A condition, or a value that the operand is compared with.
    pub condition: Expression,
    /// What it gives.
    pub result: Expression,
}

/// `expression [ASC | DESC] [NULLS FIRST | NULLS LAST]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SortOrder {
    /// What is ordered by.
    pub value: Expression,
    /// Whether the largest is first.
    pub is_descending: bool,
    /// Whether nulls are first; none: they are where the order ascends.
    pub nulls_first: Option<bool>,
}

impl SortOrder {
    /// Whether nulls are first, written or not.
    #[must_use]
    pub fn has_nulls_first(&self) -> bool {
        self.nulls_first.unwrap_or(!self.is_descending)
    }
}

/// What is asked of a query within an expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subquery {
    /// The value of its one row.
    Scalar,
    /// Whether it has a row.
    Exists,
    /// Whether these values are a row of it.
    In(Vec<Expression>),
}

/// Which rows a function of a window sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowSpec {
    /// PARTITION BY.
    pub partition: Vec<Expression>,
    /// ORDER BY.
    pub order: Vec<SortOrder>,
    /// ROWS or RANGE, where it is written.
    pub frame: Option<Frame>,
}

/// `ROWS BETWEEN start AND end`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// What bounds count.
    pub units: FrameUnits,
    /// The first row.
    pub start: FrameBound,
    /// The last one.
    pub end: FrameBound,
}

/// What the bounds of a frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// Differences of the value that is ordered by.
    Range,
}

/// A bound of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameBound {
    /// UNBOUNDED PRECEDING or FOLLOWING.
    Unbounded,
    /// CURRENT ROW.
    CurrentRow,
    /// `value PRECEDING`.
    Preceding(Box<Expression>),
    /// `value FOLLOWING`.
    Following(Box<Expression>),
}
