//! What the host keeps for one instance: its limits, its log lines, its tables.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tidemill_core::{BatchHost, BatchId, FrameHandle, PluginFailure};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::abi::{Failure, Level};
use crate::giving::Giving;
use crate::keyed::Keyed;
use crate::limits::{
    FRAMES_MAX, LOG_BYTES_MAX, LOG_LINES_MAX, Limits, MARKS_MAX, MemoryLimit, NAME_BYTES_MAX,
    OUTPUT_BYTES_MAX, OutOfMemory, STATEMENT_BYTES_MAX,
};
use crate::text::shortened;

/// Data of a store.
pub(crate) struct CallState {
    memory: MemoryLimit,
    limits: Limits,
    pub(crate) log: GuestLog,
    /// While a handler is called.
    pub(crate) bridge: Option<Bridge>,
    /// While a call runs that may give rows.
    pub(crate) giving: Option<Giving>,
    /// While a stateful function runs.
    pub(crate) keyed: Option<Keyed>,
}

/// The host refuses what the guest asks of it, or could not do it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) PluginFailure);

impl CallState {
    pub(crate) fn new(limits: Limits, log: GuestLog) -> CallState {
        let memory = MemoryLimit::new(limits.memory);
        CallState { memory, limits, log, bridge: None, giving: None, keyed: None }
    }
}

impl CallState {
    /// Bytes that the instance holds in its memories and tables.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.used()
    }
}

/// A store for one instance.
pub(crate) fn store(engine: &wasmtime::Engine, state: CallState) -> Store<CallState> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(OUTPUT_BYTES_MAX);
    store
}

/// What it means that a call did not end as calls do.
pub(crate) fn failure(store: &mut Store<CallState>, error: &wasmtime::Error) -> PluginFailure {
    let state = store.data_mut();
    if error.downcast_ref::<OutOfMemory>().is_some() {
        return PluginFailure::Memory { limit: state.limits.memory };
    }
    if let Some(Refused(failure)) = error.downcast_ref::<Refused>() {
        return failure.clone();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => deadline(state.limits),
        Some(trap) => match state.log.panic.take() {
            Some((place, message)) => PluginFailure::Panic { message, place },
            None => PluginFailure::Trap(format!("{trap}{}", innermost(error))),
        },
        None => PluginFailure::BadOutput(error.root_cause().to_string()),
    }
}

/// What it means that an instance did not come to be: nothing was given back yet.
pub(crate) fn start_failure(
    store: &mut Store<CallState>,
    error: &wasmtime::Error,
) -> PluginFailure {
    match failure(store, error) {
        PluginFailure::BadOutput(reason) => PluginFailure::Host(reason),
        other => other,
    }
}

pub(crate) fn deadline(limits: Limits) -> PluginFailure {
    let limit_ms = u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX);
    PluginFailure::Deadline { limit_ms }
}

/// The function that trapped, if the module has kept its names.
fn innermost(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let name = frames.first().and_then(|frame| frame.func_name());
    // Cut before it is taken apart: the name is whatever the file says.
    let name = name.map(shortened);
    name.map_or_else(String::new, |name| format!(" in {:#}", rustc_demangle::demangle(&name)))
}

/// What a field counts beside its texts.
const FIELD_BYTES: usize = 64;

/// Lines of one instance, on their way to the host's log.
pub(crate) struct GuestLog {
    plugin: Arc<str>,
    function: String,
    batch: Option<BatchId>,
    lines: u32,
    bytes_left: usize,
    panic: Option<(String, String)>,
}

impl GuestLog {
    pub(crate) fn new(plugin: &Arc<str>, function: &str, batch: Option<BatchId>) -> GuestLog {
        let (plugin, function) = (Arc::clone(plugin), function.to_owned());
        GuestLog { plugin, function, batch, lines: 0, bytes_left: LOG_BYTES_MAX, panic: None }
    }

    /// What follows is of this batch.
    pub(crate) fn is_of(&mut self, batch: BatchId) {
        self.batch = Some(batch);
    }

    /// Counts from the beginning again: a call begins.
    pub(crate) fn restart(&mut self) {
        self.lines = 0;
        self.bytes_left = LOG_BYTES_MAX;
        self.panic = None;
    }

    /// Keeps the reason for the trap that follows.
    pub(crate) fn panicked(&mut self, place: &str, message: &str) {
        self.panic = Some((shortened(place), shortened(message)));
    }

