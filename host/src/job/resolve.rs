//! The job as the program relies on it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tidemill_connectors::{OptionText, is_secret_option, names_file, secrets_of};
use tidemill_core::{
    Digest, OutputMode, Secret, Secrets, Trigger, WatermarkPolicy, bytes_text, parse_bytes,
};
use tidemill_engine::DEAD_LETTERS;
use tidemill_plan::{LetterRules, Step, StepKind, TimeMode, ValueFormat, WatermarkSpec};
use tidemill_time::Zone;
use tidemill_types::parse_schema;
use tidemill_types::{Interval, IntervalError};

use super::environment::{OptionValue, Text};
use super::error::JobError;
use super::names::{check_file_name, check_name};
use super::raw::{
    RawDeadLetters, RawIsolates, RawJob, RawLateRows, RawOnError, RawOptions, RawOutputMode,
    RawPlugin, RawSource, RawStep, RawTarget, RawTimeMode, RawTrigger, RawValue, RawWatermark,
    RawWatermarkPolicy,
};
use super::read::{JobText, Override, read};

/// The schema of a source whose columns are taken from its files.
const INFER: &str = "infer";

/// Default of `options.shuffle_partitions`.
const SHUFFLE_PARTITIONS: u32 = 4;
/// Formats of static tables.
const STATIC_FORMATS: [&str; 4] = ["json", "csv", "parquet", "text"];
/// The least `options.memory`: a few blocks of rows for each of some operators.
pub(crate) const MEMORY_MIN: u64 = 16 << 20;
/// Default of `options.retries`.
const RETRIES: u32 = 3;
/// Default of `dead_letters.format`.
const DEAD_LETTERS_FORMAT: &str = "json";
/// Default of `dead_letters.max_rows`: more in one batch is a broken stream rather than some bad rows.
const DEAD_LETTERS_MAX: u64 = 10_000;

/// A checked job. Paths are absolute or relative to the process's directory.
#[derive(Clone)]
pub struct Job {
    /// The file.
    pub path: PathBuf,
    /// Name of the query.
    pub name: String,
    /// Digest of the text that was read, overrides included.
    pub digest: Digest,
    /// Directory of the checkpoint.
    pub checkpoint: PathBuf,
    /// Which rows of the result each batch gives.
    pub output_mode: OutputMode,
    /// When a batch starts.
    pub trigger: Trigger,
    /// Options of the engine.
    pub options: JobOptions,
    /// Streaming tables.
    pub sources: Vec<JobSource>,
    /// Tables that streams are joined with. They have neither a value to take apart nor a
    /// watermark.
    pub statics: Vec<JobSource>,
    /// Plugins.
    pub plugins: Vec<JobPlugin>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Where the result goes.
    pub sink: JobSink,
    /// The table that goes there; `None`: the last.
    pub from: Option<String>,
    /// Named places.
    pub targets: BTreeMap<String, JobTarget>,
    /// Where refused rows go.
    pub dead_letters: Option<JobDeadLetters>,
    /// What came from the environment, and the values of options that are named as secrets: what
    /// must not leave the process but for where the job sends it.
    pub secrets: Secrets,
}

/// Says which job it is. What is in it may be secret.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("path", &self.path)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Options of the engine.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// Shards of state. `None`: the default, or what the checkpoint has.
    pub shuffle_partitions: Option<u32>,
    /// Slices of a source's range. `None`: the processors, or what the checkpoint has.
    pub scan_partitions: Option<usize>,
    /// The session's time zone. `None`: the default, or what the checkpoint has.
    pub time_zone: Option<String>,
    /// Whether a batch may run without rows.
    pub no_data_batches: bool,
    /// Which of several watermarks counts. `None`: `min`, or what the checkpoint has.
    pub watermark_policy: Option<WatermarkPolicy>,
    /// Bytes for the changes of one batch to the state.
    pub state_overlay_memory: Option<u64>,
    /// Bytes for all that grows with data. `None`: by the machine.
    pub memory: Option<u64>,
    /// Where rows of handlers go that do not fit. `None`: into the checkpoint's directory.
    pub spill_directory: Option<PathBuf>,
    /// Tries after the first.
    pub retries: u32,
}

