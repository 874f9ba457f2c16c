//! Checks and plans a job, then starts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_checkpoint::{Checkpoint, Disk, OpenOptions, Rewound, Seen};
use tidemill_connectors::{
    FoundColumns, PlannedSink, PlannedSource, SinkConfig, SourceConfig, plan_sink, plan_source,
};
use tidemill_core::{AttemptSpec, BatchSpec, ConnectorError, Digest, FunctionKind, OutputMode};
use tidemill_engine::{
    Clock, DEAD_LETTERS, EngineError, NamedSource, NoPlugins, PlannedOutput, Plugins, Query,
    QueryConfig, QueryEvent, ReplayConfig, Replayed, SINK, Settings, StopSignal, Unfinished,
    first_step, replay,
};
use tidemill_plan::{PlannedQuery, QueryDefinition, SourceTable, StaticTable};
use tidemill_plugin_host::UsedFunction;
use tidemill_time::Zone;

use super::case_rows::CaseSource;
use super::error::PrepareError;
use super::late::LateReader;
use super::letters::LetterPlace;
use super::memory::ProcessMemory;
use super::origins::{Origins, chosen, warn};
use super::output::{Around, JobOutput, To};
use super::pinned::Pinned;
use super::plugins::JobPlugins;
use super::replay::overlay_bytes;
use super::shared::Shared;
use super::statics::StaticReader;
use crate::job::{Job, JobDeadLetters, JobSink, JobSource, JobTarget};

/// A source that can be opened.
struct PreparedSource {
    name: String,
    reader: Arc<LateReader>,
    from: RowsFrom,
}

enum RowsFrom {
    Place(PlannedSource),
    Case(CaseSource),
}

/// A job that can be started. Nothing has been created for it.
pub struct Prepared {
    job: Job,
    definition: QueryDefinition,
    static_digests: BTreeMap<String, Digest>,
    /// By table: what its files show of its columns.
    found: BTreeMap<String, FoundColumns>,
    plan: PlannedQuery,
    sources: Vec<PreparedSource>,
    sink: Option<Arc<PlannedSink>>,
    letters: Option<LetterPlace>,
    plugins: Option<JobPlugins>,
    pinned: Pinned,
    zone: Zone,
    pins: BTreeMap<String, String>,
    /// The checkpoint that the job was held against.
    seen: Seen,
    unfinished: Unfinished,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    memory: Arc<ProcessMemory>,
    around: Around,
}

/// What a prepared job was made of, its plugins apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeOf {
    /// Of its text, with all changes to it.
    pub(crate) job: Digest,
    /// Of what each static table is read from.
    statics: BTreeMap<String, Digest>,
}

/// What a job is planned with that would be looked up otherwise.
pub(super) struct With {
    /// Where the plugins' bytes come from, in place of what was chosen in the checkpoint.
    pub(super) origins: Origins,
    /// What the query had fixed, if that is not what it fixes now.
    pub(super) pinned: Option<BTreeMap<String, String>>,
}

impl Prepared {
    /// Checks everything that can be checked without creating anything: sources and sinks, the
    /// plugins' bytes, signatures and grants, the SQL, and what is pinned in a
    /// checkpoint that is there.
    pub async fn new(job: Job, shared: &Shared) -> Result<Prepared, PrepareError> {
        let mut prepared = Prepared::planned(job, shared, None).await?;
        prepared.check_places()?;
        Ok(prepared)
    }

