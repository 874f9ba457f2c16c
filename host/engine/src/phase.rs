//! How far the current micro-batch has come.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::{AttemptSpec, BatchSpec, Delivered, Delivery, EncodedSpec, PluginModule};
use tidemill_plan::RunningBatch;

use crate::execute::Kept;

/// `Idle -> Constructed -> Logged -> Executed -> Delivered -> Idle`
///
/// One effect leads from each phase to the next. A crash between two is repaired by running the
/// batch again from `Logged`, so every effect after that has to tolerate a second run.
///
/// When the next batch is due by the time that one is delivered, its spec goes into the same
/// append as the commit: `Delivered -> Logged`, with one sync of the log for both.
pub enum Phase {
    /// Between two batches. Everything is durable.
    Idle,
    /// What the batch will read is fixed, and nobody knows yet.
    Constructed(Planned),
    /// The spec is durable: from here on the batch happens.
    Logged(Planned),
    /// All rows are computed and handed to the sink, which shows none of them.
    Executed(Executed),
    /// The sink shows the batch; the log does not know.
    Delivered(Executed),
}

/// A batch and the attempt at it.
#[derive(Clone)]
pub struct Planned {
    /// Ranges, watermarks, time.
    pub spec: BatchSpec,
    /// The same, as places keep it.
    pub encoded: EncodedSpec,
    /// Plugins and job.
    pub attempt: AttemptSpec,
}

impl Planned {
    pub(crate) fn new(spec: BatchSpec, attempt: AttemptSpec) -> Planned {
        Planned { encoded: EncodedSpec::of(&spec), spec, attempt }
    }

    /// The delivery of rows of the batch; `call` as in [`Delivery::call`].
    pub(crate) fn delivery(&self, call: u32) -> Delivery {
        Delivery {
            batch: self.spec.batch,
            spec: self.encoded.clone(),
            attempt: self.attempt.attempt,
            call,
        }
    }
}

/// A batch that was run.
pub struct Executed {
    pub(crate) planned: Planned,
    pub(crate) batch: Arc<RunningBatch>,
    pub(crate) rows: u64,
    /// The place held the batch already, so its output is dropped.
    pub(crate) has_landed: bool,
    /// Kept for the handler, where the sink is one.
    pub(crate) kept: Option<Kept>,
    /// What the places with marks hold of it, once it is delivered.
    pub(crate) delivered: BTreeMap<String, Delivered>,
    /// The plugins that it ran.
    pub(crate) modules: Vec<Arc<dyn PluginModule>>,
}
