//! What Spark gives for a scenario.
//!
//! The model knows batches, rows and two watermarks. An operator takes all batches and gives as
//! many. Windows are filled at the end, and state is lists of rows, so that the model shares no idea
//! with the engine that could be wrong in both.

mod groups;
mod join;
mod once;

use groups::Group;
use join::{Join, Pair};

use super::rows::Row;
use super::shape::{Shape, Windowed};
use super::{Mode, Scenario, Start};

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
        let mut lines = self.lines().concat();
        lines.sort();
        lines
    }

    /// The same with the number of the batch before each line. In complete mode, where each batch
    /// gives all, only the last one is known.
    #[must_use]
    pub fn expected_by_batch(&self) -> Vec<String> {
        let batches = self.lines().into_iter().enumerate();
        let numbered = |(number, lines): (usize, Vec<String>)| {
            lines.into_iter().map(move |line| format!("batch {number} {line}"))
        };
        let mut lines: Vec<String> = batches.flat_map(numbered).collect();
        lines.sort();
        lines
    }

    /// What each batch gives.
    fn lines(&self) -> Vec<Vec<String>> {
        let batches = self.batches();
        match &self.shape {
            Shape::Totals { by_key } => {
                let totals = |batches: &[Batch]| groups::totals(batches, *by_key);
                self.come_out(&batches, totals, Group::total)
            }
            Shape::Windows(windowed) => {
                let batches = self.below(windowed, batches);
                let windows = |batches: &[Batch]| groups::windows(batches, windowed);
                self.come_out(&batches, windows, Group::window)
            }
            Shape::Sessions { gap } => {
                let sessions = |batches: &[Batch]| groups::sessions(batches, *gap);
                self.come_out(&batches, sessions, Group::session)
            }
            Shape::Once { within_watermark } => {
                let line = if *within_watermark { once::id } else { once::columns };
                let given = self.given(&self.shape, batches).into_iter();
                given.map(|batch| batch.rows[0].iter().map(line).collect()).collect()
            }
            Shape::Join(joined) => {
                let given = Join::new(*joined).run(&batches).into_iter();
                let line = |pair: &Pair| pair.line(joined.how);
                given.map(|pairs| pairs.iter().map(line).collect()).collect()
            }
        }
    }

    /// Lines of groups by batch: in complete mode of all, in update mode of those that the batch
    /// touched, otherwise of those that leave.
    fn come_out(
        &self,
        batches: &[Batch],
        groups: impl Fn(&[Batch]) -> Vec<Group>,
        line: fn(&Group) -> String,
    ) -> Vec<Vec<String>> {
        let mut lines = vec![Vec::new(); batches.len()];
        if self.mode == Mode::Update {
            for (number, lines) in lines.iter_mut().enumerate() {
                let (before, now) = (groups(&batches[..number]), groups(&batches[..=number]));
                // A group without a key is given again whatever comes.
                let is_same =
                    |one: &Group, other: &Group| one.is_one_of_many() && line(one) == line(other);
                let touched = now.iter().filter(|g| !before.iter().any(|b| is_same(b, g)));
                lines.extend(touched.map(line));
            }
            return lines;
        }
        for group in groups(batches) {
            let leaves_in = match self.mode {
                Mode::Complete => batches.len().checked_sub(1),
                _ => group.leaves_in,
            };
            if let Some(batch) = leaves_in {
                lines[batch].push(line(&group));
            }
        }
        lines
    }

    /// What an operator gives to the one above it, batch by batch, with that one's watermarks.
    fn given(&self, shape: &Shape, batches: Vec<Batch>) -> Vec<Batch> {
        match shape {
            Shape::Totals { .. } => unreachable!("nothing is above totals"),
            Shape::Windows(windowed) => {
                let batches = self.below(windowed, batches);
                groups::given(&groups::windows(&batches, windowed), &batches)
            }
            Shape::Sessions { gap } => groups::given(&groups::sessions(&batches, *gap), &batches),
            Shape::Once { within_watermark: false } => once::once(&batches),
            Shape::Once { within_watermark: true } => {
                once::once_within_watermark(&batches, self.delays[0])
            }
            Shape::Join(joined) => Join::new(*joined).given(&batches),
        }
    }

    /// What comes to an aggregation by windows.
    fn below(&self, windowed: &Windowed, batches: Vec<Batch>) -> Vec<Batch> {
        match &windowed.below {
            Some(below) => self.given(below, batches),
            None => batches,
        }
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
            if has_run && !start.is_once && !self.is_complete() && watermark > late {
                let rows = vec![Vec::new(); self.delays.len()];
                batches.push(Batch { rows, late, watermark });
                late = watermark;
            }
        }
        if self.is_complete() {
            // Nothing leaves.
            batches.iter_mut().for_each(|batch| batch.watermark = i64::MIN);
            if !self.shape.drops_late_rows_in_complete_mode() {
                batches.iter_mut().for_each(|batch| batch.late = i64::MIN);
            }
        }
        batches
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

impl Batch {
    /// The same batch with what an operator makes of its rows.
    fn with(&self, rows: Vec<Row>) -> Batch {
        Batch { rows: vec![rows], ..*self }
    }

    /// As an operator sees it whose watermark stays behind the query's, once that has moved.
    fn behind(self, lag: i64) -> Batch {
        let behind = |watermark: i64| if watermark == 0 { 0 } else { watermark - lag };
        Batch { late: behind(self.late), watermark: behind(self.watermark), ..self }
    }
}
