//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidemill_core::BatchId;
use tidemill_engine::Unfinished;

use crate::job::Override;
use crate::observe::Address;

/// Runs streaming jobs by the rules of Spark Structured Streaming, with WebAssembly plugins.
#[derive(Parser)]
#[command(name = "tidemill", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

const EXAMPLES: &str = "Examples:
  tidemill new plugin till                        a plugin to begin with, and a job
  tidemill build till                             the plugin's .wasm file
  tidemill check job.toml                         is the job right?
  tidemill run job.toml                           run it until Ctrl-C
  tidemill dev job.toml                           the same, while it and its plugins are written
  tidemill run job.toml --trigger available-now   process what is there, then end
  tidemill functions                              what SQL can call
  tidemill inspect plugins/orders.wasm            what a plugin has
  tidemill call orders.wasm with_tax --input -    what one of its functions gives
  tidemill dlq job.toml list                      which rows were refused
  tidemill skip job.toml --batch 7                do without the rows of batch 7, which failed
  tidemill test job.toml                          does it still give what it has to?
  tidemill replay job.toml --batch 7              what batch 7 gave
  tidemill plugins job.toml rollback orders       go back to the plugin that ran before

Exit status: 0 ended well, 1 the query failed, 2 the job, the arguments or a plugin are wrong.
Environment: TIDEMILL_LOG=info (or debug, or tidemill_engine=trace) shows more of what happens.";

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Runs queries until they end or are stopped.
    #[command(after_help = "Examples:
  tidemill run examples/orders/job.toml
  tidemill run job.toml --trigger available-now --progress json
  tidemill run job.toml --set 'source.orders.options.maxFilesPerTrigger=1'
  tidemill run a.toml b.toml
  tidemill run job.toml --metrics 9464            # http://127.0.0.1:9464/metrics and /status
  tidemill run job.toml --metrics 0.0.0.0:9464    # the same, for every machine that gets there
  tidemill run job.toml --trace trace.json        # open it in https://ui.perfetto.dev
  tidemill run job.toml --replan-batch 7          # its input was mended: read what is there now

Ctrl-C, SIGTERM or SIGHUP finishes the batch in flight, commits it and ends with status 0; a second
one ends at once (the batch is replayed at the next start).")]
    Run(RunArguments),
    /// Runs a job while it and its plugins are written.
    ///
    /// As `run --watch`, and beside that: a plugin whose crate is at hand is built when its sources
    /// change; after a plugin was taken over, it is shown what it changes in the batch before; a job
    /// that changes is started anew where it is right; and what fails ends nothing, but waits for
    /// the next change.
    #[command(after_help = "Examples:
  tidemill dev job.toml
  tidemill dev job.toml --plain

A plugin's crate is the nearest directory above its file with a Cargo.toml and a library of its name:
`tidemill new plugin` makes them so. It is built as by `tidemill build`. The job's places are its own:
rows are delivered as by `run`.

At a terminal it fills the screen: q quits, r runs the last batch again and shows what is different,
e shows the whole error of a compiler or a batch. Rows of a console sink and lines of the log have
places there. Elsewhere, and with --plain, it prints lines; q and Enter end it.

Ctrl-C ends it after the batch in flight, and at once the second time.")]
    Dev(DevArguments),
    /// Checks jobs without starting or creating anything: keys, schemas, SQL, plugins, places.
    #[command(after_help = "Examples:
  tidemill check examples/orders/job.toml
  tidemill check job.toml --set output_mode=append")]
    Check(JobArguments),
    /// Lists the functions that SQL can call, or says what one takes and gives.
    #[command(after_help = "Examples:
  tidemill functions
  tidemill functions regexp_replace")]
    Functions(FunctionsArguments),
    /// Says what is in a plugin: its functions with their columns, and what it calls in the host.
    #[command(after_help = "Examples:
  tidemill inspect plugins/orders.wasm
  tidemill inspect plugins/orders.wasm --json

