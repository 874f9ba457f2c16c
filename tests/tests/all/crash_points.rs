//! A power cut at every operation of the disk: over an in-memory disk that forgets what was not
//! synced, a query of the whole engine ends with the rows of an undisturbed run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_checkpoint::{Checkpoint, Crash, MemoryDisk, Resume};
use tidemill_connectors::MemoryTables;
use tidemill_core::BatchId;
use tidemill_engine::{QueryEvent, StopSignal, Unfinished};
use tidemill_tests::{Workbench, write_orders};
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) const JOB: &str = r#"
name = "crashing"
output_mode = "append"
trigger = { available_now = true }
[options]
shuffle_partitions = 2
scan_partitions = 1
[source.orders]
format = "json"
path = "input"
schema = "amount DOUBLE, category STRING, order_time TIMESTAMP"
options = { maxFilesPerTrigger = 1 }
watermark = { column = "order_time", delay = "1 minute" }
[[step]]
name = "revenue"
sql = """
SELECT window.start AS start, category, sum(amount) AS revenue, count(*) AS n
FROM orders GROUP BY window(order_time, '1 minute'), category
"""
[sink]
format = "memory"
"#;

/// Runs the query on a disk, for as long as the disk lives. Whether it came to its end.
pub(crate) fn run(job: &Path, disk: &MemoryDisk, tables: &MemoryTables) -> bool {
    start(job, disk, tables, Unfinished::Run, Box::new(|_| {})).is_ok()
}

fn start(
    job: &Path,
    disk: &MemoryDisk,
    tables: &MemoryTables,
    unfinished: Unfinished,
    on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
) -> Result<(), String> {
    let mut shared = Shared::new(false);
    shared.disk = Arc::new(disk.clone());
    shared.tables = tables.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let job = Job::read(job, &[]).unwrap();
    let prepared = runtime.block_on(Prepared::new(job, &shared));
    let mut prepared = prepared.map_err(|error| error.to_string())?;
    prepared.settle(unfinished).map_err(|error| error.to_string())?;
    let query = prepared.start(StopSignal::new(), on_event);
    let mut query = query.map_err(|error| error.to_string())?;
    query.run().map(drop).map_err(|error| error.to_string())
}

pub(crate) fn rows(tables: &MemoryTables) -> Vec<String> {
    let table = tables.get("crashing").expect("the sink made its table");
    let mut rows: Vec<String> = table
        .rows()
        .iter()
        .flat_map(|batch| {
            (0..batch.num_rows()).map(|row| format!("{:?}", batch.slice(row, 1).columns()))
        })
        .collect();
    rows.sort();
    rows
}

/// A run that nothing went wrong in, and the job to run again.
pub(crate) struct Undisturbed {
    pub(crate) job: PathBuf,
    /// What the sink has in the end.
    pub(crate) expected: Vec<String>,
    /// Operations of the disk that it took.
    pub(crate) operations: u64,
    /// Where the job lies, as long as that is used.
    pub(crate) _bench: Workbench,
}

/// Runs the job over so many files of orders.
pub(crate) fn undisturbed(files: u64) -> Undisturbed {
    let bench = Workbench::new();
    let job = bench.write("job.toml", JOB);
    write_orders(&bench, 0, files, 40);
    let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
    assert!(run(&job, &disk, &tables));
    let (expected, operations) = (rows(&tables), disk.operations());
    Undisturbed { job, expected, operations, _bench: bench }
}

#[test]
fn a_power_cut_at_any_operation_of_the_disk_loses_and_doubles_nothing() {
    let _alone = crate::planning();
    let Undisturbed { job, expected, operations, _bench } = undisturbed(5);
    assert!(expected.len() > 5, "{expected:?}");
    assert!(operations > 10);
    for operation in 0..operations {
        let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
        disk.crash_at(operation);
        let ended = run(&job, &disk, &tables);
        let survivor = disk.after(Crash::PowerCut);
        assert!(run(&job, &survivor, &tables), "operation {operation}: the restart failed");
        assert_eq!(rows(&tables), expected, "operation {operation}, ended {ended}");
    }
}

/// The batch that the log has planned and not committed.
fn pending(disk: &MemoryDisk, checkpoint: &Path) -> Option<BatchId> {
    match Checkpoint::peek(disk, checkpoint).unwrap()?.next {
        Resume::Replay { spec, .. } => Some(spec.batch),
        _ => None,
    }
}

/// Counts the batches that are taken from the place.
fn counting(adopted: &Arc<Mutex<u32>>) -> Box<dyn FnMut(QueryEvent<'_>) + Send> {
    let adopted = Arc::clone(adopted);
    Box::new(move |event| {
        *adopted.lock().unwrap() += u32::from(matches!(event, QueryEvent::Adopted { .. }));
    })
}