    /// As [`new`](Self::new), but for the places that rows go to.
    pub(super) async fn planned(
        job: Job,
        shared: &Shared,
        with: Option<With>,
    ) -> Result<Prepared, PrepareError> {
        shared.memory.ask(job.options.memory, &job.name)?;
        let existing = Checkpoint::identify(shared.disk.as_ref(), &job.checkpoint)?;
        let seen = existing.as_ref().map(|identity| Seen::Query(identity.query_id.clone()));
        let fixed = existing.map(|identity| identity.pinned);
        let (origins, fixed) = match (with, &seen) {
            (Some(with), _) => (with.origins, with.pinned.or(fixed)),
            (None, Some(_)) => {
                let origins = chosen(&job, shared)?;
                warn(&job, shared, &origins);
                (origins, fixed)
            }
            (None, None) => (Origins::new(), fixed),
        };
        let pinned = Pinned::of(&job, fixed)?;
        let zone = pinned.zone()?;
        let mut sources = Vec::new();
        let mut tables = Vec::new();
        let mut found = BTreeMap::new();
        for source in &job.sources {
            let before = pinned.found_columns(source)?;
            let config = SourceConfig { found: before, ..source_config(source, zone) };
            let planned = plan_source(config)?;
            found.extend(planned.found().map(|columns| (source.name.clone(), columns)));
            let reader = Arc::new(LateReader::default());
            let mut table = table(source, &planned, &reader);
            let from = match &shared.case {
                None => RowsFrom::Place(planned),
                Some(case) => {
                    let columns = table.columns()?;
                    (table.schema, table.value) = (Arc::clone(&columns), None);
                    RowsFrom::Case(case.source(&source.name, columns, zone))
                }
            };
            tables.push(table);
            sources.push(PreparedSource { name: source.name.clone(), reader, from });
        }
        let plugins = if job.plugins.is_empty() {
            None
        } else {
            Some(JobPlugins::load(shared, &job.plugins, &origins)?)
        };
        let (mut statics, mut static_digests) = (Vec::new(), BTreeMap::new());
        for table in &job.statics {
            let planned = plan_source(source_config(table, zone))?;
            found.extend(planned.found().map(|columns| (table.name.clone(), columns)));
            let reader = StaticReader::open(&planned)?;
            static_digests.insert(table.name.clone(), reader.digest());
            statics.push(StaticTable {
                name: table.name.clone(),
                schema: planned.schema(),
                reader: Arc::new(reader),
            });
        }
        let definition = QueryDefinition {
            output_mode: job.output_mode,
            keeps_late: job.dead_letters.as_ref().is_some_and(|letters| letters.keeps_late),
            keeps_failing: job.dead_letters.as_ref().is_some_and(|letters| letters.keeps_failing),
            watermark_policy: pinned.watermark_policy,
            shuffle_partitions: pinned.shuffle_partitions,
            scan_partitions: pinned.scan_partitions,
            time_zone: pinned.time_zone.clone(),
            sources: tables,
            statics,
            steps: job.steps.clone(),
            output: job.from.clone(),
            plugins: plugins.as_ref().map(Plugins::current).unwrap_or_default(),
        };
        let plan = PlannedQuery::plan(&definition).await?;
        let pins = pinned.check(&job, &found, plan.operators())?;
        Ok(Prepared {
            job,
            definition,
            static_digests,
            found,
            plan,
            sources,
            sink: None,
            letters: None,
            plugins,
            pinned,
            zone,
            pins,
            seen: seen.unwrap_or(Seen::Nothing),
            unfinished: Unfinished::Run,
            disk: Arc::clone(&shared.disk),
            clock: Arc::clone(&shared.clock),
            memory: Arc::clone(&shared.memory),
            around: Around { console: shared.console.clone(), tables: shared.tables.clone() },
        })
    }

    /// Says what becomes of a batch that an earlier run left unfinished. The start refuses a number
    /// that is not its.
    pub fn settle(&mut self, unfinished: Unfinished) -> Result<(), PrepareError> {
        if self.seen == Seen::Nothing && unfinished != Unfinished::Run {
            return Err(PrepareError::Invalid(format!(
                "there is no checkpoint {}, so there is no batch that failed or is pending",
                self.job.checkpoint.display()
            )));
        }
        self.unfinished = unfinished;
        Ok(())
    }

    /// Refuses places and a checkpoint that are not of one piece, as the start will, which compares
    /// what it opens: this is for who only wants to know, and reads the log for it.
    pub fn compare_places(&self) -> Result<(), PrepareError> {
        let path = &self.job.checkpoint;
        let look = || Checkpoint::peek(self.disk.as_ref(), path);
        let Some(recovered) = look()? else { return Ok(()) };
        let places = self.output().places(&recovered.query_id)?;
        let Err(refusal) = first_step(path, &recovered, &places, self.unfinished) else {
            return Ok(());
        };
        // A query that runs moves its log and its places on, one after the other: what counts is
        // what both say while nothing moves.
        if look()? == Some(recovered) { Err(PrepareError::Invalid(refusal)) } else { Ok(()) }
    }