The file is loaded and checked as `tidemill run` does it, but for what the job grants.")]
    Inspect(InspectArguments),
    /// Calls one scalar, transform or aggregate of a plugin with the rows of a file, and prints what it
    /// gives.
    #[command(after_help = "Examples:
  tidemill call orders.wasm with_tax --input rows.jsonl
  tidemill call orders.wasm normalise --input rows.jsonl --format json
  echo '{\"amount\":2.5}' | tidemill call orders.wasm with_tax --input -
  tidemill call till.wasm sales --input rows.jsonl --config tax_rate=0.1 --batch-id 7

The rows are JSON, an object a line. A scalar or an aggregate takes the columns that its parameters
are named after, and for other parameters the next columns of the first row. An aggregate gives one
value for all rows. Columns have the types that the function
declares; a value that is none of its type is an error. Columns that it does not declare have the
types that the rows show. Rows that the function refuses are listed on standard error.

Exit status: 0 it gave its rows, 1 it failed, 2 the plugin, the function or the rows are wrong.")]
    Call(CallArguments),
    /// Builds a plugin's crate for WebAssembly, checks it, and says what is in it.
    #[command(after_help = "Examples:
  tidemill build                                 # the crate in this directory
  tidemill build till --out plugins/till.wasm    # and puts the file there, all at once
  tidemill build till --deploy                   # smaller and faster, and slower to build
  tidemill build till -- --features fancy        # what follows -- goes to cargo

It needs Rust (https://rustup.rs) with the target wasm32-unknown-unknown. The same sources make the
same file in every directory.

Exit status: 0 it was built, 1 it does not compile, 2 the crate or the plugin is wrong.")]
    Build(BuildArguments),
    /// Makes a directory with a plugin or a job to begin with, which builds and runs at once.
    #[command(after_help = "Examples:
  tidemill new plugin till                # ./till: a crate with two functions, and a job
  tidemill new job revenue                # ./revenue: a job with some input
  tidemill new plugin till --path x/y     # in the directory x/y

What is there already is never overwritten.")]
    New(NewArguments),
    /// Lists, shows and drops the dead letters of a job: rows that its plugins refused.
    #[command(after_help = "Examples:
  tidemill dlq job.toml list                          # by batch: how many, of which function, why
  tidemill dlq job.toml show --batch 7
  tidemill dlq job.toml show --json                   # a line a letter, whole
  tidemill dlq job.toml show --rows > again.jsonl     # the rows themselves, ready as input
  tidemill dlq job.toml drop --batch 7

Letters in JSON or Parquet files are read, also while the job runs. What is in Kafka or in a table is
there for the place's own means. `drop` wants that the job does not run.")]
    Dlq(DlqArguments),
    /// Passes over a batch that failed or is pending: it is committed without its rows.
    ///
    /// For a batch that cannot be computed, when its rows can be done without: none of them reach the
    /// sink, state is as if there were none, and what was to be read is printed. Any other number is
    /// refused. The next `tidemill run` goes on with the batch after it.
    #[command(after_help = "Examples:
  tidemill skip job.toml --batch 7")]
    Skip(SkipArguments),
    /// Runs a batch that is in the log again, aside, and shows what it gives.
    ///
    /// No sink, mark, state or log sees anything of it, and no handler is called. The batch reads the
    /// rows that it read, with the state, watermark and time that it had; job and tables are as they
    /// are now.
    #[command(after_help = "Examples:
  tidemill replay job.toml --batch 7                             # its rows, with the plugins that it ran
  tidemill replay job.toml --batch 7 --plugin new/orders.wasm    # what another file changes in them
  tidemill replay job.toml --batch 7 --plugin orders=new.wasm --format json

Files and topics have to hold what the batch read. The checkpoint keeps what is needed for the last 100
batches and the last hour, up to 1 GiB.

Exit status: 0 it was run, 1 it failed, 2 the job, the batch or the plugin are wrong.")]
    Replay(ReplayArguments),
    /// Plays the cases of a job: rows in, batch by batch, and the rows that its sink has to get.
    ///
    /// They are in JOB.test/CASE/ beside the job: batches/0/SOURCE.jsonl, batches/1/… and
    /// expected.jsonl. The job runs with its own steps, plugins, output mode and watermarks; its
    /// sources and its sink are not touched.
    #[command(after_help = "Examples:
  tidemill test job.toml
  tidemill test job.toml late-rows        # one case
  tidemill test job.toml --bless          # writes down what the job gives now

Exit status: 0 all is as expected, 1 it is not, or a batch failed, 2 the job or a case are wrong.")]
    Test(TestArguments),
    /// Lists the generations of a job's plugins that its checkpoint keeps, and goes back to one.
    #[command(after_help = "Examples:
  tidemill plugins job.toml list
  tidemill plugins job.toml rollback orders           # to the generation before
  tidemill plugins job.toml rollback orders 3fa9c1    # to the one whose digest begins so
  tidemill plugins job.toml pin orders 3fa9c1         # whatever the file holds, until --off
  tidemill plugins job.toml pin orders --off

A generation is kept for as long as batches that ran it can be replayed. The query may run meanwhile:
it takes what is chosen between two batches where it watches the plugin, and otherwise with its next
start. Before, it is seen to that the job can run with it.")]
    Plugins(PluginsArguments),
}

