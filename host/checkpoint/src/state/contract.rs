//! What every state back end has to do: each function is one test, and [`check`] runs them all.
//!
//! A back end's own tests call [`check`] with a way to make an empty store that lets one batch
//! change `overlay_bytes_max` bytes.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use tidemill_core::{
    Bucket, OperatorId, ShardId, ShardState, StateError, member_key, split_member,
};

use super::{Change, StateBackend};

/// Room for any batch of these tests.
const AMPLE: u64 = 64 * 1024 * 1024;

const OPERATOR: OperatorId = OperatorId(1);
const SHARD: ShardId = ShardId(0);

type Entry = (Bucket, Vec<u8>, Vec<u8>);
type Member = (i64, u64, String);
type Model = BTreeMap<(Bucket, Vec<u8>), Vec<u8>>;

/// Runs the whole contract.
pub fn check<S: StateBackend>(make: impl Fn(u64) -> S) {
    reads_see_the_running_batch(&make(AMPLE));
    discard_leaves_the_state_as_it_was(&make(AMPLE));
    scans_are_in_order_and_stop_where_told(&make(AMPLE));
    the_first_bucket_is_of_what_is_there(&make(AMPLE));
    changes_are_in_order_and_hold_what_was_removed(&make(AMPLE));
    shards_are_apart(&make(AMPLE));
    a_batch_may_not_outgrow_its_budget(&make(1_000));
    usage_follows_every_change(&make(AMPLE));
    members_see_the_running_batch(&make(AMPLE));
    members_are_in_order_in_all_buckets(&make(AMPLE));
    discard_brings_members_back(&make(AMPLE));
    members_are_found_after_a_recovery(&make(AMPLE));
    a_large_group_is_evicted_one_by_one(&make(AMPLE));
    for seed in 0..20 {
        random_batches_do_what_a_sorted_map_does(&make(AMPLE), seed);
    }
}

/// A put is read back at once, and stays when the batch is applied.
pub fn reads_see_the_running_batch(store: &impl StateBackend) {
    put(store, 5, "a", "1");
    put(store, 5, "a", "2");
    put(store, 7, "a", "3");
    assert_eq!(get(store, 5, "a"), Some("2".into()));
    assert_eq!(get(store, 7, "a"), Some("3".into()));
    assert_eq!(get(store, 5, "b"), None);
    store.apply();
    assert_eq!(get(store, 5, "a"), Some("2".into()));
    assert!(remove(store, 5, "a"));
    assert!(!remove(store, 5, "a"), "it is gone already");
    assert_eq!(get(store, 5, "a"), None);
    store.apply();
    assert_eq!(get(store, 5, "a"), None);
    assert_eq!(get(store, 7, "a"), Some("3".into()));
    assert!(remove(store, 7, "a"));
    put(store, 7, "a", "4");
    assert_eq!(get(store, 7, "a"), Some("4".into()), "it came back");
    store.apply();
    assert_eq!(get(store, 7, "a"), Some("4".into()));
}

/// A batch that fails changes nothing.
pub fn discard_leaves_the_state_as_it_was(store: &impl StateBackend) {
    put(store, 1, "kept", "1");
    put(store, 2, "removed", "2");
    put(store, 2, "back again", "3");
    store.apply();
    let (entries, usage) = (scan(store, i64::MAX), with_shard(store, |shard| shard.usage()));
    put(store, 1, "kept", "changed");
    put(store, 3, "new", "3");
    remove(store, 2, "removed");
    remove(store, 2, "back again");
    put(store, 2, "back again", "longer");
    put(store, 4, "in vain", "4");
    remove(store, 4, "in vain");
    store.discard();
    assert_eq!(scan(store, i64::MAX), entries);
    assert_eq!(with_shard(store, |shard| shard.usage()), usage);
    assert!(changes(store).is_empty());
}

/// The first bucket is that of an entry which is there, the running batch's changes included.
pub fn the_first_bucket_is_of_what_is_there(store: &impl StateBackend) {
    let first = || with_shard(store, |shard| shard.first());
    assert_eq!(first(), None);
    put(store, 7, "a", "1");
    put(store, 5, "b", "1");
    assert_eq!(first(), Some(Bucket(5)));
    assert!(remove(store, 5, "b"));
    assert_eq!(first(), Some(Bucket(7)));
    store.discard();
    assert_eq!(first(), None);
}

