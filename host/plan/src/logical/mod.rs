//! Logical nodes that DataFusion has no words for, and the rewrites that put them in.

mod deduplicate;
mod evaluate;
mod event_time;
mod expressions;
mod join;
mod limit;
mod session_window;
mod time_bounds;
mod time_window;
mod transform;
mod windows;

pub(crate) use deduplicate::Deduplicate;
pub(crate) use evaluate::{Call, Evaluate, extract_calls};
pub(crate) use event_time::{
    EventTimeColumn, EventTimeWatermark, delay_micros, is_event_time, marked_field, window_ends,
    with_event_time_of,
};
pub(crate) use expressions::as_spark;
pub(crate) use join::{
    JoinKey, Retention, StaticInput, StaticJoin, StreamJoin, spark_name, unbounded,
};
pub(crate) use limit::StreamLimit;
pub(crate) use session_window::{SessionWindow, session_columns};
pub(crate) use time_window::{TimeWindow, WindowShape, micros_literal};
pub(crate) use transform::PluginTransform;
pub(crate) use windows::expand_windows;
