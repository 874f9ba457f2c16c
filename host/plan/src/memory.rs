//! The process's memory budget as DataFusion asks for it, and where rows go that do not fit.
//!
//! Two rules, by who runs:
//!
//! - **A stream's plan never spills.** What a batch gives must not depend on how much memory there
//!   was: a partial aggregation that gives its groups early adds doubles in another order, a sort
//!   that spills puts equal rows in another one. Beyond the budget the batch fails, with an error
//!   that is not one of those that DataFusion's operators act on.
//! - **A handler's SQL spills** where DataFusion can (sorts, aggregations, joins by a condition).

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SpillFile, TempFileFactory};
use tempfile::NamedTempFile;
use tidemill_core::{MemoryBudget, MemoryScope, Reservation};
use tidemill_functions::column_bytes;

use crate::PlanError;

/// Memory of a query: its part in the process's budget, and its place on disk.
#[derive(Debug)]
pub struct QueryMemory {
    budget: MemoryBudget,
    spill: Arc<SpillDirectory>,
    /// Of the stream's own plan.
    streaming: Arc<RuntimeEnv>,
    /// Of handlers' SQL, but for the memory pool: each call has its own.
    batch_sql: RuntimeEnv,
}

/// Memory of one call of a handler: the tables that it holds, and its SQL.
#[derive(Debug)]
pub struct CallMemory {
    budget: MemoryBudget,
    spill: Arc<SpillDirectory>,
    runtime: Arc<RuntimeEnv>,
}

impl QueryMemory {
    /// Memory of a query whose rows go to a directory of its own, `spill`, where they do not fit.
    /// Nothing is created before that; what an earlier run left there is removed.
    ///
    /// # Errors
    /// DataFusion cannot be set up.
    pub fn new(budget: MemoryBudget, spill: &Path) -> Result<QueryMemory, PlanError> {
        let spill = Arc::new(SpillDirectory::new(spill));
        let refuses = NoSpill(budget.clone());
        let pool = Arc::new(Pool::new(budget.clone(), false));
        let streaming = runtime(pool, Arc::new(refuses))?;
        let unused = Arc::new(Pool::new(budget.clone(), true));
        let batch_sql = runtime(unused, Arc::clone(&spill) as Arc<dyn TempFileFactory>)?;
        Ok(QueryMemory { budget, spill, streaming: Arc::new(streaming), batch_sql })
    }

    /// The process's budget.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Memory for one call of a handler: half of the process's.
    #[must_use]
    pub fn call(&self) -> CallMemory {
        let budget = self.budget.share(MemoryScope::Call, self.budget.limit() / 2);
        let memory_pool = Arc::new(Pool::new(budget.clone(), true));
        let runtime = Arc::new(RuntimeEnv { memory_pool, ..self.batch_sql.clone() });
        CallMemory { budget, spill: Arc::clone(&self.spill), runtime }
    }

    pub(crate) fn streaming(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.streaming)
    }
}

impl CallMemory {
    /// The call's budget.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Where its rows go that do not fit.
    #[must_use]
    pub fn spill(&self) -> &SpillDirectory {
        &self.spill
    }

    pub(crate) fn runtime(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.runtime)
    }
}

fn runtime(pool: Arc<Pool>, files: Arc<dyn TempFileFactory>) -> Result<RuntimeEnv> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Custom(files));
    RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(disk).build()
}

/// Bytes of a block, without what its columns share with others of the same array.
#[must_use]
pub fn block_bytes(rows: &RecordBatch) -> u64 {
    rows.columns().iter().map(column_bytes).sum()
}

/// Finds the refusal of memory at the ground of an error of DataFusion, as text.
pub(crate) fn out_of_memory(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(reason) => Some(reason.clone()),
        DataFusionError::External(cause) => {
            cause.downcast_ref::<tidemill_core::OutOfMemory>().map(ToString::to_string)
        }
        _ => None,
    }
}

