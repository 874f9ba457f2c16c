//! A power cut at every operation of the disk: over an in-memory disk that forgets what was not
//! synced, a query of the whole engine ends with the rows of an undisturbed run.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_checkpoint::{Crash, MemoryDisk};
use tidemill_connectors::MemoryTables;
use tidemill_engine::StopSignal;
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
    let mut shared = Shared::new(false);
    shared.disk = Arc::new(disk.clone());
    shared.tables = tables.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let job = Job::read(job, &[]).unwrap();
    let Ok(prepared) = runtime.block_on(Prepared::new(job, &shared)) else {
        return false;
    };
    let Ok(mut query) = prepared.start(StopSignal::new(), Box::new(|_| {})) else {
        return false;
    };
    query.run().is_ok()
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

#[test]
fn a_power_cut_at_any_operation_of_the_disk_loses_and_doubles_nothing() {
    let _alone = crate::planning();
    let bench = Workbench::new();
    let job = bench.write("job.toml", JOB);
    write_orders(&bench, 0, 5, 40);

    let (disk, tables) = (MemoryDisk::new(), MemoryTables::default());
    assert!(run(&job, &disk, &tables));
    let expected = rows(&tables);
    assert!(expected.len() > 5, "{expected:?}");

    let operations = disk.operations();
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
