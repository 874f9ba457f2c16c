//! Spark on the same files: PySpark from PyPI in a virtual environment of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::throughput::Cost;
use crate::process::{output, run as run_command, which};

const PYSPARK: &str = "pyspark==4.3.0";

/// What Spark needed.
pub(super) struct Peer {
    /// Of the query, without the start of its processes.
    pub(super) cost: Cost,
    /// From the start of Python to the end of the first batch.
    pub(super) start_s: f64,
    pub(super) remark: String,
}

/// Runs the reference job once.
pub(super) fn run(bench: &Bench, data: &Path, files_per_batch: u32) -> Result<Peer> {
    let checkpoint = bench.directory.join("spark-checkpoint");
    let files = files_per_batch.to_string();
    let arguments = [data.as_ref(), checkpoint.as_ref(), files.as_ref()];
    let result = script(bench, "spark_files.py", &arguments)?;
    let number = |name: &str| {
        result[name].as_f64().with_context(|| format!("the Spark script gave no {name}"))
    };
    let cost = Cost {
        rows: number("rows")? as u64,
        wall_s: number("wall_s")?,
        cpu_s: number("cpu_s")?,
        peak_mib: Some(number("peak_mib")?),
    };
    let remark = format!(
        "Spark's figures are of one query in a fresh process, without its start, which took {:.1} s and {:.1} CPU s; \
         the second half of its batches ran at {:.0} rows/s.",
        number("start_s")?,
        number("start_cpu_s")?,
        number("warm_rows_per_s")?
    );
    Ok(Peer { cost, start_s: number("first_batch_s")?, remark })
}

/// Runs a script of ours, and gives the object that it prints last.
pub(super) fn script(bench: &Bench, name: &str, arguments: &[&OsStr]) -> Result<Value> {
    let python = environment(&bench.directory.join("spark"))?;
    eprintln!("bench: running Spark (a minute or more)");
    let printed = output(Command::new(python).arg(bench.peers.join(name)).args(arguments))?;
    let line = printed.lines().last().context("the Spark script printed nothing")?;
    serde_json::from_str(line).context("the Spark script's last line")
}

/// Makes the virtual environment where it is not there yet, and gives its Python.
pub(super) fn environment(directory: &Path) -> Result<PathBuf> {
    let python = directory.join("bin/python");
    let complete = directory.join("complete");
    if complete.exists() {
        return Ok(python);
    }
    for program in ["python3", "java"] {
        ensure!(
            which(program).is_some(),
            "there is no {program}, which Spark needs; install python3 and a JDK 17"
        );
    }
    eprintln!("bench: installing {PYSPARK} (450 MB, some minutes)");
    run_command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory))?;
    run_command(Command::new(&python).args(["-m", "pip", "install", "--quiet", PYSPARK]))?;
    std::fs::write(complete, PYSPARK)?;
    Ok(python)
}
