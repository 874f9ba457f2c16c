//! The orders job on a stream of made-up orders, with a plugin that is rebuilt as it is edited.
//!
//! What it leaves behind (input, checkpoint, database) stays in the target directory, so that a
//! demo that is started again shows a query that goes on where it stopped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::job::Job;
use super::orders::{self, Generator};
use super::watch::Watch;
use super::{Options, RECORDS_MAX, TICK};
use crate::plugins::{self, Profile};
use crate::progress::Progress;
use crate::setup::{self, Guest};
use crate::workspace::Workspace;

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let guest = setup::run()?;
    let stage = Stage::prepare(workspace, &guest, options.fresh)?;
    super::build(workspace)?;

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
    super::introduce(&[
        format!("Running {} for {seconds} s; Ctrl-C ends it sooner.", stage.job().display()),
        format!("{} orders a second arrive as JSON files.", orders::ORDERS_PER_SECOND),
        "Each batch: the plugin cleans them, SQL sums them per 5 minutes and category, and the"
            .into(),
        "plugin's `deliver` shows the sums that changed and upserts them into SQLite.".into(),
        String::new(),
        "Now edit plugins/orders/src/lib.rs, say `to_lowercase` to `to_uppercase` in `normalise`,"
            .into(),
        "and save: within seconds the running job prints with the new code.".into(),
    ]);
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
    let (sender, records) = sync_channel(RECORDS_MAX);
    let job = stage.job();
    let arguments = [job.as_os_str(), OsStr::new("--watch")];
    let mut job = Job::start(workspace, &arguments, &[], sender)?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut watch =
        Watch::new(&["plugins/orders/src", "plugin-sdk"].map(|p| workspace.root.join(p)));
    let mut tally = Tally::default();
    let mut asked = 0;
    loop {
        match records.recv_timeout(TICK) {
            Ok(progress) => count(&mut tally, &progress),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        asked += signals.pending().count();
        let overdue = usize::from(Instant::now() >= deadline);
        job.signal(asked.max(overdue))?;
        if !job.is_stopping() && watch.changed() {
            rebuild(workspace, guest, stage);
        }
    }
    job.finish()?;
    Ok(tally)
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

fn rows_of_revenue(database: &Path) -> Result<Option<i64>> {
    if !database.exists() {
        return Ok(None);
    }
    let database = rusqlite::Connection::open(database)?;
    Ok(Some(database.query_row("SELECT count(*) FROM revenue", [], |row| row.get(0))?))
}
