//! Where log lines and spans go.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use crate::observe::Trace;

/// Log lines go to standard error, spans into the trace if there is one. Without, the filter of
/// the lines alone decides, so that a span costs a comparison.
pub(super) fn start(trace: Option<&Trace>) {
    let filter = EnvFilter::try_from_env("TIDEMILL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let is_terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_ansi(is_terminal).with_writer(std::io::stderr);
    match trace {
        None => registry().with(lines).with(filter).init(),
        Some(trace) => {
            let (spans, wanted) = trace.layer();
            registry().with(lines.with_filter(filter)).with(spans.with_filter(wanted)).init();
        }
    }
}
