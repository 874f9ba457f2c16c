//! A batch of a job that is in the log, run again aside: what it gives is only looked at.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tempfile::TempDir;
use tidemill_checkpoint::{Checkpoint, OVERLAY_BYTES, Rewound};
use tidemill_core::{BatchId, Digest, MemoryBudget, Reservation};
use tidemill_engine::{EngineError, Replayed};
use tidemill_plan::block_bytes;
use tidemill_plugin_host::PluginHost;
use tidemill_time::Zone;

use super::error::PrepareError;
use super::origins::{Origin, Origins};
use super::planning::plan_now;
use super::prepare::{Prepared, With};
use super::shared::Shared;
use crate::job::{Job, JobPlugin, JobSink};

/// A batch that can be run again, as often as is wanted.
pub struct Replay {
    job: Job,
    shared: Shared,
    batch: Rewound,
}

/// What came of a batch that was run again.
pub struct Outcome {
    /// Columns of its rows.
    pub schema: SchemaRef,
    /// The session's time zone.
    pub zone: Zone,
    /// What it gave, or why it failed.
    pub rows: Result<Rows, EngineError>,
    /// In what the job, or a table that it reads, is not as it was when the batch ran.
    pub changes: Vec<String>,
}

/// The rows of a batch, in their order.
pub struct Rows {
    /// In blocks.
    pub blocks: Vec<RecordBatch>,
    /// What there was beside them.
    pub replayed: Replayed,
    _held: Reservation,
}

impl Replay {
    /// Looks the batch up in the checkpoint of the job, and loads the state before it. Takes no
    /// lock: the query may run.
    ///
    /// # Errors
    /// There is no such batch, or what it needs is no longer kept.
    pub fn of(job: Job, batch: BatchId) -> Result<Replay, PrepareError> {
        let shared = Shared::new(false);
        shared.memory.ask(job.options.memory, &job.name)?;
        let budget = shared.memory.budget();
        let (disk, path) = (shared.disk.as_ref(), &job.checkpoint);
        if Checkpoint::identify(disk, path)?.is_none() {
            return Err(PrepareError::Invalid(format!(
                "there is no checkpoint {}, so no batch ran",
                path.display()
            )));
        }
        let memory = || budget.reserve(format!("the state of {}", job.name));
        let overlay = overlay_bytes(&job, &budget);
        let batch = Checkpoint::rewind(disk, path, batch, overlay, &memory)?;
        Ok(Replay { job, shared, batch })
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Whether the batch was committed; otherwise it failed or is pending.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.batch.is_committed
    }

    /// The bytes of a plugin that the batch ran; `None`: it ran none of that name.
    #[must_use]
    pub fn ran(&self, plugin: &str) -> Option<Digest> {
        self.batch.attempt.plugins.get(plugin).copied()
    }

    /// The plugin that `given`, `FILE` or `NAME=FILE`, means, and the file.
    ///
    /// # Errors
    /// It may be one of several, or there is none.
    pub fn plugin_of<'a>(&self, given: &'a str) -> Result<(String, &'a Path), PrepareError> {
        let plugins = &self.job.plugins;
        if let Some((name, file)) = given.split_once('=')
            && plugins.iter().any(|plugin| plugin.name == name)
        {
            return Ok((name.to_owned(), Path::new(file)));
        }
        let file = Path::new(given);
        let is_of = |plugin: &&JobPlugin| {
            plugin.path.file_name() == file.file_name()
                || file.file_stem().is_some_and(|stem| stem == plugin.name.as_str())
        };
        let named: Vec<&JobPlugin> = plugins.iter().filter(is_of).collect();
        match (&plugins[..], &named[..]) {
            ([plugin], _) => Ok((plugin.name.clone(), file)),
            (_, [plugin]) => Ok((plugin.name.clone(), file)),
            ([], _) => Err(PrepareError::Invalid("the job has no plugins".to_owned())),
            _ => {
                let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
                Err(PrepareError::Invalid(format!(
                    "{given} may be any of the job's plugins {}; say which: --plugin {}={given}",
                    names.join(", "),
                    names[0]
                )))
            }
        }
    }

    /// Runs it with the plugins' bytes that it ran.
    ///
    /// # Errors
    /// The job cannot be planned with them.
    pub fn as_logged(&self) -> Result<Outcome, PrepareError> {
        self.run(self.logged()?)
    }

    /// Runs it with another file of one plugin.
    ///
    /// # Errors
    /// The job cannot be planned with it.
    pub fn with(&self, plugin: &str, file: &Path) -> Result<Outcome, PrepareError> {
        let mut origins = self.logged()?;
        origins.insert(plugin.to_owned(), Origin::Other(file.to_owned()));
        self.run(origins)
    }

    /// The digest of a file that stands for a plugin.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn digest_of(plugin: &str, file: &Path) -> Result<Digest, PrepareError> {
        Ok(PluginHost::digest_of_file(plugin, file)?)
    }

    /// A plugin that the batch did not know runs its file.
    fn logged(&self) -> Result<Origins, PrepareError> {
        let (disk, path) = (self.shared.disk.as_ref(), &self.job.checkpoint);
        let mut origins = Origins::new();
        for plugin in &self.job.plugins {
            let Some(digest) = self.ran(&plugin.name) else { continue };
            let bytes = Checkpoint::kept_plugin(disk, path, digest)?;
            origins.insert(plugin.name.clone(), Origin::Kept { bytes, digest, file: None });
        }
        Ok(origins)
    }

    fn run(&self, origins: Origins) -> Result<Outcome, PrepareError> {
        let with = With { origins, pinned: Some(self.batch.pinned.clone()) };
        let planned = Prepared::planned(self.job.clone(), &self.shared, Some(with));
        let prepared = plan_now(planned)??;
        // It is not called. But a plugin without it could not be run, which is what somebody wants to know.
        if let JobSink::ForeachBatch { plugin, function } = &self.job.sink {
            prepared.check_handler(plugin, function)?;
        }
        prepared.check_ranges(&self.batch.spec)?;
        let budget = self.shared.memory.budget();
        let mut held = budget.reserve("the rows of a batch that is replayed");
        let mut blocks = Vec::new();
        let spill = TempDir::new().map_err(|error| {
            PrepareError::Exhausted(format!("there is no temporary directory: {error}"))
        })?;
        let replayed = prepared.replay(&self.batch, spill.path(), &mut |rows| {
            held.try_grow(block_bytes(&rows))?;
            blocks.push(rows);
            Ok(())
        });
        Ok(Outcome {
            schema: prepared.plan().schema(),
            zone: prepared.zone(),
            rows: replayed.map(|replayed| Rows { blocks, replayed, _held: held }),
            changes: prepared.changes_since(&self.batch.attempt),
        })
    }
}

/// Bytes of state that one batch of a job may change.
pub(super) fn overlay_bytes(job: &Job, budget: &MemoryBudget) -> u64 {
    let default = || OVERLAY_BYTES.min(budget.limit() / 4);
    job.options.state_overlay_memory.unwrap_or_else(default)
}
