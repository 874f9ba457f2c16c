//! What a start makes of a checkpoint that was killed, cut off, damaged or left without room.

use std::path::{Path, PathBuf};

use tidemill_checkpoint::{Crash, MemoryDisk};
use tidemill_connectors::MemoryTables;
use tidemill_tests::{Workbench, write_orders};

use crate::crash_points::{Undisturbed, rows, run, undisturbed};
use crate::orders::{JOB as ORDERS, bench};

/// Kills of a process, each followed by power cuts during the next start: all pairs in a long run,
/// and one in this many in a usual one.
const PAIRS_LEFT_OUT: u64 = 12;

/// Operations of the disk from a start on, a batch among them.
const STARTED: u64 = 30;

#[test]
fn a_power_cut_after_a_kill_and_a_start_loses_and_doubles_nothing() {
    let _alone = crate::planning();
    let Undisturbed { job, expected, operations, _bench } = undisturbed(5);
    let step = if std::env::var_os("TIDEMILL_LONG").is_some() { 1 } else { PAIRS_LEFT_OUT };
    let mut played = 0;
    for killed_at in 0..operations {
        for cut_at in (killed_at % step..STARTED).step_by(step as usize) {
            let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
            disk.crash_at(killed_at);
            run(&job, &disk, &tables);
            let started = disk.after(Crash::Kill);
            started.crash_at(cut_at);
            run(&job, &started, &tables);
            let crash = match cut_at % 2 {
                0 => Crash::PowerCut,
                _ => Crash::Scattered { seed: killed_at * STARTED + cut_at },
            };
            let at = format!("a kill at {killed_at}, then {crash:?} at {cut_at}");
            assert!(run(&job, &started.after(crash), &tables), "{at}: the restart failed");
            assert_eq!(rows(&tables), expected, "{at}");
            played += 1;
        }
    }
    println!("{played} pairs");
}

const CHECKPOINT: &str = ".tidemill/orders";

/// A job that ran twice: a segment of the log for each.
fn ran_twice() -> Workbench {
    let bench = bench();
    write_orders(&bench, 0, 2, 40);
    bench.run(&["run", "job.toml"]).expect_success();
    write_orders(&bench, 2, 2, 40);
    bench.run(&["run", "job.toml"]).expect_success();
    bench
}

fn newest_segment(bench: &Workbench) -> PathBuf {
    let names = bench.names(&format!("{CHECKPOINT}/log"));
    bench.path(CHECKPOINT).join("log").join(names.last().unwrap())
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_log_that_lost_its_end_is_refused_by_the_name_of_its_segment() {
    let bench = ran_twice();
    let segment = newest_segment(&bench);
    let whole = std::fs::read(&segment).unwrap();
    let refused = |words: &[&str]| {
        let mut words = words.to_vec();
        words.push(name(&segment));
        bench.run(&["run", "job.toml"]).expect_failure(2, &words);
    };
    std::fs::write(&segment, b"").unwrap();
    refused(&["header is not whole"]);
    for len in [60, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&segment, &whole[..len]).unwrap();
        refused(&[]);
    }
    std::fs::remove_file(&segment).unwrap();
    refused(&["is missing"]);
    std::fs::write(&segment, &whole).unwrap();
    bench.run(&["run", "job.toml"]).expect_success();
}

#[test]
fn a_log_without_its_head_is_refused_before_anything_is_started() {
    let bench = ran_twice();
    std::fs::remove_file(bench.path(CHECKPOINT).join("head")).unwrap();
    for verb in ["check", "run"] {
        bench.run(&[verb, "job.toml"]).expect_failure(2, &["head", "is missing"]);
    }
}

#[test]
fn a_checkpoint_of_the_first_format_is_refused_by_its_version() {
    let bench = bench();
    let mut header = b"TIDELOG\0".to_vec();
    header.extend(1_u32.to_le_bytes());
    header.extend([1_u64, 1, 0].iter().flat_map(|number| number.to_le_bytes()));
    header.extend(0x6d547810_u32.to_le_bytes());
    bench.write(&format!("{CHECKPOINT}/log/00000000000000000001.log"), header);
    for verb in ["check", "run"] {
        bench.run(&[verb, "job.toml"]).expect_failure(2, &["format version 1", "version 2"]);
    }
}

/// The place is at fault, not the job: a supervisor is to start it again.
#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_without_room_ends_with_status_1_and_goes_on_with_room() {
    let bench = bench();
    write_orders(&bench, 0, 2, 40);
    let tail = bench.path(CHECKPOINT).join("tail");
    std::fs::create_dir_all(tail.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &tail).unwrap();
    let words = [CHECKPOINT, "No space left"];
    for _ in 0..2 {
        bench.run(&["run", "job.toml"]).expect_failure(1, &words);
    }
    std::fs::remove_file(&tail).unwrap();
    bench.run(&["run", "job.toml"]).expect_success();
    assert!(!crate::orders::revenue(&bench.path("revenue.db")).is_empty());
}

#[test]
fn a_checkpoint_below_a_file_is_a_mistake_of_the_job() {
    let bench = bench();
    bench.write("job.toml", format!("checkpoint = \"input.txt/state\"\n{ORDERS}"));
    bench.write("input.txt", "a file");
    bench.run(&["run", "job.toml"]).expect_failure(2, &["input.txt", "Not a directory"]);
}
