//! A file sink's directory of which the file that says what has landed was changed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tidemill_connectors::contract::delivery;
use tidemill_connectors::{ConsoleOutput, MemoryTables, PlannedSink, SinkConfig, SinkContext};
use tidemill_core::QueryId;

use crate::checkpoint::edit;

const OWNER: &str = "_spark_metadata/_owner";
const BATCHES: u64 = 3;

/// Edits it. What is left is refused, or it is what was written.
pub(crate) fn owner(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in written() {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let path = folder.path().join(OWNER);
    let mut owner = fs::read(&path).expect("it was written");
    edit(bytes, &mut owner);
    fs::write(&path, owner).expect("a file");
    let planned = plan(folder.path());
    let held = planned.held(&context());
    let opened = planned.open(&context());
    if let (Ok(held), Ok(mut opened)) = (held, opened) {
        assert_eq!(held.mark().map(|mark| mark.batch.0), Some(BATCHES - 1));
        assert_eq!(opened.held().expect("it is open"), held);
    }
}

fn plan(folder: &Path) -> PlannedSink {
    let config = SinkConfig {
        name: "files".to_owned(),
        format: "json".to_owned(),
        path: Some(folder.to_owned()),
        ..SinkConfig::default()
    };
    tidemill_connectors::plan_sink(config).expect("a sink")
}

fn context() -> SinkContext {
    SinkContext {
        query_id: QueryId("5c5c3a1e-0d0b-4a5e-9d1b-1f1b0c5f3a11".to_owned()),
        console: ConsoleOutput::stdout(),
        tables: MemoryTables::default(),
    }
}

/// The files of a sink after some batches, by their names.
fn written() -> &'static Vec<(String, Vec<u8>)> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut sink = plan(folder.path()).open(&context()).expect("an empty folder");
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a column");
        for batch in 0..BATCHES {
            sink.begin(delivery(batch, 0, 1)).expect("a new batch");
            sink.write(&rows).expect("room");
            sink.prepare().expect("room");
            sink.commit().expect("room");
        }
        let mut files = Vec::new();
        for sub in ["", "_spark_metadata"] {
            let entries = fs::read_dir(folder.path().join(sub)).expect("a folder");
            for path in entries.map(|entry| entry.expect("an entry").path()) {
                if path.is_file() {
                    let name = path.strip_prefix(folder.path()).expect("it is below");
                    let bytes = fs::read(&path).expect("a file");
                    files.push((name.to_string_lossy().into_owned(), bytes));
                }
            }
        }
        files
    })
}
