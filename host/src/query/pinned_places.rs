//! What a checkpoint fixes of the places that its query reads and writes.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use tidemill_connectors::FoundColumns;
use tidemill_plan::both;
use tidemill_types::{format_schema, parse_schema};

use crate::job::{Job, JobSink, JobSource, JobTarget};

const KAFKA: &str = "kafka";
/// Formats of sinks that are directories of files.
const FILES: [&str; 5] = ["json", "parquet", "csv", "text", "orc"];

/// A source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinnedSource {
    name: String,
    format: String,
    /// What its files showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<PinnedFiles>,
}

/// What the files of a source showed of its columns when the query started first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinnedFiles {
    /// Whether the job said the schema. Then the columns are those that it lacked.
    had_schema: bool,
    /// In DDL.
    columns: String,
    /// Names of those that are partitions.
    partitions: Vec<String>,
}

impl PinnedSource {
    /// A source, and what its files showed.
    pub(super) fn of(source: &JobSource, found: Option<&FoundColumns>) -> PinnedSource {
        let files = found.map(|found| PinnedFiles {
            had_schema: source.schema.is_some(),
            columns: format_schema(&found.columns),
            partitions: found.partitions.clone(),
        });
        let format = source.format.to_lowercase();
        PinnedSource { name: source.name.clone(), format, files }
    }

    /// What the files of a source showed; none for another source, and in a checkpoint that does not
    /// know.
    ///
    /// # Errors
    /// It cannot be read, or the job said the columns then and does not now.
    pub(super) fn found_columns(&self, source: &JobSource) -> Option<Result<FoundColumns, String>> {
        let files = self.files.as_ref().filter(|_| self.name == source.name)?;
        if files.had_schema && source.schema.is_none() {
            return Some(Err(format!(
                "source \"{}\" had a schema when the query started first, and has none now; write it again, or give the job a checkpoint of its own (`checkpoint = \"…\"`)",
                self.name
            )));
        }
        let columns = match files.columns.as_str() {
            "" => Ok(Arc::new(Schema::empty())),
            columns => parse_schema(columns),
        };
        Some(match columns {
            Ok(columns) => Ok(FoundColumns { columns, partitions: files.partitions.clone() }),
            Err(error) => Err(format!(
                "the checkpoint has \"{}\" as columns of source \"{}\": {error}",
                files.columns, self.name
            )),
        })
    }

    /// The first source whose format is not the one of the checkpoint; the names are the same.
    pub(super) fn difference(checkpoint: &[PinnedSource], job: &[PinnedSource]) -> Option<String> {
        let mut pairs = checkpoint.iter().zip(job);
        let (kept, asked) = pairs.find(|(kept, asked)| kept.format != asked.format)?;
        let what = format!("another format of source \"{}\"", asked.name);
        Some(both(&what, &kept.format, &asked.format))
    }
}

/// Where the first run of a query wrote to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinnedSink {
    format: String,
    /// The directory of a file sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<Directory>,
}

/// A directory is the same if it is at the same path, or at the same place beside the checkpoint:
/// both may be moved together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Directory {
    path: PathBuf,
    from_checkpoint: PathBuf,
}

impl PinnedSink {
    pub(super) fn of(job: &Job) -> PinnedSink {
        match &job.sink {
            JobSink::ForeachBatch { .. } => {
                PinnedSink { format: "foreach_batch".to_owned(), directory: None }
            }
            JobSink::Place(place) => {
                let format = place.format.to_lowercase();
                let is_files = FILES.contains(&format.as_str());
                let path = path(place).filter(|_| is_files);
                let directory = path.map(|path| Directory::of(&path, &job.checkpoint));
                PinnedSink { format, directory }
            }
        }
    }

