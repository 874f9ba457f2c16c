//! What a plugin may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What a job allows one plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of memory that one instance may hold, in all of its memories and tables.
    pub memory: u64,
    /// How long one call may take, with what the host does for it.
    pub deadline: Duration,
}

impl Default for Limits {
    /// 256 MiB and 30 seconds: room for hundreds of record batches, and longer than any call that
    /// was not written by mistake.
    fn default() -> Limits {
        Limits { memory: 256 << 20, deadline: Duration::from_secs(30) }
    }
}

/// How often the clock behind the deadlines ticks. A deadline is kept to within one tick; a
/// hundred ticks a second cost nothing that can be measured.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Bytes of a plugin's file. A Python interpreter with its libraries has 20 MB, a plugin in Rust 2.
pub(crate) const MODULE_BYTES_MAX: usize = 64 << 20;

/// Functions in a file. The compiler holds all of them at a time, at some ten kilobytes each: more
/// would be a gigabyte. A plugin in Rust has some thousand, an interpreter some ten thousand.
pub(crate) const FUNCTIONS_MAX: usize = 50_000;

/// Bytes of one function's body. The compiler's time and memory grow faster than a body does, and
/// it cannot be interrupted inside of one. The main loops of interpreters have some 100 KB.
pub(crate) const FUNCTION_BYTES_MAX: usize = 512 << 10;

/// Values that jumps, blocks and calls of one function carry beyond one each. The compiler takes a
/// kilobyte for each, whatever the bytes are that ask for it; the machine code of compilers has none.
pub(crate) const CARRIED_VALUES_MAX: u64 = 100_000;

/// Locals of a function times the loops that are in one another: each is carried through each, at a
/// quarter of a kilobyte. A function with fifty loops in one another may have five thousand locals.
pub(crate) const CARRIED_LOCALS_MAX: u64 = 1 << 18;

/// Blocks that lie between two uses of a local, over all uses: through so many the compiler goes to
/// find what the local holds, at a microsecond and a hundred bytes each.
pub(crate) const LOCAL_STEPS_MAX: u64 = 1 << 21;

/// Entries of each other kind in a file: types, imports, exports, globals, segments of data and
/// of tables. A library that is linked dynamically exports some ten thousand names.
pub(crate) const ENTRIES_MAX: usize = 50_000;

/// Modules and components inside of a component, and core instances in its lists. A component
/// from an interpreter has some forty and some hundred.
pub(crate) const PARTS_MAX: usize = 1_000;

/// Functions, globals and imports of a file, times its core instances: an instance has an entry of
/// some twenty bytes for each that its module has, beside its memory. An interpreter has two million.
pub(crate) const INSTANTIATED_MAX: usize = 4_000_000;

/// Instantiations of components inside of a component. Each may hold others, and all are laid out
/// in full: sixteen in a row that double are 256.
pub(crate) const NESTED_INSTANCES_MAX: usize = 16;

/// Sections that say what the module's functions are in terms of the contract. The toolchain
/// writes one, and one more for each library that brings its own.
pub(crate) const TYPE_SECTIONS_MAX: usize = 8;

/// Beginnings of types that types can be nested in, in one section of types: each takes the stack of
/// a thread that reads modules some kilobytes.
pub(crate) const NESTED_TYPES_MAX: usize = 2_000;

/// Bytes of such a section. Ours has four thousand.
pub(crate) const TYPE_SECTION_BYTES_MAX: usize = 1 << 20;

/// How long a module may compile. An interpreter of 20 MB takes up to a minute on two busy cores.
pub(crate) const COMPILE_TIME_MAX: Duration = Duration::from_secs(180);

/// All of these, as far as they say which modules are let in: what was compiled by other ones is
/// looked at anew.
pub(crate) const OF_MODULES: [usize; 13] = [
    MODULE_BYTES_MAX,
    FUNCTIONS_MAX,
    FUNCTION_BYTES_MAX,
    CARRIED_VALUES_MAX as usize,
    CARRIED_LOCALS_MAX as usize,
    LOCAL_STEPS_MAX as usize,
    ENTRIES_MAX,
    PARTS_MAX,
    INSTANTIATED_MAX,
    NESTED_INSTANCES_MAX,
    TYPE_SECTIONS_MAX,
    NESTED_TYPES_MAX,
    TYPE_SECTION_BYTES_MAX,
];

/// Functions that a plugin may list: each is looked up by name for every call in the plan.
pub(crate) const LISTED_FUNCTIONS_MAX: usize = 1_000;

