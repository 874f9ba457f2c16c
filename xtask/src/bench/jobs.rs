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

/// The plugin, and the step that calls it.
pub(super) fn normalise(plugin: &Path, from: &str) -> String {
    format!(
        "[plugin.orders]\npath = \"{}\"\n\
         [[step]]\nname = \"normalised\"\nfrom = \"{from}\"\n\
         plugin = \"orders\"\nfunction = \"normalise\"\n",
        plugin.display()
    )
}