/// The copy of the checkpoint that is put back is one of each moment of the run, and the place is
/// as the run left it.
#[test]
fn any_copy_of_the_checkpoint_goes_on_without_loss_or_is_refused() {
    let _alone = crate::planning();
    let Undisturbed { job, expected, _bench, .. } = undisturbed(5);

    let (mut goes_on, mut refused) = (0, 0);
    for moment in 0.. {
        let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
        let copy = Arc::new(Mutex::new((0, None)));
        let (copied, beside) = (Arc::clone(&copy), disk.clone());
        let on_event = Box::new(move |_: QueryEvent<'_>| {
            let mut copied = copied.lock().unwrap();
            if copied.0 == moment {
                copied.1 = Some(beside.after(Crash::PowerCut));
            }
            copied.0 += 1;
        });
        start(&job, &disk, &tables, Unfinished::Run, on_event).unwrap();
        let Some(copy) = copy.lock().unwrap().1.take() else { break };
        let before = rows(&tables);
        match start(&job, &copy, &tables, Unfinished::Run, Box::new(|_| {})) {
            Ok(()) => {
                goes_on += 1;
                assert_eq!(rows(&tables), expected, "the copy of moment {moment}");
            }
            Err(refusal) => {
                refused += 1;
                assert!(refusal.contains("it is older than what the place holds"), "{refusal}");
                assert_eq!(rows(&tables), before, "the copy of moment {moment}");
            }
        }
    }
    assert!(goes_on > 1 && refused > 3, "{goes_on} went on, {refused} were refused");
}

/// The copy is from before the batch whose power was cut, so it does not know whether it landed.
#[test]
fn a_power_cut_and_then_an_older_copy_of_the_checkpoint_lose_and_double_nothing() {
    let _alone = crate::planning();
    let text = JOB.replace("[options]\n", "[options]\nno_data_batches = false\n");
    let undisturbed = Workbench::new();
    let job = undisturbed.write("job.toml", &text);
    write_orders(&undisturbed, 0, 4, 40);
    let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
    assert!(run(&job, &disk, &tables));
    let expected = rows(&tables);

    let adopted = Arc::new(Mutex::new(0));
    for operation in 0.. {
        let bench = Workbench::new();
        let job = bench.write("job.toml", &text);
        write_orders(&bench, 0, 2, 40);
        let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
        assert!(run(&job, &disk, &tables));
        let copy = disk.after(Crash::PowerCut);

        write_orders(&bench, 2, 1, 40);
        let disk = disk.after(Crash::PowerCut);
        disk.crash_at(operation);
        let ended = run(&job, &disk, &tables);
        write_orders(&bench, 3, 1, 40);
        start(&job, &copy, &tables, Unfinished::Run, counting(&adopted)).unwrap();
        assert_eq!(rows(&tables), expected, "operation {operation}, ended {ended}");
        if ended {
            break;
        }
    }
    let adopted = *adopted.lock().unwrap();
    assert!(adopted > 1, "the batch landed {adopted} times before the cut");
}

/// A batch that a power cut left has landed, or has not: its plan may be durable although the run
/// saw the disk fail. Where it has landed, another plan would lose or double rows.
#[test]
fn a_batch_that_landed_is_not_planned_anew() {
    let _alone = crate::planning();
    let Undisturbed { job, expected, operations, _bench } = undisturbed(4);
    let checkpoint = Job::read(&job, &[]).unwrap().checkpoint;

    let mut refused = 0;
    for operation in 0..operations {
        let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
        disk.crash_at(operation);
        run(&job, &disk, &tables);
        let survivor = disk.after(Crash::PowerCut);
        let Some(batch) = pending(&survivor, &checkpoint) else { continue };
        let wish = Unfinished::Replan(batch);
        if let Err(refusal) = start(&job, &survivor, &tables, wish, Box::new(|_| {})) {
            assert!(refusal.contains("holds rows of batch"), "{refusal}");
            refused += 1;
            assert!(run(&job, &survivor, &tables), "operation {operation}");
        }
        assert_eq!(rows(&tables), expected, "operation {operation}");
    }
    assert!(refused > 1, "{refused} were refused");
}

const LOOKUP: &str = r#"
name = "crashing"
output_mode = "append"
trigger = { available_now = true }
[source.orders]
format = "json"
path = "input"
schema = "category STRING"
[static.titles]
format = "json"
path = "titles"
schema = "category STRING, title STRING"
[[step]]
name = "titled"
sql = "SELECT t.title FROM orders o JOIN titles t ON o.category = t.category"
[sink]
format = "memory"
"#;

/// Where warnings are printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Cuts the query off at each operation of its disk, each time changes something, and starts it
/// again. Gives what was printed.
fn printed_after_crashes(change: impl Fn(&Workbench, u64)) -> String {
    let _alone = crate::planning();
    let bench = Workbench::new();
    let job = bench.write("job.toml", LOOKUP);
    bench.write_input("input/1.json", 1, "{\"category\":\"a\"}\n");
    bench.write("titles/1.json", "{\"category\":\"a\",\"title\":\"A\"}\n");
    let printed = Printed::default();
    let writer = printed.clone();
    let _guard =
        tracing_subscriber::fmt().with_writer(move || writer.clone()).finish().set_default();
    let whole = MemoryDisk::new();
    assert!(run(&job, &whole, &MemoryTables::default()));
    for operation in 0..whole.operations() {
        let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
        disk.crash_at(operation);
        run(&job, &disk, &tables);
        change(&bench, operation);
        let restarted = run(&job, &disk.after(Crash::PowerCut), &tables);
        assert!(restarted, "operation {operation}: the restart failed");
    }
    String::from_utf8(printed.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_static_table_that_changed_under_a_batch_in_flight_is_warned_of() {
    const WARNING: &str = "static table \"titles\" changed while a batch was in flight";
    assert!(!printed_after_crashes(|_, _| {}).contains(WARNING));
    let add = |bench: &Workbench, operation| {
        let row = "{\"category\":\"a\",\"title\":\"Another\"}\n";
        bench.write(&format!("titles/added{operation}.json"), row);
    };
    let printed = printed_after_crashes(add);
    assert!(printed.contains(WARNING), "{printed}");
}