    /// Why a query that began with this sink cannot go on with another (Spark's recovery semantics
    /// after changes in a streaming query).
    pub(super) fn refuses(&self, job: &PinnedSink) -> Option<String> {
        if self.format == KAFKA && FILES.contains(&job.format.as_str()) {
            let what = "another sink: what went to Kafka would be missing from the files";
            return Some(both(what, &self.format, &job.format));
        }
        let (kept, asked) = (self.directory.as_ref()?, job.directory.as_ref()?);
        if kept.path == asked.path || kept.from_checkpoint == asked.from_checkpoint {
            return None;
        }
        let what =
            "another directory of its sink: earlier batches would be missing from the new one";
        let show = |directory: &Directory| directory.path.display().to_string();
        Some(both(what, &show(kept), &show(asked)))
    }
}

impl Directory {
    fn of(path: &Path, checkpoint: &Path) -> Directory {
        let (path, checkpoint) = (plain(path), plain(checkpoint));
        let (there, here): (Vec<_>, Vec<_>) =
            (path.components().collect(), checkpoint.components().collect());
        let shared = there.iter().zip(&here).take_while(|(a, b)| a == b).count();
        let up = here[shared..].iter().map(|_| Component::ParentDir);
        let from_checkpoint = up.chain(there[shared..].iter().copied()).collect();
        Directory { path, from_checkpoint }
    }
}

/// Where a place is, however the job says it.
pub(super) fn path(place: &JobTarget) -> Option<PathBuf> {
    let option = || {
        let mut options = place.options.iter();
        options
            .find(|(name, _)| name.eq_ignore_ascii_case("path"))
            .map(|(_, path)| path.reveal().into())
    };
    place.path.clone().or_else(option)
}

/// Absolute, without what says nothing.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.components().collect()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn files(path: &str, checkpoint: &str) -> PinnedSink {
        let directory = Directory::of(Path::new(path), Path::new(checkpoint));
        PinnedSink { format: "json".to_owned(), directory: Some(directory) }
    }

    fn other(format: &str) -> PinnedSink {
        PinnedSink { format: format.to_owned(), directory: None }
    }

    /// The third form of what a checkpoint fixes: another text needs another form.
    #[test]
    fn columns_of_files_are_kept_in_this_form() {
        let text = r#"{"name":"orders","format":"json","files":{"had_schema":true,"columns":"day date","partitions":["day"]}}"#;
        let day = Schema::new(vec![Field::new("day", DataType::Date32, true)]);
        let files = PinnedFiles {
            had_schema: true,
            columns: format_schema(&day),
            partitions: vec!["day".to_owned()],
        };
        let source = PinnedSource {
            name: "orders".to_owned(),
            format: "json".to_owned(),
            files: Some(files),
        };
        assert_eq!(serde_json::to_string(&source).expect("texts"), text);
        assert_eq!(serde_json::from_str::<PinnedSource>(text).expect("this form"), source);
    }

    #[test]
    fn a_directory_may_move_with_its_checkpoint_and_not_alone() {
        let first = files("/a/out", "/a/state/q");
        assert_eq!(first.refuses(&files("/a/./out/", "/a/state/q")), None);
        assert_eq!(first.refuses(&files("/b/c/out", "/b/c/state/q")), None);
        assert_eq!(first.refuses(&files("/a/out", "/b/q")), None);
        let refusal = first.refuses(&files("/a/out2", "/a/state/q")).expect("it is another");
        assert!(refusal.contains("/a/out2") && refusal.contains("/a/out\n"), "{refusal}");
    }

    #[test]
    fn files_may_become_topics_and_topics_no_files() {
        let first = files("/a/out", "/a/q");
        assert_eq!(first.refuses(&other("kafka")), None);
        assert_eq!(first.refuses(&other("console")), None);
        assert_eq!(other("kafka").refuses(&other("foreach_batch")), None);
        assert_eq!(other("foreach_batch").refuses(&other("kafka")), None);
        let refusal = other("kafka").refuses(&first).expect("Spark refuses it");
        assert!(refusal.contains("Kafka"), "{refusal}");
    }
}