/// Scans merge the overlay in, and visit buckets up to and with the one that is named.
pub fn scans_are_in_order_and_stop_where_told(store: &impl StateBackend) {
    for (bucket, key) in [(9, "a"), (5, "b"), (5, "a"), (-5, "z"), (i64::MAX, "x")] {
        put(store, bucket, key, "old");
    }
    store.apply();
    put(store, 5, "aa", "new");
    put(store, 6, "", "new");
    remove(store, 5, "b");
    let keys = |until| -> Vec<(i64, String)> {
        let text = |(bucket, key, _): Entry| (bucket.0, String::from_utf8(key).expect("text"));
        scan(store, until).into_iter().map(text).collect()
    };
    let all = [(-5, "z"), (5, "a"), (5, "aa"), (6, ""), (9, "a"), (i64::MAX, "x")];
    let all = all.map(|(bucket, key)| (bucket, key.to_owned()));
    assert_eq!(keys(i64::MAX), all);
    assert_eq!(keys(6), all[..4]);
    assert_eq!(keys(8), all[..4]);
    assert_eq!(keys(-6), []);
}

/// What a batch hands to the log.
pub fn changes_are_in_order_and_hold_what_was_removed(store: &impl StateBackend) {
    put(store, 1, "gone", "1");
    store.apply();
    put_at(store, OperatorId(2), SHARD, 0, "k", "v");
    put_at(store, OPERATOR, ShardId(3), 0, "k", "v");
    put(store, 4, "b", "v");
    put(store, 4, "a", "v");
    remove(store, 1, "gone");
    put(store, 2, "in vain", "v");
    remove(store, 2, "in vain");
    let shown: Vec<String> = changes(store);
    let wanted = ["1/0/1/gone=-", "1/0/4/a=v", "1/0/4/b=v", "1/3/0/k=v", "2/0/0/k=v"];
    assert_eq!(shown, wanted);
    store.apply();
    assert!(changes(store).is_empty());
}

/// Operators and shards do not see each other, and a shard is the same whenever it is asked for.
pub fn shards_are_apart(store: &impl StateBackend) {
    put(store, 1, "k", "mine");
    put_at(store, OPERATOR, ShardId(1), 1, "k", "theirs");
    put_at(store, OperatorId(0), SHARD, 1, "k", "another's");
    store.apply();
    assert_eq!(get(store, 1, "k"), Some("mine".into()));
    assert_eq!(store.rows(), BTreeMap::from([(OperatorId(0), 1), (OPERATOR, 2)]));
}

/// The store was made with a budget of 1,000 bytes.
pub fn a_batch_may_not_outgrow_its_budget(store: &impl StateBackend) {
    put(store, 1, "k", "v");
    let large = [0; 2_000];
    let refused = with_shard(store, |shard| shard.put(Bucket(1), b"k", &large));
    assert!(matches!(refused, Err(StateError::OverlayTooLarge { limit: 1_000, .. })));
    assert_eq!(get(store, 1, "k"), Some("v".into()), "a refused change is no change");
    let add = |key: u8| with_shard(store, |shard| shard.put(Bucket(1), &[key], &[0; 50]));
    assert!((0..=255).map(add).any(|result| result.is_err()), "small ones add up");
    store.discard();
    assert_eq!(add(0), Ok(()), "the next batch has the whole budget");
    for _ in 0..100 {
        assert_eq!(add(0), Ok(()), "to change one key over and over takes no more room");
    }
    store.apply();
    assert_eq!(add(1), Ok(()));
    store.apply();
    for bucket in 2..10 {
        let some = |shard: &mut dyn ShardState| shard.put(Bucket(bucket), b"k", &[0; 500]);
        assert_eq!(with_shard(store, some), Ok(()));
        store.apply();
    }
    assert_eq!(evict(store, 9).len(), 10, "what leaves may be larger than the budget");
}

/// Rows and bytes are counted as changes come, not when somebody asks.
pub fn usage_follows_every_change(store: &impl StateBackend) {
    let usage = || with_shard(store, |shard| shard.usage());
    assert_eq!(usage().rows, 0);
    put(store, 1, "k", "v");
    let one = usage();
    assert_eq!(one.rows, 1);
    put(store, 1, "k", "vvv");
    assert_eq!((usage().rows, usage().bytes), (1, one.bytes + 2));
    store.apply();
    put(store, 1, "k", "v");
    assert_eq!(usage(), one);
    remove(store, 1, "k");
    assert_eq!((usage().rows, usage().bytes), (0, 0));
    store.apply();
    assert_eq!((usage().rows, usage().bytes), (0, 0));
}

