//! Logical nodes that DataFusion has no words for, and the rewrites that put them in.

mod evaluate;
mod event_time;
mod expressions;
mod time_window;
mod transform;

pub(crate) use evaluate::{Call, Evaluate, extract_calls};
pub(crate) use event_time::{
    EventTimeWatermark, is_event_time, window_size_micros, with_event_time,
};
pub(crate) use expressions::as_spark;
pub(crate) use time_window::{TimeWindow, WindowShape, expand_windows, micros_literal};
pub(crate) use transform::PluginTransform;
