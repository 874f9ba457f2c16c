//! The write-ahead log: segments of frames, each a record.

mod fold;
pub(crate) mod frame;
pub(crate) mod record;
pub(crate) mod segment;
mod summary;

pub(crate) use fold::{Chain, Ending, Follower};
pub(crate) use summary::LogSummary;
