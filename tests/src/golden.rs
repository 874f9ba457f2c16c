//! Jobs with the answers that Spark itself gave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Workbench;

/// Rows by batch id. A batch without rows equals an absent one.
pub type Rows = BTreeMap<u64, Vec<Value>>;

/// A folder with `job.toml`, `input/` and Spark's `expected.json`.
pub struct Golden {
    folder: PathBuf,
    expected: Value,
}

impl Golden {
    /// Reads a case of `tests/goldens`.
    #[must_use]
    pub fn read(folder: &Path) -> Golden {
        let text = std::fs::read_to_string(folder.join("expected.json")).expect("expected.json");
        let expected = serde_json::from_str(&text).expect("expected.json is JSON");
        Golden { folder: folder.to_owned(), expected }
    }

    /// Runs the job on a copy of the case, and says what differs from Spark's answer.
    #[must_use]
    pub fn differences(&self, arguments: &[&str]) -> Vec<String> {
        let bench = self.bench();
        let mut all = vec!["run", "job.toml", "--progress", "json"];
        all.extend(arguments);
        let finished = bench.run(&all);
        if finished.code != Some(0) {
            return vec![format!("exit {:?}: {}", finished.code, finished.stderr)];
        }
        let mut found = compare_rows(&self.rows(), &printed_rows(&finished.stdout));
        found.extend(self.compare_watermarks(&finished.progress()));
        found
    }

    /// A copy of the case, whose input files are in the order of their names.
    #[must_use]
    pub fn bench(&self) -> Workbench {
        let bench = Workbench::new();
        let job = std::fs::read_to_string(self.folder.join("job.toml")).expect("job.toml");
        bench.write("job.toml", job);
        let sources = std::fs::read_dir(self.folder.join("input")).expect("input/");
        for source in sources {
            let source = source.expect("a folder of input/");
            let name = source.file_name().into_string().expect("a plain name");
            let mut files: Vec<PathBuf> = std::fs::read_dir(source.path())
                .expect("a folder of input/")
                .map(|file| file.expect("a file").path())
                .collect();
            files.sort();
            for (order, file) in files.iter().enumerate() {
                let file_name = file.file_name().and_then(|name| name.to_str()).expect("a name");
                let content = std::fs::read(file).expect("an input file");
                bench.write_input(&format!("input/{name}/{file_name}"), order as i64, content);
            }
        }
        bench
    }

    fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for batch in self.expected["batches"].as_array().expect("batches") {
            let id = batch["batch_id"].as_u64().expect("batch_id");
            rows.insert(id, batch["rows"].as_array().expect("rows").clone());
        }
        rows
    }

    fn compare_watermarks(&self, progress: &[Value]) -> Vec<String> {
        let watermarks = |records: &[Value], watermark: &dyn Fn(&Value) -> Value| {
            let by_batch = records
                .iter()
                .map(|record| (record["batchId"].as_u64().unwrap_or(u64::MAX), watermark(record)));
            by_batch.collect::<BTreeMap<u64, Value>>()
        };
        let expected = self.expected["progress"].as_array().expect("progress");
        let expected = watermarks(expected, &|record| record["watermark"].clone());
        let found = watermarks(progress, &|record| record["eventTime"]["watermark"].clone());
        if expected == found {
            return Vec::new();
        }
        vec![format!("watermarks by batch\n  Spark: {expected:?}\n  found: {found:?}")]
    }
}

/// What the console sink prints with `format = "json"`.
#[must_use]
pub fn printed_rows(stdout: &str) -> Rows {
    let mut rows = Rows::new();
    for line in stdout.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let id = line["batch_id"].as_u64().expect("batch_id");
        rows.entry(id).or_default().push(line["row"].clone());
    }
    rows
}

/// Compares the rows of each batch as multisets, and says what differs.
#[must_use]
pub fn compare_rows(expected: &Rows, found: &Rows) -> Vec<String> {
    let none = Vec::new();
    let mut ids: Vec<u64> = expected.keys().chain(found.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut differences = Vec::new();
    for id in ids {
        let mut left = found.get(&id).unwrap_or(&none).clone();
        for row in expected.get(&id).unwrap_or(&none) {
            match left.iter().position(|candidate| is_same(row, candidate)) {
                Some(at) => drop(left.swap_remove(at)),
                None => differences.push(format!("batch {id}: Spark has {row}")),
            }
        }
        differences.extend(left.iter().map(|row| format!("batch {id}: Spark has no {row}")));
    }
    differences
}

/// Numbers within 1e-9 relative, keys of objects in order, all else exact.
fn is_same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && is_same(a, b))
        }
        (a, b) => a == b,
    }
}
