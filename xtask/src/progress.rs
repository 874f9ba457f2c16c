//! The progress records that `tidemill run --progress json` prints, one line a batch.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the chores use of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Name of the query.
    pub(crate) query: String,
    pub(crate) batch: u64,
    pub(crate) input_rows: u64,
    /// Digest of the bytes that each plugin ran, by the job's name for it.
    pub(crate) digests: BTreeMap<String, String>,
    /// Swaps of plugins since the start of the run.
    pub(crate) reloads: u64,
}

impl Progress {
    /// Reads a line of standard error; other lines than records give nothing.
    pub(crate) fn parse(line: &str) -> Option<Progress> {
        let record: Value = line.starts_with('{').then(|| serde_json::from_str(line).ok())??;
        let plugins = record["plugins"].as_array().map_or(&[][..], Vec::as_slice);
        Some(Progress {
            query: record["name"].as_str()?.to_owned(),
            batch: record["batchId"].as_u64()?,
            input_rows: record["numInputRows"].as_u64()?,
            digests: plugins
                .iter()
                .filter_map(|p| {
                    Some((p["name"].as_str()?.to_owned(), p["digest"].as_str()?.to_owned()))
                })
                .collect(),
            reloads: plugins.iter().filter_map(|p| p["reloads"].as_u64()).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_record_is_read_and_other_lines_are_not() {
        let record = r#"{"id":"i","name":"q","batchId":3,"batchDuration":7,"numInputRows":10,
            "durationMs":{"triggerExecution":7,"walCommit":1},"stateOperators":[],
            "plugins":[{"name":"orders","digest":"ab","reloads":2,"calls":1}]}"#;
        let progress = Progress::parse(record).unwrap();
        assert_eq!((progress.batch, progress.input_rows, progress.reloads), (3, 10, 2));
        assert_eq!(progress.query, "q");
        assert_eq!(progress.digests["orders"], "ab");
        assert_eq!(Progress::parse("batch 3: 10 rows"), None);
        assert_eq!(Progress::parse("{\"level\":\"warn\"}"), None);
    }
}