/// Bytes of all texts by which a plugin lists its functions. What is made of them stays for as long as
/// the plugin is used.
pub(crate) const LISTED_BYTES_MAX: usize = 8 << 20;

/// Columns of all schemas by which it lists them, with those inside others: some two hundred bytes each.
pub(crate) const LISTED_COLUMNS_MAX: usize = 100_000;

/// Variables of a function's state: each is a column of it.
pub(crate) const VARIABLES_MAX: usize = 1_000;

/// Earlier forms of its state that a function takes over: each is looked at when a query is planned.
pub(crate) const MIGRATIONS_MAX: usize = 100;

/// Bytes of a function's name. It stands in SQL and in every message.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// Bytes that one call may give to the host: some two hundred times a usual record batch. The
/// host holds them beside the guest's own copy, which the memory limit bounds.
pub(crate) const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// Values that one call may give, over all columns of all its messages. Nulls and empty structures
/// have no bytes that would bound them.
pub(crate) const VALUES_MAX: u64 = 1 << 26;

/// Rows of a record batch as the host takes it over. Whoever computes with rows reckons with blocks
/// of so many, as they come from sources and from the plan.
pub(crate) const BLOCK_ROWS: usize = 8_192;

/// Arrays that one call may make in the host: a record batch of four columns is four. Each takes
/// some two hundred bytes, however few the guest sent for it.
pub(crate) const ARRAYS_MAX: u64 = 1 << 20;

/// Keys that one read of a state may name: a call has fewer, and one may be named any number of times.
pub(crate) const READ_KEYS_MAX: usize = 1 << 20;

/// Lines that one call may log: enough to debug with, too few to fill a disk.
pub(crate) const LOG_LINES_MAX: u32 = 1_000;

/// Bytes of all that one call may log.
pub(crate) const LOG_BYTES_MAX: usize = 4 << 20;

/// Bytes of one text of a guest that the host keeps or shows: a logged line, an error, a panic and
/// its place, the reason for a refused row, a doc comment. Longer ones are cut.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;

/// Tables that a handler may hold at a time. Each keeps its rows in the host.
pub(crate) const FRAMES_MAX: usize = 256;

/// Bytes of rows that one `collect` hands over, whatever the guest asks for.
pub(crate) const COLLECT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a handler's query or statement: it is parsed on the stack, and kept with its plan.
pub(crate) const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// Marks that one call may set: each is synced to the disk, and kept for as long as its batch.
pub(crate) const MARKS_MAX: u32 = 1_000;

/// Core instances of a plugin: a component made from JavaScript has 74.
const INSTANCES_MAX: usize = 128;

/// Linear memories of a plugin. One is the rule, and one more for each adapter.
const MEMORIES_MAX: usize = 8;

/// Tables of functions of a plugin: one, and one for the shims around it.
const TABLES_MAX: usize = 32;

/// Bytes of an entry of a function table: a pointer.
const TABLE_ENTRY_BYTES: u64 = 8;

/// Instances of a plugin with `reuse` that are kept between batches: for four functions those of sixteen
/// partitions. Each may hold the plugin's memory limit.
pub(crate) const KEPT_INSTANCES_MAX: usize = 64;

/// Ticks after which a call that began now has passed its deadline.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_nanos().div_ceil(EPOCH_TICK.as_nanos());
    // One more, as the current tick may be nearly over. A deadline of centuries is none.
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).min(u64::MAX / 2) + 1
}

/// Keeps an instance to its memory: the sum of its linear memories and its tables.
pub(crate) struct MemoryLimit {
    limit: u64,
    used: u64,
}

impl MemoryLimit {
    pub(crate) fn new(limit: u64) -> MemoryLimit {
        MemoryLimit { limit, used: 0 }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// What is once counted stays counted: memories only grow, and all end with the instance.
    fn grow(&mut self, bytes: u64) -> wasmtime::Result<bool> {
        match self.used.checked_add(bytes).filter(|used| *used <= self.limit) {
            Some(used) => self.used = used,
            None => return Err(OutOfMemory.into()),
        }
        Ok(true)
    }
}

/// The instance wanted more. It is stopped at once: a Rust guest could only abort, and would hide
/// the reason.
#[derive(Debug, thiserror::Error)]
#[error("more memory than its limit")]
pub(crate) struct OutOfMemory;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum it will not grow, and is told so.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let entries = desired.saturating_sub(current) as u64;
        self.grow(entries.saturating_mul(TABLE_ENTRY_BYTES))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
