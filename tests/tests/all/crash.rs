//! `kill -9` at any moment: after a restart, the rows in SQLite and in the file sink are exactly
//! those of an undisturbed run.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_tests::{Workbench, write_orders};

use crate::orders::{JOB, bench, revenue};

/// Kills in a usual run of the tests, and in a long one.
const KILLS: u32 = 5;
const KILLS_LONG: u32 = 50;

fn kills() -> u32 {
    if std::env::var_os("TIDEMILL_LONG").is_some() { KILLS_LONG } else { KILLS }
}

pub(crate) const ROWS: u64 = 60;

/// More batches than all kills together wait for.
pub(crate) fn files() -> u64 {
    u64::from(kills()) * 24
}

/// Runs the job to its end, killing it at moments that the seed chooses: some batches after the
/// start and a little later, or somewhere in the start itself.
pub(crate) fn run_with_kills(bench: &Workbench, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 0..kills() {
        let mut child = bench.spawn(&["run", "job.toml", "--progress", "json"]);
        let mut output = crate::reload::lines(child.stderr.take().unwrap());
        let batches = if kill == 0 { 1 } else { random.random_range(0..6) };
        output.by_ref().filter(|line| line.starts_with('{')).take(batches).for_each(drop);
        let micros = if batches == 0 { 60_000 } else { 10_000 };
        thread::sleep(Duration::from_micros(random.random_range(0..micros)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success(), "seed {seed}, kill {kill}: the job ended before it was killed");
    }
    bench.run(&["run", "job.toml"]).expect_success();
}

#[test]
fn killed_at_random_moments_sqlite_has_the_rows_of_an_undisturbed_run() {
    let undisturbed = bench();
    write_orders(&undisturbed, 0, files(), ROWS);
    undisturbed.run(&["run", "job.toml"]).expect_success();
    let expected = revenue(&undisturbed.path("revenue.db"));

    let seed = std::process::id().into();
    println!("seed {seed}");
    let bench = bench();
    write_orders(&bench, 0, files(), ROWS);
    run_with_kills(&bench, seed);
    assert_eq!(revenue(&bench.path("revenue.db")), expected, "seed {seed}");
}

fn file_job() -> String {
    let (head, _) = JOB.split_once("[sink]").unwrap();
    let head = head.replace("output_mode = \"update\"", "output_mode = \"append\"");
    let head = head.replace("targets = [\"summary\"]\n", "");
    format!("{head}[sink]\nformat = \"json\"\npath = \"out\"\n")
}

/// Rows of the files that a reader with a glob sees, each with how often it is there.
fn file_rows(bench: &Workbench) -> Vec<String> {
    let files = bench.names("out").into_iter().filter(|name| name.ends_with(".json"));
    let mut rows: Vec<String> = files
        .filter(|name| !name.starts_with(['.', '_']))
        .flat_map(|name| {
            let text = std::fs::read_to_string(bench.path(&format!("out/{name}"))).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn killed_at_random_moments_files_have_the_rows_of_an_undisturbed_run() {
    let undisturbed = bench();
    undisturbed.write("job.toml", file_job());
    write_orders(&undisturbed, 0, files(), ROWS);
    undisturbed.run(&["run", "job.toml"]).expect_success();
    let expected = file_rows(&undisturbed);
    assert!(expected.len() > 20);
    assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), expected.len());

    let seed = u64::from(std::process::id()) + 1;
    println!("seed {seed}");
    let bench = bench();
    bench.write("job.toml", file_job());
    write_orders(&bench, 0, files(), ROWS);
    run_with_kills(&bench, seed);
    assert_eq!(file_rows(&bench), expected, "seed {seed}");
}
