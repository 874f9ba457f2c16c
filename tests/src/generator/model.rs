//! What Spark gives for a scenario.
//!
//! The model knows batches, rows and two watermarks. It aggregates at the end, and its state is
//! lists of rows, so that it shares no idea with the engine that could be wrong in both.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{How, On, Row, Scenario, Shape, Start, or_null};

/// A batch that runs.
struct Batch {
    /// Of each input.
    rows: Vec<Vec<Row>>,
    /// What is late is at or before it: the watermark of the batch before.
    late: i64,
    /// What leaves is at or before it.
    watermark: i64,
}

impl Scenario {
    /// What the query gives in all, as sorted lines of JSON.
    #[must_use]
    pub fn expected(&self) -> Vec<String> {
        let batches = self.batches();
        let mut lines = match &self.shape {
            Shape::Windows { size, slide, by_key } => {
                self.windows(&batches, *size, *slide, *by_key)
            }
            Shape::Once { within_watermark: false } => once(&batches),
            Shape::Once { within_watermark: true } => {
                once_within_watermark(&batches, self.delays[0])
            }
            Shape::Join { how, on } => Join::new(*how, *on).run(&batches),
        };
        lines.sort();
        lines
    }

    /// Those without data too.
    fn batches(&self) -> Vec<Batch> {
        let mut batches = Vec::new();
        let (mut watermark, mut late) = (0, 0);
        for start in &self.starts {
            // Only the query's watermark outlives a start.
            let mut marks = vec![0; self.delays.len()];
            let with_data = start.batches();
            let has_run = !with_data.is_empty();
            for rows in with_data {
                for ((mark, rows), delay) in marks.iter_mut().zip(&rows).zip(&self.delays) {
                    let reached = rows.iter().map(|row| row.time - delay).max();
                    *mark = reached.unwrap_or(0).max(*mark);
                }
                batches.push(Batch { rows, late, watermark });
                late = watermark;
                watermark = watermark.max(marks.iter().copied().min().unwrap_or(0));
            }
            if has_run && !start.is_once && !self.is_complete && watermark > late {
                let rows = vec![Vec::new(); self.delays.len()];
                batches.push(Batch { rows, late, watermark });
                late = watermark;
            }
        }
        batches
    }

    fn windows(&self, batches: &[Batch], size: i64, slide: i64, by_key: bool) -> Vec<String> {
        let mut groups: BTreeMap<(i64, u8), Vec<&Row>> = BTreeMap::new();
        for batch in batches {
            for row in batch.rows.iter().flatten() {
                let key = if by_key { row.key } else { 0 };
                let late = if self.is_complete { i64::MIN } else { batch.late };
                let starts = windows_of(row.time, size, slide);
                for start in starts.filter(|start| start + size > late) {
                    groups.entry((start, key)).or_default().push(row);
                }
            }
        }
        let last = batches.last().map_or(0, |batch| batch.watermark);
        let has_left = |start: i64| self.is_complete || start + size <= last;
        let groups = groups.iter().filter(|((start, _), _)| has_left(*start));
        groups
            .map(|((start, key), rows)| aggregated(*start, by_key.then_some(*key), rows))
            .collect()
    }
}

impl Start {
    /// Rows of each input, by batch.
    fn batches(&self) -> Vec<Vec<Vec<Row>>> {
        let longest = self.files.iter().map(Vec::len).max().unwrap_or(0);
        if self.is_once && longest > 0 {
            return vec![self.files.iter().map(|files| files.concat()).collect()];
        }
        let batch = |number: usize| {
            let file = |files: &Vec<Vec<Row>>| files.get(number).cloned().unwrap_or_default();
            self.files.iter().map(file).collect()
        };
        (0..longest).map(batch).collect()
    }
}

/// Starts of the windows that a time is in.
fn windows_of(time: i64, size: i64, slide: i64) -> impl Iterator<Item = i64> {
    let last = time.div_euclid(slide) * slide;
    (0..).map(move |back| last - back * slide).take_while(move |start| start + size > time)
}

fn aggregated(start: i64, key: Option<u8>, rows: &[&Row]) -> String {
    let key = key.map_or(String::new(), |key| format!("\"key\":{key},"));
    let values: Vec<i64> = rows.iter().filter_map(|row| row.value).collect();
    format!(
        "{{\"at\":{start},{key}\"n\":{},\"c\":{},\"total\":{},\"low\":{},\"high\":{}}}",
        rows.len(),
        values.len(),
        or_null((!values.is_empty()).then(|| values.iter().sum())),
        or_null(values.iter().copied().min()),
        or_null(values.iter().copied().max()),
    )
}

/// The event time is one of the columns, so equal rows that come after the first one left are late.
fn once(batches: &[Batch]) -> Vec<String> {
    let rows = batches.iter().flat_map(|batch| batch.rows[0].iter().map(move |row| (batch, row)));
    let rows = rows.filter(|(batch, row)| row.time > batch.late).map(|(_, row)| row);
    let different: BTreeSet<_> = rows.map(|row| (row.key, row.value, row.time)).collect();
    let line = |(key, value, time): &(u8, Option<i64>, i64)| {
        format!("{{\"key\":{key},\"value\":{},\"at\":{time}}}", or_null(*value))
    };
    different.iter().map(line).collect()
}

