//! What a checkpoint fixes for the life of its query.
//!
//! The facts are texts by name, and a number says in which *form* they are written. A program
//! takes the forms that it knows, and every fact of them: to leave one out would be to hash keys
//! to other shards, or to look for state where another operator has its own.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use serde::de::DeserializeOwned;
use tidemill_connectors::FoundColumns;
use tidemill_core::WatermarkPolicy;
use tidemill_plan::{FORMS, Migration, OperatorForm, StatefulOperator, both};
use tidemill_time::Zone;
use tidemill_types::UTC;

use super::error::PrepareError;
use super::pinned_places::{PinnedSink, PinnedSource};
use crate::job::{Job, JobOptions, JobSource};

/// Names the form. To be counted up with every change of the facts or of how one is written.
const FORM: &str = "form";
const PRESENT_FORM: &str = "3";
/// In which no source had columns that its files showed.
const FORM_WITHOUT_COLUMNS: &str = "2";
/// In which all queries were in UTC, too, and no fact said so.
const FORM_WITHOUT_ZONE: &str = "1";

const SHUFFLE_PARTITIONS: &str = "shuffle_partitions";
const SCAN_PARTITIONS: &str = "scan_partitions";
const TIME_ZONE: &str = "time_zone";
const WATERMARK_POLICY: &str = "multiple_watermark_policy";
const SOURCES: &str = "sources";
const SOURCE_FORMATS: &str = "source_formats";
const SINK: &str = "sink";

/// Options that results depend on: chosen at the first start, and the checkpoint's from then on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pinned {
    pub(super) shuffle_partitions: u32,
    pub(super) scan_partitions: usize,
    pub(super) time_zone: String,
    pub(super) watermark_policy: WatermarkPolicy,
    existing: Option<Existing>,
}

/// What a checkpoint that is there fixed of the job.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Existing {
    sources: String,
    source_formats: Vec<PinnedSource>,
    operators: Vec<OperatorForm>,
    sink: PinnedSink,
}

impl Pinned {
    /// The checkpoint's choices, or else the job's, or else the defaults.
    pub(super) fn of(
        job: &Job,
        existing: Option<BTreeMap<String, String>>,
    ) -> Result<Pinned, PrepareError> {
        let pinned = match existing {
            Some(facts) => Pinned::existing(Facts { checkpoint: &job.checkpoint, facts })?,
            None => Pinned {
                shuffle_partitions: job
                    .options
                    .shuffle_partitions
                    .unwrap_or(JobOptions::SHUFFLE_PARTITIONS),
                scan_partitions: job
                    .options
                    .scan_partitions
                    .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
                time_zone: job.options.time_zone.clone().unwrap_or_else(|| UTC.to_owned()),
                watermark_policy: job.options.watermark_policy.unwrap_or_default(),
                existing: None,
            },
        };
        pinned.warn(job);
        Ok(pinned)
    }

    fn existing(mut facts: Facts<'_>) -> Result<Pinned, PrepareError> {
        facts.take_form()?;
        let pinned = Pinned {
            shuffle_partitions: facts.take(SHUFFLE_PARTITIONS, count::<NonZero<u32>>)?.get(),
            scan_partitions: facts.take(SCAN_PARTITIONS, count::<NonZero<usize>>)?.get(),
            time_zone: facts.take(TIME_ZONE, |name| Zone::find(name).map(|_| name.to_owned()))?,
            watermark_policy: facts.take(WATERMARK_POLICY, |text| match text {
                "min" => Some(WatermarkPolicy::Min),
                "max" => Some(WatermarkPolicy::Max),
                _ => None,
            })?,
            existing: Some(Existing {
                sources: facts.take(SOURCES, |text| Some(text.to_owned()))?,
                source_formats: facts.take(SOURCE_FORMATS, parsed)?,
                operators: facts.take(FORMS, |text| OperatorForm::read(text).ok())?,
                sink: facts.take(SINK, parsed)?,
            }),
        };
        facts.end()?;
        Ok(pinned)
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
        differs(TIME_ZONE, options.time_zone.clone(), self.time_zone.clone());
        let asked = options.watermark_policy.map(|policy| name(policy).to_owned());
        differs(WATERMARK_POLICY, asked, name(self.watermark_policy).to_owned());
    }

