//! A batch that was planned anew: the log holds the new spec, and the sources stand where they
//! stood before the old one.

use std::collections::BTreeMap;

use serde_json::json;
use tidemill_checkpoint::{CheckpointError, Crash, MemoryDisk, OpenOptions, Resume};
use tidemill_core::{Attempt, BatchId, BatchSpec, Delivered, Digest, SourceRange};

use crate::support::{Query, attempt, options};

/// The same batch over more numbers.
fn longer(spec: &BatchSpec) -> BatchSpec {
    let mut spec = spec.clone();
    let start = spec.ranges["numbers"].start.clone();
    let end = json!(start.as_u64().unwrap() + 25);
    let range = SourceRange { start, end, parts: serde_json::Value::Null };
    spec.ranges.insert("numbers".to_owned(), range);
    spec
}

/// A query that planned batch 3 and failed at it.
fn failed(disk: &MemoryDisk) -> (Query, BatchSpec) {
    let mut query = Query::open(disk).unwrap();
    query.run_through(2).unwrap();
    let spec = query.plan(BatchId(3)).unwrap();
    query.checkpoint.append_failed(BatchId(3), Attempt(0), "a poisoned row").unwrap();
    query.checkpoint.sync().unwrap();
    (query, spec)
}

#[test]
fn the_new_spec_takes_the_place_of_the_old_one() {
    // Once with the positions from long before, once with those of a roll beside the open batch.
    for rolls in [false, true] {
        let disk = MemoryDisk::new();
        let (mut query, old) = failed(&disk);
        if rolls {
            query.roll().unwrap();
        }
        drop(query);
        let mut query = Query::open(&disk).unwrap();
        let before = query.recovered.ranges_before_next().last();
        let before = match before {
            Some(ranges) => &ranges["numbers"].end,
            None => &query.recovered.positions["numbers"],
        };
        assert_eq!(*before, json!(30), "rolls: {rolls}");

        let new = longer(&old);
        query.checkpoint.append_replanned(&new, &attempt(1)).unwrap();
        query.checkpoint.sync().unwrap();
        drop(query);
        let query = Query::open(&disk.after(Crash::PowerCut)).unwrap();
        assert_eq!(query.recovered.next, Resume::Replay { spec: new, attempt: attempt(1) });
        assert_eq!(query.position, 55, "the sources stand behind the new range alone");
    }
}

#[test]
fn a_batch_that_runs_or_is_not_there_is_not_planned_anew() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(2).unwrap();
    let spec = query.plan(BatchId(3)).unwrap();
    let mut refuses = |spec: &BatchSpec, number| {
        let result = query.checkpoint.append_replanned(spec, &attempt(number));
        assert!(matches!(result, Err(CheckpointError::Gap(_))), "{result:?}");
    };
    refuses(&longer(&spec), 1);
    let next = BatchSpec { batch: BatchId(4), ..spec };
    refuses(&next, 0);
    refuses(&next, 1);
}

#[test]
fn what_was_delivered_is_known_by_its_name_and_survives_a_snapshot() {
    let delivered = |batch: u64| Delivered {
        place: "Place[x]".to_owned(),
        beside: None,
        batch: BatchId(batch),
        calls: 2,
        digest: Digest::of(b"a spec"),
    };
    let disk = MemoryDisk::new();
    let each_is_long = OpenOptions { segment_bytes: 1, ..options() };
    let mut query = Query::open_with(&disk, each_is_long).unwrap();
    let commits = [
        BTreeMap::from([("a".to_owned(), delivered(0)), ("b".to_owned(), delivered(0))]),
        BTreeMap::from([("a".to_owned(), delivered(1))]),
        BTreeMap::new(),
    ];
    for (batch, places) in commits.into_iter().enumerate() {
        let spec = query.plan(BatchId(batch as u64)).unwrap();
        query.commit_to(&spec, places).unwrap();
    }
    query.checkpoint.sync().unwrap();
    let expected = BTreeMap::from([("a".to_owned(), delivered(1)), ("b".to_owned(), delivered(0))]);
    query.snapshot();
    drop(query);
    let query = Query::open(&disk).unwrap();
    assert_eq!(query.recovered.delivered, expected);
    assert_eq!(query.recovered.committed(), Some(BatchId(2)));
}
