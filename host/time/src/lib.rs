//! Time zones, and dates and times as texts: by Java's patterns, and as `CAST` reads and writes them.
//!
//! A time is a number of microseconds since 1970-01-01 00:00 UTC; what the clocks of a [`Zone`] show
//! is such a number too, *local* time, as if it were UTC. All years that 64 bits reach are there:
//! Arrow's and chrono's calendars end earlier.

#![warn(missing_docs)]

pub mod calendar;
mod cast;
mod pattern;
mod zone;

pub use cast::{parse_date, parse_timestamp, parse_timestamp_ntz};
pub use pattern::{Field, Parsed, Pattern, Use, name_of};
pub use zone::{UTC, Zone};

/// Why a text is no time zone or no pattern, or a time cannot be written: Spark's class and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimeError(pub String);

/// What may be no time zone, or no pattern.
pub type Result<T, E = TimeError> = std::result::Result<T, E>;

/// Returns an error with Spark's words.
macro_rules! fail {
    ($($words:tt)*) => {
        return Err($crate::TimeError(format!($($words)*)))
    };
}
pub(crate) use fail;