    /// How the state of the checkpoint gets into the form that a plan has.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn migration(
        &self,
        operators: &[StatefulOperator],
    ) -> Result<Migration, PrepareError> {
        let Some(existing) = &self.existing else { return Ok(Migration::default()) };
        Migration::between(&existing.operators, operators).map_err(PrepareError::Invalid)
    }

    /// The session's time zone.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn zone(&self) -> Result<Zone, PrepareError> {
        let zone = Zone::named(&self.time_zone);
        zone.map_err(|error| PrepareError::Invalid(format!("options.time_zone: {error}")))
    }

    /// What the files of a source showed of its columns when the query started first.
    ///
    /// # Errors
    /// It cannot be read, or is not what the job asks for.
    pub(super) fn found_columns(
        &self,
        source: &JobSource,
    ) -> Result<Option<FoundColumns>, PrepareError> {
        let sources = self.existing.iter().flat_map(|existing| &existing.source_formats);
        let found = sources.filter_map(|pinned| pinned.found_columns(source)).next();
        found.transpose().map_err(PrepareError::Invalid)
    }

    /// Refuses a job whose sources, state or sink are not those of the checkpoint, before anything
    /// is touched. Gives what a new checkpoint fixes.
    pub(super) fn check(
        &self,
        job: &Job,
        found: &BTreeMap<String, FoundColumns>,
        operators: &[StatefulOperator],
    ) -> Result<BTreeMap<String, String>, PrepareError> {
        let names: Vec<&str> = job.sources.iter().map(|source| source.name.as_str()).collect();
        let names = names.join(", ");
        let sources = job.sources.iter();
        let sources: Vec<PinnedSource> =
            sources.map(|source| PinnedSource::of(source, found.get(&source.name))).collect();
        let forms: Vec<OperatorForm> = operators.iter().map(StatefulOperator::form).collect();
        let sink = PinnedSink::of(job);
        if let Some(existing) = &self.existing {
            let differs = |what: &str| PrepareError::Invalid(Pinned::refusal(job, what));
            if existing.sources != names {
                return Err(differs(&both("other sources", &existing.sources, &names)));
            }
            let difference = PinnedSource::difference(&existing.source_formats, &sources)
                .or_else(|| Migration::between(&existing.operators, operators).err())
                .or_else(|| existing.sink.refuses(&sink));
            if let Some(what) = difference {
                return Err(differs(&what));
            }
        }
        Ok(BTreeMap::from([
            (FORM.to_owned(), PRESENT_FORM.to_owned()),
            (SHUFFLE_PARTITIONS.to_owned(), self.shuffle_partitions.to_string()),
            (SCAN_PARTITIONS.to_owned(), self.scan_partitions.to_string()),
            (TIME_ZONE.to_owned(), self.time_zone.clone()),
            (WATERMARK_POLICY.to_owned(), name(self.watermark_policy).to_owned()),
            (SOURCES.to_owned(), names),
            (SOURCE_FORMATS.to_owned(), text(&sources)),
            (FORMS.to_owned(), OperatorForm::write(&forms)),
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

/// The facts of a checkpoint that were not taken yet.
struct Facts<'a> {
    checkpoint: &'a Path,
    facts: BTreeMap<String, String>,
}

impl Facts<'_> {
    fn take_form(&mut self) -> Result<(), PrepareError> {
        match self.facts.remove(FORM).as_deref() {
            Some(PRESENT_FORM | FORM_WITHOUT_COLUMNS) => Ok(()),
            Some(FORM_WITHOUT_ZONE) if !self.facts.contains_key(TIME_ZONE) => {
                self.facts.insert(TIME_ZONE.to_owned(), UTC.to_owned());
                Ok(())
            }
            form => Err(self.unknown(&format!(
                "what it fixes of its query in form {}, and this program knows form {PRESENT_FORM}, form {FORM_WITHOUT_COLUMNS} and, without a time zone, form {FORM_WITHOUT_ZONE}",
                form.unwrap_or("0")
            ))),
        }
    }

    fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, PrepareError> {
        let Some(text) = self.facts.remove(name) else {
            return Err(self.unknown(&format!("no {name}, which this program relies on")));
        };
        let unread = || self.unknown(&format!("{name} = {text}, which this program cannot read"));
        read(&text).ok_or_else(unread)
    }

    fn end(&self) -> Result<(), PrepareError> {
        match self.facts.first_key_value() {
            None => Ok(()),
            Some((name, text)) => {
                Err(self.unknown(&format!("{name} = {text}, which this program does not know")))
            }
        }
    }

    fn unknown(&self, what: &str) -> PrepareError {
        PrepareError::Invalid(format!(
            "the checkpoint {} has {what}\nAnother Tidemill made it: use that one, or give the job a checkpoint of its own (`checkpoint = \"…\"`)",
            self.checkpoint.display(),
        ))
    }
}

fn count<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn parsed<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
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

    /// What a first start fixes, with some facts changed; `None` takes one away.
    fn facts(changes: &[(&str, Option<&str>)]) -> BTreeMap<String, String> {
        let job = job();
        let new =
            Pinned::of(&job, None).and_then(|pinned| pinned.check(&job, &BTreeMap::new(), &[]));
        let mut facts = new.expect("nothing is there to differ from");
        for (name, text) in changes {
            match text {
                Some(text) => facts.insert((*name).to_owned(), (*text).to_owned()),
                None => facts.remove(*name),
            };
        }
        facts
    }

    fn check(changes: &[(&str, Option<&str>)]) -> Result<(), String> {
        let job = job();
        let pinned = Pinned::of(&job, Some(facts(changes)));
        let checked = pinned.and_then(|pinned| pinned.check(&job, &BTreeMap::new(), &[]));
        checked.map(drop).map_err(|error| error.to_string())
    }

    fn refused(changes: &[(&str, Option<&str>)], words: &[&str]) {
        let refusal = check(changes).expect_err("it cannot be right");
        for word in words {
            assert!(refusal.contains(word), "no \"{word}\" in:\n{refusal}");
        }
    }

    #[test]
    fn a_job_is_held_against_what_its_checkpoint_fixed() {
        assert_eq!(check(&[]), Ok(()));
        let sums = r#"[{"name":"sums","details":"","key":"k int","value":"n bigint"}]"#;
        refused(&[("stateful_operators", Some(sums))], &["sums(k int)"]);
        refused(&[("sources", Some("s, t"))], &["other sources"]);
    }

    #[test]
    fn a_fact_that_cannot_be_read_is_refused_by_name() {
        for name in facts(&[]).keys().map(String::as_str).filter(|name| *name != FORM) {
            refused(&[(name, None)], &[name, "relies on", ".tidemill/"]);
        }
        let unread = |name: &str, text: &str| {
            refused(&[(name, Some(text))], &[name, text, "cannot read", "Another Tidemill"]);
        };
        unread("shuffle_partitions", "four");
        unread("shuffle_partitions", "0");
        unread("scan_partitions", "-1");
        unread("multiple_watermark_policy", "mean");
        unread("stateful_operators", "{}");
        unread("stateful_operators", r#"[{"name":"a","details":"","key":"","value":"","new":1}]"#);
        unread("source_formats", r#"[{"name":"s","format":"rate","new":1}]"#);
        unread("sink", "[1]");
        unread("sink", r#"{"format":"noop","new":1}"#);
        unread("time_zone", "Mars");
        refused(&[("locale", Some("en"))], &["locale = en", "does not know"]);
    }

    #[test]
    fn facts_in_another_form_are_refused_by_their_form() {
        let words = ["form 4", "knows form 3", "Another Tidemill"];
        refused(&[("form", Some("4")), ("shuffle_partitions", Some("a new way"))], &words);
        refused(&[("form", None)], &["form 0"]);
        // The first form had no zone: all was in UTC.
        assert_eq!(check(&[("form", Some("1")), ("time_zone", None)]), Ok(()));
        refused(&[("form", Some("1"))], &["form 1"]);
    }
}