/// A budget as DataFusion's operators reserve of it.
struct Pool {
    budget: MemoryBudget,
    /// Whether those who are refused are to spill.
    spills: bool,
    consumers: Mutex<HashMap<usize, Reservation>>,
}

impl Pool {
    fn new(budget: MemoryBudget, spills: bool) -> Pool {
        Pool { budget, spills, consumers: Mutex::default() }
    }

    fn consumers(&self) -> MutexGuard<'_, HashMap<usize, Reservation>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works with what a consumer has reserved.
    fn of<T>(
        &self,
        reservation: &MemoryReservation,
        work: impl FnOnce(&mut Reservation) -> T,
    ) -> T {
        let consumer = reservation.consumer();
        let mut consumers = self.consumers();
        let new = || self.budget.reserve(consumer.name());
        work(consumers.entry(consumer.id()).or_insert_with(new))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?})", self.budget.limit())
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl MemoryPool for Pool {
    fn name(&self) -> &str {
        "tidemill"
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let left = self.consumers().remove(&consumer.id());
        drop(left);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.of(reservation, |held| held.grow(additional as u64));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.of(reservation, |held| held.shrink(shrink as u64));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.of(reservation, |held| held.try_grow(additional as u64)).map_err(|refused| match self
            .spills
        {
            true => DataFusionError::ResourcesExhausted(refused.to_string()),
            false => DataFusionError::External(Box::new(refused)),
        })
    }

    fn reserved(&self) -> usize {
        usize::try_from(self.budget.used()).unwrap_or(usize::MAX)
    }

    fn memory_limit(&self) -> MemoryLimit {
        usize::try_from(self.budget.limit()).map_or(MemoryLimit::Infinite, MemoryLimit::Finite)
    }
}

/// Refuses to spill: an operator of a stream's plan asks for a file when it was refused memory.
struct NoSpill(MemoryBudget);

impl TempFileFactory for NoSpill {
    fn create_temp_file(&self, work: &str) -> Result<Arc<dyn SpillFile>> {
        let refused = self.0.reserve(work).refusal(0);
        Err(DataFusionError::External(Box::new(refused)))
    }
}

/// A query's directory for rows that do not fit into memory. It is made when the first ones come,
/// and goes with the value; files in it go with whoever made them.
#[derive(Debug)]
pub struct SpillDirectory {
    path: PathBuf,
    /// DataFusion's part of it, once it is there.
    made: Mutex<Option<Arc<DiskManager>>>,
}

impl SpillDirectory {
    fn new(path: &Path) -> SpillDirectory {
        // A process that was killed could not tidy up.
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "rows that an earlier run spilled could not be removed");
            }
            _ => {}
        }
        SpillDirectory { path: path.to_owned(), made: Mutex::default() }
    }

    /// A new file in it.
    ///
    /// # Errors
    /// The directory cannot be made or written to; the error names it.
    pub fn file(&self) -> io::Result<NamedTempFile> {
        let file = || {
            fs::create_dir_all(&self.path)?;
            NamedTempFile::new_in(&self.path)
        };
        file().map_err(|error| {
            let place = self.path.display();
            io::Error::new(error.kind(), format!("{place}: {error}; set options.spill_directory to a place that can be written to"))
        })
    }

    fn manager(&self) -> Result<Arc<DiskManager>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manager) = made.as_ref() {
            return Ok(Arc::clone(manager));
        }
        fs::create_dir_all(&self.path)?;
        let mode = DiskManagerMode::Directories(vec![self.path.clone()]);
        let manager = Arc::new(DiskManagerBuilder::default().with_mode(mode).build()?);
        *made = Some(Arc::clone(&manager));
        Ok(manager)
    }
}

impl TempFileFactory for SpillDirectory {
    fn create_temp_file(&self, work: &str) -> Result<Arc<dyn SpillFile>> {
        self.manager()?.create_tmp_file(work)
    }
}

impl Drop for SpillDirectory {
    fn drop(&mut self) {
        drop(self.made.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        // Files that are still open keep it, and the next start removes it.
        let _ = fs::remove_dir(&self.path);
    }
}
