//! foreach_batch handlers, against a host that keeps everything in memory.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use tidemill_core::{
    BatchHost, BoxFuture, CallFailure, FrameHandle, PluginError, PluginFailure, PluginModule,
};
use tidemill_plugin_host::{Limits, Module, PluginConfig};

use crate::handmade::{Handmade, Kind};
use crate::support::{config, configured, context, host, load, table};

/// Frames by handle, and what handlers did.
#[derive(Default)]
struct Memory {
    frames: Mutex<Vec<Vec<RecordBatch>>>,
    written: Mutex<Vec<(String, Vec<i64>)>>,
    executed: Mutex<Vec<(String, usize)>>,
    marks: Mutex<BTreeSet<String>>,
    released: Mutex<Vec<FrameHandle>>,
}

impl Memory {
    /// With the frame 0: the numbers 1, 2 and 3 in two record batches.
    fn with_batch() -> Arc<Memory> {
        let batch =
            |numbers: Vec<i64>| table([("n", Arc::new(Int64Array::from(numbers)) as ArrayRef)]);
        let memory = Memory::default();
        memory.frames.lock().unwrap().push(vec![batch(vec![1, 2]), batch(vec![3])]);
        Arc::new(memory)
    }

    fn frame(&self, of: FrameHandle) -> Vec<RecordBatch> {
        self.frames.lock().unwrap()[usize::try_from(of).unwrap()].clone()
    }

    fn add(&self, batches: Vec<RecordBatch>) -> FrameHandle {
        let mut frames = self.frames.lock().unwrap();
        frames.push(batches);
        frames.len() as u64 - 1
    }
}

impl BatchHost for Memory {
    fn schema(&self, of: FrameHandle) -> Result<SchemaRef, CallFailure> {
        Ok(self.frame(of)[0].schema())
    }

    fn count(&self, of: FrameHandle) -> BoxFuture<'_, Result<u64, CallFailure>> {
        let rows: usize = self.frame(of).iter().map(RecordBatch::num_rows).sum();
        Box::pin(async move { Ok(rows as u64) })
    }

    fn sql(
        &self,
        _query: String,
        tables: Vec<(String, FrameHandle)>,
    ) -> BoxFuture<'_, Result<FrameHandle, CallFailure>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.add(self.frame(tables[0].1)))
        })
    }

    fn add_frame(
        &self,
        _schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<FrameHandle, CallFailure> {
        Ok(self.add(batches))
    }

    fn collect(
        &self,
        of: FrameHandle,
        first: u32,
        _max_bytes: u64,
    ) -> BoxFuture<'_, Result<Vec<RecordBatch>, CallFailure>> {
        let one = self.frame(of).into_iter().skip(first as usize).take(1).collect();
        Box::pin(async move { Ok(one) })
    }

    fn write(&self, of: FrameHandle, target: String) -> BoxFuture<'_, Result<u64, CallFailure>> {
        Box::pin(async move {
            if target == "stalled" {
                pending::<()>().await;
            }
            let numbers: Vec<i64> = self
                .frame(of)
                .iter()
                .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            let count = numbers.len() as u64;
            self.written.lock().unwrap().push((target, numbers));
            Ok(count)
        })
    }

    fn release(&self, of: FrameHandle) {
        self.released.lock().unwrap().push(of);
    }

    fn execute(
        &self,
        target: String,
        statement: String,
        parameters: Option<RecordBatch>,
    ) -> BoxFuture<'_, Result<u64, CallFailure>> {
        Box::pin(async move {
            assert_eq!(target, "place");
            let rows = parameters.map_or(0, |rows| rows.num_rows());
            self.executed.lock().unwrap().push((statement, rows));
            Ok(rows as u64)
        })
    }

    fn is_processed(&self, name: &str) -> Result<bool, CallFailure> {
        Ok(self.marks.lock().unwrap().contains(name))
    }

    fn mark_processed(&self, name: String) -> BoxFuture<'_, Result<(), CallFailure>> {
        Box::pin(async move {
            self.marks.lock().unwrap().insert(name);
            Ok(())
        })
    }
}