/// Changes to jobs before they are read.
#[derive(Args)]
pub(super) struct Changes {
    /// Changes a value of the job before it is read, like `options.retries=0`.
    // Parsed later, as clap shows the whole argument where it cannot be, and it may be a secret.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl Changes {
    pub(super) fn parsed(&self) -> Result<Vec<Override>, String> {
        self.overrides.iter().map(|argument| argument.parse()).collect()
    }
}

#[derive(Args)]
pub(super) struct DlqArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    #[command(flatten)]
    pub(super) changes: Changes,
    #[command(subcommand)]
    pub(super) verb: DlqVerb,
}

#[derive(Subcommand)]
pub(super) enum DlqVerb {
    /// Lists batches with dead letters: how many, of which function, and the first one's reason.
    List(ListArguments),
    /// Shows dead letters: the reason, and the row as JSON.
    Show(ShowArguments),
    /// Drops the dead letters of a batch, or all of them, for good.
    Drop(DropArguments),
}

#[derive(Args)]
pub(super) struct ListArguments {
    /// Prints JSON for programs, an object a line.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct ShowArguments {
    /// Only those of this batch.
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<u64>,
    /// No more than so many; of a table 100, where this is not said.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
    /// Prints each whole, as an object a line.
    #[arg(long)]
    pub(super) json: bool,
    /// Prints the rows alone, as JSON lines: input for a mended job.
    #[arg(long, conflicts_with = "json")]
    pub(super) rows: bool,
}

/// What is dropped: one of them.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Dropped {
    /// Those of this batch.
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<u64>,
    /// Those of all batches.
    #[arg(long)]
    all: bool,
}

impl Dropped {
    /// Whether the letters of a batch are.
    pub(super) fn has(&self, batch: u64) -> bool {
        self.all || self.batch == Some(batch)
    }
}

#[derive(Args)]
pub(super) struct DropArguments {
    #[command(flatten)]
    pub(super) dropped: Dropped,
    /// Does not ask.
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Args)]
pub(super) struct DevArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// Prints lines, also where standard output is a terminal.
    #[arg(long)]
    pub(super) plain: bool,
    #[command(flatten)]
    pub(super) changes: Changes,
}

#[derive(Args)]
pub(super) struct ReplayArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// The batch.
    #[arg(long, value_name = "N")]
    pub(super) batch: u64,
    /// Runs it with this file as well, and shows in which rows the two differ; with the plugin's name
    /// where there are several.
    #[arg(long, value_name = "[NAME=]FILE")]
    pub(super) plugin: Option<String>,
    /// How the rows are printed.
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(super) format: RowFormat,
    #[command(flatten)]
    pub(super) changes: Changes,
}

