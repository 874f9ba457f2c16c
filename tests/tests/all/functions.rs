//! Spark's functions by the examples of its own reference: each is run as a job, as it is written,
//! with all its literals in columns, and with nulls in these.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tidemill_tests::{Workbench, repository};

/// Functions whose arrays have no order in Spark.
const UNORDERED: [&str; 6] =
    ["collect_set", "collect_union", "array_union", "map_keys", "map_values", "map_entries"];

/// How an example compares with Spark.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// Spark's rows, or its error.
    Same,
    /// Refused, or failed with other words.
    Refused,
    /// There is no such function.
    Missing,
    /// Other rows, and nobody is told.
    Differs,
}

/// One form of an example: a job, and what Spark gave for it.
struct Form {
    name: String,
    group: String,
    job: Value,
    wanted: Value,
    is_unordered: bool,
    is_compared: bool,
}

/// Everything that can be run.
fn forms() -> Vec<Form> {
    let text = std::fs::read_to_string(repository().join("tests/goldens/functions.jsonl")).unwrap();
    text.lines().flat_map(|line| forms_of(&serde_json::from_str(line).unwrap())).collect()
}

fn forms_of(example: &Value) -> Vec<Form> {
    let job = &example["job"];
    if job.get("not_expressible").is_some() {
        return Vec::new();
    }
    let sql = example["sql"].as_str().unwrap().to_lowercase();
    let form = |suffix: &str, job: &Value, wanted: &Value| Form {
        name: format!("{}{suffix}", example["id"].as_str().unwrap()),
        group: example["group"].as_str().unwrap().to_owned(),
        job: job.clone(),
        wanted: wanted.clone(),
        is_unordered: UNORDERED.iter().any(|name| sql.contains(name)),
        is_compared: example.get("nondeterministic").is_none(),
    };
    let wanted = job.get("result").unwrap_or(&example["spark"]);
    let mut forms = vec![form("", job, wanted)];
    if let Some(columns) = example.get("columns") {
        let wanted = columns.get("result").unwrap_or(wanted);
        forms.push(form(" in columns", columns, wanted));
        if let Some(nulls) = example.get("nulls") {
            let mut with_nulls = columns.clone();
            for row in with_nulls["sources"][0]["rows"].as_array_mut().unwrap() {
                row.as_object_mut().unwrap().values_mut().for_each(|value| *value = Value::Null);
            }
            forms.push(form(" with nulls", &with_nulls, nulls));
        }
    }
    forms
}

impl Form {
    fn run(&self) -> (Outcome, String) {
        let bench = Workbench::new();
        let steps = self.job["steps"].as_array().unwrap();
        bench.write("job.toml", toml::to_string(&self.toml(steps)).unwrap());
        for source in self.job["sources"].as_array().unwrap() {
            let rows = source["rows"].as_array().unwrap();
            let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
            bench.write(&format!("input/{}/0.json", source["name"].as_str().unwrap()), lines);
        }
        let finished = bench.run(&["run", "job.toml", "--progress", "none"]);
        let said = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let error = self.wanted.get("error").and_then(Value::as_str);
        match (finished.code, error) {
            (Some(0), None) => match self.is_met(&finished.stdout) {
                true => (Outcome::Same, String::new()),
                false => (
                    Outcome::Differs,
                    format!("gave {}, and Spark {}", finished.stdout.trim(), self.wanted["rows"]),
                ),
            },
            (Some(0), Some(error)) => {
                (Outcome::Differs, format!("gave {}, and Spark {error}", finished.stdout.trim()))
            }
            (Some(1 | 2), Some(error)) if said.contains(&format!("[{error}")) => {
                (Outcome::Same, String::new())
            }
            (Some(1 | 2), _) if said.contains("UNRESOLVED_ROUTINE") => (Outcome::Missing, said),
            (Some(1 | 2), _) => (Outcome::Refused, said),
            (code, _) => (Outcome::Differs, format!("ended with {code:?}: {said}")),
        }
    }

    fn toml(&self, steps: &[Value]) -> Value {
        let text = |value: &Value| value.as_str().unwrap().replace("${", "$${");
        let source = |source: &Value| {
            let name = source["name"].as_str().unwrap();
            let table = json!({
                "format": "json",
                "path": format!("input/{name}"),
                "schema": text(&source["schema"]),
            });
            (name.trim_matches('`').to_owned(), table)
        };
        let sources: serde_json::Map<String, Value> =
            self.job["sources"].as_array().unwrap().iter().map(source).collect();
        let step = |step: &Value| json!({ "name": text(&step["name"]), "sql": text(&step["sql"]) });
        json!({
            "name": "example",
            "output_mode": self.job["mode"],
            "trigger": { "available_now": true },
            "source": sources,
            "step": steps.iter().map(step).collect::<Vec<_>>(),
            "sink": { "format": "console", "options": { "format": "json" } },
        })
    }

