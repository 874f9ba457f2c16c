//! Dates, times and intervals.

pub(crate) mod bucket;
pub(crate) mod epoch;
pub(crate) mod intervals;
pub(crate) mod make;
pub(crate) mod parts;
pub(crate) mod patterned;
pub(crate) mod shift;
pub(crate) mod sums;
pub(crate) mod truncate;
pub(crate) mod units;
pub(crate) mod zoned;
