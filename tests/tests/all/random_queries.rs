//! Random queries over random rows, started, stopped and cut off at random, against a simple model
//! of Spark's rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_checkpoint::{Crash, MemoryDisk};
use tidemill_codec::{EncodeOptions, JsonEncoder};
use tidemill_connectors::MemoryTables;
use tidemill_engine::StopSignal;
use tidemill_tests::{Kind, Scenario, Workbench};

/// Scenarios of each test in a usual run.
const SCENARIOS: u64 = 25;
/// Seconds for each test in a long run, where `TIDEMILL_LONG_SECONDS` does not say.
const LONG_SECONDS: u64 = 60;

/// Operations of the disk in which a start is cut off, if it has as many.
const OPERATIONS: u64 = 30;

/// Seeds: a few, or as many as there is time for, or the one of `TIDEMILL_SEED`.
fn seeds() -> Box<dyn Iterator<Item = u64>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("TIDEMILL_SEED") {
        return Box::new(std::iter::once(seed));
    }
    let first = u64::from(std::process::id()) << 20;
    if std::env::var_os("TIDEMILL_LONG").is_none() {
        return Box::new(first..first + SCENARIOS);
    }
    let seconds = number("TIDEMILL_LONG_SECONDS").unwrap_or(LONG_SECONDS);
    let end = Instant::now() + Duration::from_secs(seconds);
    Box::new((first..).take_while(move |_| Instant::now() < end))
}

/// Where the query lives from start to start.
struct Home {
    bench: Workbench,
    disk: MemoryDisk,
    tables: MemoryTables,
}

impl Home {
    /// Starts the query, which ends when it has processed everything, or when its disk fails.
    fn start(&self, trigger: &str) -> Result<(), String> {
        let mut shared = Shared::new(false);
        shared.disk = Arc::new(self.disk.clone());
        shared.tables = self.tables.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = self.bench.path("job.toml");
        let job = Job::read(&path, &[trigger.parse().unwrap()]).map_err(|e| e.to_string())?;
        let prepared = {
            let _alone = crate::planning();
            runtime.block_on(Prepared::new(job, &shared)).map_err(|e| e.to_string())?
        };
        let query = prepared.start(StopSignal::new(), Box::new(|_| {}));
        let ended = query.map_err(|e| e.to_string())?.run();
        ended.map(|_| ()).map_err(|e| e.to_string())
    }

    /// The same directory and table, with what the disk has after a crash or an orderly end.
    fn next(self, crash: Crash) -> Home {
        Home { disk: self.disk.after(crash), ..self }
    }

    /// What the query gave, as sorted lines of JSON.
    fn rows(&self) -> Vec<String> {
        let table = self.tables.get("random").map(|table| table.rows()).unwrap_or_default();
        let mut text = Vec::new();
        for rows in &table {
            let with_nulls = EncodeOptions { ignore_null_fields: false };
            JsonEncoder::new(&rows.schema(), with_nulls).unwrap().encode_rows(rows, &mut text);
        }
        let mut lines: Vec<String> =
            String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// Plays a scenario: each start, with a crash or several before it where `crashes`.
fn play(scenario: &Scenario, random: &mut StdRng, crashes: bool) -> Result<Vec<String>, String> {
    let mut home =
        Home { bench: Workbench::new(), disk: MemoryDisk::new(), tables: MemoryTables::default() };
    scenario.write_job(&home.bench);
    for start in 0..scenario.starts() {
        let trigger = scenario.write_files(&home.bench, start);
        while crashes && random.random_bool(0.6) {
            home.disk.crash_at(random.random_range(0..OPERATIONS));
            // It may end before that. If it fails for another reason, it does so again below.
            let _ = home.start(trigger);
            let cuts = [Crash::PowerCut, Crash::Kill, Crash::TornWrite { numerator: 2 }];
            home = home.next(cuts[random.random_range(0..cuts.len())]);
        }
        home.start(trigger)?;
        home = home.next(Crash::PowerCut);
    }
    Ok(home.rows())
}

#[track_caller]
fn check(kind: Kind, crashes: bool) {
    for seed in seeds() {
        let mut random = StdRng::seed_from_u64(seed);
        let scenario = Scenario::generate(&mut random, kind, !crashes);
        let differences = match play(&scenario, &mut random, crashes) {
            Ok(found) => difference(&scenario.expected(), &found),
            Err(failure) => failure,
        };
        assert!(
            differences.is_empty(),
            "{scenario:#?}\nTIDEMILL_SEED={seed} plays it again:\n{differences}"
        );
    }
}

/// Lines of one that the other lacks, or has less often. Both are sorted.
fn difference(expected: &[String], found: &[String]) -> String {
    let lacking = |these: &[String], from: &[String]| {
        let mut from = from.iter().peekable();
        let mut lacks = |line: &&String| {
            while from.next_if(|other| other < line).is_some() {}
            from.next_if(|other| other == line).is_none()
        };
        these.iter().filter(|line| lacks(line)).cloned().collect::<Vec<_>>()
    };
    let missing = lacking(expected, found).into_iter().map(|line| format!("missing {line}"));
    let surplus = lacking(found, expected).into_iter().map(|line| format!("surplus {line}"));
    missing.chain(surplus).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_difference_counts_lines_that_are_there_several_times() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        difference(&lines("a a b d"), &lines("a c d d")),
        "missing a\nmissing b\nsurplus c\nsurplus d"
    );
}

#[test]
fn windows_have_the_rows_that_were_not_late() {
    check(Kind::Windows, false);
}

#[test]
fn windows_have_every_row_once_whatever_crashes() {
    check(Kind::Windows, true);
}

#[test]
fn windows_of_two_inputs_have_the_rows_that_were_not_late() {
    check(Kind::Union, false);
}

#[test]
fn windows_of_two_inputs_have_every_row_once_whatever_crashes() {
    check(Kind::Union, true);
}

#[test]
fn equal_rows_are_given_once() {
    check(Kind::Deduplication, false);
}

#[test]
fn equal_rows_are_given_once_whatever_crashes() {
    check(Kind::Deduplication, true);
}

#[test]
fn rows_that_meet_are_joined() {
    check(Kind::Join, false);
}

#[test]
fn rows_that_meet_are_joined_whatever_crashes() {
    check(Kind::Join, true);
}
