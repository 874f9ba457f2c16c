//! One job's files are another's input, while both run and die.

use std::process::Child;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_tests::Workbench;

/// Enough that the first job is at work most of the time; what is left is read at the end.
const FILES: i64 = 400;

/// How long both are killed and started again.
const LIFE: Duration = Duration::from_secs(8);

const FIRST: &str = r#"
name = "first"
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
options = { maxFilesPerTrigger = 1 }
[sink]
format = "json"
path = "out"
"#;

const SECOND: &str = r#"
name = "second"
[source.s]
format = "json"
path = "out"
schema = "n BIGINT"
[sink]
format = "sqlite"
path = "out.db"
options = { dbtable = "t" }
"#;

fn bench() -> Workbench {
    let bench = Workbench::new();
    bench.write("first.toml", FIRST);
    bench.write("second.toml", SECOND);
    std::fs::create_dir(bench.path("out")).unwrap();
    for number in 0..FILES {
        bench.write_input(
            &format!("input/{number:04}.json"),
            number,
            format!("{{\"n\":{number}}}\n"),
        );
    }
    bench
}

fn numbers(bench: &Workbench) -> Vec<i64> {
    let database = rusqlite::Connection::open(bench.path("out.db")).unwrap();
    let mut rows = database.prepare("SELECT n FROM t ORDER BY n").unwrap();
    let numbers = rows.query_map([], |row| row.get(0)).unwrap();
    numbers.map(Result::unwrap).collect()
}

fn start(bench: &Workbench, job: &str) -> Child {
    bench.spawn(&["run", job, "--progress", "none"])
}

/// Kills a process, which must not have ended by itself.
fn kill(mut child: Child, job: &str) {
    let is_over = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!is_over, "{job} ended by itself: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_job_that_reads_the_files_of_another_loses_and_doubles_nothing_where_both_are_killed() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bench = bench();
    let jobs = ["first.toml", "second.toml"];
    let mut children = jobs.map(|job| Some(start(&bench, job)));
    let until = Instant::now() + LIFE;
    while Instant::now() < until {
        // The moment is what is tried here.
        std::thread::sleep(Duration::from_millis(random.random_range(5..300)));
        let which = random.random_range(0..2);
        kill(children[which].take().unwrap(), jobs[which]);
        children[which] = Some(start(&bench, jobs[which]));
    }
    for (child, job) in children.into_iter().zip(jobs) {
        kill(child.unwrap(), job);
    }
    for job in jobs {
        bench.run(&["run", job, "--trigger", "available-now"]).expect_success();
    }
    assert_eq!(numbers(&bench), (0..FILES).collect::<Vec<_>>(), "seed {seed}");
}
