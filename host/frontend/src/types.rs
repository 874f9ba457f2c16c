//! Types by their names, as casts have them.

use arrow::datatypes::{DataType, TimeUnit};
use tidemill_types::{IntervalFields, parse_type_with_fields};

use crate::error::{Error, Result};

/// TIME, which a value of a query can be, and no column of a place.
const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);

/// The type of a name in DDL, and the fields of the intervals in it.
///
/// # Errors
/// There is none, or values of it are not supported.
pub(crate) fn named(kind: &str) -> Result<(DataType, IntervalFields)> {
    let is_time = ["TIME", "TIME(6)", "TIME WITHOUT TIME ZONE"]
        .into_iter()
        .any(|name| name.eq_ignore_ascii_case(kind));
    if is_time {
        return Ok((TIME, IntervalFields::default()));
    }
    parse_type_with_fields(kind).map_err(|error| {
        Error::new(
            format!("[UNSUPPORTED_DATATYPE] Unsupported data type \"{kind}\": {error}"),
            None,
        )
    })
}

pub(crate) fn is_time(kind: &DataType) -> bool {
    *kind == TIME
}