    pub(crate) fn write(
        &mut self,
        level: Level,
        target: &str,
        message: &str,
        fields: &[(String, String)],
    ) {
        self.lines = self.lines.saturating_add(1);
        let more = "the others are dropped";
        if self.lines > LOG_LINES_MAX {
            if self.lines == LOG_LINES_MAX + 1 {
                let told = format!("more than {LOG_LINES_MAX} lines in one call; {more}");
                self.emit(Level::Warn, &shortened(target), &told, "");
            }
            return;
        }
        let bytes = fields.iter().map(|(name, value)| FIELD_BYTES + name.len() + value.len());
        let bytes = bytes.fold(target.len().saturating_add(message.len()), usize::saturating_add);
        let left = self.bytes_left;
        self.bytes_left = left.saturating_sub(bytes);
        if bytes > left {
            if left > 0 {
                let told = format!("more than {LOG_BYTES_MAX} bytes in one call; {more}");
                self.emit(Level::Warn, &shortened(target), &told, "");
            }
            return;
        }
        // What has passed the bound above is a few megabytes at the most.
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let (target, fields) = (shortened(target), shortened(fields.join(" ")));
        self.emit(level, &target, &shortened(message), &fields);
    }

    fn emit(&self, level: Level, place: &str, message: &str, fields: &str) {
        let (plugin, function) = (&*self.plugin, &*self.function);
        let batch = self.batch.map(|batch| batch.0);
        let fields = (!fields.is_empty()).then_some(fields);
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(target: "tidemill::plugin", plugin, function, batch, place, fields, "{message}")
            };
        }
        match level {
            Level::Trace => emit!(trace),
            Level::Debug => emit!(debug),
            Level::Info => emit!(info),
            Level::Warn => emit!(warn),
            Level::Error => emit!(error),
        }
    }
}

/// Refuses SQL that is too long to be read.
pub(crate) fn check_sql(sql: &str) -> Result<(), Failure> {
    match sql.len() {
        ..=STATEMENT_BYTES_MAX => Ok(()),
        bytes => Err(Failure::BadInput(format!(
            "SQL of {bytes} bytes, and the limit is {STATEMENT_BYTES_MAX}; give values as \
             parameters or as a table"
        ))),
    }
}

/// The way from a foreach_batch handler to what the host does for it.
pub(crate) struct Bridge {
    pub(crate) host: Arc<dyn BatchHost>,
    plugin: Arc<str>,
    targets: Arc<BTreeSet<String>>,
    batch: FrameHandle,
    /// Tables that the handler made and has not released.
    made: HashSet<FrameHandle>,
    marks: u32,
}

impl Bridge {
    pub(crate) fn new(
        host: Arc<dyn BatchHost>,
        plugin: &Arc<str>,
        targets: &Arc<BTreeSet<String>>,
        batch: FrameHandle,
    ) -> Bridge {
        let (plugin, targets) = (Arc::clone(plugin), Arc::clone(targets));
        Bridge { host, plugin, targets, batch, made: HashSet::new(), marks: 0 }
    }

    /// Refuses a handle that this call was not given.
    pub(crate) fn check_frame(&self, frame: FrameHandle) -> Result<(), Failure> {
        if frame == self.batch || self.made.contains(&frame) {
            return Ok(());
        }
        Err(Failure::BadInput(format!("there is no table with the handle {frame} in this call")))
    }

    /// Refuses a target that the job does not grant.
    pub(crate) fn check_target(&self, target: &str) -> Result<(), Failure> {
        if self.targets.contains(target) {
            return Ok(());
        }
        let plugin = &self.plugin;
        let granted = self.targets.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let granted = if granted.is_empty() { "none".to_owned() } else { granted };
        let target = shortened(target);
        Err(Failure::BadInput(format!(
            "target \"{target}\" is not granted to plugin \"{plugin}\" (granted: {granted}); add \
             it to `targets` of [plugin.{plugin}] in the job"
        )))
    }

    /// Refuses to hold one table too many.
    pub(crate) fn check_room(&self) -> Result<(), Failure> {
        if self.made.len() < FRAMES_MAX {
            return Ok(());
        }
        Err(Failure::Fatal(format!(
            "the handler holds {FRAMES_MAX} tables, which is the limit; drop those that it no \
             longer needs"
        )))
    }

    /// Refuses a mark whose name is too long.
    pub(crate) fn check_mark(&self, name: &str) -> Result<(), Failure> {
        match name.len() {
            ..=NAME_BYTES_MAX => Ok(()),
            bytes => Err(Failure::BadInput(format!(
                "the name of a mark has {bytes} bytes, and the limit is {NAME_BYTES_MAX}"
            ))),
        }
    }

    /// Counts a mark that is about to be set, and refuses one too many.
    pub(crate) fn count_mark(&mut self) -> Result<(), Failure> {
        if self.marks == MARKS_MAX {
            return Err(Failure::Fatal(format!(
                "the handler has set {MARKS_MAX} marks for this batch, which is the limit; one for \
                 each thing that must not happen twice is enough"
            )));
        }
        self.marks += 1;
        Ok(())
    }

    pub(crate) fn made(&mut self, frame: FrameHandle) -> FrameHandle {
        self.made.insert(frame);
        frame
    }

    pub(crate) fn release(&mut self, frame: FrameHandle) {
        if self.made.remove(&frame) {
            self.host.release(frame);
        }
    }
}
