//! What every source and every sink has to do, as tests that each of them passes.
//!
//! A place that passes its suite may stand for another in other packages' tests. The suites are
//! here, and not with the tests of one place, so that a new place is held to the same.

#![allow(clippy::unwrap_used, reason = "tests")]

mod sink;
mod source;

pub use sink::{
    Place, check_exactly_once, check_marks, check_replaces_all, check_replaces_by_key,
    check_shows_on_commit, delivery,
};
pub use source::{Input, check_source};
