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

const FILES: u64 = 40;
const ROWS: u64 = 200;

/// Runs the job to its end, killing it at moments that the seed chooses.
fn run_with_kills(bench: &Workbench, seed: u64) -> u32 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = 0;
    while killed < kills() {
        let mut child = bench.spawn(&["run", "job.toml"]);
        thread::sleep(Duration::from_millis(random.random_range(5..400)));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        match ended {
            // It ended by itself, and well: nothing is left to disturb.
            Some(_) => {
                assert!(status.success(), "seed {seed}: {status}");
                break;
            }
            None => killed += 1,
        }
    }
    bench.run(&["run", "job.toml"]).expect_success();
    killed
}

#[test]
fn killed_at_random_moments_sqlite_has_the_rows_of_an_undisturbed_run() {
    let undisturbed = bench();
    write_orders(&undisturbed, 0, FILES, ROWS);
    undisturbed.run(&["run", "job.toml"]).expect_success();
    let expected = revenue(&undisturbed.path("revenue.db"));

    let seed = std::process::id().into();
    println!("seed {seed}");
    let bench = bench();
    write_orders(&bench, 0, FILES, ROWS);
    let killed = run_with_kills(&bench, seed);
    assert!(killed > 0, "the job ended before it could be killed");
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
    write_orders(&undisturbed, 0, FILES, ROWS);
    undisturbed.run(&["run", "job.toml"]).expect_success();
    let expected = file_rows(&undisturbed);
    assert!(expected.len() > 20);
    assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), expected.len());

    let seed = u64::from(std::process::id()) + 1;
    println!("seed {seed}");
    let bench = bench();
    bench.write("job.toml", file_job());
    write_orders(&bench, 0, FILES, ROWS);
    run_with_kills(&bench, seed);
    assert_eq!(file_rows(&bench), expected, "seed {seed}");
}
