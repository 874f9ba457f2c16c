//! Windows over event time, and functions over windows of rows.

use datafusion::functions_window as over;

use super::{optional, repeated, required};
use crate::function::{Function, Rows};
use crate::parameters::Takes::Any;

/// A call with the offset and the default that it has if none are written.
fn with_usual(name: &str, mut arguments: Vec<String>) -> String {
    let usual = ["1", "NULL"].into_iter().skip(arguments.len().saturating_sub(1));
    arguments.extend(usual.map(str::to_owned));
    format!("{name}({})", arguments.join(", "))
}

/// Tumbling and sliding windows, which a streaming plan makes.
pub const WINDOW: Function = Function::event_window(
    "window",
    "The windows of a row: as long as a duration, and a slide apart.",
    &[
        required("timeColumn", Any),
        required("windowDuration", Any),
        repeated("slideDuration, startTime", Any),
    ],
);

/// Sessions, which a streaming plan makes.
pub const SESSION_WINDOW: Function = Function::event_window(
    "session_window",
    "The session of a row: rows that are less than a gap apart are in one.",
    &[required("timeColumn", Any), required("gapDuration", Any)],
);

/// What a streaming plan reads of a window.
pub const WINDOW_TIME: Function = Function::of_event_window(
    "window_time",
    "The last microsecond of a window, by which it can be grouped again.",
    &[required("windowColumn", Any)],
);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::window(
        "cume_dist",
        "The share of rows that are not after this one.",
        &[],
        Rows::Peers,
        over::cume_dist::cume_dist_udwf,
    ),
    Function::window(
        "dense_rank",
        "The rank of a row, without gaps after rows that are equal.",
        &[repeated("children", Any)],
        Rows::UpToThis,
        over::rank::dense_rank_udwf,
    )
    .spelled(|_, _| "DENSE_RANK()".to_owned()),
    Function::window(
        "lag",
        "The value of a row before this one.",
        &[required("input", Any), optional("offset", Any), optional("default", Any)],
        Rows::Before,
        over::lead_lag::lag_udwf,
    )
    .spelled(with_usual),
    Function::window(
        "lead",
        "The value of a row after this one.",
        &[required("input", Any), optional("offset", Any), optional("default", Any)],
        Rows::After,
        over::lead_lag::lead_udwf,
    )
    .spelled(with_usual),
    Function::window(
        "nth_value",
        "The value of a row of the frame, counted from 1.",
        &[required("input", Any), required("offset", Any)],
        Rows::Frame,
        over::nth_value::nth_value_udwf,
    ),
    Function::window(
        "ntile",
        "In which of so many parts of nearly the same size a row is.",
        &[required("n", Any)],
        Rows::UpToThis,
        over::ntile::ntile_udwf,
    ),
    Function::window(
        "percent_rank",
        "The rank of a row as a share of all.",
        &[repeated("children", Any)],
        Rows::UpToThis,
        over::rank::percent_rank_udwf,
    )
    .spelled(|_, _| "PERCENT_RANK()".to_owned()),
    Function::window(
        "rank",
        "The rank of a row: one more than the rows before it.",
        &[repeated("children", Any)],
        Rows::UpToThis,
        over::rank::rank_udwf,
    )
    .spelled(|_, _| "RANK()".to_owned()),
    Function::window(
        "row_number",
        "The number of a row, from 1.",
        &[],
        Rows::UpToThis,
        over::row_number::row_number_udwf,
    ),
    SESSION_WINDOW,
    WINDOW,
    WINDOW_TIME,
];
