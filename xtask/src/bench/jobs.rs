//! The jobs that are measured.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// A job file and its checkpoint, in a directory of their own.
pub(super) struct Job {
    directory: PathBuf,
}

impl Job {
    /// Sums per window and category over the files in `data`; first through the plugin's
    /// `normalise`, if one is given.
    pub(super) fn revenue(
        bench: &Path,
        name: &str,
        data: &Path,
        files_per_batch: u32,
        plugin: Option<&Path>,
    ) -> Result<Job> {
        let (data, mut steps) = (data.display(), String::new());
        if let Some(plugin) = plugin {
            steps = normalise(plugin, "orders");
        }
        let from = if plugin.is_some() { "normalised" } else { "orders" };
        Job::create(
            bench,
            name,
            &format!(
                "output_mode = \"update\"\n\
             trigger = {{ available_now = true }}\n\
             [source.orders]\n\
             format = \"json\"\n\
             path = \"{data}\"\n\
             schema = \"order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP\"\n\
             options = {{ maxFilesPerTrigger = {files_per_batch} }}\n\
             watermark = {{ column = \"order_time\", delay = \"5 minutes\" }}\n\
             {steps}\
             [[step]]\n\
             name = \"revenue\"\n\
             sql = \"SELECT window.start AS window_start, category, sum(amount) AS total_revenue \
             FROM {from} GROUP BY window(order_time, '5 minutes'), category\"\n\
             [sink]\n\
             format = \"noop\"\n"
            ),
        )
    }

    /// A batch of 1,000 rows every 10 ms through the plugin's `normalise`, until stopped. The
    /// plugin's file is the job's own, to be replaced.
    pub(super) fn reload(bench: &Path, name: &str, plugin: &[u8]) -> Result<(Job, PathBuf)> {
        let file = bench.join(format!("{name}.wasm"));
        crate::plugins::replace(&file, plugin)?;
        let steps = normalise(&file, "made_up");
        let job = Job::create(
            bench,
            name,
            &format!(
                "trigger = {{ processing_time = \"10 milliseconds\" }}\n\
             [source.numbers]\n\
             format = \"rate-micro-batch\"\n\
             options = {{ rowsPerBatch = 1000, numPartitions = 1 }}\n\
             [[step]]\n\
             name = \"made_up\"\n\
             sql = \"SELECT CAST(value AS STRING) AS order_id, 'u' AS user_id, \
             CAST(value AS DOUBLE) AS amount, 'Books' AS category, timestamp AS order_time FROM numbers\"\n\
             {steps}\
             [sink]\n\
             format = \"noop\"\n"
            ),
        )?;
        Ok((job, file))
    }

    /// Two streams, joined on equal minutes and keys.
    pub(super) fn join(bench: &Path, data: &Path) -> Result<Job> {
        let side = |name: &str, p: &str| {
            let schema = format!("{p}id STRING, k STRING, {p}v BIGINT, {p}t TIMESTAMP");
            let watermark =
                format!("watermark = {{ column = \"{p}t\", delay = \"30 seconds\" }}\n");
            source(&data.join(name), name, &schema, &watermark)
        };
        let step = |name: &str, p: &str| {
            format!(
                "[[step]]\nname = \"{p}w\"\n\
                 sql = \"SELECT window({p}t, '1 minute') AS w, {p}id, k, {p}v FROM {name}\"\n"
            )
        };
        let (sources, steps) =
            (side("left", "l") + &side("right", "r"), step("left", "l") + &step("right", "r"));
        let out = "[[step]]\nname = \"out\"\n\
             sql = \"SELECT lw.w, lw.lid, rw.rid, lw.k FROM lw JOIN rw ON lw.w = rw.w AND lw.k = rw.k\"\n";
        Job::create(bench, "join", &stateful("append", &sources, &(steps + out)))
    }

    /// Each identifier once, for ever.
    pub(super) fn dedup(bench: &Path, data: &Path) -> Result<Job> {
        let source = source(&data.join("events"), "events", EVENTS, "");
        let step = "[[step]]\nname = \"once\"\nfrom = \"events\"\n\
             drop_duplicates = { columns = [\"id\"] }\n";
        Job::create(bench, "dedup", &stateful("append", &source, step))
    }

    /// Sessions of the users.
    pub(super) fn sessions(bench: &Path, data: &Path) -> Result<Job> {
        let watermark = "watermark = { column = \"ts\", delay = \"20 seconds\" }\n";
        let source = source(&data.join("events"), "events", EVENTS, watermark);
        let step = "[[step]]\nname = \"sessions\"\n\
             sql = \"SELECT session_window(ts, '30 seconds') AS s, k, count(*) AS n, sum(v) AS total \
             FROM events GROUP BY session_window(ts, '30 seconds'), k\"\n";
        Job::create(bench, "sessions", &stateful("append", &source, step))
    }

    /// Counts by key.
    pub(super) fn count(bench: &Path, data: &Path) -> Result<Job> {
        let source = source(&data.join("events"), "events", "k STRING", "");
        let step = "[[step]]\nname = \"counts\"\n\
             sql = \"SELECT k, count(*) AS n FROM events GROUP BY k\"\n";
        Job::create(bench, "count", &stateful("update", &source, step))
    }

    pub(super) fn create(bench: &Path, name: &str, text: &str) -> Result<Job> {
        let job = Job { directory: bench.join("jobs").join(name) };
        std::fs::create_dir_all(&job.directory)?;
        std::fs::write(job.path(), text)?;
        job.forget()?;
        Ok(job)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("job.toml")
    }

    /// Removes the checkpoint: the next run begins anew.
    pub(super) fn forget(&self) -> Result<()> {
        let checkpoint = self.directory.join(".tidemill");
        if checkpoint.exists() {
            std::fs::remove_dir_all(checkpoint)?;
        }
        Ok(())
    }
}

const EVENTS: &str = "id STRING, k STRING, v BIGINT, ts TIMESTAMP";

/// A job on files, one a batch, with as many shards as Spark has partitions.
fn stateful(mode: &str, sources: &str, steps: &str) -> String {
    let shards = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "output_mode = \"{mode}\"\noptions = {{ shuffle_partitions = {shards} }}\n\
         trigger = {{ available_now = true }}\n\
         {sources}{steps}[sink]\nformat = \"noop\"\n"
    )
}

fn source(path: &Path, name: &str, schema: &str, watermark: &str) -> String {
    format!(
        "[source.{name}]\nformat = \"json\"\npath = \"{}\"\nschema = \"{schema}\"\n\
         options = {{ maxFilesPerTrigger = 1 }}\n{watermark}",
        path.display()
    )
}

/// The plugin, and the step that calls it.
pub(super) fn normalise(plugin: &Path, from: &str) -> String {
    format!(
        "[plugin.orders]\npath = \"{}\"\n\
         [[step]]\nname = \"normalised\"\nfrom = \"{from}\"\n\
         plugin = \"orders\"\nfunction = \"normalise\"\n",
        plugin.display()
    )
}
