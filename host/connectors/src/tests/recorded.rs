//! What is read of files, held against what PySpark read of the same ones.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tidemill_codec::format_cell;
use tidemill_core::{ReadLimit, Slice};
use tidemill_time::UTC;
use tidemill_types::format_type;

use super::{options, temp};
use crate::{SourceConfig, plan_source};

/// Writes the files of a case, each a second younger than the one before.
fn write(directory: &Path, files: &Value) {
    for (at, (name, content)) in files.as_object().unwrap().iter().enumerate() {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = match content {
            Value::String(text) => text.clone().into_bytes(),
            packed => BASE64_STANDARD.decode(packed["base64"].as_str().unwrap()).unwrap(),
        };
        std::fs::write(&path, bytes).unwrap();
        let time = filetime::FileTime::from_unix_time(1_700_000_000 + at as i64, 0);
        filetime::set_file_mtime(&path, time).unwrap();
    }
}

/// As `show()` prints texts.
fn shown(cell: &str) -> String {
    cell.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

/// The columns and the rows, or what is wrong.
fn read(case: &Value, directory: &Path) -> Result<(Value, Vec<Vec<String>>), String> {
    let given = case["options"].as_object().into_iter().flatten();
    let given: Vec<(String, String)> = given
        .map(|(key, value)| {
            let value = value.as_str().unwrap().replace("{dir}", directory.to_str().unwrap());
            (key.clone(), value)
        })
        .collect();
    let given: Vec<(&str, &str)> =
        given.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let schema = case["schema"].as_str().map(|ddl| tidemill_types::parse_schema(ddl).unwrap());
    let path = directory.join(case["path"].as_str().unwrap_or_default());
    let config = SourceConfig {
        name: "s".to_owned(),
        format: case["format"].as_str().unwrap().to_owned(),
        path: Some(path.components().collect()),
        schema,
        infers: true,
        options: options(&given),
        ..SourceConfig::default()
    };
    let planned = plan_source(config).map_err(|error| error.to_string())?;
    let said = |error: tidemill_core::ConnectorError| super::readers::full(&error);
    let schema = planned.schema();
    let columns = schema.fields().iter();
    let columns = columns.map(|field| json!([field.name(), format_type(field.data_type())]));
    let columns = columns.collect();
    let mut source = planned.open(std::sync::Arc::new(|| 0)).map_err(said)?;
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let mut rows = Vec::new();
    if let Some(range) = source.next_range(ReadLimit::Unlimited).map_err(said)? {
        let slice = Slice { index: 0, count: 1 };
        for batch in source.reader().read(&range, slice, &all).map_err(said)? {
            let batch = batch.map_err(said)?;
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter();
                rows.push(cells.map(|column| shown(&format_cell(column, row, UTC))).collect());
            }
        }
    }
    rows.sort();
    Ok((columns, rows))
}

/// What differs from the record, if anything does.
fn difference(case: &Value) -> Option<String> {
    let directory = temp();
    write(directory.path(), &case["files"]);
    match (case["error"].as_str(), read(case, directory.path())) {
        // Spark's requirements have no class.
        (Some("?"), Err(_)) => None,
        (Some(class), Err(error)) => {
            let class = class.trim_start_matches("FAILED_READ_FILE.");
            (!error.contains(class)).then(|| format!("{class}, not {error}"))
        }
        (Some(class), Ok((columns, rows))) => Some(format!("{class}, not {columns} {rows:?}")),
        (None, Err(error)) => Some(error),
        (None, Ok((columns, rows))) => {
            let found = json!({ "columns": columns, "rows": rows });
            let wanted = json!({ "columns": case["columns"], "rows": case["rows"] });
            (found != wanted).then(|| format!("\n  found  {found}\n  wanted {wanted}"))
        }
    }
}

#[test]
fn files_are_read_as_spark_reads_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/readers.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut differ = Vec::new();
    for line in text.lines() {
        let mut case: Value = serde_json::from_str(line).unwrap();
        if let Some(difference) = difference(&case) {
            let about = case.as_object_mut().unwrap();
            for answer in ["columns", "rows", "error"] {
                about.remove(answer);
            }
            differ.push(format!("{case}: {difference}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