/// Calls the handler of "faulty" that does what `mode` says.
async fn handle(host: &Arc<Memory>, mode: &str) -> Result<(), PluginError> {
    let config = configured(&format!(r#"{{"mode": "{mode}"}}"#));
    let limits = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
    handle_with(host, PluginConfig { limits, ..config }).await
}

async fn handle_with(host: &Arc<Memory>, config: PluginConfig) -> Result<(), PluginError> {
    let module = load("faulty", config);
    let host: Arc<dyn BatchHost> = Arc::clone(host) as Arc<dyn BatchHost>;
    module.foreach_batch("handles", &context(4), host, 0).await
}

async fn failure(mode: &str) -> PluginFailure {
    handle(&Memory::with_batch(), mode).await.unwrap_err().failure
}

fn soon(config: PluginConfig) -> PluginConfig {
    let limits = Limits { deadline: Duration::from_millis(50), ..Limits::default() };
    PluginConfig { limits, ..config }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_delivers_a_batch_once() {
    let host = Memory::with_batch();
    let config = PluginConfig {
        config_json: r#"{"screen": true}"#.to_owned(),
        targets: ["summary".to_owned(), "screen".to_owned()].into(),
        ..PluginConfig::default()
    };
    let module = load("orders", config);
    for _ in 0..2 {
        let shared: Arc<dyn BatchHost> = Arc::clone(&host) as Arc<dyn BatchHost>;
        module.foreach_batch("deliver", &context(4), shared, 0).await.unwrap();
    }
    let all = vec![1, 2, 3];
    let expected = [("screen".to_owned(), all.clone()), ("summary".to_owned(), all)];
    assert_eq!(*host.written.lock().unwrap(), expected);
    assert!(host.is_processed("deliver").unwrap());
    assert_eq!((module.usage().calls, module.usage().rows), (2, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_queries_collects_and_makes_tables() {
    let host = Memory::with_batch();
    handle(&host, "query").await.unwrap();
    assert_eq!(*host.written.lock().unwrap(), [("place".to_owned(), vec![6, 3])]);
    assert!(host.is_processed("handles").unwrap());
    // The tables that it made were released, the batch is the host's own.
    assert_eq!(*host.released.lock().unwrap(), [2, 1]);
}

#[tokio::test]
async fn a_single_threaded_runtime_will_do() {
    handle(&Memory::with_batch(), "query").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_gets_its_parameters() {
    let host = Memory::with_batch();
    handle(&host, "execute").await.unwrap();
    assert_eq!(*host.executed.lock().unwrap(), [("INSERT INTO t VALUES (?)".to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_granted_is_named() {
    let told = "target \"elsewhere\" is not granted to plugin \"faulty\" (granted: place); add it to \
                `targets` of [plugin.faulty] in the job";
    assert_eq!(failure("ungranted").await, PluginFailure::BadInput(told.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_handler_says_whether_to_try_again() {
    assert_eq!(failure("retry").await, PluginFailure::Retryable("the place is busy".to_owned()));
    let told = "there is no mode \"other\"";
    assert_eq!(failure("other").await, PluginFailure::Fatal(told.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_panic_is_told_with_its_place() {
    match failure("panic").await {
        PluginFailure::Panic { message, place } => {
            assert_eq!(message, "in batch 4");
            assert!(place.contains("faulty/src/lib.rs:"), "{place}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_counts_the_guests_time_and_the_hosts() {
    let deadline = PluginFailure::Deadline { limit_ms: 50 };
    let spin = soon(configured(r#"{"mode": "spin"}"#));
    let error = handle_with(&Memory::with_batch(), spin).await.unwrap_err();
    assert_eq!(error.failure, deadline);
    let stall = soon(configured(r#"{"mode": "stall"}"#));
    let stall = PluginConfig { targets: ["stalled".to_owned()].into(), ..stall };
    let error = handle_with(&Memory::with_batch(), stall).await.unwrap_err();
    assert_eq!(error.failure, deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_cannot_hold_tables_without_end() {
    let failure = failure("frames").await;
    assert!(
        matches!(&failure, PluginFailure::Fatal(told) if told.contains("holds 256 tables")),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_wants_a_target_that_takes_it() {
    let failure = failure("command").await;
    assert!(
        matches!(&failure, PluginFailure::BadInput(told) if told.contains("Redis")),
        "{failure:?}"
    );
}

/// A handler of one body, which may call what a handler may.
fn handmade(fill: impl FnOnce(&mut Handmade) -> String) -> Arc<Module> {
    let mut made = Handmade::new(Kind::ForeachBatch);
    made.calls_targets = true;
    let scratch = made.scratch;
    let body = fill(&mut made);
    let done = made.words(&[0, 0, 0, 0]);
    let made = made.body("handlers", "call", &format!("{body} (i32.const {done})"));
    let made = made.with_fields(&format!(
        "(func $fails (if (i32.eqz (i32.load8_u (i32.const {scratch}))) (then (unreachable))))
         (func $works (if (i32.load8_u (i32.const {scratch})) (then (unreachable))))"
    ));
    host().load("made", &made.build(), config()).unwrap()
}

async fn run(module: &Arc<Module>, host: &Arc<Memory>) -> Result<(), PluginError> {
    let host: Arc<dyn BatchHost> = Arc::clone(host) as Arc<dyn BatchHost>;
    module.foreach_batch("f", &context(4), host, 0).await
}

/// A column of these numbers that tells another length of itself.
fn column(made: &mut Handmade, numbers: i64, told: u32) -> Vec<u32> {
    let values: Vec<u8> = (0..numbers).flat_map(i64::to_le_bytes).collect();
    let values = made.bytes(&values);
    made.column(&[[told, 0]], &[(0, 0), values])
}

/// `execute` with so many rows of these columns as parameters, after which `then` is called.
fn execute(
    made: &mut Handmade,
    statement: &str,
    rows: u32,
    columns: &[Vec<u32>],
    then: &str,
) -> String {
    let (target, length) = made.bytes(b"place");
    let (sql, sql_length) = made.bytes(statement.as_bytes());
    let ((schema, schema_length), (at, count)) = (made.schema, made.columns(columns));
    let scratch = made.scratch;
    format!(
        "(call $execute (i32.const {target}) (i32.const {length})
           (i32.const {sql}) (i32.const {sql_length})
           (i32.const 1) (i32.const {schema}) (i32.const {schema_length})
           (i32.const {rows}) (i32.const {at}) (i32.const {count}) (i32.const {scratch}))
         (call ${then})"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_lie_about_their_lengths_are_an_error_of_the_call() {
    let insert = "INSERT INTO t VALUES (?)";
    let module = handmade(|made| {
        let sound = column(made, 37, 37);
        let mut body = execute(made, insert, 37, std::slice::from_ref(&sound), "works");
        for wrong in [0, 36, 38, 1 << 20, u32::MAX] {
            let told = column(made, 37, wrong);
            body += &execute(made, insert, 37, &[told], "fails");
            body += &execute(made, insert, wrong, std::slice::from_ref(&sound), "fails");
        }
        body += &execute(made, insert, 37, &[], "fails");
        body += &execute(made, insert, 37, &[sound.clone(), sound], "fails");
        body
    });
    let host = Memory::with_batch();
    run(&module, &host).await.unwrap();
    assert_eq!(*host.executed.lock().unwrap(), [(insert.to_owned(), 37)]);
}

/// `from-rows` with one block of so many rows of this column, after which `then` is called.
fn from_rows(made: &mut Handmade, rows: u32, column: &[u32], then: &str) -> String {
    let (schema, schema_length) = made.schema;
    let (at, count) = made.columns(&[column.to_vec()]);
    let blocks = made.words(&[rows, at, count]);
    let scratch = made.scratch;
    format!(
        "(call $from_rows (i32.const {schema}) (i32.const {schema_length})
           (i32.const {blocks}) (i32.const 1) (i32.const {scratch}))
         (call ${then})"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_in_other_layouts_are_an_error_of_the_call() {
    let insert = "INSERT INTO t VALUES (?)";
    // Nodes, and the buffers' bytes: what Arrow has of three BIGINTs elsewhere, and what nobody has.
    let layouts: [(&[[u32; 2]], &[usize]); 8] = [
        // Padded as in a file; keys of a dictionary; compressed; ends of runs and their values.
        (&[[3, 0]], &[0, 64]),
        (&[[3, 0]], &[0, 12]),
        (&[[3, 0]], &[0, 17]),
        (&[[3, 0], [1, 0], [1, 0]], &[0, 4, 0, 8]),
        // Marks where nothing is null, none where something is, and more nulls than values.
        (&[[3, 0]], &[1, 24]),
        (&[[3, 1]], &[0, 24]),
        (&[[3, 4]], &[1, 24]),
        (&[], &[]),
    ];
    let module = handmade(|made| {
        let sound = column(made, 3, 3);
        let mut body = execute(made, insert, 3, std::slice::from_ref(&sound), "works");
        body += &from_rows(made, 3, &sound, "works");
        for (nodes, buffers) in layouts {
            let buffers: Vec<_> =
                buffers.iter().map(|bytes| made.bytes(&vec![0xff; *bytes])).collect();
            let other = made.column(nodes, &buffers);
            body += &execute(made, insert, 3, std::slice::from_ref(&other), "fails");
            body += &from_rows(made, 3, &other, "fails");
        }
        body
    });
    let host = Memory::with_batch();
    run(&module, &host).await.unwrap();
    assert_eq!(*host.executed.lock().unwrap(), [(insert.to_owned(), 3)]);
    assert_eq!(host.frames.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_sql_is_an_error_of_the_call() {
    let module = handmade(|made| {
        let long = format!("SELECT '{}'", "x".repeat(1 << 20));
        let (query, length) = made.bytes(long.as_bytes());
        let scratch = made.scratch;
        let one = column(made, 1, 1);
        let mut body = execute(made, &long, 1, &[one], "fails");
        body += &format!(
            "(call $sql (i32.const {query}) (i32.const {length}) (i32.const 0) (i32.const 0)
               (i32.const {scratch}))
             (call $fails)"
        );
        body
    });
    let host = Memory::with_batch();
    run(&module, &host).await.unwrap();
    assert_eq!(host.frames.lock().unwrap().len(), 1);
    assert!(host.executed.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_marks_are_there_while_the_handler_is_called_and_not_before() {
    for export in ["open", "begin"] {
        let mut made = Handmade::new(Kind::ForeachBatch);
        let (scratch, opened) = (made.scratch, made.opened);
        let (name, length) = made.bytes(b"name");
        let refused =
            format!("(if (i32.eqz (i32.load8_u (i32.const {scratch}))) (then (unreachable)))");
        let body = format!(
            "(call $count (i64.const 0) (i32.const {scratch})) {refused}
             (call $sql (i32.const {name}) (i32.const {length}) (i32.const 0) (i32.const 0)
               (i32.const {scratch})) {refused}
             (call $mark (i32.const {name}) (i32.const {length}) (i32.const {scratch})) {refused}"
        );
        let result = if export == "open" { format!("(i32.const {opened})") } else { String::new() };
        // The sound answer would be where the host has just told what is wrong.
        let done = format!("(i32.const {})", made.words(&[0, 0, 0, 0]));
        let made = made.body("functions", export, &format!("{body} {result}"));
        let made = made.body("handlers", "call", &done);
        let module = host().load("made", &made.build(), config()).unwrap();
        let host = Memory::with_batch();
        run(&module, &host).await.unwrap();
        assert_eq!(host.frames.lock().unwrap().len(), 1, "{export}");
        assert!(host.marks.lock().unwrap().is_empty(), "{export}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_handler_was_not_given_is_an_error_of_the_call() {
    let module = handmade(|made| {
        let (scratch, last) = (made.scratch, u64::MAX);
        let others = [1, 1 << 32, last].map(|other| {
            format!(
                "(call $count (i64.const {other}) (i32.const {scratch})) (call $fails)
                 (call $collect (i64.const {other}) (i32.const 0) (i64.const {last})
                   (i32.const {scratch})) (call $fails)
                 (call $release (i64.const {other}))"
            )
        });
        // Its own, and blocks and bytes as many as there can be.
        format!(
            "{} (call $count (i64.const 0) (i32.const {scratch})) (call $works)
             (call $collect (i64.const 0) (i32.const -1) (i64.const {last}) (i32.const {scratch}))
             (call $works)
             (call $release (i64.const 0))
             (call $count (i64.const 0) (i32.const {scratch})) (call $works)",
            others.concat()
        )
    });
    let host = Memory::with_batch();
    run(&module, &host).await.unwrap();
    assert!(host.released.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_short_and_few() {
    let module = handmade(|made| {
        // All of the text is there: what lies behind the data is no text.
        let (name, _) = made.bytes(&[b'a'; 257]);
        let scratch = made.scratch;
        let mark = |length: u32| {
            format!("(call $mark (i32.const {name}) (i32.const {length}) (i32.const {scratch}))")
        };
        format!(
            "(local $i i32)
             {} (call $fails)
             (loop $l {} (call $works)
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                 (i32.const 1000))))
             {} (call $fails)",
            mark(257),
            mark(4),
            mark(4)
        )
    });
    let host = Memory::with_batch();
    run(&module, &host).await.unwrap();
    assert_eq!(host.marks.lock().unwrap().len(), 1);
}
