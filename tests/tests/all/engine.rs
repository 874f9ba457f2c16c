//! The loop of the engine, with a source and a sink of the test's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value, json};
use tidemill_checkpoint::{Crash, MemoryDisk, OpenOptions};
use tidemill_core::{
    Begin, ConnectorError, Delivery, Digest, Held, MemoryBudget, QueryId, RangeReader, ReadLimit,
    RowStream, Secrets, Sink, Slice, Source, SourceRange, Trigger, WatermarkPolicy,
};
use tidemill_engine::{
    EngineError, NamedSource, NoPlugins, Output, PlaceFound, PlannedOutput, Query, QueryConfig,
    QueryEvent, Settings, StopSignal, SystemClock, Unfinished,
};
use tidemill_plan::{PlannedQuery, SourceTable};

/// Numbers, ten a range, up to thirty.
#[derive(Default)]
pub(crate) struct Numbers {
    next: i64,
}

const RANGE: i64 = 10;
const END: i64 = 30;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

impl Source for Numbers {
    fn description(&self) -> String {
        "Numbers".to_owned()
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn next_range(&mut self, _: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        let start = self.next;
        self.next = (start + RANGE).min(END);
        let range = SourceRange { start: start.into(), end: self.next.into(), parts: Value::Null };
        Ok((start < END).then_some(range))
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError> {
        self.restore(&range.end)
    }

    fn position(&self) -> Value {
        self.next.into()
    }

    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError> {
        self.next = position.as_i64().unwrap();
        Ok(())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Arc::new(NumbersReader)
    }

    fn latest(&self) -> Value {
        END.into()
    }

    fn metrics(&self, end: &Value) -> BTreeMap<String, String> {
        let behind = END - end.as_i64().unwrap();
        BTreeMap::from([("maxOffsetsBehindLatest".to_owned(), behind.to_string())])
    }
}

struct NumbersReader;

impl RangeReader for NumbersReader {
    fn read(
        &self,
        range: &SourceRange,
        _: Slice,
        _: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        let numbers = range.start.as_i64().unwrap()..range.end.as_i64().unwrap();
        let column = Arc::new(Int64Array::from_iter_values(numbers));
        Ok(Box::new(std::iter::once(Ok(RecordBatch::try_new(schema(), vec![column]).unwrap()))))
    }
}

/// A sink that shows nothing. What it does at its first commits is the test's.
pub(crate) struct Nowhere<C>(pub(crate) C);

impl<C: FnMut() -> Result<(), ConnectorError> + Send> Sink for Nowhere<C> {
    fn description(&self) -> String {
        "Nowhere".to_owned()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(Held::Unknown)
    }

    fn begin(&mut self, _: Delivery) -> Result<Begin, ConnectorError> {
        Ok(Begin::Wanted)
    }

    fn write(&mut self, _: &RecordBatch) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        self.0()
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// All numbers, once.
pub(crate) fn query(
    disk: &MemoryDisk,
    retries: u32,
    sink: Box<dyn Sink>,
    stop: StopSignal,
    on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
) -> Query {
    let source = Box::new(Numbers::default());
    query_of(source, Trigger::AvailableNow, disk, retries, sink, stop, on_event)
}

/// A query over a source with the columns of [`Numbers`].
pub(crate) fn query_of(
    source: Box<dyn Source>,
    trigger: Trigger,
    disk: &MemoryDisk,
    retries: u32,
    sink: Box<dyn Sink>,
    stop: StopSignal,
    on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
) -> Query {
    query_after(Unfinished::Run, source, trigger, disk, retries, sink, stop, on_event)
}

#[expect(clippy::too_many_arguments, reason = "a test's query, whatever is particular to it")]
fn query_after(
    unfinished: Unfinished,
    source: Box<dyn Source>,
    trigger: Trigger,
    disk: &MemoryDisk,
    retries: u32,
    sink: Box<dyn Sink>,
    stop: StopSignal,
    on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
) -> Query {
    let table = SourceTable {
        name: "numbers".to_owned(),
        schema: schema(),
        reader: Arc::new(NumbersReader),
        value: None,
        watermark: None,
    };
    let definition = crate::appending(table, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let plan = runtime.block_on(PlannedQuery::plan(&definition)).unwrap();
    let config = QueryConfig {
        name: "q".to_owned(),
        job: Digest::of(b"a job"),
        statics: BTreeMap::new(),
        settings: Settings {
            trigger,
            no_data_batches: true,
            watermark_policy: WatermarkPolicy::Min,
            retries,
        },
        definition,
        plan,
        sources: vec![NamedSource { name: "numbers".to_owned(), source }],
        plugins: Box::new(NoPlugins),
        disk: Arc::new(disk.clone()),
        checkpoint: PathBuf::from("checkpoint"),
        checkpoint_options: OpenOptions::default(),
        unfinished,
        memory: MemoryBudget::unlimited(),
        spill: None,
        clock: Arc::new(SystemClock),
        secrets: Secrets::default(),
        on_event,
    };
    Query::open(config, Box::new(Opens(sink)), stop).unwrap()
}

/// A sink that is there already.
struct Opens(Box<dyn Sink>);

impl PlannedOutput for Opens {
    fn places(&self, _: &QueryId) -> Result<Vec<PlaceFound>, ConnectorError> {
        Ok(vec![PlaceFound::sink(self.0.description(), Held::Unknown)])
    }

    fn open(self: Box<Self>, _: &QueryId) -> Result<Output, EngineError> {
        Ok(Output::Sink(self.0))
    }
}

/// What a batch says when it has ended: its number.
pub(crate) fn batches_of(numbers: &Arc<Mutex<Vec<u64>>>) -> Box<dyn FnMut(QueryEvent<'_>) + Send> {
    let numbers = Arc::clone(numbers);
    Box::new(move |event| {
        if let QueryEvent::Progress(progress) = event {
            numbers.lock().unwrap().push(progress.batch_id);
        }
    })
}

/// A stop that comes while a batch is delivered for the second time lets it end: the sink has it,
/// and another start must not deliver it again.
#[test]
fn a_stop_during_a_retry_that_succeeds_keeps_its_batch() {
    let _alone = crate::planning();
    let (disk, ended) = (MemoryDisk::new(), Arc::new(Mutex::new(Vec::new())));
    let (stop, mut commits) = (StopSignal::new(), 0);
    let asked = stop.clone();
    let sink = Nowhere(move || {
        commits += 1;
        if commits == 1 {
            return Err(ConnectorError::retryable("the place is away"));
        }
        asked.stop();
        Ok(())
    });
    query(&disk, 1, Box::new(sink), stop, batches_of(&ended)).run().unwrap();
    assert_eq!(*ended.lock().unwrap(), [0]);
    let disk = disk.after(Crash::PowerCut);
    let sink = Box::new(Nowhere(|| Ok(())));
    query(&disk, 0, sink, StopSignal::new(), batches_of(&ended)).run().unwrap();
    assert_eq!(*ended.lock().unwrap(), [0, 1, 2]);
}

/// A disk with a batch 0 that is planned, did not land, and did not fail: the query was stopped
/// while it waited to try again.
fn with_a_pending_batch() -> MemoryDisk {
    let (disk, stop) = (MemoryDisk::new(), StopSignal::new());
    let asked = stop.clone();
    let sink = Nowhere(move || {
        asked.stop();
        Err(ConnectorError::retryable("the place is away"))
    });
    query(&disk, 9, Box::new(sink), stop, Box::new(|_| {})).run().unwrap();
    disk.after(Crash::PowerCut)
}

/// Batches that ended, and what was said of the pending one.
fn after_pending(unfinished: Unfinished) -> (Vec<u64>, Vec<String>) {
    let (ended, said) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (batches, words) = (Arc::clone(&ended), Arc::clone(&said));
    let on_event = Box::new(move |event: QueryEvent<'_>| match event {
        QueryEvent::Progress(progress) => {
            batches.lock().unwrap().push(progress.batch_id);
            words.lock().unwrap().push(format!("{} rows", progress.num_input_rows));
        }
        QueryEvent::Skipped { spec, .. } => {
            words.lock().unwrap().push(format!("skipped {}", spec.ranges["numbers"].end));
        }
        QueryEvent::Replanned { spec } => {
            words.lock().unwrap().push(format!("planned {}", spec.ranges["numbers"].end));
        }
        _ => {}
    });
    let (disk, sink) = (with_a_pending_batch(), Box::new(Nowhere(|| Ok(()))));
    let (source, stop) = (Box::new(Numbers::default()), StopSignal::new());
    let trigger = Trigger::AvailableNow;
    query_after(unfinished, source, trigger, &disk, 0, sink, stop, on_event).run().unwrap();
    let ended = ended.lock().unwrap().clone();
    let said = said.lock().unwrap().clone();
    (ended, said)
}

#[test]
fn a_batch_that_is_pending_and_did_not_fail_has_the_same_ways_out() {
    let _alone = crate::planning();
    let rows = "10 rows".to_owned();
    assert_eq!(after_pending(Unfinished::Run), (vec![0, 1, 2], vec![rows.clone(); 3]));
    let skipped = vec!["skipped 10".to_owned(), rows.clone(), rows.clone()];
    assert_eq!(after_pending(Unfinished::Skip(tidemill_core::BatchId(0))), (vec![1, 2], skipped));
    let planned = vec!["planned 10".to_owned(), rows.clone(), rows.clone(), rows];
    let replan = Unfinished::Replan(tidemill_core::BatchId(0));
    assert_eq!(after_pending(replan), (vec![0, 1, 2], planned));
}

/// A sink whose rows cannot be dropped, and what it was asked to do.
struct Stuck(Arc<Mutex<Vec<&'static str>>>);

impl Sink for Stuck {
    fn description(&self) -> String {
        "Stuck".to_owned()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(Held::Unknown)
    }

    fn begin(&mut self, _: Delivery) -> Result<Begin, ConnectorError> {
        self.0.lock().unwrap().push("begin");
        Ok(Begin::Wanted)
    }

    fn write(&mut self, _: &RecordBatch) -> Result<(), ConnectorError> {
        Err(ConnectorError::retryable("the place is away"))
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.0.lock().unwrap().push("abort");
        Err(ConnectorError::retryable("half of the rows stay"))
    }
}

/// What a sink that could not drop a batch would show at its next commit, nobody knows.
#[test]
fn a_sink_that_cannot_drop_a_batch_is_not_used_again() {
    let _alone = crate::planning();
    let (disk, asked) = (MemoryDisk::new(), Arc::new(Mutex::new(Vec::new())));
    let sink = Box::new(Stuck(Arc::clone(&asked)));
    let ended = query(&disk, 5, sink, StopSignal::new(), Box::new(|_| {})).run();
    let error = ended.unwrap_err().to_string();
    for words in ["batch 0 failed", "the place is away", "half of the rows stay"] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(*asked.lock().unwrap(), ["begin", "abort"]);
    // The next start opens the place anew.
    let ended = Arc::new(Mutex::new(Vec::new()));
    let sink = Box::new(Nowhere(|| Ok(())));
    let disk = disk.after(Crash::PowerCut);
    query(&disk, 0, sink, StopSignal::new(), batches_of(&ended)).run().unwrap();
    assert_eq!(*ended.lock().unwrap(), [0, 1, 2]);
}

#[test]
fn each_record_says_where_the_input_ends_and_how_far_that_batch_is_behind() {
    let _alone = crate::planning();
    let records = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&records);
    let on_event = Box::new(move |event: QueryEvent<'_>| {
        if let QueryEvent::Progress(progress) = event {
            kept.lock().unwrap().push((*progress).clone());
        }
    });
    let sink = Box::new(Nowhere(|| Ok(())));
    query(&MemoryDisk::new(), 0, sink, StopSignal::new(), on_event).run().unwrap();
    let records = records.lock().unwrap();
    assert_eq!(records.len(), 3);
    for (record, end) in records.iter().zip([10, 20, 30]) {
        let source = serde_json::to_value(&record.sources[0]).unwrap();
        assert_eq!(source["endOffset"], end);
        assert_eq!(source["latestOffset"], END);
        let behind = (END - end).to_string();
        assert_eq!(source["metrics"], json!({ "maxOffsetsBehindLatest": behind }));
        assert_eq!(source["name"], Value::Null, "Spark's record has no name");
        let phases = &record.measured.phases;
        let sum: std::time::Duration = phases.iter().map(|(_, time)| time).sum();
        assert_eq!(sum, record.measured.total);
        assert!(phases.iter().any(|(name, time)| *name == "execute" && !time.is_zero()));
    }
}
