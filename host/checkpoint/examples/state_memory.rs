//! What an entry of the state takes: memory beside its key and value, and time.
//!
//! ```text
//! cargo run --release -p tidemill-checkpoint --example state_memory -- forever
//! ```
//!
//! One pattern for each run, because memory that was used once does not go back:
//! `forever` (no watermark), `windows` (ten buckets), `buckets` (each entry has its own),
//! `members` (groups of one, each in a bucket of its own), `hot` (all members in one group).

use std::time::Instant;

use tidemill_checkpoint::{MemoryStateStore, StateBackend};
use tidemill_core::{Bucket, OperatorId, ShardId, ShardState, StateStore};

const ENTRIES: u64 = 1_000_000;
const KEY_BYTES: usize = 32;
const VALUE: [u8; 16] = [7; 16];

fn main() {
    let pattern = std::env::args().nth(1).unwrap_or_default();
    let store = MemoryStateStore::new(u64::MAX);
    let shard = store.shard(OperatorId(0), ShardId(0));
    let run = |what: &str, work: &mut dyn FnMut(&mut dyn ShardState, u64)| {
        let begin = Instant::now();
        (0..ENTRIES).for_each(|i| work(&mut *shard.lock().expect("one thread"), i));
        store.apply();
        let nanos = begin.elapsed().as_nanos() as u64 / ENTRIES;
        println!("{pattern}: {what}: {nanos} ns an entry");
    };
    let before = resident_bytes();
    // In batches, as a query does it: what a batch needs to be undone is not counted.
    let begin = Instant::now();
    for i in 0..ENTRIES {
        put(&pattern, &mut *shard.lock().expect("one thread"), i);
        if i % 10_000 == 0 {
            store.apply();
        }
    }
    store.apply();
    println!("{pattern}: put: {} ns an entry", begin.elapsed().as_nanos() as u64 / ENTRIES);
    let taken = (resident_bytes() - before) / ENTRIES;
    let usage = shard.lock().expect("one thread").usage();
    let payload = (KEY_BYTES + VALUE.len()) as u64;
    println!(
        "{pattern}: {} bytes an entry beside {payload} of key and value; usage() says {}",
        taken - payload,
        usage.bytes / usage.rows - payload,
    );
    run("put again", &mut |shard, i| put(&pattern, shard, i));
    run("get", &mut |shard, i| {
        let i = i.wrapping_mul(7_919) % ENTRIES;
        assert!(shard.get(bucket(&pattern, i), &key(&pattern, i)).is_some());
    });
    let begin = Instant::now();
    let mut shard = shard.lock().expect("one thread");
    shard.scan(Bucket::FOREVER, &mut |_, _, _| {});
    println!("{pattern}: scan: {} ns an entry", begin.elapsed().as_nanos() as u64 / ENTRIES);
    let begin = Instant::now();
    assert_eq!(shard.evict(Bucket::FOREVER, &mut |_, _, _| {}), Ok(ENTRIES));
    drop(shard);
    store.apply();
    println!("{pattern}: evict: {} ns an entry", begin.elapsed().as_nanos() as u64 / ENTRIES);
}

fn put(pattern: &str, shard: &mut dyn ShardState, i: u64) {
    let (bucket, key) = (bucket(pattern, i), key(pattern, i));
    let done = match pattern {
        "members" | "hot" => {
            let group = &key[..KEY_BYTES - 8];
            if i == 0 {
                shard.members(group, &mut |_, _, _| {});
            }
            shard.put_member(bucket, group, i, &VALUE)
        }
        _ => shard.put(bucket, &key, &VALUE),
    };
    done.expect("the budget is ample");
}

fn bucket(pattern: &str, i: u64) -> Bucket {
    match pattern {
        "windows" => Bucket((i % 10) as i64),
        // Rows come somewhat out of order.
        "buckets" | "members" | "hot" => Bucket((i ^ 0x5a5) as i64 * 1_000),
        _ => Bucket::FOREVER,
    }
}

fn key(pattern: &str, i: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    if pattern != "hot" {
        key[..8].copy_from_slice(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    }
    key[KEY_BYTES - 8..].copy_from_slice(&i.to_be_bytes());
    key
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number of pages") * 4096
}
