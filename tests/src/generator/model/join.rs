//! Joins.

use super::Batch;
use crate::generator::or_null;
use crate::generator::rows::Row;
use crate::generator::shape::{How, Joined, On};

/// A join that runs.
pub(super) struct Join {
    joined: Joined,
    lefts: Vec<Kept>,
    rights: Vec<Kept>,
    /// Of the batch.
    pairs: Vec<Pair>,
}

/// A row that a join keeps.
struct Kept {
    row: Row,
    is_matched: bool,
}

/// What a join gives. A semi join gives left rows.
pub(super) struct Pair {
    left: Option<Row>,
    right: Option<Row>,
}

impl Pair {
    fn new(left: Option<&Row>, right: Option<&Row>) -> Pair {
        Pair { left: left.cloned(), right: right.cloned() }
    }

    pub(super) fn line(&self, how: How) -> String {
        let id = |row: &Option<Row>| or_null(row.as_ref().map(|row| row.id.into()));
        match how {
            How::Semi => format!("{{\"l\":{}}}", id(&self.left)),
            _ => format!("{{\"l\":{},\"r\":{}}}", id(&self.left), id(&self.right)),
        }
    }

    /// For an operator above: key and time of one side, and the value of the other. Without the
    /// side there is no time, so that it is in no window.
    fn row(self, Joined { how, on, by_left }: Joined) -> Option<Row> {
        let (taken, other) =
            if by_left { (self.left, self.right) } else { (self.right, self.left) };
        let taken = taken?;
        let value = match how {
            How::Semi => taken.value,
            _ => other.and_then(|other| other.value),
        };
        let time = match on {
            On::Windows(_) => on.window_end(&taken) - 1,
            On::Range { .. } => taken.time,
        };
        Some(Row { value, time, ..taken })
    }
}

impl Join {
    pub(super) fn new(joined: Joined) -> Join {
        Join { joined, lefts: Vec::new(), rights: Vec::new(), pairs: Vec::new() }
    }

    /// What goes on to the operator above, whose watermark stays so far behind that rows are in time
    /// which a range held back.
    pub(super) fn given(self, batches: &[Batch]) -> Vec<Batch> {
        let joined = self.joined;
        let pairs = self.run(batches).into_iter();
        let given = batches.iter().zip(pairs).map(|(batch, pairs)| {
            let rows = pairs.into_iter().filter_map(|pair| pair.row(joined)).collect();
            batch.with(rows).behind(joined.lag())
        });
        given.collect()
    }

    /// What each batch gives.
    pub(super) fn run(mut self, batches: &[Batch]) -> Vec<Vec<Pair>> {
        let on = self.joined.on;
        let mut given = Vec::new();
        for batch in batches {
            let is_in_time = |row: &&Row| !on.is_late(row, batch.late);
            let lefts = batch.rows[0].iter().filter(is_in_time);
            let rights = batch.rows[1].iter().filter(is_in_time);
            if self.joined.how == How::Semi {
                rights.for_each(|row| self.right_first(row, batch.watermark));
                lefts.for_each(|row| self.left(row));
            } else {
                lefts.for_each(|row| self.left(row));
                rights.for_each(|row| self.right(row));
            }
            self.evict(batch.watermark);
            given.push(std::mem::take(&mut self.pairs));
        }
        given
    }

    /// Meets the right rows of earlier batches, and of this one where they came first.
    fn left(&mut self, row: &Row) {
        let Joined { how, on, .. } = self.joined;
        let mut is_matched = false;
        for right in self.rights.iter_mut().filter(|right| on.meet(row, &right.row)) {
            if how != How::Semi {
                self.pairs.push(Pair::new(Some(row), Some(&right.row)));
            } else if !is_matched {
                self.pairs.push(Pair::new(Some(row), None));
            }
            (is_matched, right.is_matched) = (true, true);
        }
        if how != How::Semi || !is_matched {
            self.lefts.push(Kept { row: row.clone(), is_matched });
        }
    }

    /// In a semi join, meets the left rows of earlier batches alone, and is not kept if it would
    /// leave at the end of this one.
    fn right_first(&mut self, row: &Row, watermark: i64) {
        self.right(row);
        if self.joined.on.right_leaves(row, watermark) {
            self.rights.pop();
        }
    }

    /// Meets the left rows of this batch too, where they came first.
    fn right(&mut self, row: &Row) {
        let Joined { how, on, .. } = self.joined;
        let mut is_matched = false;
        for left in self.lefts.iter_mut().filter(|left| on.meet(&left.row, row)) {
            if how != How::Semi {
                self.pairs.push(Pair::new(Some(&left.row), Some(row)));
            } else if !left.is_matched {
                self.pairs.push(Pair::new(Some(&left.row), None));
            }
            (is_matched, left.is_matched) = (true, true);
        }
        self.rights.push(Kept { row: row.clone(), is_matched });
    }

    /// Rows leave, some of which have met no other: also those that were past their time when they
    /// came and yet not late.
    fn evict(&mut self, watermark: i64) {
        let Joined { how, on, .. } = self.joined;
        let lefts = leave(&mut self.lefts, |row| on.left_leaves(row, watermark));
        if matches!(how, How::Left | How::Full) {
            self.pairs.extend(lefts.iter().map(|row| Pair::new(Some(row), None)));
        }
        let rights = leave(&mut self.rights, |row| on.right_leaves(row, watermark));
        if matches!(how, How::Right | How::Full) {
            self.pairs.extend(rights.iter().map(|row| Pair::new(None, Some(row))));
        }
    }
}

/// Takes rows out. Gives those of them that have met no other.
fn leave(kept: &mut Vec<Kept>, leaves: impl Fn(&Row) -> bool) -> Vec<Row> {
    let (gone, stay): (Vec<Kept>, Vec<Kept>) =
        std::mem::take(kept).into_iter().partition(|kept| leaves(&kept.row));
    *kept = stay;
    gone.into_iter().filter(|kept| !kept.is_matched).map(|kept| kept.row).collect()
}

impl Joined {
    /// How far what leaves may be behind the watermark. Rows at the bound of a range stay, in whole
    /// seconds for one more. Right rows never leave a semi join.
    fn lag(self) -> i64 {
        match (self.how, self.on) {
            (_, On::Windows(_)) => 0,
            (How::Semi, On::Range { after, .. }) => after + 1,
            (_, On::Range { before, after }) => before.max(after) + 1,
        }
    }
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

    /// The time of rows that have no window is its end.
    fn window_end(self, row: &Row) -> i64 {
        match self {
            On::Windows(size) => (row.time.div_euclid(size) + 1) * size,
            On::Range { .. } => row.time,
        }
    }

    fn is_late(self, row: &Row, watermark: i64) -> bool {
        self.window_end(row) <= watermark
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
