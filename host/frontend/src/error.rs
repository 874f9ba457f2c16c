//! Why a query has no meaning, and where in its text that shows.

use std::fmt;

use datafusion::error::DataFusionError;

use crate::qualifier::without_qualifiers;
use crate::spec::Position;

/// What is wrong with a query, in Spark's words where Spark has some: they begin with a class in
/// brackets.
#[derive(Clone, Debug)]
pub struct Error {
    reason: String,
    at: Option<Position>,
}

/// What a query has, or why not.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that stands somewhere in a text.
    #[must_use]
    pub fn new(reason: impl Into<String>, at: Option<Position>) -> Error {
        Error { reason: reason.into(), at }
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The place in the text, where it is known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.at
    }

    /// Spark's class of the error, such as `UNRESOLVED_COLUMN.WITH_SUGGESTION`, where it has one.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        let (class, _) = self.reason.strip_prefix('[')?.split_once(']')?;
        let is_class = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "_.".contains(c);
        (!class.is_empty() && class.chars().all(is_class)).then_some(class)
    }

    /// The SQLSTATE that Spark gives to the class.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&'static str> {
        let class = self.class()?;
        let main = class.split('.').next().unwrap_or(class);
        STATES.iter().find(|(known, _)| *known == main).map(|(_, state)| *state)
    }

    /// The same error with another class, if it has this one.
    pub(crate) fn reclassified(self, from: &str, to: &str) -> Error {
        let reason = self.reason.replacen(&format!("[{from}]"), &format!("[{to}]"), 1);
        Error { reason, ..self }
    }

    /// The same error at this place, if none is known for it.
    #[must_use]
    pub fn or_at(self, at: Option<Position>) -> Error {
        Error { at: self.at.or(at), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if let Some(state) = self.sqlstate() {
            write!(f, " SQLSTATE: {state}")?;
        }
        match self.at {
            Some(Position { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Error {
        let root = error.find_root();
        let reason = match root {
            DataFusionError::Plan(reason) | DataFusionError::Execution(reason) => reason.clone(),
            DataFusionError::SchemaError(error, _) => error.to_string(),
            _ => root.strip_backtrace(),
        };
        // Around what a function of ours says, DataFusion tells how it came to ask it.
        let reason = match reason.find("planning: [") {
            Some(at) => {
                let from_class = &reason[at + "planning: ".len()..];
                let end = from_class.find(" No function matches").unwrap_or(from_class.len());
                from_class[..end].to_owned()
            }
            None => reason,
        };
        Error { reason: without_qualifiers(&reason), at: None }
    }
}

/// Ends with an error that is made as `format!` makes texts.
macro_rules! refuse {
    ($($text:tt)*) => {
        return Err($crate::Error::new(format!($($text)*), None))
    };
}
pub(crate) use refuse;

/// The SQLSTATE of each class of error (Spark's error-conditions.json).
const STATES: &[(&str, &str)] = &[
    ("AMBIGUOUS_REFERENCE", "42704"),
    ("CAST_INVALID_INPUT", "22018"),
    ("COLUMN_ALREADY_EXISTS", "42711"),
    ("DATATYPE_MISMATCH", "42K09"),
    ("DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT", "4274K"),
    ("FIELD_NOT_FOUND", "42704"),
    ("GROUP_BY_AGGREGATE", "42903"),
    ("GROUP_BY_POS_OUT_OF_RANGE", "42805"),
    ("INVALID_AGGREGATE_FILTER", "42903"),
    ("INVALID_EXTRACT_BASE_FIELD_TYPE", "42000"),
    ("INVALID_LAMBDA_FUNCTION_CALL", "42K0D"),
    ("INVALID_NUMERIC_LITERAL_RANGE", "22003"),
    ("INVALID_TYPED_LITERAL", "42604"),
    ("INVALID_WHERE_CONDITION", "42903"),
    ("MISSING_AGGREGATION", "42803"),
    ("MISSING_GROUP_BY", "42803"),
    ("NESTED_AGGREGATE_FUNCTION", "42607"),
    ("NUM_COLUMNS_MISMATCH", "42826"),
    ("ORDER_BY_POS_OUT_OF_RANGE", "42805"),
    ("PARSE_SYNTAX_ERROR", "42601"),
    ("REQUIRED_PARAMETER_NOT_FOUND", "4274K"),
    ("TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    ("UDTF_ALIAS_NUMBER_MISMATCH", "42802"),
    ("MISSING_WINDOW_SPECIFICATION", "42P20"),
    ("PIPE_OPERATOR_CONTAINS_AGGREGATE_FUNCTION", "0A000"),
    ("UNRECOGNIZED_PARAMETER_NAME", "4274K"),
    ("UNRESOLVED_COLUMN", "42703"),
    ("UNRESOLVED_FIELD", "42703"),
    ("UNRESOLVED_ROUTINE", "42883"),
    ("UNRESOLVED_USING_COLUMN_FOR_JOIN", "42703"),
    ("UNSUPPORTED_DATATYPE", "0A000"),
    ("UNSUPPORTED_GENERATOR", "42K0E"),
    ("UNSUPPORTED_GROUPING_EXPRESSION", "42K0E"),
    ("WRONG_NUM_ARGS", "42605"),
];