#[derive(Args)]
pub(super) struct TestArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// Only these cases.
    #[arg(value_name = "CASE")]
    pub(super) cases: Vec<String>,
    /// Writes down what the job gives, in place of what was expected.
    #[arg(long)]
    pub(super) bless: bool,
    #[command(flatten)]
    pub(super) changes: Changes,
}

#[derive(Args)]
pub(super) struct PluginsArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    #[command(flatten)]
    pub(super) changes: Changes,
    #[command(subcommand)]
    pub(super) verb: PluginsVerb,
}

#[derive(Subcommand)]
pub(super) enum PluginsVerb {
    /// Lists them: the batches that ran each, its size, and which one is used.
    List(ListArguments),
    /// Goes back to an earlier generation, until the plugin's file changes.
    Rollback(RollbackArguments),
    /// Keeps to a generation, whatever the plugin's file holds.
    Pin(PinArguments),
}

#[derive(Args)]
pub(super) struct RollbackArguments {
    /// The plugin, as the job names it.
    #[arg(value_name = "NAME")]
    pub(super) plugin: String,
    /// How the digest of the generation begins; none: the one before the present one.
    #[arg(value_name = "DIGEST")]
    pub(super) digest: Option<String>,
}

#[derive(Args)]
pub(super) struct PinArguments {
    /// The plugin, as the job names it.
    #[arg(value_name = "NAME")]
    pub(super) plugin: String,
    /// How the digest of the generation begins.
    #[arg(value_name = "DIGEST", required_unless_present = "off")]
    pub(super) digest: Option<String>,
    /// Uses the plugin's file again.
    #[arg(long, conflicts_with = "digest")]
    pub(super) off: bool,
}

#[derive(Args)]
pub(super) struct BuildArguments {
    /// The directory of the plugin's crate.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) directory: PathBuf,
    /// Builds it as it is deployed.
    #[arg(long)]
    pub(super) deploy: bool,
    /// Where the file is copied to.
    #[arg(long, value_name = "FILE.wasm")]
    pub(super) out: Option<PathBuf>,
    /// Arguments for cargo.
    #[arg(last = true, value_name = "CARGO ARGUMENTS")]
    pub(super) cargo: Vec<String>,
}

#[derive(Args)]
pub(super) struct SkipArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// The batch, which failed or is pending; the message of its failure names it.
    #[arg(long, value_name = "N")]
    pub(super) batch: u64,
    #[command(flatten)]
    pub(super) changes: Changes,
}

#[derive(Args)]
pub(super) struct NewArguments {
    #[command(subcommand)]
    pub(super) kind: NewKind,
}

#[derive(Subcommand)]
pub(super) enum NewKind {
    /// A Rust crate with a scalar, a transform, their tests, and a job that calls them.
    ///
    /// It has the sources of the SDK in it, so that it builds without a checkout of Tidemill.
    #[command(after_help = "Example:
  tidemill new plugin till
  cd till
  cargo test
  cargo plugin
  tidemill run job.toml --trigger available-now")]
    Plugin(Named),
    /// A job that sums the rows of a few files by hour and shows them.
    #[command(after_help = "Example:
  tidemill new job revenue
  cd revenue
  tidemill run job.toml --trigger available-now")]
    Job(Named),
}