    fn is_met(&self, stdout: &str) -> bool {
        if !self.is_compared {
            return true;
        }
        let values = |line: &str| -> Vec<Value> {
            let line: Value = serde_json::from_str(line).unwrap();
            line["row"].as_object().unwrap().values().cloned().collect()
        };
        let mut found: Vec<Vec<Value>> = stdout.lines().map(values).collect();
        let wanted = self.wanted["rows"].as_array().unwrap();
        found.len() == wanted.len()
            && wanted.iter().all(|row| {
                let row = row.as_array().unwrap();
                let same = |candidate: &Vec<Value>| {
                    candidate.len() == row.len()
                        && row.iter().zip(candidate).all(|(a, b)| is_same(a, b, self.is_unordered))
                };
                found.iter().position(same).map(|at| found.swap_remove(at)).is_some()
            })
    }
}

/// Numbers within 1e-9 relative, a DECIMAL by its value, objects by their keys, all
/// else exact.
fn is_same(wanted: &Value, found: &Value, is_unordered: bool) -> bool {
    match (wanted, found) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-6)
        }
        (Value::String(a), Value::Number(b)) => a.parse() == Ok(b.as_f64().unwrap()),
        (Value::Array(a), Value::Array(b)) => {
            let sorted = |values: &[Value]| {
                let mut values = values.to_vec();
                if is_unordered {
                    values.sort_by_key(ToString::to_string);
                }
                values
            };
            let (a, b) = (sorted(a), sorted(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| is_same(a, b, is_unordered))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| {
                b.get(key).is_some_and(|b| is_same(a, b, is_unordered))
            };
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

#[test]
fn functions_give_what_spark_gives_or_are_refused() {
    let forms = forms();
    assert!(forms.len() > 2_500, "{}", forms.len());
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(form) = forms.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = form.run();
                    outcomes.lock().unwrap().push((form, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let mut groups: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (form, (outcome, _)) in &outcomes {
        groups.entry(&form.group).or_default()[*outcome as usize] += 1;
    }
    println!("{:20} {:>6} {:>8} {:>8} {:>8}", "group", "same", "refused", "missing", "differs");
    for (group, [same, refused, missing, differs]) in &groups {
        println!("{group:20} {same:>6} {refused:>8} {missing:>8} {differs:>8}");
    }
    let differ = outcomes.iter().filter(|(_, (outcome, _))| *outcome == Outcome::Differs);
    let differ: Vec<String> =
        differ.map(|(form, (_, said))| format!("{}: {said}", form.name)).collect();
    assert!(differ.is_empty(), "{} differ in silence:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn the_page_of_functions_is_what_the_command_prints() {
    let printed = Workbench::new().run(&["functions", "--markdown"]).expect_success().stdout;
    let page = std::fs::read_to_string(repository().join("docs/functions.md")).unwrap();
    assert!(page == printed, "write it anew: tidemill functions --markdown > docs/functions.md");
}

#[test]
fn examples_of_functions_give_what_their_descriptors_say() {
    let examples = tidemill_functions::groups().iter().flat_map(|group| group.functions);
    let examples: Vec<_> = examples.filter_map(|function| function.example).collect();
    assert!(examples.len() > 100, "{}", examples.len());
    let bench = Workbench::new();
    bench.write("input/0.json", "{\"one\":1}\n");
    // Each is a column of its own in a CAST to what the console prints.
    let mut job = String::from(
        "name = \"examples\"\noutput_mode = \"append\"\ntrigger = { available_now = true }\n[source.src]\nformat = \"json\"\npath = \"input\"\nschema = \"one INT\"\n",
    );
    let columns: Vec<String> = examples
        .iter()
        .enumerate()
        .map(|(number, (query, _))| {
            format!("CAST({} AS STRING) AS c{number}", query.strip_prefix("SELECT ").unwrap())
        })
        .collect();
    let sql = format!("SELECT {} FROM src", columns.join(",\n"));
    let step = json!({ "step": [{ "name": "result", "sql": sql.replace("${", "$${") }] });
    job += &toml::to_string(&step).unwrap();
    job += "[sink]\nformat = \"console\"\noptions = { format = \"json\" }\n";
    bench.write("job.toml", job);
    let stdout = bench.run(&["run", "job.toml", "--progress", "none"]).expect_success().stdout;
    let row: Value = serde_json::from_str(&stdout).unwrap();
    let mut wrong = Vec::new();
    for (number, (query, cell)) in examples.iter().enumerate() {
        let found = row["row"][format!("c{number}")].as_str().unwrap_or("NULL").to_owned();
        if found != *cell {
            wrong.push(format!("{query}: {found}, and the page says {cell}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
