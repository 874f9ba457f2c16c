//! Random queries over random rows, started, stopped and cut off at random, against a simple model
//! of Spark's rules.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_checkpoint::{Crash, MemoryDisk};
use tidemill_codec::{EncodeOptions, JsonEncoder};
use tidemill_connectors::MemoryTables;
use tidemill_engine::{QueryEvent, StopSignal};
use tidemill_tests::{Kind, Scenario, Workbench};

use crate::{long_run_until, number};

/// Scenarios of each test in a usual run.
const SCENARIOS: u64 = 25;

/// Operations of the disk in which a start is cut off, if it has as many.
const OPERATIONS: u64 = 50;

/// Seeds: a few, or as many as there is time for, or the one of `TIDEMILL_SEED`.
fn seeds() -> Box<dyn Iterator<Item = u64>> {
    if let Some(seed) = number("TIDEMILL_SEED") {
        return Box::new(std::iter::once(seed));
    }
    let first = u64::from(std::process::id()) << 20;
    match long_run_until() {
        None => Box::new(first..first + SCENARIOS),
        Some(end) => Box::new((first..).take_while(move |_| Instant::now() < end)),
    }
}

/// Says how many there were, which a long run shows with `--show-output`.
fn for_each_seed(mut play: impl FnMut(u64, StdRng)) {
    let mut played = 0;
    for seed in seeds() {
        play(seed, StdRng::seed_from_u64(seed));
        played += 1;
    }
    println!("{played} scenarios");
}

/// Where the query lives from start to start.
struct Home {
    bench: Workbench,
    disk: MemoryDisk,
    tables: MemoryTables,
    ends: Arc<Mutex<Vec<End>>>,
}

/// The end of a batch.
struct End {
    batch: u64,
    /// Record batches that the table has by then.
    blocks: usize,
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
        let query = prepared.start(StopSignal::new(), self.listener());
        let ended = query.map_err(|e| e.to_string())?.run();
        ended.map(|_| ()).map_err(|e| e.to_string())
    }

    /// The same directory and table, with what the disk has after a crash or an orderly end.
    fn next(self, crash: Crash) -> Home {
        Home { disk: self.disk.after(crash), ..self }
    }

    /// Notes down where batches end in the table.
    fn listener(&self) -> Box<dyn FnMut(QueryEvent<'_>) + Send> {
        let (tables, ends) = (self.tables.clone(), Arc::clone(&self.ends));
        Box::new(move |event| {
            if let QueryEvent::Progress(progress) = event {
                let blocks = tables.get("random").map_or(0, |table| table.rows().len());
                ends.lock().unwrap().push(End { batch: progress.batch_id, blocks });
            }
        })
    }

    fn blocks(&self) -> Vec<RecordBatch> {
        self.tables.get("random").map(|table| table.rows()).unwrap_or_default()
    }

    /// What the query gave, as sorted lines of JSON.
    fn rows(&self) -> Vec<String> {
        let mut lines = json(&self.blocks());
        lines.sort();
        lines
    }

    /// The same with the number of the batch before each line.
    fn rows_by_batch(&self) -> Vec<String> {
        let blocks = self.blocks();
        let mut begin = 0;
        let mut lines = Vec::new();
        for End { batch, blocks: end } in self.ends.lock().unwrap().iter() {
            let given = json(&blocks[begin..*end]).into_iter();
            lines.extend(given.map(|line| format!("batch {batch} {line}")));
            begin = *end;
        }
        lines.sort();
        lines
    }
}

