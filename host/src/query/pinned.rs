//! What a checkpoint fixes for the life of its query.

use std::collections::BTreeMap;
use std::thread;

use tidemill_core::WatermarkPolicy;
use tidemill_plan::StatefulOperator;

use super::error::PrepareError;
use super::pinned_operators::PinnedOperator;
use super::pinned_places::{PinnedSink, PinnedSource};
use crate::job::{Job, JobOptions};

const SHUFFLE_PARTITIONS: &str = "shuffle_partitions";
const SCAN_PARTITIONS: &str = "scan_partitions";
const WATERMARK_POLICY: &str = "multiple_watermark_policy";
const SOURCES: &str = "sources";
const SOURCE_FORMATS: &str = "source_formats";
const STATEFUL_OPERATORS: &str = "stateful_operators";
const SINK: &str = "sink";

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

    /// Refuses a job whose sources, state or sink are not those of the checkpoint, before anything
    /// is touched. Gives what a new checkpoint fixes. What an older checkpoint did not fix is not
    /// compared.
    pub(super) fn check(
        &self,
        job: &Job,
        operators: &[StatefulOperator],
    ) -> Result<BTreeMap<String, String>, PrepareError> {
        let names: Vec<&str> = job.sources.iter().map(|source| source.name.as_str()).collect();
        let names = names.join(", ");
        let sources: Vec<PinnedSource> = job.sources.iter().map(PinnedSource::of).collect();
        let operators: Vec<PinnedOperator> = operators.iter().map(PinnedOperator::of).collect();
        let sink = PinnedSink::of(job);
        if let Some(existing) = &self.existing {
            let differs = |what: &str| PrepareError::Invalid(Pinned::refusal(job, what));
            if let Some(kept) = existing.get(SOURCES).filter(|kept| **kept != names) {
                let what = both("other sources", kept, &names);
                return Err(differs(&what));
            }
            if let Some(kept) = parsed::<Vec<PinnedSource>>(existing, SOURCE_FORMATS)
                && let Some(what) = PinnedSource::difference(&kept, &sources)
            {
                return Err(differs(&what));
            }
            if let Some(kept) = parsed::<Vec<PinnedOperator>>(existing, STATEFUL_OPERATORS)
                && let Some(what) = PinnedOperator::difference(&kept, &operators)
            {
                return Err(differs(&what));
            }
            if let Some(kept) = parsed::<PinnedSink>(existing, SINK)
                && let Some(what) = kept.refuses(&sink)
            {
                return Err(differs(&what));
            }
        }
        Ok(BTreeMap::from([
            (SHUFFLE_PARTITIONS.to_owned(), self.shuffle_partitions.to_string()),
            (SCAN_PARTITIONS.to_owned(), self.scan_partitions.to_string()),
            (WATERMARK_POLICY.to_owned(), name(self.watermark_policy).to_owned()),
            (SOURCES.to_owned(), names),
            (SOURCE_FORMATS.to_owned(), text(&sources)),
            (STATEFUL_OPERATORS.to_owned(), text(&operators)),
            (SINK.to_owned(), text(&sink)),
        ]))
    }

    fn refusal(job: &Job, what: &str) -> String {
        format!(
            "the checkpoint {} was made by a query with {what}\nGive the changed query a checkpoint of its own (`checkpoint = \"…\"`), or take the change back",
            job.checkpoint.display(),
        )
    }
}

/// What differs, and how it reads on both sides.
pub(super) fn both(what: &str, checkpoint: &str, job: &str) -> String {
    format!("{what}.\n  checkpoint: {checkpoint}\n  job:        {job}")
}

/// What a checkpoint fixed under `key`, if it did, in a form that is known.
fn parsed<T: serde::de::DeserializeOwned>(
    pinned: &BTreeMap<String, String>,
    key: &str,
) -> Option<T> {
    serde_json::from_str(pinned.get(key)?).ok()
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and numbers can be written as JSON")
}

fn name(policy: WatermarkPolicy) -> &'static str {
    match policy {
        WatermarkPolicy::Min => "min",
        WatermarkPolicy::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn job() -> Job {
        let text =
            "output_mode = \"append\"\n[source.s]\nformat = \"rate\"\n[sink]\nformat = \"noop\"\n";
        let path: PathBuf = std::env::temp_dir().join(format!(
            "tidemill-pinned-{}-{:?}.toml",
            std::process::id(),
            thread::current().id()
        ));
        std::fs::write(&path, text).expect("a file");
        let job = Job::read(&path, &[]).expect("a job");
        std::fs::remove_file(&path).expect("it is there");
        job
    }

    fn check(existing: &[(&str, &str)]) -> Result<(), String> {
        let existing =
            existing.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let job = job();
        let checked = Pinned::of(&job, Some(existing)).check(&job, &[]);
        checked.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_checkpoint_from_before_is_compared_by_what_it_fixed() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("sources", "s"), ("stateful_operators", "[]")]), Ok(()));
        let sums = r#"[{"name":"sums","details":"","key":"k int","value":"n bigint"}]"#;
        let refusal = check(&[("sources", "s"), ("stateful_operators", sums)]);
        assert!(refusal.is_err_and(|text| text.contains("sums(k int)")));
        assert!(check(&[("sources", "s, t")]).is_err_and(|text| text.contains("other sources")));
        // What a later version fixed in a form that is not known is not compared.
        assert_eq!(check(&[("sources", "s"), ("sink", "[1]")]), Ok(()));
    }
}
