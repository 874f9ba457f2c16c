//! Sections of a batch's time, for a trace.

use tidemill_core::{BatchId, TRACE_TARGET};
use tracing::span::EnteredSpan;

use crate::Phase;

/// A span for a section of one thread's time.
macro_rules! section {
    ($name:literal $(, $($field:tt)*)?) => {
        tracing::debug_span!(target: tidemill_core::TRACE_TARGET, $name $(, $($field)*)?)
    };
}
pub(crate) use section;

/// The section of the batch that is on its way, from asking the sources to the commit.
#[derive(Default)]
pub(crate) struct BatchSection {
    running: Option<(BatchId, EnteredSpan)>,
}

impl BatchSection {
    pub(crate) fn follow(&mut self, query: &str, phase: &Phase) {
        match phase {
            Phase::Idle => self.running = None,
            Phase::Constructed(planned) | Phase::Logged(planned) => {
                self.begin(query, planned.spec.batch);
            }
            Phase::Executed(done) | Phase::Delivered(done) => {
                self.begin(query, done.planned.spec.batch);
            }
        }
    }

    pub(crate) fn begin(&mut self, query: &str, batch: BatchId) {
        if self.running.as_ref().is_none_or(|(running, _)| *running != batch) {
            // The last one has to end before the next begins.
            self.running = None;
            let nothing = tracing::field::Empty;
            let span = tracing::debug_span!(
                target: TRACE_TARGET, "batch", query, batch = batch.0, nothing
            );
            self.running = Some((batch, span.entered()));
        }
    }

    /// There was nothing to do.
    pub(crate) fn forget(&mut self) {
        if let Some((_, span)) = self.running.take() {
            span.record("nothing", true);
        }
    }
}
