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

    /// Runs the job on a copy of the case, and says what differs from Spark's answer: rows,
    /// batches, watermarks and these figures of the stateful operators.
    #[must_use]
    pub fn differences(&self, arguments: &[&str], figures: &[StateFigure]) -> Vec<String> {
        let bench = self.bench();
        let mut all = vec!["run", "job.toml", "--progress", "json"];
        all.extend(arguments);
        let finished = bench.run(&all);
        if finished.code != Some(0) {
            return vec![format!("exit {:?}: {}", finished.code, finished.stderr)];
        }
        let (expected, found) = (self.rows(), printed_rows(&finished.stdout));
        let mut differences = compare_rows(&expected, &found);
        if differences.is_empty() && self.expected["ordered"] == true {
            differences = compare_orders(&expected, &found);
        }
        differences.extend(self.compare_progress(&finished.progress(), figures));
        differences
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

    /// Batches without data have to be the same too: their ids come from the same sequence.
    fn compare_progress(&self, progress: &[Value], figures: &[StateFigure]) -> Vec<String> {
        let by_batch = |records: &[Value]| {
            let id = |record: &Value| record["batchId"].as_u64().unwrap_or(u64::MAX);
            records.iter().map(|r| (id(r), r.clone())).collect::<BTreeMap<u64, Value>>()
        };
        let spark = by_batch(self.expected["progress"].as_array().expect("progress"));
        let ours = by_batch(progress);
        let ids = |records: &BTreeMap<u64, Value>| records.keys().copied().collect::<Vec<_>>();
        if ids(&spark) != ids(&ours) {
            return vec![format!("batches {:?}, Spark {:?}", ids(&ours), ids(&spark))];
        }
        let mut differences = Vec::new();
        for (batch, spark) in &spark {
            let mut compare = |what: &str, ours: &Value, spark: &Value| {
                if ours != spark {
                    differences.push(format!("batch {batch}: {what} {ours}, Spark {spark}"));
                }
            };
            let ours = &ours[batch];
            compare("watermark", &ours["eventTime"]["watermark"], &spark["watermark"]);
            let of_operators = |key: &str| {
                let operators = ours["stateOperators"].as_array().expect("stateOperators");
                Value::Array(operators.iter().map(|operator| operator[key].clone()).collect())
            };
            compare("operators", &of_operators("operatorName"), &self.expected["operators"]);
            for figure in figures {
                compare(figure.spark, &of_operators(figure.ours), &spark[figure.spark]);
            }
        }
        differences
    }
}

/// What a progress record and a recording say of each stateful operator, by their names for it.
#[derive(Clone, Copy, Debug)]
pub struct StateFigure {
    ours: &'static str,
    spark: &'static str,
}

impl StateFigure {
    /// Rows in the state.
    pub const ROWS: StateFigure = StateFigure { ours: "numRowsTotal", spark: "stateRows" };
    /// Rows put.
    pub const UPDATED: StateFigure = StateFigure { ours: "numRowsUpdated", spark: "stateUpdated" };
    /// Rows evicted.
    pub const REMOVED: StateFigure = StateFigure { ours: "numRowsRemoved", spark: "stateRemoved" };
    /// Late rows, or groups of them.
    pub const DROPPED: StateFigure =
        StateFigure { ours: "numRowsDroppedByWatermark", spark: "droppedByWatermark" };
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

/// Says which batches have their rows in another order.
fn compare_orders(expected: &Rows, found: &Rows) -> Vec<String> {
    let is_in_order = |(id, rows): &(&u64, &Vec<Value>)| {
        let found = found.get(id).into_iter().flatten();
        rows.iter().zip(found).all(|(expected, found)| is_same(expected, found))
    };
    let others = expected.iter().filter(|batch| !is_in_order(batch));
    others.map(|(id, _)| format!("batch {id}: the rows of Spark in another order")).collect()
}

/// Numbers within 1e-9 relative, keys of objects in order, all else exact.
#[must_use]
pub fn is_same(expected: &Value, found: &Value) -> bool {
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
