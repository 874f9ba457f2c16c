//! Sources and sinks, through the door that jobs come in by.

#![allow(clippy::unwrap_used, reason = "tests")]

mod console;
mod extremes;
mod file_log;
mod file_sink;
mod file_source;
mod made_up;
mod places;
mod readers;
mod recorded;
mod sqlite;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tidemill_core::{QueryId, Source};

use crate::{ConfigError, OptionText, SinkConfig, SinkContext, SourceConfig, plan_source};

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, OptionText> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

fn source_config(format: &str, path: &Path, schema: &str, given: &[(&str, &str)]) -> SourceConfig {
    SourceConfig {
        name: "s".to_owned(),
        format: format.to_owned(),
        path: Some(path.to_owned()),
        schema: (!schema.is_empty()).then(|| tidemill_types::parse_schema(schema).unwrap()),
        options: options(given),
        ..SourceConfig::default()
    }
}

/// Opens a source whose clock stands still.
fn open(config: SourceConfig) -> Box<dyn Source> {
    plan_source(config).unwrap().open(Arc::new(|| 0)).unwrap()
}

fn refusal(config: SourceConfig) -> String {
    plan_source(config).map(|_| ()).unwrap_err().to_string()
}

fn sink_config(format: &str, given: &[(&str, &str)]) -> SinkConfig {
    SinkConfig {
        name: "out".to_owned(),
        format: format.to_owned(),
        options: options(given),
        query_name: "q".to_owned(),
        ..SinkConfig::default()
    }
}

fn sink_refusal(config: SinkConfig) -> String {
    crate::plan_sink(config)
        .map(|_| ())
        .map_err(|error: ConfigError| error.to_string())
        .unwrap_err()
}

fn context() -> SinkContext {
    SinkContext::new(QueryId("0f0e0d0c-1111-4222-8333-444455556666".to_owned()))
}

/// A file with a modification time of its own: seconds since 1970.
fn write_file(dir: &Path, name: &str, text: impl AsRef<[u8]>, modified_s: i64) {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    filetime::set_file_mtime(&path, filetime::FileTime::from_unix_time(modified_s, 0)).unwrap();
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}
