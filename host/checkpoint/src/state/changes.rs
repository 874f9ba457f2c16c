//! Changes of state as bytes.
//!
//! An entry is `[operator u32][shard u32][bucket i64][key length u32][key][value length u32]
//! [value]`; a value length of [`REMOVED`] stands for an entry that is gone. The log writes the
//! changes of a batch so, and a snapshot writes all entries so.

use tidemill_core::{Bucket, OperatorId, ShardId};

/// Value length of a removed entry.
const REMOVED: u32 = u32::MAX;

/// Bytes after which a chunk is closed. An entry is never split, so a chunk can be longer by one.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;

/// An entry, put or removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change<'a> {
    /// Whose.
    pub operator: OperatorId,
    /// Where.
    pub shard: ShardId,
    /// When it is evicted.
    pub bucket: Bucket,
    /// Its key.
    pub key: &'a [u8],
    /// Its new value; `None`: it is gone.
    pub value: Option<&'a [u8]>,
}

impl Change<'_> {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.operator.0.to_le_bytes());
        bytes.extend(self.shard.0.to_le_bytes());
        bytes.extend(self.bucket.0.to_le_bytes());
        bytes.extend((self.key.len() as u32).to_le_bytes());
        bytes.extend(self.key);
        bytes.extend(self.value.map_or(REMOVED, |value| value.len() as u32).to_le_bytes());
        bytes.extend(self.value.unwrap_or_default());
    }
}

/// The changes of a chunk; `None` for what is not one.
pub(crate) fn decode(mut bytes: &[u8]) -> impl Iterator<Item = Option<Change<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let change = decode_first(&mut bytes);
        if change.is_none() {
            bytes = &[];
        }
        Some(change)
    })
}

/// Takes the first change off `bytes`; `None` for what is not one.
pub(crate) fn decode_first<'a>(bytes: &mut &'a [u8]) -> Option<Change<'a>> {
    let operator = OperatorId(take_u32(bytes)?);
    let shard = ShardId(take_u32(bytes)?);
    let (bucket, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let bucket = Bucket(i64::from_le_bytes(*bucket));
    let key_len = take_u32(bytes)?;
    let key = take(bytes, key_len)?;
    let value = match take_u32(bytes)? {
        REMOVED => None,
        len => Some(take(bytes, len)?),
    };
    Some(Change { operator, shard, bucket, key, value })
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn take<'a>(bytes: &mut &'a [u8], len: u32) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len as usize)?;
    *bytes = rest;
    Some(taken)
}