/// Members come and go like any entry, and have the keys that they are said to have.
pub fn members_see_the_running_batch(store: &impl StateBackend) {
    assert_eq!(members(store, "g"), []);
    put_member(store, 5, "g", 1, "one");
    put_member(store, 5, "other", 1, "other");
    put(store, 5, "short", "no member");
    assert_eq!(members(store, "g"), [member(5, 1, "one")]);
    assert_eq!(get(store, 5, "g\0\0\0\0\0\0\0\x01"), Some("one".into()));
    put(store, 5, "g\0\0\0\0\0\0\0\x02", "two");
    assert_eq!(members(store, "g"), [member(5, 1, "one"), member(5, 2, "two")]);
    store.apply();
    put_member(store, 5, "g", 1, "changed");
    assert!(remove_member(store, 5, "g", 2));
    assert!(!remove_member(store, 5, "g", 2), "it is gone already");
    assert!(!remove_member(store, 6, "g", 1), "it is in another bucket");
    assert_eq!(members(store, "g"), [member(5, 1, "changed")]);
    assert_eq!(changes(store).len(), 2);
    store.apply();
    assert!(remove_member(store, 5, "g", 1));
    assert_eq!(members(store, "g"), []);
    assert_eq!(members(store, "other"), [member(5, 1, "other")]);
}

/// By number, and by bucket where one number is in several.
pub fn members_are_in_order_in_all_buckets(store: &impl StateBackend) {
    for (bucket, number) in [(9, 3), (i64::MAX, 1), (-1, u64::MAX), (9, 256), (4, 3)] {
        put_member(store, bucket, "", number, "v");
    }
    let wanted = [(i64::MAX, 1), (4, 3), (9, 3), (9, 256), (-1, u64::MAX)];
    let wanted = wanted.map(|(bucket, number)| member(bucket, number, "v"));
    assert_eq!(members(store, ""), wanted);
    store.apply();
    assert_eq!(members(store, ""), wanted);
}

/// A batch that fails leaves groups as they were.
pub fn discard_brings_members_back(store: &impl StateBackend) {
    for number in 0..4 {
        put_member(store, number as i64, "g", number, "old");
    }
    put_member(store, 0, "alone", 0, "old");
    store.apply();
    let before = (members(store, "g"), members(store, "alone"));
    put_member(store, 1, "g", 1, "new");
    put_member(store, 7, "g", 7, "new");
    put_member(store, 7, "new", 7, "new");
    for number in [0, 2, 3] {
        assert!(remove_member(store, number as i64, "g", number));
    }
    put_member(store, 3, "g", 3, "back again");
    assert!(remove_member(store, 0, "alone", 0));
    assert_eq!(members(store, "g").len(), 3);
    store.discard();
    assert_eq!((members(store, "g"), members(store, "alone")), before);
    assert_eq!(members(store, "new"), []);
}

/// Groups are made of what is loaded, whenever they are asked for.
pub fn members_are_found_after_a_recovery(store: &impl StateBackend) {
    let load = |bucket, number, value: Option<&str>| {
        let mut key = Vec::new();
        member_key(b"g", number, &mut key);
        let (bucket, value) = (Bucket(bucket), value.map(str::as_bytes));
        store.load(Change { operator: OPERATOR, shard: SHARD, bucket, key: &key, value });
    };
    for (bucket, number) in [(1, 9), (2, 8), (3, 7)] {
        load(bucket, number, Some("loaded"));
    }
    load(2, 8, None);
    load(3, 7, Some("again"));
    assert_eq!(members(store, "g"), [member(3, 7, "again"), member(1, 9, "loaded")]);
    put_member(store, 2, "g", 8, "put");
    store.apply();
    load(1, 9, None);
    load(4, 6, Some("late"));
    let wanted = [member(4, 6, "late"), member(3, 7, "again"), member(2, 8, "put")];
    assert_eq!(members(store, "g"), wanted);
    assert!(changes(store).is_empty(), "what is loaded is no change");
}

