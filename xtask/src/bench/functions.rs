//! What functions cost a row, beside DataFusion's own and beside Spark, each on one core.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::tables::Report;
use crate::bench::{Bench, Peer, spark};
use crate::process::output;

const ROWS: u64 = 1_000_000;
/// How many of the slowest are told again.
const SLOWEST: usize = 10;

/// Nanoseconds a row.
struct Cost {
    name: String,
    ours: f64,
    datafusion: Option<f64>,
    spark: Option<f64>,
}

pub(super) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let cases = bench.peers.join("functions.json");
    let rows = ROWS.to_string();
    eprintln!("bench: running the functions, ours and DataFusion's (a minute)");
    let printed = output(Command::new(&bench.functions).arg(&cases).arg(&rows))?;
    let line = printed.lines().last().context("function_speed printed nothing")?;
    let ours: Value = serde_json::from_str(line).context("function_speed's last line")?;
    let theirs = match bench.with_peer(Peer::Spark) {
        true => spark::script(bench, "spark_functions.py", &[cases.as_ref(), rows.as_ref()])?,
        false => Value::Null,
    };
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(&cases)?)?;
    let mut costs = Vec::new();
    for case in cases["cases"].as_array().into_iter().flatten() {
        let name = case["name"].as_str().context("a case has no name")?.to_owned();
        let of = &ours[&name];
        let ours = of["ours"].as_f64().with_context(|| format!("{name} was not measured"))?;
        let (datafusion, spark) = (of["datafusion"].as_f64(), theirs[&name].as_f64());
        costs.push(Cost { name, ours, datafusion, spark });
    }
    let header = ["function", "ns a row", "DataFusion", "Spark", "of DataFusion", "of Spark"];
    report.table(
        &format!("Functions, nanoseconds a row of {ROWS}, one core"),
        &header,
        costs.iter().map(Cost::row).collect(),
    );
    costs.sort_by(|a, b| b.ours.total_cmp(&a.ours));
    let slowest: Vec<&str> = costs.iter().take(SLOWEST).map(|cost| cost.name.as_str()).collect();
    report.remark(&format!("The slowest: {}.", slowest.join(", ")));
    let slower: Vec<&str> =
        costs.iter().filter(|c| c.is_slower()).map(|cost| cost.name.as_str()).collect();
    if bench.with_peer(Peer::Spark) {
        let slower = if slower.is_empty() { "none".to_owned() } else { slower.join(", ") };
        report.remark(&format!("Slower than Spark: {slower}."));
    }
    Ok(())
}

impl Cost {
    fn is_slower(&self) -> bool {
        self.spark.is_some_and(|spark| self.ours > spark)
    }

    fn row(&self) -> Vec<String> {
        let figure = |nanos: Option<f64>| nanos.map_or("-".to_owned(), |n| format!("{n:.1}"));
        let ratio = |other: Option<f64>| match other {
            Some(other) if other > 0.0 => format!("{:.2}x", self.ours / other),
            _ => "-".to_owned(),
        };
        vec![
            self.name.clone(),
            figure(Some(self.ours)),
            figure(self.datafusion),
            figure(self.spark),
            ratio(self.datafusion),
            ratio(self.spark),
        ]
    }
}
