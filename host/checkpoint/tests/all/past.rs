//! Batches that are over, read beside the query that made them.

use std::sync::Barrier;

use tidemill_checkpoint::{Checkpoint, CheckpointError, Choice, MemoryDisk, OpenOptions, Rewound};
use tidemill_core::{BatchId, Digest, MemoryBudget};

use crate::support::{self, Entries, PLUGIN, Query, entries, root};

const OTHER: &[u8] = b"other bytes";

fn rewind(disk: &MemoryDisk, batch: u64) -> Result<Rewound, CheckpointError> {
    let memory = || MemoryBudget::unlimited().reserve("the state");
    Checkpoint::rewind(disk, root(), BatchId(batch), 1 << 20, &memory)
}

/// A query that makes a snapshot whenever it is asked to.
fn open(disk: &MemoryDisk) -> Query {
    let options = OpenOptions { segment_bytes: 1, ..support::options() };
    let mut query = Query::open_with(disk, options).unwrap();
    query.rolls = false;
    query
}

/// Runs these batches, with a snapshot after every third, and gives the state before each, and after
/// the last.
fn run(query: &mut Query, batches: std::ops::Range<u64>) -> Vec<Entries> {
    let mut states = vec![entries(&query.state)];
    for batch in batches {
        query.run_through(batch).unwrap();
        states.push(entries(&query.state));
        if batch % 3 == 2 {
            query.snapshot();
        }
    }
    states
}

#[test]
fn a_batch_has_the_state_and_the_plan_that_it_had() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk);
    let mut states = run(&mut query, 0..12);
    drop(query);
    let mut query = open(&disk);
    states.extend(run(&mut query, 12..25).into_iter().skip(1));
    let mut first = None;
    for (batch, state) in (0..25).zip(&states) {
        match rewind(&disk, batch) {
            Ok(rewound) => {
                first.get_or_insert(batch);
                assert_eq!(rewound.spec.batch, BatchId(batch));
                assert_eq!(rewound.attempt, support::attempt(0));
                assert!(rewound.is_committed);
                assert_eq!(rewound.query_id, *query.checkpoint.query_id());
                assert_eq!(entries(&rewound.state), *state, "before batch {batch}");
            }
            Err(error) => {
                assert_eq!(first, None, "{error}");
                let text = error.to_string();
                assert!(text.contains(&format!("batch {batch} cannot be run again")), "{text}");
                assert!(text.contains(" to 24; what is needed for older ones goes"), "{text}");
            }
        }
    }
    assert!(first.is_some_and(|first| (1..=21).contains(&first)), "four are kept: {first:?}");
    let text = rewind(&disk, 25).err().unwrap().to_string();
    assert!(text.contains("has what is needed for batches"), "{text}");
}

#[test]
fn a_batch_that_is_planned_before_a_snapshot_is_found_in_it() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk);
    query.run_through(3).unwrap();
    let before = entries(&query.state);
    let spec = query.plan(BatchId(4)).unwrap();
    query.checkpoint.sync().unwrap();
    let pending = rewind(&disk, 4).unwrap();
    assert_eq!((pending.is_committed, entries(&pending.state)), (false, before.clone()));
    query.roll().unwrap();
    query.compute(&spec);
    query.commit(&spec).unwrap();
    query.plan(BatchId(5)).unwrap();
    query.checkpoint.sync().unwrap();
    query.checkpoint.snapshot_task().unwrap().unwrap().run().unwrap();
    let rewound = rewind(&disk, 4).unwrap();
    assert_eq!((rewound.spec, rewound.is_committed), (spec, true));
    assert_eq!(entries(&rewound.state), before);
}

#[test]
fn generations_are_told_with_their_batches() {
    let disk = MemoryDisk::new();
    assert_eq!(Checkpoint::generations(&disk, root()).unwrap(), None);
    let mut query = Query::open(&disk).unwrap();
    query.run_through(30).unwrap();
    let all = Checkpoint::generations(&disk, root()).unwrap().unwrap();
    let [generation] = &all[..] else { panic!("{all:?}") };
    assert_eq!((generation.plugin.as_str(), generation.digest), ("numbers", Digest::of(PLUGIN)));
    assert_eq!((generation.last, generation.bytes), (BatchId(30), Some(PLUGIN.len() as u64)));
    assert!(generation.may_be_older && generation.first > BatchId::FIRST, "{generation:?}");
}

#[test]
fn what_is_chosen_stays_while_it_is_chosen() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk);
    query.run_through(0).unwrap();
    let choice = Choice { digest: Digest::of(OTHER), instead_of: Some(Digest::of(PLUGIN)) };
    let choose = |choice| Checkpoint::choose(&disk, root(), "numbers", choice);
    let error = choose(Some(choice)).err().unwrap().to_string();
    assert!(error.contains("are not in the checkpoint"), "{error}");
    query.checkpoint.store_plugin(choice.digest, OTHER).unwrap();
    choose(Some(choice)).unwrap();
    assert_eq!(Checkpoint::choices(&disk, root()).unwrap()["numbers"], choice);
    drop(query);
    // No batch ran it and no process uses it, so nothing but the choice keeps it.
    let runs_far = |from: u64| {
        let mut query = open(&disk);
        query.run_through(from + 20).unwrap();
        query.snapshot();
    };
    runs_far(1);
    assert_eq!(Checkpoint::kept_plugin(&disk, root(), choice.digest).unwrap(), OTHER);
    choose(None).unwrap();
    assert!(Checkpoint::choices(&disk, root()).unwrap().is_empty());
    runs_far(30);
    let gone = Checkpoint::kept_plugin(&disk, root(), choice.digest);
    assert!(matches!(gone, Err(CheckpointError::NoPlugin { .. })));
}

/// Two commands that are given at the same moment.
#[test]
fn choices_that_are_made_at_once_are_all_kept() {
    const PLUGINS: usize = 4;
    let disk = MemoryDisk::new();
    let mut query = open(&disk);
    query.run_through(0).unwrap();
    let chosen = Choice { digest: Digest::of(PLUGIN), instead_of: None };
    for (round, choice) in [Some(chosen), None].into_iter().cycle().take(50).enumerate() {
        let together = Barrier::new(PLUGINS);
        std::thread::scope(|scope| {
            for plugin in 0..PLUGINS {
                let (disk, together) = (&disk, &together);
                scope.spawn(move || {
                    together.wait();
                    let name = format!("p{plugin}");
                    Checkpoint::choose(disk, root(), &name, choice).unwrap();
                });
            }
        });
        let kept = Checkpoint::choices(&disk, root()).unwrap().len();
        assert_eq!(kept, if choice.is_some() { PLUGINS } else { 0 }, "round {round}");
    }
}