/// A back end that walks a group for each member that leaves does not come to an end here.
pub fn a_large_group_is_evicted_one_by_one(store: &impl StateBackend) {
    const COUNT: u64 = 100_000;
    let bucket = |number: u64| Bucket((number % 1_000) as i64);
    let evict = |numbers: &mut dyn Iterator<Item = u64>| {
        with_shard(store, |shard| {
            for number in numbers {
                assert_eq!(shard.remove_member(bucket(number), b"hot", number), Ok(true));
            }
        });
    };
    with_shard(store, |shard| {
        for number in 0..COUNT {
            assert_eq!(shard.put_member(bucket(number), b"hot", number, b"v"), Ok(()));
        }
    });
    assert_eq!(members(store, "hot").len(), COUNT as usize);
    store.apply();
    evict(&mut (0..COUNT));
    assert_eq!(members(store, "hot"), []);
    store.discard();
    assert_eq!(members(store, "hot").len(), COUNT as usize);
    evict(&mut (0..COUNT).rev().filter(|number| *number != 12_345));
    store.apply();
    assert_eq!(members(store, "hot"), [member(345, 12_345, "v")]);
    assert_eq!(scan(store, i64::MAX).len(), 1);
}

/// Random batches, applied or discarded, against a sorted map.
pub fn random_batches_do_what_a_sorted_map_does(store: &impl StateBackend, seed: u64) {
    let mut random = Random(seed);
    let mut committed = Model::new();
    for _ in 0..30 {
        let mut model = committed.clone();
        for _ in 0..random.below(60) {
            change_both(store, &mut model, &mut random);
        }
        let until = random.below(7) as i64;
        let visible = model.iter().filter(|((bucket, _), _)| bucket.0 <= until);
        let visible = visible.map(|((bucket, key), value)| (*bucket, key.clone(), value.clone()));
        assert_eq!(scan(store, until), visible.collect::<Vec<_>>(), "seed {seed}");
        // Groups are asked for early by some seeds, and late by others.
        if random.below(1 + seed) == 0 {
            for group in 0..GROUPS {
                let wanted = members_of(&model, &group_name(group));
                assert_eq!(members(store, &group_name(group)), wanted, "seed {seed}");
                let has_any =
                    with_shard(store, |shard| shard.has_members(group_name(group).as_bytes()));
                assert_eq!(has_any, !wanted.is_empty(), "seed {seed}");
            }
        }
        assert_eq!(with_changes(store, committed.clone()), model, "seed {seed}");
        assert_eq!(with_shard(store, |shard| shard.usage()).rows, model.len() as u64);
        if random.below(3) == 0 {
            store.discard();
        } else {
            store.apply();
            committed = model;
        }
        assert_eq!(scan(store, i64::MAX).len(), committed.len(), "seed {seed}");
    }
}

fn change_both(store: &impl StateBackend, model: &mut Model, random: &mut Random) {
    let bucket = Bucket(random.below(6) as i64);
    if random.below(20) == 0 {
        let leaving: Vec<Entry> = scan(store, bucket.0);
        assert_eq!(evict(store, bucket.0), leaving);
        model.retain(|(at, _), _| *at > bucket);
        return;
    }
    let mut key = format!("key {}", random.below(12)).into_bytes();
    if random.below(2) == 0 {
        member_key(group_name(random.below(GROUPS)).as_bytes(), random.below(5), &mut key);
    }
    if random.below(3) == 0 {
        let was_there = with_shard(store, |shard| shard.remove(bucket, &key));
        assert_eq!(was_there, Ok(model.remove(&(bucket, key)).is_some()));
        return;
    }
    let value = vec![b'v'; random.below(20) as usize];
    assert_eq!(with_shard(store, |shard| shard.put(bucket, &key, &value)), Ok(()));
    model.insert((bucket, key), value);
}

/// Groups of the random batches.
const GROUPS: u64 = 3;

fn group_name(number: u64) -> String {
    "g".repeat(number as usize)
}

fn members_of(model: &Model, group: &str) -> Vec<Member> {
    let mut members: Vec<Member> = model
        .iter()
        .filter_map(|((bucket, key), value)| {
            let (_, number) = split_member(key).filter(|(found, _)| *found == group.as_bytes())?;
            Some(member(bucket.0, number, &String::from_utf8_lossy(value)))
        })
        .collect();
    members.sort_by_key(|(bucket, number, _)| (*number, *bucket));
    members
}

