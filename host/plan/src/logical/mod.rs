//! Logical nodes that DataFusion has no words for, and the rewrites that put them in.

mod deduplicate;
mod evaluate;
mod event_time;
mod join;
mod key;
mod limit;
mod outer_joins;
mod session_window;
mod set_operations;
mod share;
mod time_bounds;
mod time_window;
mod window_functions;
mod windows;

pub(crate) use deduplicate::Deduplicate;
pub(crate) use evaluate::{CALL_COLUMN, Call, Evaluate, extract_calls};
pub(crate) use event_time::{
    EventTimeColumn, EventTimeWatermark, delay_micros, is_event_time, number_watermarks,
    tagged_field, times_of, window_ends, with_event_time_of, without_event_time,
};
pub(crate) use join::{
    JoinKey, Retention, StaticInput, StaticJoin, StreamJoin, spark_name, unbounded,
};
pub(crate) use key::grouping_columns;
pub(crate) use limit::{StreamLimit, gives_rows_once, limit_streams};
pub(crate) use outer_joins::OuterJoins;
pub(crate) use session_window::{SessionWindow, session_columns, with_session, with_session_of};
pub(crate) use set_operations::distinct_last;
pub(crate) use share::{close_large, open_large};
pub(crate) use time_window::{TimeWindow, WindowShape, micros_literal};
pub(crate) use window_functions::{
    SESSION_WINDOW, WINDOW, WINDOW_TIME, bounds_struct, plain_time, session_bound,
    window_functions, window_struct, window_time,
};
pub(crate) use windows::expand_windows;
