//! The dead letters of a job that are in their place: read back, and taken back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_checkpoint::Checkpoint;
use tidemill_connectors::{OptionText, SinkConfig, SourceConfig, plan_sink, plan_source};
use tidemill_core::{BatchId, OutputMode, QueryId, RowStream, TableReader};
use tidemill_engine::DEAD_LETTERS;
use tidemill_plan::letter_schema;
use tidemill_time::Zone;

use super::error::PrepareError;
use super::pinned::Pinned;
use super::pinned_places::path;
use super::shared::Shared;
use super::statics::StaticReader;
use crate::job::{Job, JobDeadLetters};

/// Formats that can be read back.
const READ_BACK: [&str; 2] = ["json", "parquet"];
/// Options of a sink that say how its times are read.
const TIME_OPTIONS: [&str; 4] = ["timestampformat", "timestampntzformat", "dateformat", "timezone"];
/// Of files that the reader takes: all of them.
const MAX_FILE_AGE: &str = "1000000 days";

/// The dead letters of a job, in a directory of files.
pub struct StoredLetters {
    directory: PathBuf,
    letters: JobDeadLetters,
    job: Job,
    zone: Zone,
    /// `None`: the job was never started.
    query_id: Option<QueryId>,
    shared: Shared,
}

impl StoredLetters {
    /// Those of a job. Looks at the checkpoint, and takes no lock: the query may run.
    ///
    /// # Errors
    /// The job has no place for them, or one that cannot be read back.
    pub fn of(job: Job) -> Result<StoredLetters, PrepareError> {
        let invalid = |reason: String| PrepareError::Invalid(reason);
        let Some(letters) = job.dead_letters.clone() else {
            return Err(invalid(format!(
                "{}: the job has no [dead_letters], so a refused row fails its batch and there is nothing to show",
                job.path.display()
            )));
        };
        let format = &letters.place.format;
        if !READ_BACK.iter().any(|known| format.eq_ignore_ascii_case(known)) {
            return Err(invalid(format!(
                "the dead letters of {} go to a place of format \"{format}\", which this command does not read: it reads {}. Look at them with the means of the place",
                job.path.display(),
                READ_BACK.join(" and ")
            )));
        }
        let directory = path(&letters.place);
        let directory = directory.ok_or_else(|| invalid("dead_letters has no path".to_owned()))?;
        let shared = Shared::new(false);
        let existing = Checkpoint::identify(shared.disk.as_ref(), &job.checkpoint)?;
        let query_id = existing.as_ref().map(|identity| identity.query_id.clone());
        let zone = Pinned::of(&job, existing.map(|identity| identity.pinned))?.zone()?;
        Ok(StoredLetters { directory, letters, job, zone, query_id, shared })
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The session's time zone.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// All of them, as rows with the columns of dead letters.
    ///
    /// # Errors
    /// The files cannot be listed, or their log is damaged.
    pub fn rows(&self) -> Result<RowStream, PrepareError> {
        if !self.directory.exists() {
            return Ok(Box::new(std::iter::empty()));
        }
        let said = self.letters.place.options.iter();
        let said = said.filter(|(name, _)| TIME_OPTIONS.contains(&name.to_lowercase().as_str()));
        let mut options: BTreeMap<String, OptionText> =
            said.map(|(name, value)| (name.clone(), value.clone())).collect();
        options.insert("maxFileAge".to_owned(), OptionText::from(MAX_FILE_AGE));
        let planned = plan_source(SourceConfig {
            name: DEAD_LETTERS.to_owned(),
            format: self.letters.place.format.clone(),
            path: Some(self.directory.clone()),
            schema: Some(letter_schema()),
            time_zone: self.zone,
            options,
            ..SourceConfig::default()
        })?;
        let all: Vec<usize> = (0..letter_schema().fields().len()).collect();
        Ok(StaticReader::open(&planned)?.read(&all)?)
    }

    /// Takes those of some batches back, and gives the number of files that are gone. Refused while
    /// the query runs.
    ///
    /// # Errors
    /// Another process has the checkpoint, or the directory cannot be changed.
    pub fn drop_batches(&self, is_wanted: &dyn Fn(BatchId) -> bool) -> Result<usize, PrepareError> {
        let (Some(query_id), true) = (&self.query_id, self.directory.exists()) else {
            return Ok(0);
        };
        let disk = Arc::clone(&self.shared.disk);
        let _alone = Checkpoint::lock(disk.as_ref(), &self.job.checkpoint)?;
        let sink = plan_sink(SinkConfig {
            name: DEAD_LETTERS.to_owned(),
            format: self.letters.place.format.clone(),
            path: self.letters.place.path.clone(),
            options: self.letters.place.options.clone(),
            schema: Some(letter_schema()),
            time_zone: self.zone,
            output_mode: OutputMode::Append,
            ..SinkConfig::default()
        })?;
        Ok(sink.take_back(query_id, is_wanted).transpose()?.unwrap_or(0))
    }
}
