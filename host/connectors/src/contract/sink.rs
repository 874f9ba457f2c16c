//! The contract of sinks.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tidemill_core::{
    Attempt, BatchId, BatchSpec, Begin, Delivery, EncodedSpec, Mark, OutputMode, Sink, Watermark,
};

/// A place under test, fresh and empty.
pub trait Place {
    /// Opens it for one query's rows with the key `k`. Called again after a crash: it then holds
    /// what it held.
    fn open(&self, mode: OutputMode) -> Box<dyn Sink>;

    /// What a reader of the place sees now.
    fn rows(&self) -> Vec<(String, i64)>;
}

/// Rows with the columns `k STRING, n BIGINT`.
fn batch(rows: &[(&str, i64)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("n", numbers, true)]).unwrap()
}

/// A delivery of a batch without ranges, made at a time that follows from its number.
#[must_use]
pub fn delivery(batch: u64, attempt: u32, call: u32) -> Delivery {
    delivery_made_at(1_700_000_000_000 + batch as i64, batch, attempt, call)
}

fn delivery_made_at(batch_time_ms: i64, batch: u64, attempt: u32, call: u32) -> Delivery {
    let batch = BatchId(batch);
    let spec = BatchSpec {
        batch,
        batch_time_ms,
        watermark: Watermark::default(),
        late_watermark: Watermark::default(),
        ranges: std::collections::BTreeMap::new(),
    };
    Delivery { batch, spec: EncodedSpec::of(&spec), attempt: Attempt(attempt), call }
}

/// Everything up to `prepare`.
fn prepare(sink: &mut dyn Sink, delivery: Delivery, rows: &[(&str, i64)]) {
    assert_eq!(sink.begin(delivery.clone()).unwrap(), Begin::Wanted, "{delivery:?} is new");
    // In two pieces, as a query would.
    let (first, second) = rows.split_at(rows.len() / 2);
    sink.write(&batch(first)).unwrap();
    sink.write(&batch(second)).unwrap();
    sink.prepare().unwrap();
}

fn deliver(sink: &mut dyn Sink, delivery: Delivery, rows: &[(&str, i64)]) {
    prepare(sink, delivery, rows);
    sink.commit().unwrap();
}

