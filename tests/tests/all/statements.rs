//! Statements and writes of a handler on a SQLite target, with a handler that is compiled in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, NullArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use rusqlite::Connection;
use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_core::{BatchHost, BoxFuture, CallFailure};
use tidemill_engine::StopSignal;
use tidemill_tests::Workbench;

use crate::native::NativeHandler;

const JOB: &str = r#"
name = "statements"
trigger = { available_now = true }
options = { retries = 0 }
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
[plugin.p]
path = "compiled-in.wasm"
targets = ["t"]
[sink]
format = "foreach_batch"
plugin = "p"
function = "handle"
[target.t]
format = "sqlite"
path = "t.db"
options = { dbtable = "rows" }
"#;

/// How long the handler waits for a statement that has no end, and for one that ends.
const DEADLINE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

type Statement = (&'static str, Option<RecordBatch>, Duration);

/// How a statement ended; `None`: its deadline passed.
type Ended = Option<Result<u64, CallFailure>>;

/// Runs a job whose handler runs these statements, each for as long as its deadline. `None`: it was
/// not waited for any longer.
fn run(bench: &Workbench, statements: Vec<Statement>) -> Vec<Ended> {
    work(bench, move |host| {
        let statements = statements.clone();
        Box::pin(async move {
            let mut ended = Vec::new();
            for (statement, rows, deadline) in statements {
                let call = host.execute("t".to_owned(), statement.to_owned(), rows);
                ended.push(tokio::time::timeout(deadline, call).await.ok());
            }
            ended
        })
    })
}

/// Runs a job whose handler does this. Gives how its calls of the host ended.
fn work(
    bench: &Workbench,
    calls: impl Fn(Arc<dyn BatchHost>) -> BoxFuture<'static, Vec<Ended>> + Send + Sync + 'static,
) -> Vec<Ended> {
    bench.write("job.toml", JOB);
    bench.write_input("input/0.json", 0, "{\"n\":1}\n");
    let ended = Arc::<Mutex<Vec<Ended>>>::default();
    let noted = Arc::clone(&ended);
    let handler = NativeHandler::new(Box::new(move |host, _| {
        let (calls, noted) = (calls(host), Arc::clone(&noted));
        Box::pin(async move {
            let ended = calls.await;
            noted.lock().unwrap().extend(ended);
            Ok(())
        })
    }));
    let mut shared = Shared::new(false);
    shared.native = vec![handler];
    let job = Job::read(&bench.path("job.toml"), &[]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let prepared = runtime.block_on(Prepared::new(job, &shared)).unwrap();
    prepared.start(StopSignal::new(), Box::new(|_| {})).unwrap().run().unwrap();
    std::mem::take(&mut *ended.lock().unwrap())
}

#[test]
fn a_statement_past_its_deadline_lets_go_of_the_database() {
    let bench = Workbench::new();
    let nulls: ArrayRef = Arc::new(NullArray::new(1 << 26));
    let nulls = RecordBatch::try_from_iter([("n", nulls)]).unwrap();
    let endless = "INSERT INTO own WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                   SELECT n FROM c";
    let statements = vec![
        ("CREATE TABLE own (n)", None, PATIENCE),
        (endless, None, DEADLINE),
        ("INSERT INTO own VALUES (?1)", Some(nulls), DEADLINE),
        // It gets the lock that the two before it held.
        ("INSERT INTO own VALUES (7)", None, PATIENCE),
    ];
    assert_eq!(run(&bench, statements), [Some(Ok(0)), None, None, Some(Ok(1))]);
    let database = Connection::open(bench.path("t.db")).unwrap();
    let rows: Vec<i64> = database
        .prepare("SELECT n FROM own")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(rows, [7]);
}

/// So many rows of a column that has no bytes, in blocks.
fn many_nulls() -> (SchemaRef, Vec<RecordBatch>) {
    let nulls: ArrayRef = Arc::new(NullArray::new(8_192));
    let block = RecordBatch::try_from_iter([("n", nulls)]).unwrap();
    (block.schema(), vec![block; 8_192])
}

#[test]
fn a_write_past_its_deadline_lets_go_of_the_database_and_leaves_nothing() {
    let bench = Workbench::new();
    let ended = work(&bench, |host| {
        Box::pin(async move {
            let (schema, blocks) = many_nulls();
            let frame = host.add_frame(schema, blocks).unwrap();
            let write = host.write(frame, "t".to_owned());
            let written = tokio::time::timeout(DEADLINE, write).await.ok();
            // It gets the lock that the write held.
            let create = host.execute("t".to_owned(), "CREATE TABLE own (n)".to_owned(), None);
            vec![written, tokio::time::timeout(PATIENCE, create).await.ok()]
        })
    });
    assert_eq!(ended, [None, Some(Ok(0))]);
    let database = Connection::open(bench.path("t.db")).unwrap();
    let tables: Vec<String> = database
        .prepare("SELECT name FROM sqlite_master WHERE name IN ('own', 'rows')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(tables, ["own"]);
}

#[test]
fn a_refused_statement_is_an_error_of_its_call_by_name() {
    let bench = Workbench::new();
    let ended = run(
        &bench,
        [("ATTACH 'other.db' AS o", None, PATIENCE), ("SELECT 1; SELECT 2", None, PATIENCE)]
            .to_vec(),
    );
    match &ended[0] {
        Some(Err(CallFailure::Fatal(told))) => {
            assert!(told.contains("refused is ATTACH of \"other.db\""), "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(&ended[1], Some(Err(CallFailure::Fatal(_)))), "{ended:?}");
    assert!(!bench.path("other.db").exists());
}

/// What batch SQL of a handler must not reach: files, other tables than those that it names, and
/// anything but a question.
const BEYOND: [&str; 16] = [
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM text.`/etc/passwd`",
    "SELECT * FROM csv.`input/0.json`",
    "SELECT * FROM read_files('input')",
    "SELECT * FROM s",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM tidemill_marks",
    "INSERT INTO batch VALUES (1)",
    "CREATE TABLE own AS SELECT 1 AS n",
    "CREATE EXTERNAL TABLE own STORED AS CSV LOCATION '/etc/passwd'",
    "COPY batch TO 'out.csv'",
    "DROP TABLE batch",
    "SET spark.sql.ansi.enabled = false",
    "SELECT 1; SELECT 2",
    "SELECT java_method('java.lang.Runtime', 'getRuntime')",
    "SELECT input_file_name() FROM batch",
];

#[test]
fn batch_sql_of_a_handler_reads_the_tables_that_it_names_and_writes_nothing() {
    let bench = Workbench::new();
    let ended = work(&bench, |host| {
        Box::pin(async move {
            let (schema, blocks) = many_nulls();
            let rows = host.add_frame(schema, blocks[..1].to_vec()).unwrap();
            let mut ended = Vec::new();
            for query in BEYOND.into_iter().chain(["SELECT n FROM batch"]) {
                let tables = vec![("batch".to_owned(), rows)];
                let asked = host.sql(query.to_owned(), tables);
                let answer = tokio::time::timeout(PATIENCE, asked).await.ok();
                // Which handle it is does not matter.
                ended.push(answer.map(|answer| answer.map(|_| 0)));
            }
            ended
        })
    });
    let (last, beyond) = ended.split_last().unwrap();
    assert_eq!(last, &Some(Ok(0)));
    for (query, ended) in BEYOND.iter().zip(beyond) {
        match ended {
            Some(Err(CallFailure::BadInput(told))) => {
                assert!(!told.contains("root:"), "{query}: {told}");
            }
            other => panic!("{query}: {other:?}"),
        }
    }
    assert!(!bench.path("out.csv").exists() && !bench.path("own").exists());
}
