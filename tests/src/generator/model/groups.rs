//! Aggregations.

use std::collections::BTreeMap;

use super::Batch;
use crate::generator::or_null;
use crate::generator::rows::Row;
use crate::generator::shape::{Of, Windowed, Windows};

/// Rows that are aggregated together.
pub(super) struct Group {
    start: i64,
    end: i64,
    key: Option<u8>,
    rows: Vec<Row>,
    /// The number of the batch at whose end it leaves, if it does.
    pub(super) leaves_in: Option<usize>,
}

impl Group {
    /// Whether it is one of several, by key or window.
    pub(super) fn is_one_of_many(&self) -> bool {
        self.key.is_some() || self.end != self.start
    }

    pub(super) fn total(&self) -> String {
        self.line(&[])
    }

    pub(super) fn window(&self) -> String {
        self.line(&[("at", self.start)])
    }

    pub(super) fn session(&self) -> String {
        self.line(&[("at", self.start), ("until", self.end)])
    }

    fn line(&self, times: &[(&str, i64)]) -> String {
        let key = self.key.map(|key| ("key", i64::from(key)));
        let names = times.iter().copied().chain(key);
        let names: String = names.map(|(name, value)| format!("\"{name}\":{value},")).collect();
        let values: Vec<i64> = self.values().collect();
        format!(
            "{{{names}\"n\":{},\"c\":{},\"total\":{},\"low\":{},\"high\":{}}}",
            self.rows.len(),
            values.len(),
            or_null(self.sum()),
            or_null(values.iter().copied().min()),
            or_null(values.iter().copied().max()),
        )
    }

    fn values(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().filter_map(|row| row.value)
    }

    fn sum(&self) -> Option<i64> {
        self.values().reduce(|sum, value| sum + value)
    }

    /// For an operator above. The time of a window is its last moment.
    fn row(&self) -> Row {
        Row { id: 0, key: self.key.unwrap_or(0), value: self.sum(), time: self.end - 1 }
    }
}

/// What leaves, batch by batch.
pub(super) fn given(groups: &[Group], batches: &[Batch]) -> Vec<Batch> {
    let leaving = |number: usize| groups.iter().filter(move |g| g.leaves_in == Some(number));
    let given = batches.iter().enumerate();
    given.map(|(number, batch)| batch.with(leaving(number).map(Group::row).collect())).collect()
}

pub(super) fn totals(batches: &[Batch], by_key: bool) -> Vec<Group> {
    let mut groups: BTreeMap<Option<u8>, Vec<Row>> = BTreeMap::new();
    for row in batches.iter().flat_map(|batch| batch.rows.iter().flatten()) {
        groups.entry(by_key.then_some(row.key)).or_default().push(row.clone());
    }
    let group = |(key, rows)| Group { start: 0, end: 0, key, rows, leaves_in: None };
    groups.into_iter().map(group).collect()
}

/// A window takes all that is not late, and leaves in the first batch whose watermark it has.
pub(super) fn windows(batches: &[Batch], windowed: &Windowed) -> Vec<Group> {
    let size = windowed.windows.size;
    let mut groups: BTreeMap<(i64, Option<u8>), Vec<Row>> = BTreeMap::new();
    for batch in batches {
        for row in batch.rows.iter().flatten() {
            let key = windowed.by_key.then_some(row.key);
            let starts = windowed.starts(row.time).into_iter();
            for start in starts.filter(|start| start + size > batch.late) {
                groups.entry((start, key)).or_default().push(row.clone());
            }
        }
    }
    let group = |((start, key), rows)| {
        let end = start + size;
        let leaves_in = batches.iter().position(|batch| end <= batch.watermark);
        Group { start, end, key, rows, leaves_in }
    };
    groups.into_iter().map(group).collect()
}

impl Windowed {
    /// Starts of the windows that a time is in.
    fn starts(&self, time: i64) -> Vec<i64> {
        let Windows { size, slide } = self.windows;
        if self.of == Of::Same {
            return vec![time + 1 - size];
        }
        let last = time.div_euclid(slide) * slide;
        let starts = (0..).map(|back| last - back * slide);
        starts.take_while(|start| start + size > time).collect()
    }
}

/// A row is late if it were too late as a session of its own. Rows wait until their session is
/// over, and are put in sessions anew in each batch; those of a session that has left meet no row
/// any more.
pub(super) fn sessions(batches: &[Batch], gap: i64) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut waiting: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
    for (number, batch) in batches.iter().enumerate() {
        for row in batch.rows.iter().flatten().filter(|row| row.time + gap > batch.late) {
            waiting.entry(row.key).or_default().push(row.clone());
        }
        for rows in waiting.values_mut() {
            let sessions = in_sessions(std::mem::take(rows), gap);
            let (over, open): (Vec<Group>, Vec<Group>) =
                sessions.into_iter().partition(|session| session.end <= batch.watermark);
            rows.extend(open.into_iter().flat_map(|session| session.rows));
            groups.extend(over.into_iter().map(|s| Group { leaves_in: Some(number), ..s }));
        }
    }
    groups.extend(waiting.into_values().flat_map(|rows| in_sessions(rows, gap)));
    groups
}

/// Rows of one key: those that are no more than the gap apart are in one session.
fn in_sessions(mut rows: Vec<Row>, gap: i64) -> Vec<Group> {
    rows.sort_by_key(|row| row.time);
    let sessions = rows.chunk_by(|one, next| next.time - one.time <= gap);
    let group = |rows: &[Row]| {
        let (first, last) = (&rows[0], &rows[rows.len() - 1]);
        let (start, end, key) = (first.time, last.time + gap, Some(first.key));
        Group { start, end, key, rows: rows.to_vec(), leaves_in: None }
    };
    sessions.map(group).collect()
}