    /// What it was made of.
    #[must_use]
    pub fn made_of(&self) -> MadeOf {
        MadeOf { job: self.job.digest, statics: self.static_digests.clone() }
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &PlannedQuery {
        &self.plan
    }

    /// By table: what its files show of its columns.
    #[must_use]
    pub fn found(&self) -> &BTreeMap<String, FoundColumns> {
        &self.found
    }

    fn check_places(&mut self) -> Result<(), PrepareError> {
        match &self.job.sink {
            JobSink::Place(place) => {
                let schema = Some(self.plan.schema());
                let config = SinkConfig { schema, ..self.sink_config(SINK, place) };
                let planned = plan_sink(config)?;
                planned.check()?;
                self.sink = Some(Arc::new(planned));
            }
            JobSink::ForeachBatch { plugin, function } => self.check_handler(plugin, function)?,
        }
        for (name, target) in &self.job.targets {
            plan_sink(self.sink_config(name, target))?.check()?;
        }
        if let Some(letters) = &self.job.dead_letters {
            let config = SinkConfig {
                output_mode: OutputMode::Append,
                key: Vec::new(),
                // Of a table in memory.
                query_name: format!("{}_{DEAD_LETTERS}", self.job.name),
                ..self.sink_config(DEAD_LETTERS, &letters.place)
            };
            let sink = match &self.job.sink {
                JobSink::Place(place) => self.sink.as_deref().map(|sink| (place, sink)),
                JobSink::ForeachBatch { .. } => None,
            };
            let place = LetterPlace::plan(config, letters, sink)?;
            place.check()?;
            self.letters = Some(place);
        }
        Ok(())
    }

    pub(super) fn check_handler(&self, plugin: &str, function: &str) -> Result<(), PrepareError> {
        let module = self.definition.plugins.iter().find(|module| module.name() == plugin);
        let Some(module) = module else {
            return Err(PrepareError::Invalid(format!(
                "sink: there is no [plugin.{plugin}] in the job"
            )));
        };
        let handlers: Vec<&str> = module
            .functions()
            .iter()
            .filter(|f| f.kind == FunctionKind::ForeachBatch)
            .map(|f| f.name.as_str())
            .collect();
        if handlers.contains(&function) {
            return Ok(());
        }
        let known = if handlers.is_empty() { "none".to_owned() } else { handlers.join(", ") };
        Err(PrepareError::Invalid(format!(
            "sink: plugin \"{plugin}\" has no foreach_batch handler \"{function}\" (it has: {known})"
        )))
    }

    fn sink_config(&self, name: &str, place: &JobTarget) -> SinkConfig {
        SinkConfig {
            name: name.to_owned(),
            format: place.format.clone(),
            path: place.path.clone(),
            options: place.options.clone(),
            schema: None,
            time_zone: self.zone,
            output_mode: self.job.output_mode,
            key: self.plan.key().to_vec(),
            query_name: self.job.name.clone(),
        }
    }

    /// Opens the checkpoint, the sources and the sink.
    pub fn start(
        mut self,
        stop: StopSignal,
        on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
    ) -> Result<Query, StartError> {
        let clock = Arc::clone(&self.clock);
        let sources =
            self.open_sources(&clock).map_err(|error| StartError::Engine(error.into()))?;
        let plugins: Box<dyn Plugins> = match self.plugins.take() {
            None => Box::new(NoPlugins),
            Some(mut plugins) => {
                plugins.watch(&self.uses()?, &self.disk, &self.job.checkpoint)?;
                Box::new(plugins)
            }
        };
        let output = self.output();
        let options = &self.job.options;
        let mut checkpoint_options = OpenOptions {
            pinned: std::mem::take(&mut self.pins),
            seen: std::mem::take(&mut self.seen),
            ..OpenOptions::default()
        };
        let (memory, spill) = (self.memory.budget(), options.spill_directory.clone());
        checkpoint_options.overlay_bytes_max = overlay_bytes(&self.job, &memory);
        let settings = Settings {
            trigger: self.job.trigger,
            no_data_batches: options.no_data_batches,
            watermark_policy: self.pinned.watermark_policy,
            retries: options.retries,
        };
        let config = QueryConfig {
            name: self.job.name.clone(),
            job: self.job.digest,
            statics: self.static_digests,
            settings,
            definition: self.definition,
            plan: self.plan,
            sources,
            plugins,
            disk: self.disk,
            checkpoint: self.job.checkpoint.clone(),
            checkpoint_options,
            unfinished: self.unfinished,
            memory,
            spill,
            clock,
            secrets: self.job.secrets.clone(),
            on_event,
        };
        Ok(Query::open(config, Box::new(output), stop)?)
    }

    /// Runs a batch that is in the log once more, with this plan, and gives its rows to `rows`. No
    /// place sees anything of it.
    pub(super) fn replay(
        &self,
        batch: &Rewound,
        spill: &Path,
        rows: &mut dyn FnMut(RecordBatch) -> Result<(), EngineError>,
    ) -> Result<Replayed, EngineError> {
        let config = ReplayConfig {
            name: &self.job.name,
            plan: &self.plan,
            sources: self.open_sources(&self.clock)?,
            threads: self.definition.scan_partitions,
            memory: self.memory.budget(),
            spill,
            letters: self.job.dead_letters.as_ref().map(JobDeadLetters::rules),
            migration: self
                .pinned
                .migration(self.plan.operators())
                .map_err(|error| EngineError::Incompatible(error.to_string()))?,
        };
        replay(config, batch, rows)
    }

    /// Refuses a batch that read elsewhere than the job's sources do: a job's directory that was copied has
    /// the checkpoint of the original, which names the original's files.
    pub(super) fn check_ranges(&self, spec: &BatchSpec) -> Result<(), PrepareError> {
        for PreparedSource { name, from, .. } in &self.sources {
            let RowsFrom::Place(planned) = from else { continue };
            let range = spec.ranges.get(name);
            let Some(strange) = range.map(|range| planned.strange_to(range)).transpose()?.flatten()
            else {
                continue;
            };
            return Err(PrepareError::Invalid(format!(
                "the batch read {}, and the source \"{name}\" of this job reads {}: was the job's directory copied, or the source's path changed? Replay it where it ran; where its files are meant all the same, name their directory: --set source.{name}.path={}",
                strange.read.display(),
                strange.reads.display(),
                strange.read.parent().unwrap_or(&strange.read).display()
            )));
        }
        Ok(())
    }

    /// In what job and tables are not as they were when an attempt ran.
    pub(super) fn changes_since(&self, attempt: &AttemptSpec) -> Vec<String> {
        let job = (attempt.job != self.job.digest)
            .then(|| "the text of the job, with --set and --trigger,".to_owned());
        let is_other = |(name, digest): &(&String, &Digest)| {
            attempt.statics.get(*name).is_some_and(|logged| logged != *digest)
        };
        let tables = self.static_digests.iter().filter(is_other);
        let tables = tables.map(|(name, _)| format!("the static table \"{name}\""));
        job.into_iter().chain(tables).collect()
    }

    /// The session's time zone.
    pub(super) fn zone(&self) -> Zone {
        self.zone
    }

    fn open_sources(&self, clock: &Arc<dyn Clock>) -> Result<Vec<NamedSource>, ConnectorError> {
        let mut sources = Vec::new();
        for PreparedSource { name, reader, from } in &self.sources {
            let source = match from {
                RowsFrom::Place(planned) => {
                    let clock = Arc::clone(clock);
                    planned.open(Arc::new(move || clock.now_ms()))?
                }
                RowsFrom::Case(rows) => rows.open()?,
            };
            reader.fill(source.reader());
            sources.push(NamedSource { name: name.clone(), source });
        }
        Ok(sources)
    }

    fn output(&self) -> JobOutput {
        let to = match (&self.job.sink, &self.sink) {
            (JobSink::ForeachBatch { plugin, function }, _) => To::Handler {
                plugin: plugin.clone(),
                function: function.clone(),
                targets: self.granted_targets(plugin),
            },
            (JobSink::Place(_), sink) => {
                To::Sink(sink.clone().expect("a place was planned with the job"))
            }
        };
        JobOutput { to, letters: self.letters.clone(), around: self.around.clone() }
    }

    fn granted_targets(&self, plugin: &str) -> BTreeMap<String, SinkConfig> {
        let plugin = self.job.plugins.iter().find(|granted| granted.name == plugin);
        let granted = plugin.map_or(&[][..], |plugin| &plugin.targets);
        let targets = self.job.targets.iter().filter(|(name, _)| granted.contains(name));
        targets.map(|(name, target)| (name.clone(), self.sink_config(name, target))).collect()
    }

    /// What the query must find in the next generation of each plugin.
    fn uses(&self) -> Result<Vec<(String, UsedFunction)>, PrepareError> {
        let mut uses: Vec<(String, UsedFunction)> = self
            .plan
            .uses()?
            .into_iter()
            .map(|used| {
                let function = UsedFunction {
                    name: used.function,
                    kind: used.kind,
                    input: used.input,
                    output: Some(used.output),
                };
                (used.plugin, function)
            })
            .collect();
        if let JobSink::ForeachBatch { plugin, function } = &self.job.sink {
            let input = self.plan.schema();
            let kind = FunctionKind::ForeachBatch;
            let function = UsedFunction { name: function.clone(), kind, input, output: None };
            uses.push((plugin.clone(), function));
        }
        Ok(uses)
    }
}

/// Why a prepared job did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The job or a plugin.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The checkpoint, a source or the sink.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl StartError {
    /// Whether the same start may succeed later: a place did not answer.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            StartError::Prepare(error) => error.is_retryable(),
            // What a batch must not try again, a start may.
            StartError::Engine(EngineError::Checkpoint(error)) => error.is_of_the_place(),
            StartError::Engine(error) => error.is_retryable(),
        }
    }
}

fn source_config(source: &JobSource, time_zone: Zone) -> SourceConfig {
    SourceConfig {
        name: source.name.clone(),
        format: source.format.clone(),
        path: source.path.clone(),
        schema: source.schema.clone(),
        infers: source.infers,
        found: None,
        time_zone,
        options: source.options.clone(),
    }
}

fn table(source: &JobSource, planned: &PlannedSource, reader: &Arc<LateReader>) -> SourceTable {
    SourceTable {
        name: source.name.clone(),
        schema: planned.schema(),
        reader: Arc::clone(reader) as Arc<dyn tidemill_core::RangeReader>,
        value: source.value.clone(),
        watermark: source.watermark.clone(),
    }
}
