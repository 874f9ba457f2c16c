//! `--trace`: the spans of batches as slices on the tracks of the threads that ran them.
//!
//! A span that is entered and left is a slice; one that is entered several times (a partition that
//! waits in between) is several. Slices are kept by their thread until the outermost one ends, and
//! then go to the [`TraceFile`] together.

use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Map, Value};
use tidemill_core::TRACE_TARGET;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{DynFilterFn, LevelFilter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::trace_file::{Slice, TraceFile};

/// Fields that sections inside of a section have, too.
const INHERITED: [&str; 2] = ["query", "batch"];
/// The section of a whole batch.
const BATCH: &str = "batch";
/// Recorded by a batch that turned out to be none.
const NOTHING: &str = "nothing";

/// A trace that is being written. A clone is the same one.
#[derive(Clone)]
pub struct Trace {
    file: Arc<TraceFile>,
    start: Instant,
}

/// Takes the spans of [`TRACE_TARGET`].
pub struct TraceLayer {
    trace: Trace,
}

impl Trace {
    /// Creates the file, or empties it. It takes so many batches, and then no more.
    pub fn create(path: &Path, batches: u64) -> std::io::Result<Trace> {
        Ok(Trace { file: Arc::new(TraceFile::create(path, batches)?), start: Instant::now() })
    }

    /// What writes the trace, for `tracing_subscriber`, and which spans it is to see.
    #[must_use]
    pub fn layer<S>(&self) -> (TraceLayer, DynFilterFn<S, TraceFilter<S>>) {
        let file = Arc::clone(&self.file);
        let wanted: TraceFilter<S> =
            Box::new(move |metadata, _| metadata.target() == TRACE_TARGET && file.is_open());
        let filter = DynFilterFn::new(wanted).with_max_level_hint(LevelFilter::DEBUG);
        (TraceLayer { trace: self.clone() }, filter)
    }

    /// Writes what is still in memory.
    pub fn finish(&self) {
        self.file.finish();
    }
}

/// Says which spans are part of a trace.
pub type TraceFilter<S> =
    Box<dyn Fn(&Metadata<'_>, &Context<'_, S>) -> bool + Send + Sync + 'static>;

/// What a span says beside its name.
#[derive(Clone, Default)]
struct Arguments {
    /// Changed only while the span is made, so that its slices can share them.
    fields: Arc<Map<String, Value>>,
    is_forgotten: bool,
}

impl Arguments {
    fn set(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.fields).insert(name.to_owned(), value);
    }
}

/// What the present thread is at.
struct Track {
    number: u64,
    /// Starts of the sections that are open, the outermost first.
    open: Vec<Instant>,
    closed: Vec<Slice>,
}

static TRACKS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static TRACK: RefCell<Track> = RefCell::new(Track {
        number: TRACKS.fetch_add(1, Ordering::Relaxed),
        open: Vec::new(),
        closed: Vec::new(),
    });
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TraceLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut arguments = Arguments::default();
        attributes.record(&mut arguments);
        if let Some(parent) = span.parent()
            && let Some(outer) = parent.extensions().get::<Arguments>()
        {
            for name in INHERITED {
                if let Some(value) = outer.fields.get(name)
                    && !arguments.fields.contains_key(name)
                {
                    arguments.set(name, value.clone());
                }
            }
        }
        span.extensions_mut().insert(arguments);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(arguments) = span.extensions_mut().get_mut::<Arguments>()
        {
            values.record(arguments);
        }
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        TRACK.with_borrow_mut(|track| track.open.push(Instant::now()));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let end = Instant::now();
        let Some(span) = context.span(id) else { return };
        let arguments = span.extensions().get::<Arguments>().cloned().unwrap_or_default();
        TRACK.with_borrow_mut(|track| {
            let Some(begin) = track.open.pop() else { return };
            if self.trace.file.takes_slice() {
                track.closed.push(Slice {
                    name: span.name(),
                    begin: begin.saturating_duration_since(self.trace.start),
                    length: end.saturating_duration_since(begin),
                    arguments: arguments.fields,
                });
            }
            if !track.open.is_empty() {
                return;
            }
            let slices = std::mem::take(&mut track.closed);
            if !arguments.is_forgotten {
                let ends_batch = span.name() == BATCH;
                self.trace.file.add(track.number, thread::current().name(), slices, ends_batch);
            }
        });
    }
}

impl Visit for Arguments {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.is_forgotten |= value && field.name() == NOTHING;
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field.name(), format!("{value:?}").into());
    }
}

impl Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}
