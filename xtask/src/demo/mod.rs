//! The orders job on a stream of made-up orders, with a plugin that is rebuilt as it is edited.
//!
//! What it leaves behind (input, checkpoint, database) stays in the target directory, so that a
//! demo that is started again shows a query that goes on where it stopped.

mod orders;
mod watch;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::demo::orders::Generator;
use crate::demo::watch::Watch;
use crate::plugins::{self, Profile};
use crate::process;
use crate::progress::Progress;
use crate::setup::{self, Guest};
use crate::workspace::Workspace;

/// How often the keyboard, the clock and the plugin's sources are looked at.
const TICK: Duration = Duration::from_millis(200);

/// Records between the thread that reads them and the one that counts them. There is one a
/// second; the bound only has to outlast a rebuild of the plugin.
const RECORDS_MAX: usize = 256;

#[derive(Args)]
pub(crate) struct Options {
    /// How long it runs, unless Ctrl-C ends it sooner.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Forgets what earlier demos left.
    #[arg(long)]
    fresh: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let guest = setup::run()?;
    let stage = Stage::prepare(workspace, &guest, options.fresh)?;
    eprintln!("demo: building tidemill (from nothing some 15 minutes on two cores)");
    // All of the workspace chooses the dependencies' features: they are built once for the tests
    // and for this.
    let build = ["build", "--workspace", "--bin", "tidemill"];
    process::run(workspace.cargo().args(build))?;

    introduce(&stage, options.seconds);
    let generator = Generator::start(&stage.input())?;
    let tally = show(workspace, &guest, &stage, options.seconds);
    let written = generator.stop()?;
    conclude(&stage, &tally?, written)
}

/// The directory that the demo runs in: the example's job, its plugin, its input.
struct Stage {
    directory: PathBuf,
}

impl Stage {
    fn prepare(workspace: &Workspace, guest: &Guest, fresh: bool) -> Result<Stage> {
        let stage = Stage { directory: workspace.target.join("demo") };
        if fresh && stage.directory.exists() {
            std::fs::remove_dir_all(&stage.directory)?;
        }
        std::fs::create_dir_all(stage.input())?;
        let job = workspace.root.join("examples/orders/job.toml");
        std::fs::copy(&job, stage.job()).with_context(|| format!("copying {}", job.display()))?;
        eprintln!("demo: building the plugin orders");
        stage.rebuild_plugin(workspace, guest)?;
        Ok(stage)
    }

    fn rebuild_plugin(&self, workspace: &Workspace, guest: &Guest) -> Result<bool> {
        let mut changed = false;
        for (_, module) in plugins::build(workspace, guest, Profile::Reload, &["orders"])? {
            changed |= plugins::publish(&module, &self.directory.join("plugins/orders.wasm"))?;
        }
        Ok(changed)
    }

    fn job(&self) -> PathBuf {
        self.directory.join("job.toml")
    }

    fn input(&self) -> PathBuf {
        self.directory.join("input")
    }

    fn database(&self) -> PathBuf {
        self.directory.join("orders.db")
    }
}

fn introduce(stage: &Stage, seconds: u64) {
    let lines = [
        format!("Running {} for {seconds} s; Ctrl-C ends it sooner.", stage.job().display()),
        format!("{} orders a second arrive as JSON files.", orders::ORDERS_PER_SECOND),
        "Each batch: the plugin cleans them, SQL sums them per 5 minutes and category, and the"
            .into(),
        "plugin's `deliver` shows the sums that changed and upserts them into SQLite.".into(),
        String::new(),
        "Now edit plugins/orders/src/lib.rs, say `to_lowercase` to `to_uppercase` in `normalise`,"
            .into(),
        "and save: within seconds the running job prints with the new code.".into(),
    ];
    eprintln!("+-{}", "-".repeat(90));
    for line in lines {
        eprintln!("| {line}");
    }
    eprintln!("+-{}", "-".repeat(90));
}

/// What a demo did.
#[derive(Default)]
struct Tally {
    batches: u64,
    rows: u64,
    reloads: u64,
    last_batch: Option<u64>,
}