fn json(blocks: &[RecordBatch]) -> Vec<String> {
    let mut text = Vec::new();
    for rows in blocks {
        let with_nulls = EncodeOptions::default();
        JsonEncoder::new(&rows.schema(), with_nulls).unwrap().encode_rows(rows, &mut text).unwrap();
    }
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// Plays a scenario: each start, with a crash or several before it where `crashes`.
fn play(scenario: &Scenario, random: &mut StdRng, crashes: bool) -> Result<Home, String> {
    let mut home = Home {
        bench: Workbench::new(),
        disk: MemoryDisk::new(),
        tables: MemoryTables::default(),
        ends: Arc::default(),
    };
    scenario.write_job(&home.bench);
    for start in 0..scenario.starts() {
        let trigger = scenario.write_files(&home.bench, start);
        while crashes && random.random_bool(0.6) {
            home.disk.crash_at(random.random_range(0..OPERATIONS));
            // It may end before that. If it fails for another reason, it does so again below.
            let _ = home.start(trigger);
            let scattered = Crash::Scattered { seed: random.random() };
            let torn = Crash::TornWrite { numerator: 2 };
            let cuts = [Crash::PowerCut, Crash::Kill, torn, scattered];
            home = home.next(cuts[random.random_range(0..cuts.len())]);
        }
        home.start(trigger)?;
        home = home.next(Crash::PowerCut);
    }
    Ok(home)
}

fn check(kind: Kind, crashes: bool) {
    for_each_seed(|seed, mut random| {
        let scenario = Scenario::generate(&mut random, kind, !crashes);
        let differences = match play(&scenario, &mut random, crashes) {
            Ok(home) if crashes || scenario.is_complete() => {
                difference(&scenario.expected(), &home.rows())
            }
            Ok(home) => difference(&scenario.expected_by_batch(), &home.rows_by_batch()),
            Err(failure) => failure,
        };
        assert!(
            differences.is_empty(),
            "{scenario:#?}\nTIDEMILL_SEED={seed} plays it again:\n{differences}"
        );
    });
}

/// Plays a scenario as it is, and cut otherwise: both give the same, and what the model makes of
/// each.
fn check_cuts(kinds: &[Kind], generate: impl Fn(&mut StdRng, Kind) -> Scenario) {
    for_each_seed(|seed, mut random| {
        let kind = kinds[random.random_range(0..kinds.len())];
        let scenario = generate(&mut random, kind);
        let otherwise = scenario.cut_anew(&mut random);
        let cuts = [&scenario, &otherwise].map(|cut| play(cut, &mut random, false));
        let differences = match cuts {
            [Ok(one), Ok(other)] => {
                let (one, other) = (one.rows(), other.rows());
                let expected = [scenario.expected(), otherwise.expected()];
                [(&one, &other), (&expected[0], &one), (&expected[1], &other)]
                    .map(|(expected, found)| difference(expected, found))
                    .join("\n")
            }
            [Err(failure), _] | [_, Err(failure)] => failure,
        };
        let differences = differences.trim();
        assert!(
            differences.is_empty(),
            "{scenario:#?}\nand\n{otherwise:#?}\nTIDEMILL_SEED={seed} plays both again:\n{differences}"
        );
    });
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

#[test]
fn totals_have_every_row_once_whatever_crashes() {
    check(Kind::Totals, true);
}

#[test]
fn sessions_have_the_rows_that_were_not_late() {
    check(Kind::Sessions, false);
}

#[test]
fn sessions_have_every_row_once_whatever_crashes() {
    check(Kind::Sessions, true);
}

#[test]
fn windows_of_windows_have_what_leaves_below() {
    check(Kind::WindowsOfWindows, false);
}

#[test]
fn windows_of_windows_have_every_row_once_whatever_crashes() {
    check(Kind::WindowsOfWindows, true);
}

#[test]
fn windows_of_sessions_have_what_leaves_below() {
    check(Kind::WindowsOfSessions, false);
}

#[test]
fn windows_of_sessions_have_every_row_once_whatever_crashes() {
    check(Kind::WindowsOfSessions, true);
}

#[test]
fn windows_of_a_deduplication_have_what_is_given_once() {
    check(Kind::WindowsOfDeduplication, false);
}

#[test]
fn windows_of_a_deduplication_have_every_row_once_whatever_crashes() {
    check(Kind::WindowsOfDeduplication, true);
}

#[test]
fn windows_of_a_join_have_the_rows_that_meet() {
    check(Kind::WindowsOfJoin, false);
}

#[test]
fn windows_of_a_join_have_every_pair_once_whatever_crashes() {
    check(Kind::WindowsOfJoin, true);
}

#[test]
fn complete_mode_ends_with_one_table_however_rows_are_cut() {
    let kinds = [Kind::Totals, Kind::Windows, Kind::Union, Kind::Sessions];
    check_cuts(&kinds, Scenario::generate_complete);
}

#[test]
fn rows_that_are_not_late_give_one_result_however_they_are_cut() {
    let kinds = [
        Kind::Windows,
        Kind::Union,
        Kind::Sessions,
        Kind::Deduplication,
        Kind::Join,
        Kind::WindowsOfWindows,
        Kind::WindowsOfSessions,
        Kind::WindowsOfDeduplication,
        Kind::WindowsOfJoin,
    ];
    check_cuts(&kinds, |random, kind| Scenario::generate(random, kind, false));
}