#[track_caller]
fn expect(place: &dyn Place, expected: &[(&str, i64)]) {
    let mut found = place.rows();
    found.sort();
    let mut expected: Vec<_> = expected.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[track_caller]
fn expect_landed(sink: &mut dyn Sink, delivery: Delivery) {
    assert_eq!(sink.begin(delivery.clone()).unwrap(), Begin::Landed, "{delivery:?} has landed");
}

/// What even a place without a mark does: rows are seen once they are committed and not before.
pub fn check_shows_on_commit<P: Place>(fresh: impl Fn() -> P) {
    let place = fresh();
    let mut sink = place.open(OutputMode::Append);
    prepare(&mut *sink, delivery(0, 0, 1), &[("a", 1), ("b", 2)]);
    expect(&place, &[]);
    sink.commit().unwrap();
    expect(&place, &[("a", 1), ("b", 2)]);

    // An abort at any step leaves nothing, and the same batch can be tried again.
    sink.begin(delivery(1, 0, 1)).unwrap();
    sink.abort().unwrap();
    sink.begin(delivery(1, 1, 1)).unwrap();
    sink.write(&batch(&[("c", 3)])).unwrap();
    sink.abort().unwrap();
    prepare(&mut *sink, delivery(1, 2, 1), &[("c", 4)]);
    sink.abort().unwrap();
    expect(&place, &[("a", 1), ("b", 2)]);
    deliver(&mut *sink, delivery(1, 3, 1), &[("c", 5)]);
    expect(&place, &[("a", 1), ("b", 2), ("c", 5)]);

    // A batch may have no rows.
    deliver(&mut *sink, delivery(2, 0, 1), &[]);
    expect(&place, &[("a", 1), ("b", 2), ("c", 5)]);
}

/// Each delivery lands once, whatever happens in between.
pub fn check_exactly_once<P: Place>(fresh: impl Fn() -> P) {
    check_shows_on_commit(&fresh);
    landed_batches_are_known_after_reopening(&fresh());
    a_crash_before_commit_leaves_the_old_batch(&fresh());
    every_call_of_a_batch_lands_once(&fresh());
    batches_may_be_passed_over(&fresh());
    an_empty_batch_lands_too(&fresh());
}

/// What a place that keeps marks says of itself: what it holds, and with which spec.
pub fn check_marks<P: Place>(fresh: impl Fn() -> P) {
    a_mark_is_there_with_its_rows_and_not_before(&fresh());
    a_mark_holds_the_spec_of_its_batch(&fresh());
    the_same_batch_with_another_spec_is_refused(&fresh());
}

#[track_caller]
fn expect_mark(sink: &mut dyn Sink, expected: Option<&Mark>) {
    assert_eq!(sink.held().unwrap().mark(), expected);
}

fn a_mark_is_there_with_its_rows_and_not_before(place: &dyn Place) {
    let mut sink = place.open(OutputMode::Append);
    expect_mark(&mut *sink, None);
    let first = delivery(4, 0, 1);
    prepare(&mut *sink, first.clone(), &[("a", 1)]);
    sink.abort().unwrap();
    expect_mark(&mut *sink, None);
    prepare(&mut *sink, first.clone(), &[("a", 1)]);
    drop(sink);
    let mut sink = place.open(OutputMode::Append);
    expect_mark(&mut *sink, None);
    deliver(&mut *sink, first.clone(), &[("a", 1)]);
    expect_mark(&mut *sink, Some(&Mark::of(&first)));
    sink.begin(delivery(5, 0, 1)).unwrap();
    sink.abort().unwrap();
    expect_mark(&mut *sink, Some(&Mark::of(&first)));
}

fn a_mark_holds_the_spec_of_its_batch(place: &dyn Place) {
    for call in [1, 2] {
        let mut sink = place.open(OutputMode::Append);
        deliver(&mut *sink, delivery(9, 0, call), &[("a", 1)]);
        drop(sink);
        // As after a restart, by whatever attempt.
        let mark = Mark::of(&delivery(9, 3, call));
        expect_mark(&mut *place.open(OutputMode::Append), Some(&mark));
        let spec = mark.spec.decode().unwrap();
        assert_eq!((spec.batch, spec.batch_time_ms), (BatchId(9), 1_700_000_000_009));
    }
}

fn the_same_batch_with_another_spec_is_refused(place: &dyn Place) {
    let mut sink = place.open(OutputMode::Append);
    deliver(&mut *sink, delivery(3, 0, 1), &[("a", 1)]);
    drop(sink);
    for call in [1, 2] {
        let mut sink = place.open(OutputMode::Append);
        let error = sink.begin(delivery_made_at(12, 3, 1, call)).unwrap_err();
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("holds batch 3 with other ranges"), "{error}");
        // It is as it was.
        expect_landed(&mut *sink, delivery(3, 1, 1));
        deliver(&mut *sink, delivery(3, 1, call + 1), &[("b", 2)]);
    }
    expect(place, &[("a", 1), ("b", 2), ("b", 2)]);
}

fn landed_batches_are_known_after_reopening(place: &dyn Place) {
    let mut sink = place.open(OutputMode::Append);
    for number in 0..25 {
        deliver(&mut *sink, delivery(number, 0, 1), &[("x", number as i64)]);
    }
    expect_landed(&mut *sink, delivery(24, 0, 1));
    expect_landed(&mut *sink, delivery(24, 1, 1));
    drop(sink);
    let mut sink = place.open(OutputMode::Append);
    expect_landed(&mut *sink, delivery(24, 0, 1));
    expect_landed(&mut *sink, delivery(3, 7, 1));
    deliver(&mut *sink, delivery(25, 0, 1), &[("x", 25)]);
    let all: Vec<(&str, i64)> = (0..26).map(|number| ("x", number)).collect();
    expect(place, &all);
}