fn show(workspace: &Workspace, guest: &Guest, stage: &Stage, seconds: u64) -> Result<Tally> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (mut child, records) = start(workspace, stage)?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut watch =
        Watch::new(&["plugins/orders/src", "plugin-sdk"].map(|p| workspace.root.join(p)));
    let mut tally = Tally::default();
    let (mut asked, mut forwarded) = (0, 0);
    loop {
        match records.recv_timeout(TICK) {
            Ok(progress) => count(&mut tally, &progress),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // The first signal lets the query finish its batch, a second one ends it at once.
        asked += signals.pending().count();
        let overdue = usize::from(Instant::now() >= deadline);
        if forwarded < asked.max(overdue).min(2) {
            process::interrupt(child.id())?;
            forwarded += 1;
        }
        if forwarded == 0 && watch.changed() {
            rebuild(workspace, guest, stage);
        }
    }
    ended(child.wait()?, forwarded)?;
    Ok(tally)
}

fn start(workspace: &Workspace, stage: &Stage) -> Result<(Child, Receiver<Progress>)> {
    use std::os::unix::process::CommandExt;

    let binary = workspace.target.join("debug/tidemill");
    let mut command = Command::new(&binary);
    command
        .arg("run")
        .arg(stage.job())
        .args(["--progress", "json", "--watch"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        // The terminal's Ctrl-C is ours alone: we pass on as many signals as are meant.
        .process_group(0);
    let mut child =
        command.spawn().with_context(|| format!("could not start {}", binary.display()))?;
    let stderr = child.stderr.take().context("standard error is piped")?;
    let (sender, records) = sync_channel(RECORDS_MAX);
    std::thread::spawn(move || read(stderr, &sender));
    Ok((child, records))
}

/// Sends the records on, and shows everything else.
fn read(stderr: ChildStderr, records: &SyncSender<Progress>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match Progress::parse(&line) {
            Some(progress) => {
                if records.send(progress).is_err() {
                    return;
                }
            }
            None => eprintln!("{line}"),
        }
    }
}

fn count(tally: &mut Tally, progress: &Progress) {
    tally.batches += 1;
    tally.rows += progress.input_rows;
    tally.last_batch = Some(progress.batch);
    tally.reloads = progress.reloads;
}

fn rebuild(workspace: &Workspace, guest: &Guest, stage: &Stage) {
    let begin = Instant::now();
    eprintln!("demo: the plugin's source changed, building it");
    let seconds = || begin.elapsed().as_secs_f64();
    match stage.rebuild_plugin(workspace, guest) {
        Ok(true) => eprintln!("demo: built in {:.1} s; the job takes it over now", seconds()),
        Ok(false) => eprintln!("demo: built in {:.1} s; it is the same as before", seconds()),
        // The compiler has said what is wrong.
        Err(_) => eprintln!("demo: the job goes on with the code it has; mend the error and save"),
    }
}

fn ended(status: ExitStatus, signals: usize) -> Result<()> {
    if status.success() || signals > 1 { Ok(()) } else { bail!("the job ended with {status}") }
}

fn conclude(stage: &Stage, tally: &Tally, written: u64) -> Result<()> {
    eprintln!(
        "demo: wrote {written} orders; {} batches took in {} rows, with {} reloads of the plugin",
        tally.batches, tally.rows, tally.reloads
    );
    if let Some(rows) = rows_of_revenue(&stage.database())? {
        eprintln!("demo: {} holds {rows} sums in its table revenue", stage.database().display());
    }
    if let Some(batch) = tally.last_batch {
        eprintln!("demo: started again, it goes on with batch {}; --fresh begins anew", batch + 1);
    }
    Ok(())
}

fn rows_of_revenue(database: &Path) -> Result<Option<u64>> {
    if !database.exists() {
        return Ok(None);
    }
    let database = rusqlite::Connection::open(database)?;
    Ok(Some(database.query_row("SELECT count(*) FROM revenue", [], |row| row.get(0))?))
}