/// Of equal rows in one batch the first counts, by file and line. (In Spark the files of a batch have
/// no order.)
fn once_within_watermark(batches: &[Batch], delay: i64) -> Vec<String> {
    let mut expiries: BTreeMap<u8, i64> = BTreeMap::new();
    let mut lines = Vec::new();
    for batch in batches {
        for row in batch.rows[0].iter().filter(|row| row.time > batch.late) {
            if let Entry::Vacant(first) = expiries.entry(row.key) {
                first.insert(row.time + delay);
                lines.push(format!("{{\"id\":{}}}", row.id));
            }
        }
        expiries.retain(|_, expiry| *expiry > batch.watermark);
    }
    lines
}

/// A join that runs.
struct Join {
    how: How,
    on: On,
    lefts: Vec<Kept>,
    rights: Vec<Kept>,
    lines: Vec<String>,
}

/// A row that a join keeps.
struct Kept {
    row: Row,
    is_matched: bool,
}

impl Join {
    fn new(how: How, on: On) -> Join {
        Join { how, on, lefts: Vec::new(), rights: Vec::new(), lines: Vec::new() }
    }

    fn run(mut self, batches: &[Batch]) -> Vec<String> {
        for batch in batches {
            let is_in_time = |row: &&Row| !self.on.is_late(row, batch.late);
            let lefts: Vec<&Row> = batch.rows[0].iter().filter(is_in_time).collect();
            let rights: Vec<&Row> = batch.rows[1].iter().filter(is_in_time).collect();
            lefts.into_iter().for_each(|row| self.left(row));
            rights.into_iter().for_each(|row| self.right(row));
            self.evict(batch.watermark);
        }
        self.lines
    }

    /// Meets the right rows of earlier batches.
    fn left(&mut self, row: &Row) {
        let mut is_matched = false;
        for right in self.rights.iter_mut().filter(|right| self.on.meet(row, &right.row)) {
            if self.how != How::Semi {
                self.lines.push(pair(Some(row), Some(&right.row)));
            } else if !is_matched {
                self.lines.push(left_alone(row));
            }
            (is_matched, right.is_matched) = (true, true);
        }
        if self.how != How::Semi || !is_matched {
            self.lefts.push(Kept { row: row.clone(), is_matched });
        }
    }

    /// Meets the left rows of this batch too.
    fn right(&mut self, row: &Row) {
        let mut is_matched = false;
        for left in self.lefts.iter_mut().filter(|left| self.on.meet(&left.row, row)) {
            if self.how != How::Semi {
                self.lines.push(pair(Some(&left.row), Some(row)));
            } else if !left.is_matched {
                self.lines.push(left_alone(&left.row));
            }
            (is_matched, left.is_matched) = (true, true);
        }
        self.rights.push(Kept { row: row.clone(), is_matched });
    }

    /// Rows leave, some of which have met no other: also those that were past their time when they
    /// came and yet not late.
    fn evict(&mut self, watermark: i64) {
        let (how, on) = (self.how, self.on);
        let leave = |kept: &mut Vec<Kept>, leaves: &dyn Fn(&Row) -> bool| -> Vec<Row> {
            let (gone, stay): (Vec<Kept>, Vec<Kept>) =
                std::mem::take(kept).into_iter().partition(|kept| leaves(&kept.row));
            *kept = stay;
            gone.into_iter().filter(|kept| !kept.is_matched).map(|kept| kept.row).collect()
        };
        let lefts = leave(&mut self.lefts, &|row| on.left_leaves(row, watermark));
        if matches!(how, How::Left | How::Full) {
            self.lines.extend(lefts.iter().map(|row| pair(Some(row), None)));
        }
        let rights = leave(&mut self.rights, &|row| on.right_leaves(row, watermark));
        if matches!(how, How::Right | How::Full) {
            self.lines.extend(rights.iter().map(|row| pair(None, Some(row))));
        }
    }
}

fn pair(left: Option<&Row>, right: Option<&Row>) -> String {
    let id = |row: Option<&Row>| or_null(row.map(|row| row.id.into()));
    format!("{{\"l\":{},\"r\":{}}}", id(left), id(right))
}

fn left_alone(row: &Row) -> String {
    format!("{{\"l\":{}}}", row.id)
}

impl On {
    fn meet(self, left: &Row, right: &Row) -> bool {
        left.key == right.key
            && match self {
                On::Windows(size) => left.time.div_euclid(size) == right.time.div_euclid(size),
                On::Range { before, after } => {
                    (left.time - before..=left.time + after).contains(&right.time)
                }
            }
    }

    /// Where there are windows, their ends are what counts.
    fn is_late(self, row: &Row, watermark: i64) -> bool {
        match self {
            On::Windows(size) => (row.time.div_euclid(size) + 1) * size <= watermark,
            On::Range { .. } => row.time <= watermark,
        }
    }

    /// Whether no row that is in time can meet it. Rows at the bound of a range stay.
    fn left_leaves(self, row: &Row, watermark: i64) -> bool {
        match self {
            On::Windows(_) => self.is_late(row, watermark),
            On::Range { after, .. } => row.time < watermark - after,
        }
    }

    fn right_leaves(self, row: &Row, watermark: i64) -> bool {
        match self {
            On::Windows(_) => self.is_late(row, watermark),
            On::Range { before, .. } => row.time < watermark - before,
        }
    }
}