/// SplitMix64: a failure repeats from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn with_shard<T>(store: &impl StateBackend, run: impl FnOnce(&mut dyn ShardState) -> T) -> T {
    with_shard_of(store, OPERATOR, SHARD, run)
}

fn with_shard_of<T>(
    store: &impl StateBackend,
    operator: OperatorId,
    shard: ShardId,
    run: impl FnOnce(&mut dyn ShardState) -> T,
) -> T {
    let shard = store.shard(operator, shard);
    let mut shard: MutexGuard<'_, dyn ShardState> = shard.lock().expect("no test has panicked");
    run(&mut *shard)
}

fn put(store: &impl StateBackend, bucket: i64, key: &str, value: &str) {
    put_at(store, OPERATOR, SHARD, bucket, key, value);
}

fn put_at(
    store: &impl StateBackend,
    operator: OperatorId,
    shard: ShardId,
    bucket: i64,
    key: &str,
    value: &str,
) {
    let put =
        |shard: &mut dyn ShardState| shard.put(Bucket(bucket), key.as_bytes(), value.as_bytes());
    assert_eq!(with_shard_of(store, operator, shard, put), Ok(()));
}

fn get(store: &impl StateBackend, bucket: i64, key: &str) -> Option<String> {
    with_shard(store, |shard| {
        let value = shard.get(Bucket(bucket), key.as_bytes())?;
        Some(String::from_utf8(value.to_vec()).expect("text"))
    })
}

fn remove(store: &impl StateBackend, bucket: i64, key: &str) -> bool {
    with_shard(store, |shard| shard.remove(Bucket(bucket), key.as_bytes()).expect("it is small"))
}

fn put_member(store: &impl StateBackend, bucket: i64, group: &str, number: u64, value: &str) {
    let put = |shard: &mut dyn ShardState| {
        shard.put_member(Bucket(bucket), group.as_bytes(), number, value.as_bytes())
    };
    assert_eq!(with_shard(store, put), Ok(()));
}

fn remove_member(store: &impl StateBackend, bucket: i64, group: &str, number: u64) -> bool {
    let remove =
        |shard: &mut dyn ShardState| shard.remove_member(Bucket(bucket), group.as_bytes(), number);
    with_shard(store, remove).expect("it is small")
}

fn member(bucket: i64, number: u64, value: &str) -> Member {
    (bucket, number, value.to_owned())
}

fn members(store: &impl StateBackend, group: &str) -> Vec<Member> {
    let mut members = Vec::new();
    with_shard(store, |shard| {
        shard.members(group.as_bytes(), &mut |bucket, number, value| {
            members.push(member(bucket.0, number, &String::from_utf8_lossy(value)));
        });
    });
    members
}

fn scan(store: &impl StateBackend, until: i64) -> Vec<Entry> {
    let mut entries = Vec::new();
    with_shard(store, |shard| {
        shard.scan(Bucket(until), &mut |bucket, key, value| {
            entries.push((bucket, key.to_vec(), value.to_vec()));
        });
    });
    entries
}

/// What leaves.
fn evict(store: &impl StateBackend, until: i64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let evicted = with_shard(store, |shard| {
        shard.evict(Bucket(until), &mut |bucket, key, value| {
            entries.push((bucket, key.to_vec(), value.to_vec()));
        })
    });
    assert_eq!(evicted, Ok(entries.len() as u64));
    entries
}

/// What comes of a state if the changes are made to it that go to the log.
fn with_changes(store: &impl StateBackend, mut model: Model) -> Model {
    let mut last = None;
    let mut change = |Change { bucket, key, value, .. }: Change<'_>| {
        let key = (bucket, key.to_vec());
        assert!(last.as_ref() < Some(&key), "each once, and in order");
        last = Some(key.clone());
        match value {
            Some(value) => model.insert(key, value.to_vec()),
            None => model.remove(&key),
        };
        Ok(())
    };
    store.changes(&mut change).expect("the visitor has no errors");
    model
}

fn changes(store: &impl StateBackend) -> Vec<String> {
    let mut shown = Vec::new();
    let mut show = |Change { operator, shard, bucket, key, value }: Change<'_>| {
        let value = value.map_or("-".into(), String::from_utf8_lossy);
        let key = String::from_utf8_lossy(key);
        shown.push(format!("{}/{}/{}/{key}={value}", operator.0, shard.0, bucket.0));
        Ok(())
    };
    store.changes(&mut show).expect("the visitor has no errors");
    shown
}
