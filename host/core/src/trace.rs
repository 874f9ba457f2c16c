//! Marks of what a batch spends its time on.

/// Target of the spans that make up a trace. A span is a section of one thread's time: of a batch,
/// a phase, a partition or a call, never of a row.
///
/// Spans carry `batch`, and where it applies `query`, `source`, `partition`, `plugin` and
/// `function`; those inside inherit `query` and `batch`. A `batch` span that records `nothing`
/// was a look for rows that found none, and is forgotten with all that is inside.
pub const TRACE_TARGET: &str = "tidemill::trace";
