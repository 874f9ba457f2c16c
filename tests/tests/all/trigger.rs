//! When a query asks its sources, and how it ends when nobody reads its rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use serde_json::Value;
use tidemill_checkpoint::MemoryDisk;
use tidemill_core::{ConnectorError, RangeReader, ReadLimit, Source, SourceRange, Trigger};
use tidemill_engine::{Outcome, StopSignal};
use tidemill_types::Interval;

use crate::engine::{Nowhere, Numbers, batches_of, query, query_of};

/// A source without rows, which ends the query when it was asked often enough.
struct Quiet {
    asked: Arc<AtomicUsize>,
    enough: usize,
    stop: StopSignal,
}

impl Source for Quiet {
    fn description(&self) -> String {
        "Quiet".to_owned()
    }

    fn schema(&self) -> SchemaRef {
        Numbers::default().schema()
    }

    fn next_range(&mut self, _: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) + 1 == self.enough {
            self.stop.stop();
        }
        Ok(None)
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn advance(&mut self, _: &SourceRange) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn position(&self) -> Value {
        Value::Null
    }

    fn restore(&mut self, _: &Value) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Numbers::default().reader()
    }

    fn latest(&self) -> Value {
        Value::Null
    }
}

/// Spark asks at the start, and then on the grid only, whether there was a batch or not.
#[test]
fn a_query_without_rows_at_its_start_asks_on_the_grid() {
    let _alone = crate::planning();
    const INTERVAL_MS: u64 = 200;
    let (asked, stop) = (Arc::new(AtomicUsize::new(0)), StopSignal::new());
    let source = Quiet { asked: Arc::clone(&asked), enough: 5, stop: stop.clone() };
    let trigger = Trigger::ProcessingTime(Interval::from_millis(INTERVAL_MS as i64));
    let sink = Box::new(Nowhere(|| Ok(())));
    let events = Arc::default();
    let disk = MemoryDisk::new();
    let began = Instant::now();
    query_of(Box::new(source), trigger, &disk, 0, sink, stop, batches_of(&events)).run().unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    // From the second to the fifth there are three whole intervals; off the grid it was a sixth.
    assert!(began.elapsed() >= Duration::from_millis(3 * INTERVAL_MS), "{:?}", began.elapsed());
}

#[test]
fn a_sink_that_nobody_reads_ends_the_query_without_a_failure() {
    let _alone = crate::planning();
    let (disk, ended) = (MemoryDisk::new(), Arc::new(Mutex::new(Vec::new())));
    let mut commits = 0;
    let sink = Nowhere(move || {
        commits += 1;
        if commits == 2 { Err(ConnectorError::unread("they have gone")) } else { Ok(()) }
    });
    let outcome = query(&disk, 3, Box::new(sink), StopSignal::new(), batches_of(&ended)).run();
    assert_eq!(outcome.unwrap(), Outcome::Unread);
    assert_eq!(*ended.lock().unwrap(), [0]);
    // It comes again, and nothing in the log says that it failed.
    let sink = Box::new(Nowhere(|| Ok(())));
    query(&disk, 0, sink, StopSignal::new(), batches_of(&ended)).run().unwrap();
    assert_eq!(*ended.lock().unwrap(), [0, 1, 2]);
}
