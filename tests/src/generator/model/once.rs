//! Deduplications.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Batch;
use crate::generator::or_null;
use crate::generator::rows::Row;

/// The event time is one of the columns, so equal rows that come after the first one left are late.
pub(super) fn once(batches: &[Batch]) -> Vec<Batch> {
    let mut seen = BTreeSet::new();
    let mut first = |row: &Row| seen.insert((row.key, row.value, row.time));
    let given = batches.iter().map(|batch| {
        let in_time = batch.rows[0].iter().filter(|row| row.time > batch.late);
        batch.with(in_time.filter(|row| first(row)).cloned().collect())
    });
    given.collect()
}

/// Of equal rows in one batch the first counts, by file and line. (In Spark the files of a batch have
/// no order.)
pub(super) fn once_within_watermark(batches: &[Batch], delay: i64) -> Vec<Batch> {
    let mut expiries: BTreeMap<u8, i64> = BTreeMap::new();
    let given = batches.iter().map(|batch| {
        let mut rows = Vec::new();
        for row in batch.rows[0].iter().filter(|row| row.time > batch.late) {
            if let Entry::Vacant(first) = expiries.entry(row.key) {
                first.insert(row.time + delay);
                rows.push(row.clone());
            }
        }
        expiries.retain(|_, expiry| *expiry > batch.watermark);
        batch.with(rows)
    });
    given.collect()
}

pub(super) fn id(row: &Row) -> String {
    format!("{{\"id\":{}}}", row.id)
}

pub(super) fn columns(row: &Row) -> String {
    let Row { key, time, .. } = row;
    format!("{{\"key\":{key},\"value\":{},\"at\":{time}}}", or_null(row.value))
}