impl JobOptions {
    /// Shards where neither the job nor the checkpoint says.
    pub const SHUFFLE_PARTITIONS: u32 = SHUFFLE_PARTITIONS;
}

/// A streaming table.
#[derive(Clone, Debug)]
pub struct JobSource {
    /// The table.
    pub name: String,
    /// The format.
    pub format: String,
    /// Where files are.
    pub path: Option<PathBuf>,
    /// Its columns.
    pub schema: Option<SchemaRef>,
    /// Whether its columns are to be taken from its files.
    pub infers: bool,
    /// Spark's options.
    pub options: BTreeMap<String, OptionText>,
    /// How `value` is taken apart.
    pub value: Option<ValueFormat>,
    /// Event time.
    pub watermark: Option<WatermarkSpec>,
}

/// A plugin.
#[derive(Clone, Debug)]
pub struct JobPlugin {
    /// The job's name for it.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Hot reload; `None`: as the command says.
    pub watch: Option<bool>,
    /// JSON object. The guest gets it, and nobody else.
    pub config: Secret<String>,
    /// Bytes an instance may hold.
    pub memory: Option<u64>,
    /// Time a call may take.
    pub deadline: Option<Duration>,
    /// Targets that it may reach.
    pub targets: Vec<String>,
    /// Whether instances of its scalars and transforms are kept over batches.
    pub reuse: bool,
}

/// Where the result goes.
#[derive(Clone, Debug)]
pub enum JobSink {
    /// To a place.
    Place(JobTarget),
    /// To a plugin's handler.
    ForeachBatch {
        /// The plugin.
        plugin: String,
        /// The handler.
        function: String,
    },
}

/// Where refused rows go, and how many may.
#[derive(Clone, Debug)]
pub struct JobDeadLetters {
    /// The place.
    pub place: JobTarget,
    /// In one batch.
    pub max_rows: u64,
    /// In one batch, of the rows that it reads.
    pub max_share: Option<f64>,
    /// Whether rows that are late go there.
    pub keeps_late: bool,
    /// Whether rows are looked for with which a function traps.
    pub isolates_traps: bool,
    /// Whether rows are looked for with which an expression fails.
    pub keeps_failing: bool,
}

impl JobDeadLetters {
    /// Which rows leave a batch.
    #[must_use]
    pub fn rules(&self) -> LetterRules {
        LetterRules { max_rows: self.max_rows, isolates_traps: self.isolates_traps }
    }
}

/// A place.
#[derive(Clone, Debug)]
pub struct JobTarget {
    /// The format.
    pub format: String,
    /// A file or directory.
    pub path: Option<PathBuf>,
    /// Options.
    pub options: BTreeMap<String, OptionText>,
}

impl Job {
    /// Reads and checks a job file. Looks at nothing but the file and the environment.
    pub fn read(path: &Path, overrides: &[Override]) -> Result<Job, JobError> {
        let JobText { text, raw, secrets } = read(path, overrides)?;
        let job = Resolver { path }.job(&text, raw);
        let mut job = job.map_err(|error| error.concealed(&secrets))?;
        job.secrets = secrets;
        job.add_named_secrets();
        Ok(job)
    }

    fn add_named_secrets(&mut self) {
        let sources = self.sources.iter().chain(&self.statics).map(|source| &source.options);
        let sink = match &self.sink {
            JobSink::Place(place) => Some(place),
            JobSink::ForeachBatch { .. } => None,
        };
        let letters = self.dead_letters.as_ref().map(|letters| &letters.place);
        let places = self.targets.values().chain(sink).chain(letters).map(|place| &place.options);
        sources.chain(places).for_each(|options| self.secrets.extend(&secrets_of(options)));
    }
}