#[derive(Args)]
pub(super) struct Named {
    /// Its name: letters from a to z, digits, - and _.
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// The directory to make; NAME, where this is not said.
    #[arg(long, value_name = "DIR")]
    pub(super) path: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct CallArguments {
    /// The plugin.
    #[arg(value_name = "FILE.wasm")]
    pub(super) file: PathBuf,
    /// The function.
    #[arg(value_name = "FUNCTION")]
    pub(super) function: String,
    /// Its rows, as JSON lines; `-` is standard input.
    #[arg(long, value_name = "ROWS.jsonl")]
    pub(super) input: PathBuf,
    /// A setting of the plugin, as in the `config` of a job; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) config: Vec<String>,
    /// The number of the batch that the function is told.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) batch_id: u64,
    /// How the rows are printed.
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(super) format: RowFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RowFormat {
    /// A table, with all rows and nothing cut.
    Table,
    /// A line of JSON a row.
    Json,
}

#[derive(Args)]
pub(super) struct InspectArguments {
    /// The plugin.
    #[arg(value_name = "FILE.wasm")]
    pub(super) file: PathBuf,
    /// Prints JSON for programs.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct FunctionsArguments {
    /// A function; none: all of them.
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Prints all of them as a page of markdown.
    #[arg(long, conflicts_with = "name")]
    pub(super) markdown: bool,
}

#[derive(Args)]
pub(super) struct JobArguments {
    /// Job files; each is one query with a checkpoint of its own.
    #[arg(required = true, value_name = "JOB")]
    pub(super) jobs: Vec<PathBuf>,
    #[command(flatten)]
    changes: Changes,
}

impl JobArguments {
    /// The changes to the jobs.
    pub(super) fn overrides(&self) -> Result<Vec<Override>, String> {
        self.changes.parsed()
    }
}

#[derive(Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// Overrides the jobs' trigger.
    #[arg(long, value_enum)]
    pub(super) trigger: Option<TriggerArgument>,
    /// What is said of each batch on standard error.
    #[arg(long, value_enum, default_value_t = ProgressArgument::Auto)]
    pub(super) progress: ProgressArgument,
    /// Reloads what changes: plugins (where the job does not say otherwise), the job's file, and what static tables are read from.
    #[arg(long)]
    pub(super) watch: bool,
    /// Plans batch N, which failed or is pending, anew over what its sources have now.
    ///
    /// For input that was mended or removed, or with a smaller limit, to cut the batch into several.
    /// Refused where a place holds rows of the batch already, and with several jobs.
    #[arg(long, value_name = "N")]
    pub(super) replan_batch: Option<u64>,
    /// Serves metrics for Prometheus at /metrics and the queries' state at /status.
    ///
    /// A bare PORT is served to this machine alone; to let others look, write HOST:PORT, like
    /// 0.0.0.0:9464. There is no password. Port 0 is any free one; the address is printed.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) metrics: Option<Address>,
    /// A name that this machine is asked by, beside addresses, localhost and --metrics' own.
    ///
    /// Requests to other names are refused: a page in a browser could make them.
    #[arg(long, value_name = "NAME", requires = "metrics")]
    pub(super) metrics_host: Vec<String>,
    /// Writes what each batch spent its time on, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Batches that go into the trace; the job goes on without it then.
    #[arg(long, value_name = "N", requires = "trace", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) trace_batches: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TriggerArgument {
    /// All that is there now, in batches by the sources' limits; then end.
    AvailableNow,
    /// One batch of all that is there; then end.
    Once,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressArgument {
    /// One readable line a batch, on a terminal.
    Auto,
    /// One line a batch with Spark's StreamingQueryProgress as JSON.
    Json,
    /// Nothing.
    None,
}

impl RunArguments {
    /// What becomes of a batch that an earlier run left unfinished.
    pub(super) fn unfinished(&self) -> Unfinished {
        match self.replan_batch {
            Some(batch) => Unfinished::Replan(BatchId(batch)),
            None => Unfinished::Run,
        }
    }

    /// All changes to the jobs, those of `--trigger` included.
    pub(super) fn overrides(&self) -> Result<Vec<Override>, String> {
        let mut overrides = self.job.overrides()?;
        let trigger = self.trigger.map(|trigger| match trigger {
            TriggerArgument::AvailableNow => "trigger.available_now=true",
            TriggerArgument::Once => "trigger.once=true",
        });
        overrides.extend(trigger.and_then(|text| text.parse().ok()));
        Ok(overrides)
    }
}
