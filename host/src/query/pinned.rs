//! What a checkpoint fixes for the life of its query.

use std::collections::BTreeMap;
use std::thread;

use tidemill_codec::format_schema;
use tidemill_core::WatermarkPolicy;
use tidemill_plan::StatefulOperator;

use super::error::PrepareError;
use crate::job::{Job, JobOptions};

const SHUFFLE_PARTITIONS: &str = "shuffle_partitions";
const SCAN_PARTITIONS: &str = "scan_partitions";
const WATERMARK_POLICY: &str = "multiple_watermark_policy";
const SOURCES: &str = "sources";
const OPERATORS: &str = "operators";

/// Options that results depend on: chosen at the first start, and the checkpoint's from then on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pinned {
    pub(super) shuffle_partitions: u32,
    pub(super) scan_partitions: usize,
    pub(super) watermark_policy: WatermarkPolicy,
    existing: Option<BTreeMap<String, String>>,
}

impl Pinned {
    /// The checkpoint's choices, or else the job's, or else the defaults.
    pub(super) fn of(job: &Job, existing: Option<BTreeMap<String, String>>) -> Pinned {
        let kept = |key: &str| existing.as_ref().and_then(|pinned| pinned.get(key).cloned());
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let pinned = Pinned {
            shuffle_partitions: kept(SHUFFLE_PARTITIONS)
                .and_then(|text| text.parse().ok())
                .or(job.options.shuffle_partitions)
                .unwrap_or(JobOptions::SHUFFLE_PARTITIONS),
            scan_partitions: kept(SCAN_PARTITIONS)
                .and_then(|text| text.parse().ok())
                .or(job.options.scan_partitions)
                .unwrap_or(processors),
            watermark_policy: match kept(WATERMARK_POLICY).as_deref() {
                Some("max") => WatermarkPolicy::Max,
                Some(_) => WatermarkPolicy::Min,
                None => job.options.watermark_policy.unwrap_or_default(),
            },
            existing: existing.clone(),
        };
        pinned.warn(job);
        pinned
    }

    /// As Spark does, the checkpoint's choice wins; unlike Spark, we say so.
    fn warn(&self, job: &Job) {
        let differs = |key: &str, asked: Option<String>, kept: String| {
            if asked.as_ref().is_some_and(|asked| *asked != kept) {
                tracing::warn!(
                    "options.{key} is fixed in the checkpoint as {kept}; the job's {} is ignored",
                    asked.unwrap_or_default()
                );
            }
        };
        let options = &job.options;
        let asked = options.shuffle_partitions.map(|n| n.to_string());
        differs(SHUFFLE_PARTITIONS, asked, self.shuffle_partitions.to_string());
        let asked = options.scan_partitions.map(|n| n.to_string());
        differs(SCAN_PARTITIONS, asked, self.scan_partitions.to_string());
        let asked = options.watermark_policy.map(|policy| name(policy).to_owned());
        differs(WATERMARK_POLICY, asked, name(self.watermark_policy).to_owned());
    }

    /// Refuses a job whose sources or state are not those of the checkpoint, before anything is
    /// touched. Gives what a new checkpoint fixes.
    pub(super) fn check(
        &self,
        job: &Job,
        operators: &[StatefulOperator],
    ) -> Result<BTreeMap<String, String>, PrepareError> {
        let names: Vec<&str> = job.sources.iter().map(|source| source.name.as_str()).collect();
        let wanted = BTreeMap::from([
            (SHUFFLE_PARTITIONS.to_owned(), self.shuffle_partitions.to_string()),
            (SCAN_PARTITIONS.to_owned(), self.scan_partitions.to_string()),
            (WATERMARK_POLICY.to_owned(), name(self.watermark_policy).to_owned()),
            (SOURCES.to_owned(), names.join(", ")),
            (OPERATORS.to_owned(), describe(operators)),
        ]);
        let Some(existing) = &self.existing else {
            return Ok(wanted);
        };
        for (key, what) in [(SOURCES, "sources"), (OPERATORS, "stateful operators")] {
            let (kept, asked) = (existing.get(key), &wanted[key]);
            if kept.is_some_and(|kept| kept != asked) {
                return Err(PrepareError::Invalid(format!(
                    "the checkpoint {} was made by a query with other {what}.\n  checkpoint: {}\n  job:        {asked}\nGive the changed query a checkpoint of its own (`checkpoint = \"…\"`), or take the change back",
                    job.checkpoint.display(),
                    kept.map_or("", String::as_str),
                )));
            }
        }
        Ok(wanted)
    }
}

fn name(policy: WatermarkPolicy) -> &'static str {
    match policy {
        WatermarkPolicy::Min => "min",
        WatermarkPolicy::Max => "max",
    }
}

fn describe(operators: &[StatefulOperator]) -> String {
    let described: Vec<String> = operators
        .iter()
        .map(|operator| {
            format!(
                "{}({}) -> ({})",
                operator.name,
                format_schema(&operator.key),
                format_schema(&operator.value)
            )
        })
        .collect();
    described.join("; ")
}