struct Resolver<'a> {
    path: &'a Path,
}

impl Resolver<'_> {
    fn job(&self, text: &str, raw: RawJob) -> Result<Job, JobError> {
        let name = match &raw.name {
            Some(name) => name.0.clone(),
            None => self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        self.check_names(&name, &raw)?;
        if raw.source.is_empty() {
            return Err(self.invalid("the job has no stream: add a [source.NAME]"));
        }
        let checkpoint = raw.checkpoint.map_or_else(|| format!(".tidemill/{name}"), |text| text.0);
        if checkpoint.contains("://") {
            return Err(self.not_yet(format!("a checkpoint at a URL (\"{checkpoint}\")")));
        }
        let sources = raw
            .source
            .into_iter()
            .map(|(name, source)| self.source(name, source))
            .collect::<Result<Vec<_>, _>>()?;
        let statics = raw
            .statics
            .into_iter()
            .map(|(name, table)| self.static_table(name, table))
            .collect::<Result<Vec<_>, _>>()?;
        let steps = self.steps(raw.step, &sources, &statics)?;
        let targets: BTreeMap<String, JobTarget> =
            raw.target.into_iter().map(|(name, target)| (name, self.target(target))).collect();
        let letters = raw.dead_letters.map(|letters| self.dead_letters(letters, &targets));
        let dead_letters = letters.transpose()?;
        let keeps_malformed =
            |source: &&JobSource| source.value.as_ref().is_some_and(|value| value.keeps_malformed);
        if dead_letters.is_none()
            && let Some(source) = sources.iter().find(keeps_malformed)
        {
            return Err(self.invalid(format!(
                "source.{}.value.on_error = \"dead_letter\" needs a place for dead letters: add [{DEAD_LETTERS}] with a `path`",
                source.name
            )));
        }
        let plugins = raw
            .plugin
            .into_iter()
            .map(|(name, plugin)| self.plugin(name, plugin, &targets))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Job {
            path: self.path.to_owned(),
            digest: Digest::of(text.as_bytes()),
            checkpoint: self.beside(&checkpoint),
            output_mode: match raw.output_mode {
                None | Some(RawOutputMode::Append) => OutputMode::Append,
                Some(RawOutputMode::Update) => OutputMode::Update,
                Some(RawOutputMode::Complete) => OutputMode::Complete,
            },
            trigger: raw.trigger.map_or(Ok(Trigger::default()), |t| self.trigger(&t))?,
            options: self.options(&raw.options)?,
            sources,
            statics,
            plugins,
            steps,
            from: raw.sink.from.as_ref().map(|from| from.0.clone()),
            sink: self.sink(raw.sink)?,
            dead_letters,
            targets,
            secrets: Secrets::default(),
            name,
        })
    }

    fn check_names(&self, name: &str, raw: &RawJob) -> Result<(), JobError> {
        let invalid = |reason: String| self.invalid(reason);
        check_file_name("name", name).map_err(invalid)?;
        let steps = raw.step.iter().map(|step| ("step", step.name.0.as_str()));
        let tables = raw.source.keys().map(|name| ("source", name.as_str()));
        let tables = tables.chain(raw.statics.keys().map(|name| ("static", name.as_str())));
        let others = raw.plugin.keys().map(|name| ("plugin", name.as_str()));
        let others = others.chain(raw.target.keys().map(|name| ("target", name.as_str())));
        let mut all = tables.chain(steps).chain(others);
        all.try_for_each(|(place, name)| check_name(place, name)).map_err(invalid)
    }

    fn trigger(&self, raw: &RawTrigger) -> Result<Trigger, JobError> {
        if raw.continuous.is_some() {
            return Err(self.not_yet("trigger.continuous".to_owned()));
        }
        let is_set = |flag: Option<bool>, key: &str| match flag {
            Some(false) => {
                Err(self.invalid(format!("trigger.{key} = false means nothing; leave it out")))
            }
            flag => Ok(flag.is_some()),
        };
        let now = is_set(raw.available_now, "available_now")?;
        let once = is_set(raw.once, "once")?;
        match (&raw.processing_time, now, once) {
            (Some(interval), false, false) => {
                let interval = self.interval("trigger.processing_time", interval)?;
                Ok(Trigger::ProcessingTime(interval))
            }
            (None, true, false) => Ok(Trigger::AvailableNow),
            (None, false, true) => Ok(Trigger::Once),
            _ => Err(self.invalid(
                "trigger takes exactly one of processing_time, available_now, once and continuous",
            )),
        }
    }

    fn options(&self, raw: &RawOptions) -> Result<JobOptions, JobError> {
        let range = |key: &str, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(self.invalid(format!("options.{key} is {value}, and has to be in 1..={max}")))
        };
        raw.shuffle_partitions
            .map_or(Ok(()), |n| range("shuffle_partitions", u64::from(n), 1_024))?;
        raw.scan_partitions.map_or(Ok(()), |n| range("scan_partitions", n as u64, 256))?;
        Ok(JobOptions {
            shuffle_partitions: raw.shuffle_partitions,
            scan_partitions: raw.scan_partitions,
            time_zone: raw.time_zone.as_ref().map(|zone| self.time_zone(zone)).transpose()?,
            no_data_batches: raw.no_data_batches.unwrap_or(true),
            watermark_policy: raw.multiple_watermark_policy.map(|policy| match policy {
                RawWatermarkPolicy::Min => WatermarkPolicy::Min,
                RawWatermarkPolicy::Max => WatermarkPolicy::Max,
            }),
            state_overlay_memory: self.optional_bytes(
                "options.state_overlay_memory",
                raw.state_overlay_memory.as_ref(),
            )?,
            memory: self.memory(raw.memory.as_ref())?,
            spill_directory: raw.spill_directory.as_ref().map(|path| self.beside(path)),
            retries: raw.retries.unwrap_or(RETRIES),
        })
    }

    fn time_zone(&self, text: &Text) -> Result<String, JobError> {
        match Zone::named(text) {
            Ok(_) => Ok(text.to_string()),
            Err(error) => Err(self.invalid(format!("options.time_zone: {error}"))),
        }
    }

    fn memory(&self, text: Option<&Text>) -> Result<Option<u64>, JobError> {
        let memory = self.optional_bytes("options.memory", text)?;
        if let Some(too_little) = memory.filter(|bytes| *bytes < MEMORY_MIN) {
            return Err(self.invalid(format!(
                "options.memory is {}, and a query cannot do with less than {}",
                bytes_text(too_little),
                bytes_text(MEMORY_MIN)
            )));
        }
        Ok(memory)
    }

    fn source(&self, name: String, raw: RawSource) -> Result<JobSource, JobError> {
        let place = format!("source.{name}");
        let schema = |key: &str, text: &Text| {
            parse_schema(text).map_err(|error| self.invalid(format!("{place}.{key}: {error}")))
        };
        let value = match raw.value {
            None => None,
            Some(RawValue { format, .. }) if &*format != "json" => {
                return Err(self.not_yet(format!("{place}.value.format = \"{}\"", &*format)));
            }
            Some(value) => Some(ValueFormat {
                schema: schema("value.schema", &value.schema)?,
                keep: value.keep.into_iter().map(|text| text.0).collect(),
                options: value
                    .options
                    .into_iter()
                    .map(|(key, option)| (key, option.0.reveal().to_owned()))
                    .collect(),
                keeps_malformed: value.on_error == RawOnError::DeadLetter,
            }),
        };
        let infers = raw.schema.as_ref().is_some_and(|text| text.trim() == INFER);
        let said = raw.schema.as_ref().filter(|_| !infers);
        Ok(JobSource {
            schema: said.map(|text| schema("schema", text)).transpose()?,
            infers,
            watermark: self.watermark(&place, raw.watermark)?,
            path: raw.path.map(|path| self.beside(&path)),
            options: self.place_options(&raw.format, raw.options),
            format: raw.format.0,
            value,
            name,
        })
    }

    /// A table that does not change: files, with the keys of a source.
    fn static_table(&self, name: String, raw: RawSource) -> Result<JobSource, JobError> {
        let place = format!("static.{name}");
        let format = raw.format.to_lowercase();
        if !STATIC_FORMATS.contains(&format.as_str()) {
            return Err(self.not_yet(format!(
                "{place}.format = \"{}\" (there are {})",
                &*raw.format,
                STATIC_FORMATS.join(", ")
            )));
        }
        if raw.watermark.is_some() {
            return Err(self.invalid(format!(
                "{place}.watermark: a static table has no watermark, as all its rows are there at once; leave it out"
            )));
        }
        if raw.value.is_some() {
            return Err(self.invalid(format!("{place}.value belongs to a source of messages")));
        }
        // What does not change is read for its columns, as in Spark.
        Ok(JobSource { infers: true, ..self.source(name, raw)? })
    }

    fn watermark(
        &self,
        place: &str,
        raw: Option<RawWatermark>,
    ) -> Result<Option<WatermarkSpec>, JobError> {
        let Some(raw) = raw else {
            return Ok(None);
        };
        let key = format!("{place}.watermark.delay");
        let delay = self.not_negative(&key, &raw.delay, Interval::from_delay(&raw.delay))?;
        let idle = raw
            .idle
            .map(|text| self.interval(&format!("{place}.watermark.idle"), &text))
            .transpose()?;
        Ok(Some(WatermarkSpec { column: raw.column.0, delay, idle }))
    }

    fn steps(
        &self,
        raw: Vec<RawStep>,
        sources: &[JobSource],
        statics: &[JobSource],
    ) -> Result<Vec<Step>, JobError> {
        let mut last = match sources {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        let mut names: Vec<String> = Vec::new();
        for table in sources.iter().chain(statics) {
            if names.contains(&table.name) {
                return Err(self.invalid(format!("there are two tables \"{}\"", table.name)));
            }
            names.push(table.name.clone());
        }
        let mut steps = Vec::new();
        for step in raw {
            let name = step.name.0.clone();
            if names.contains(&name) {
                return Err(self.invalid(format!("there are two tables \"{name}\"")));
            }
            steps.push(self.step(step, last.take(), &names)?);
            names.push(name.clone());
            last = Some(name);
        }
        Ok(steps)
    }

    fn step(
        &self,
        raw: RawStep,
        before: Option<String>,
        tables: &[String],
    ) -> Result<Step, JobError> {
        let place = format!("step \"{}\"", &*raw.name);
        let of_stateful = [
            ("time_mode", raw.time_mode.is_some()),
            ("initial_state", raw.initial_state.is_some()),
        ];
        let key = match &raw.key {
            None => {
                if let Some((word, _)) = of_stateful.into_iter().find(|(_, is_set)| *is_set) {
                    return Err(self.invalid(format!(
                        "{place}: `{word}` is for a plugin's stateful function, whose `key` names the columns that make a key"
                    )));
                }
                None
            }
            Some(names) if names.is_empty() => {
                return Err(self.invalid(format!("{place}: `key` names no column")));
            }
            Some(names) => Some(names.iter().map(|name| name.0.clone()).collect::<Vec<_>>()),
        };
        let from = || -> Result<String, JobError> {
            let named = raw.from.as_ref().map(|from| from.0.clone());
            let from = named.or_else(|| before.clone()).ok_or_else(|| {
                self.invalid(format!("{place}: there are several sources; say which with `from`"))
            })?;
            if tables.contains(&from) {
                return Ok(from);
            }
            Err(self.invalid(format!(
                "{place}: from = \"{from}\" names no earlier table; there are {}",
                tables.join(", ")
            )))
        };
        let kind = match (&raw.sql, &raw.plugin, &raw.function, &raw.drop_duplicates) {
            (Some(sql), None, None, None) if raw.from.is_none() => StepKind::Sql(sql.0.clone()),
            (Some(_), None, None, None) => {
                return Err(
                    self.invalid(format!("{place}: SQL names its tables itself; leave out `from`"))
                );
            }
            (None, Some(plugin), Some(function), None) => {
                let (from, plugin, function) = (from()?, plugin.0.clone(), function.0.clone());
                match key {
                    None => StepKind::Transform { from, plugin, function },
                    Some(key) => StepKind::Stateful {
                        time_mode: match raw.time_mode {
                            None | Some(RawTimeMode::None) => TimeMode::None,
                            Some(RawTimeMode::ProcessingTime) => TimeMode::ProcessingTime,
                            Some(RawTimeMode::EventTime) => TimeMode::EventTime,
                        },
                        initial_state: raw.initial_state.as_ref().map(|table| table.0.clone()),
                        from,
                        plugin,
                        function,
                        key,
                    },
                }
            }
            _ if key.is_some() => {
                return Err(self.invalid(format!(
                    "{place}: `key` is for a stateful function; name its `plugin` and `function`"
                )));
            }
            (None, None, None, Some(duplicates)) => StepKind::DropDuplicates {
                from: from()?,
                columns: duplicates.columns.iter().map(|column| column.0.clone()).collect(),
                within_watermark: duplicates.within_watermark,
            },
            (None, None, None, None) if raw.watermark.is_some() => StepKind::Same { from: from()? },
            _ => {
                return Err(self.invalid(format!(
                    "{place} takes either `sql`, or `plugin` and `function` (with a `key` where that is stateful), or `drop_duplicates`, or just a `watermark`"
                )));
            }
        };
        let watermark = self.watermark(&place, raw.watermark)?;
        Ok(Step { name: raw.name.0, kind, watermark })
    }

    fn plugin(
        &self,
        name: String,
        raw: RawPlugin,
        targets: &BTreeMap<String, JobTarget>,
    ) -> Result<JobPlugin, JobError> {
        let place = format!("plugin.{name}");
        let granted: Vec<String> = raw.targets.into_iter().map(|text| text.0).collect();
        if let Some(unknown) = granted.iter().find(|target| !targets.contains_key(*target)) {
            return Err(self.invalid(format!(
                "{place}.targets names \"{unknown}\", and there is no [target.{unknown}]"
            )));
        }
        let config = serde_json::to_string(&raw.config)
            .map_err(|error| self.invalid(format!("{place}.config: {error}")))?;
        let deadline = raw
            .limits
            .deadline
            .map(|text| self.interval(&format!("{place}.limits.deadline"), &text))
            .transpose()?;
        let deadline = deadline.map(|limit| Duration::from_micros(limit.micros.unsigned_abs()));
        Ok(JobPlugin {
            path: self.beside(&raw.path),
            watch: raw.watch,
            config: Secret::new(config),
            memory: self
                .optional_bytes(&format!("{place}.limits.memory"), raw.limits.memory.as_ref())?,
            deadline,
            targets: granted,
            reuse: raw.reuse,
            name,
        })
    }

    fn sink(&self, raw: super::raw::RawSink) -> Result<JobSink, JobError> {
        if &*raw.format != "foreach_batch" {
            if raw.plugin.is_some() || raw.function.is_some() {
                return Err(self.invalid(
                    "sink: `plugin` and `function` belong to format = \"foreach_batch\"",
                ));
            }
            return Ok(JobSink::Place(self.target(RawTarget {
                format: raw.format,
                path: raw.path,
                options: raw.options,
            })));
        }
        if raw.path.is_some() || !raw.options.is_empty() {
            return Err(self.invalid(
                "sink: format = \"foreach_batch\" takes `plugin` and `function`; places that the handler writes to are [target.NAME]",
            ));
        }
        match (raw.plugin, raw.function) {
            (Some(plugin), Some(function)) => {
                Ok(JobSink::ForeachBatch { plugin: plugin.0, function: function.0 })
            }
            _ => {
                Err(self.invalid("sink: format = \"foreach_batch\" needs `plugin` and `function`"))
            }
        }
    }

    fn dead_letters(
        &self,
        raw: RawDeadLetters,
        targets: &BTreeMap<String, JobTarget>,
    ) -> Result<JobDeadLetters, JobError> {
        if targets.contains_key(DEAD_LETTERS) {
            return Err(self.invalid(format!(
                "[target.{DEAD_LETTERS}] and [{DEAD_LETTERS}] would keep their marks under one name; give the target another one"
            )));
        }
        if raw.max_rows == Some(0) {
            return Err(self.invalid(
                "dead_letters.max_rows is 0, and has to be 1 or more; leave out [dead_letters], and one refused row fails its batch",
            ));
        }
        if let Some(share) = raw.max_share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return Err(self.invalid(format!(
                "dead_letters.max_share is {share}, and has to be above 0 and at most 1, like 0.01 for one row of a hundred"
            )));
        }
        let place = RawTarget {
            format: raw.format.unwrap_or_else(|| Text(DEAD_LETTERS_FORMAT.to_owned())),
            path: raw.path,
            options: raw.options,
        };
        Ok(JobDeadLetters {
            place: self.target(place),
            max_rows: raw.max_rows.unwrap_or(DEAD_LETTERS_MAX),
            max_share: raw.max_share,
            keeps_late: raw.late_rows == RawLateRows::DeadLetter,
            isolates_traps: raw.on_trap == RawIsolates::Isolate,
            keeps_failing: raw.on_error == RawIsolates::Isolate,
        })
    }

    fn target(&self, raw: RawTarget) -> JobTarget {
        JobTarget {
            path: raw.path.map(|path| self.beside(&path)),
            options: self.place_options(&raw.format, raw.options),
            format: raw.format.0,
        }
    }

    /// Options of a source, sink or target; files that they name are beside the job, too.
    fn place_options(
        &self,
        format: &str,
        options: BTreeMap<String, OptionValue>,
    ) -> BTreeMap<String, OptionText> {
        let placed = |(name, OptionValue(value)): (String, OptionValue)| {
            let value = match value {
                value if names_file(&name, value.reveal()) => {
                    OptionText::Plain(self.beside(value.reveal()).to_string_lossy().into_owned())
                }
                value if is_secret_option(format, &name) => value.hidden(),
                value => value,
            };
            (name, value)
        };
        options.into_iter().map(placed).collect()
    }

    fn interval(&self, key: &str, text: &Text) -> Result<Interval, JobError> {
        self.not_negative(key, text, text.parse())
    }

    fn not_negative(
        &self,
        key: &str,
        text: &Text,
        interval: Result<Interval, IntervalError>,
    ) -> Result<Interval, JobError> {
        let interval = interval.map_err(|error| self.invalid(format!("{key}: {error}")))?;
        if interval.micros < 0 {
            let reason = format!("{key} is \"{}\", and must not be negative", &**text);
            return Err(self.invalid(reason));
        }
        Ok(interval)
    }

    fn optional_bytes(&self, key: &str, text: Option<&Text>) -> Result<Option<u64>, JobError> {
        text.map(|text| {
            parse_bytes(text).ok_or_else(|| {
                self.invalid(format!(
                    "{key}: \"{}\" is not a size; write a number and a unit, like \"256 MiB\"",
                    &**text
                ))
            })
        })
        .transpose()
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn not_yet(&self, what: String) -> JobError {
        JobError::NotSupportedYet { path: self.path.to_owned(), what }
    }

    fn invalid(&self, reason: impl Into<String>) -> JobError {
        JobError::Invalid { path: self.path.to_owned(), reason: reason.into() }
    }
}
