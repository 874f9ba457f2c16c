//! Keyed state, as stateful operators see it.
//!
//! State is addressed by (operator, shard, bucket, key). Keys and values are bytes that mean
//! something to the operator alone. What an operator changes during a batch is an *overlay*: it
//! reads its own changes, and nobody else sees them before the batch commits.

use std::sync::{Arc, Mutex};

/// A stateful operator of the plan, numbered from the sink's side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperatorId(pub u32);

/// A slice of the key space: `hash(key) % shuffle_partitions`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The shard of a key: XXH3-64 of its bytes with seed 0, modulo `count`.
    ///
    /// Checkpoints depend on it, so it never changes (`schemas/checkpoint/v2/FORMAT.md` has test
    /// vectors). `count` is the query's `shuffle_partitions`; 0 is taken as 1.
    #[must_use]
    pub fn of_key(key: &[u8], count: u32) -> ShardId {
        let shard = xxhash_rust::xxh3::xxh3_64(key) % u64::from(count.max(1));
        ShardId(shard as u32)
    }
}

/// Event time by which an entry is evicted, in microseconds since 1970-01-01 UTC (a window's end,
/// say). Entries that never leave have [`Bucket::FOREVER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bucket(pub i64);

impl Bucket {
    /// Of entries that no watermark evicts.
    pub const FOREVER: Bucket = Bucket(i64::MAX);
}

/// The state could not take a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The changes of one batch outgrew their memory.
    #[error(
        "the batch changes more than {limit} bytes of state, which is what is kept in memory until it commits; raise options.state_overlay_memory, and then a lower read limit of the source (maxFilesPerTrigger, maxOffsetsPerTrigger) keeps later batches small"
    )]
    OverlayTooLarge {
        /// Bytes that the overlay would have held when the change was refused.
        wanted: u64,
        /// The budget.
        limit: u64,
    },
}

/// What a shard holds, overlay included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateUsage {
    /// Entries.
    pub rows: u64,
    /// Memory that they take, bookkeeping included.
    pub bytes: u64,
}

/// Is shown an entry: its bucket, key and value.
pub type StateVisitor<'a> = dyn FnMut(Bucket, &[u8], &[u8]) + 'a;

/// Is shown a member of a group: its bucket, number and value.
pub type MemberVisitor<'a> = dyn FnMut(Bucket, u64, &[u8]) + 'a;

/// One shard of one operator's state during one batch.
///
/// Entries can share a *group*: then their keys are the group's bytes followed by a number of
/// their own, the *member* ([`member_key`]). Their buckets may differ. It is all in the key:
/// whatever was put under such a key is a member, and is found by [`ShardState::get`], too.
pub trait ShardState: Send {
    /// The value of a key, with this batch's changes.
    fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]>;

    /// Sets the value of a key.
    fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Removes a key. Returns whether it was there.
    fn remove(&mut self, bucket: Bucket, key: &[u8]) -> Result<bool, StateError>;

    /// Sets the value of a member of a group, as [`put`](ShardState::put) does for its key.
    fn put_member(
        &mut self,
        bucket: Bucket,
        group: &[u8],
        member: u64,
        value: &[u8],
    ) -> Result<(), StateError>;

    /// Removes a member of a group. Returns whether it was there.
    fn remove_member(
        &mut self,
        bucket: Bucket,
        group: &[u8],
        member: u64,
    ) -> Result<bool, StateError>;

    /// Visits the members of a group in all buckets, in (member, bucket) order. Costs what it
    /// visits, but for the first call on a shard, which costs as much as the shard has entries.
    fn members(&self, group: &[u8], visit: &mut MemberVisitor<'_>);

    /// Whether a group has a member in any bucket. Costs as `members`, without the visits.
    fn has_members(&self, group: &[u8]) -> bool;

    /// Visits the entries of all buckets `..=until`, in (bucket, key) order. Costs what it visits.
    fn scan(&self, until: Bucket, visit: &mut StateVisitor<'_>);

    /// The first bucket that has an entry.
    fn first(&self) -> Option<Bucket>;

    /// Removes the entries of all buckets `..=until`, and shows them, in (bucket, key) order.
    /// Returns how many there were. Costs what it removes.
    fn evict(&mut self, until: Bucket, visit: &mut StateVisitor<'_>) -> Result<u64, StateError>;

    /// Size of the shard.
    fn usage(&self) -> StateUsage;
}

/// Bytes of a member's number at the end of its key.
const MEMBER_BYTES: usize = 8;

/// Puts the key of a member of a group into `key`, in place of what it held: the group's bytes
/// and the member's number, 8 bytes, big endian.
///
/// Checkpoints have such keys, so it never changes.
pub fn member_key(group: &[u8], member: u64, key: &mut Vec<u8>) {
    key.clear();
    key.extend(group);
    key.extend(member.to_be_bytes());
}

/// The group and the number in the key of a member; `None` for a key that is too short for one.
#[must_use]
pub fn split_member(key: &[u8]) -> Option<(&[u8], u64)> {
    let (group, member) = key.split_last_chunk::<MEMBER_BYTES>()?;
    Some((group, u64::from_be_bytes(*member)))
}

/// A number for a member that goes by bytes of its own, as the entry of a map does: XXH3-64 of them, with
/// seed 0. Others may have the same.
///
/// Checkpoints have such members, so it never changes.
#[must_use]
pub fn member_of(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// All state of a query. Operators ask it for their shards when a batch begins.
pub trait StateStore: Send + Sync {
    /// The shard, empty if it never held anything. Two calls give the same shard.
    fn shard(&self, operator: OperatorId, shard: ShardId) -> Arc<Mutex<dyn ShardState>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_key_never_changes() {
        assert_eq!(xxhash_rust::xxh3::xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        let shards = |key: &[u8]| [1, 4, 200].map(|count| ShardId::of_key(key, count).0);
        assert_eq!(shards(b""), [0, 2, 138]);
        assert_eq!(shards(b"books"), [0, 3, 19]);
        assert_eq!(shards(&[0; 32]), [0, 1, 69]);
        assert_eq!(shards(&[0xff; 300]), [0, 2, 190]);
        assert_eq!(ShardId::of_key(b"books", 0), ShardId(0));
    }

    #[test]
    fn the_key_of_a_member_comes_apart_again() {
        let mut key = b"something else".to_vec();
        member_key(b"books", 258, &mut key);
        assert_eq!(key, b"books\0\0\0\0\0\0\x01\x02");
        assert_eq!(split_member(&key), Some((&b"books"[..], 258)));
        member_key(b"", u64::MAX, &mut key);
        assert_eq!(split_member(&key), Some((&b""[..], u64::MAX)));
        assert_eq!(split_member(b"7 bytes"), None);
    }
}