fn a_crash_before_commit_leaves_the_old_batch(place: &dyn Place) {
    let mut sink = place.open(OutputMode::Append);
    deliver(&mut *sink, delivery(0, 0, 1), &[("old", 0)]);
    sink.begin(delivery(1, 0, 1)).unwrap();
    sink.write(&batch(&[("lost", 1)])).unwrap();
    drop(sink);

    let mut sink = place.open(OutputMode::Append);
    expect(place, &[("old", 0)]);
    prepare(&mut *sink, delivery(1, 1, 1), &[("lost", 2), ("lost", 3)]);
    drop(sink);

    let mut sink = place.open(OutputMode::Append);
    expect(place, &[("old", 0)]);
    deliver(&mut *sink, delivery(1, 2, 1), &[("new", 4), ("new", 5)]);
    expect(place, &[("old", 0), ("new", 4), ("new", 5)]);
    drop(sink);

    expect_landed(&mut *place.open(OutputMode::Append), delivery(1, 2, 1));
    expect(place, &[("old", 0), ("new", 4), ("new", 5)]);
}

fn every_call_of_a_batch_lands_once(place: &dyn Place) {
    // Batch 9 is one that the log of a file sink folds.
    for number in [8, 9, 10] {
        let mut sink = place.open(OutputMode::Append);
        deliver(&mut *sink, delivery(number, 0, 1), &[("first", number as i64)]);
        deliver(&mut *sink, delivery(number, 0, 2), &[("second", number as i64)]);
        prepare(&mut *sink, delivery(number, 0, 3), &[("lost", number as i64)]);
        drop(sink);

        let mut sink = place.open(OutputMode::Append);
        expect_landed(&mut *sink, delivery(number, 1, 1));
        expect_landed(&mut *sink, delivery(number, 1, 2));
        deliver(&mut *sink, delivery(number, 1, 3), &[("third", number as i64)]);
    }
    let all = [8, 9, 10].map(|n| [("first", n), ("second", n), ("third", n)]);
    expect(place, &all.concat());
}

fn batches_may_be_passed_over(place: &dyn Place) {
    for number in [3, 4, 29, 31, 152] {
        let mut sink = place.open(OutputMode::Append);
        deliver(&mut *sink, delivery(number, 0, 1), &[("x", number as i64)]);
        expect_landed(&mut *sink, delivery(number - 1, 0, 1));
    }
    expect(place, &[("x", 3), ("x", 4), ("x", 29), ("x", 31), ("x", 152)]);
}

fn an_empty_batch_lands_too(place: &dyn Place) {
    let mut sink = place.open(OutputMode::Append);
    assert_eq!(sink.begin(delivery(0, 0, 1)).unwrap(), Begin::Wanted);
    sink.prepare().unwrap();
    sink.commit().unwrap();
    drop(sink);
    expect_landed(&mut *place.open(OutputMode::Append), delivery(0, 0, 1));
}

/// In update mode a row replaces the one with its key, and the last of a batch wins.
pub fn check_replaces_by_key<P: Place>(fresh: impl Fn() -> P) {
    let place = fresh();
    let mut sink = place.open(OutputMode::Update);
    deliver(&mut *sink, delivery(0, 0, 1), &[("a", 1), ("b", 2), ("a", 3)]);
    expect(&place, &[("a", 3), ("b", 2)]);
    prepare(&mut *sink, delivery(1, 0, 1), &[("a", 4), ("c", 5)]);
    expect(&place, &[("a", 3), ("b", 2)]);
    drop(sink);
    let mut sink = place.open(OutputMode::Update);
    deliver(&mut *sink, delivery(1, 1, 1), &[("a", 4), ("c", 5)]);
    expect(&place, &[("a", 4), ("b", 2), ("c", 5)]);
    expect_landed(&mut *sink, delivery(1, 0, 1));
}

/// In complete mode a batch replaces all rows, and nobody sees the place between the two.
pub fn check_replaces_all<P: Place>(fresh: impl Fn() -> P) {
    let place = fresh();
    let mut sink = place.open(OutputMode::Complete);
    deliver(&mut *sink, delivery(0, 0, 1), &[("a", 1), ("b", 2)]);
    prepare(&mut *sink, delivery(1, 0, 1), &[("c", 3)]);
    expect(&place, &[("a", 1), ("b", 2)]);
    drop(sink);
    let mut sink = place.open(OutputMode::Complete);
    expect(&place, &[("a", 1), ("b", 2)]);
    deliver(&mut *sink, delivery(1, 1, 1), &[("c", 3)]);
    expect(&place, &[("c", 3)]);
    deliver(&mut *sink, delivery(2, 0, 1), &[]);
    expect(&place, &[]);
}
