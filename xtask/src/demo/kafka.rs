//! The jobs of `examples/orders-kafka` on a broker that is started for them.
//!
//! ```text
//!  shop ──▶ orders, payments ──┬──▶ order-revenue ──▶ the screen
//!                              └──▶ forward ──▶ orders-processed
//! ```
//!
//! Topics and checkpoints stay in the target directory. At the end the shop closes first, and the
//! others take in what it left, so that all three have the same number of orders.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::job::Job;
use super::{Options, RECORDS_MAX, TICK};
use crate::progress::Progress;
use crate::services::kafka::{self, Instance, Wanted};
use crate::workspace::Workspace;

const BROKER: &str = "demo";
const WANTED: Wanted = Wanted { port: Some(19092), secure: false };

const TOPICS: [&str; 3] = ["orders", "payments", "orders-processed"];
const PARTITIONS: i32 = 2;

/// The jobs' names, as their files and their records have them.
const SHOP: &str = "shop";
const REVENUE: &str = "order-revenue";
const FORWARD: &str = "forward";

/// Of the jobs that read. The files say 10 seconds, which is long for one who looks on.
const TRIGGER_SECONDS: u64 = 2;

/// How long the others may take to catch up with a shop that has closed.
const CATCH_UP: Duration = Duration::from_secs(30);

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    kafka::install(workspace)?;
    let instance = Instance::named(workspace, BROKER)?;
    let stage = Stage::prepare(workspace, &instance, options.fresh)?;
    super::build(workspace)?;

    // Before anything runs that has to be ended.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let broker = instance.guard(WANTED)?;
    if signals.pending().next().is_some() {
        return Ok(());
    }
    broker.instance.create_topics(&TOPICS, PARTITIONS)?;
    let listeners = broker.instance.listeners().context("a broker that runs has a port")?;
    let place = listeners.plaintext();
    introduce(&stage, &place, options.seconds);
    let (jobs, records) = Jobs::start(workspace, &stage, &place)?;
    let tally = show(jobs, &records, &mut signals, options.seconds)?;
    drop(broker);
    conclude(&tally, &place);
    Ok(())
}

/// The directory that the demo runs in: the example's jobs and their checkpoints.
struct Stage {
    directory: PathBuf,
}

impl Stage {
    fn prepare(workspace: &Workspace, broker: &Instance<'_>, fresh: bool) -> Result<Stage> {
        let stage = Stage { directory: workspace.target.join("demo-kafka") };
        // Checkpoints mean nothing without their topics, nor topics without their checkpoints.
        if fresh || broker.listeners().is_none() || !stage.directory.exists() {
            broker.wipe()?;
            if stage.directory.exists() {
                std::fs::remove_dir_all(&stage.directory)?;
            }
        }
        for job in [stage.revenue(), stage.forward(), stage.shop()] {
            let name = job.strip_prefix(&stage.directory)?;
            let original = workspace.root.join("examples/orders-kafka").join(name);
            std::fs::create_dir_all(job.parent().context("a job is in a folder")?)?;
            std::fs::copy(&original, &job)
                .with_context(|| format!("copying {}", original.display()))?;
        }
        Ok(stage)
    }

    fn revenue(&self) -> PathBuf {
        self.directory.join("job.toml")
    }

    fn forward(&self) -> PathBuf {
        self.directory.join("forward/job.toml")
    }

    fn shop(&self) -> PathBuf {
        self.directory.join("shop/job.toml")
    }
}

fn introduce(stage: &Stage, place: &str, seconds: u64) {
    super::introduce(&[
        format!("Running the jobs in {} for {seconds} s.", stage.directory.display()),
        "Ctrl-C ends it sooner.".into(),
        String::new(),
        format!("{SHOP:13}  makes up orders, into the topics orders and payments"),
        format!(
            "{REVENUE:13}  sums them per 5 minutes and category: every {TRIGGER_SECONDS} s the"
        ),
        format!("{:13}  screen shows the sums that changed", ""),
        format!("{FORWARD:13}  sends each order on, to the topic orders-processed"),
        String::new(),
        format!("The broker listens on {place}. {REVENUE} and {FORWARD} share a process."),
    ]);
}

/// Orders that each job took in, and batches of the one on the screen.
#[derive(Default)]
struct Tally {
    made: u64,
    summed: u64,
    forwarded: u64,
    batches: u64,
}

impl Tally {
    fn count(&mut self, progress: &Progress) {
        match progress.query.as_str() {
            SHOP => self.made += progress.input_rows,
            FORWARD => self.forwarded += progress.input_rows,
            REVENUE => {
                self.summed += progress.input_rows;
                self.batches += 1;
            }
            _ => {}
        }
    }

    /// Whether no order is on its way.
    fn is_even(&self) -> bool {
        self.summed >= self.made && self.forwarded >= self.made
    }
}

/// The two processes.
struct Jobs {
    shop: Job,
    readers: Job,
}

impl Jobs {
    fn start(
        workspace: &Workspace,
        stage: &Stage,
        place: &str,
    ) -> Result<(Jobs, Receiver<Progress>)> {
        let (sender, records) = sync_channel(RECORDS_MAX);
        let variables = [("KAFKA", place)];
        let trigger = format!("trigger.processing_time={TRIGGER_SECONDS} seconds");
        let arguments = [stage.revenue(), stage.forward(), "--set".into(), trigger.into()];
        let readers = Job::start(workspace, &arguments, &variables, sender.clone())?;
        let shop = Job::start(workspace, &[stage.shop()], &variables, sender)?;
        Ok((Jobs { shop, readers }, records))
    }

    fn finish(self) -> Result<()> {
        self.readers.finish()?;
        self.shop.finish()
    }
}

fn show(
    mut jobs: Jobs,
    records: &Receiver<Progress>,
    signals: &mut Signals,
    seconds: u64,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut asked = 0;
    let mut close = Instant::now() + Duration::from_secs(seconds);
    loop {
        let is_closed = jobs.shop.has_ended();
        let is_all_counted = match records.recv_timeout(TICK) {
            Ok(progress) => {
                tally.count(&progress);
                false
            }
            Err(RecvTimeoutError::Timeout) => is_closed,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let now = Instant::now();
        asked += signals.pending().count();
        if asked > 0 || jobs.readers.has_ended() {
            close = close.min(now);
        }
        jobs.shop.signal(asked.max(usize::from(now >= close)))?;
        let is_done = is_all_counted && tally.is_even() || now >= close + CATCH_UP;
        if is_done || asked > 1 {
            jobs.readers.signal(asked.max(1))?;
        }
    }
    jobs.finish()?;
    Ok(tally)
}

fn conclude(tally: &Tally, place: &str) {
    let Tally { made, summed, forwarded, batches } = tally;
    eprintln!(
        "demo: {SHOP} made up {made} orders; {REVENUE} summed {summed} in {batches} batches;"
    );
    eprintln!("demo: {FORWARD} sent {forwarded} on to the topic orders-processed");
    eprintln!("demo: started again, all go on where they stopped; --fresh begins anew");
    eprintln!("demo: `cargo xtask kafka start --instance {BROKER}` opens the topics on {place},");
    eprintln!("demo: and examples/orders-kafka/README.md says how to look into them");
}
