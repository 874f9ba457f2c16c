//! What is around the queries of a process.

use std::sync::{Arc, OnceLock};

use tidemill_checkpoint::{Disk, RealDisk};
use tidemill_connectors::{ConsoleOutput, MemoryTables};
use tidemill_core::PluginModule;
use tidemill_engine::{Clock, SystemClock};
use tidemill_plugin_host::{HostOptions, PluginHost};

use super::case_rows::CaseRows;
use super::error::PrepareError;
use super::memory::ProcessMemory;

/// What the queries of a process share: compiled plugins, and the world around them.
pub struct Shared {
    /// Whether plugins are watched where the job does not say.
    pub watch: bool,
    /// Where checkpoints are.
    pub disk: Arc<dyn Disk>,
    /// Where console sinks print.
    pub console: ConsoleOutput,
    /// Where memory sinks keep their tables.
    pub tables: MemoryTables,
    /// Plugins that are compiled in. If there are any, jobs use them by name and load no files.
    /// Whatever digest they give, the one that counts is of their name and of the executable.
    pub native: Vec<Arc<dyn PluginModule>>,
    /// Their budget.
    pub memory: Arc<ProcessMemory>,
    /// Their clock.
    pub clock: Arc<dyn Clock>,
    /// Rows of a case that take the place of the sources', where the job is tested.
    pub(super) case: Option<CaseRows>,
    host: OnceLock<PluginHost>,
}

impl Shared {
    /// On the machine's disk.
    #[must_use]
    pub fn new(watch: bool) -> Shared {
        Shared {
            watch,
            disk: Arc::new(RealDisk),
            console: ConsoleOutput::stdout(),
            tables: MemoryTables::default(),
            native: Vec::new(),
            memory: Arc::default(),
            clock: Arc::new(SystemClock),
            case: None,
            host: OnceLock::new(),
        }
    }

    pub(super) fn host(&self) -> Result<PluginHost, PrepareError> {
        if let Some(host) = self.host.get() {
            return Ok(host.clone());
        }
        let host = PluginHost::new(&HostOptions::default())?;
        Ok(self.host.get_or_init(|| host).clone())
    }
}
