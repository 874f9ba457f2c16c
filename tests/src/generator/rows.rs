//! Rows of the inputs, and their files.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Start, or_null};

/// 2026-01-01 in seconds since 1970. All times are seconds.
pub(super) const BEGIN: i64 = 1_767_225_600;
/// A file has fewer rows.
const FILE_ROWS: usize = 6;

/// A row of an input, or what an operator hands on to another.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: u32,
    pub(super) key: u8,
    pub(super) value: Option<i64>,
    pub(super) time: i64,
}

impl Row {
    pub(super) fn line(&self) -> String {
        let Row { id, key, time, .. } = self;
        let value = or_null(self.value);
        format!("{{\"id\":{id},\"key\":{key},\"value\":{value},\"time\":{time}}}\n")
    }
}

/// Makes rows of one scenario.
pub(super) struct Rows<'a> {
    random: &'a mut StdRng,
    delays: &'a [i64],
    may_be_late: bool,
    /// Latest time of each input.
    clocks: Vec<i64>,
    id: u32,
}

impl<'a> Rows<'a> {
    pub(super) fn new(random: &'a mut StdRng, delays: &'a [i64], may_be_late: bool) -> Rows<'a> {
        Rows { random, delays, may_be_late, clocks: vec![BEGIN; delays.len()], id: 0 }
    }

    pub(super) fn start(&mut self) -> Start {
        let is_once = self.random.random_bool(0.3);
        let files = (0..self.delays.len()).map(|input| self.files(input)).collect();
        Start { is_once, files }
    }

    fn files(&mut self, input: usize) -> Vec<Vec<Row>> {
        let files = self.random.random_range(0..4);
        (0..files)
            .map(|_| {
                let rows = self.random.random_range(0..FILE_ROWS);
                (0..rows).map(|_| self.row(input)).collect()
            })
            .collect()
    }

    /// A row that is out of order by less than the watermark's delay, or late.
    fn row(&mut self, input: usize) -> Row {
        self.id += 1;
        self.clocks[input] += self.random.random_range(0..20);
        let mut time = self.clocks[input] - self.random.random_range(0..self.delays[input]);
        if self.may_be_late && self.random.random_bool(0.15) {
            time -= self.random.random_range(0..120);
        }
        let value = self.random.random_bool(0.9).then(|| self.random.random_range(-9..100));
        Row { id: self.id, key: self.random.random_range(0..3), value, time }
    }
}

/// Rows in files, some of which are empty.
pub(super) fn cut(random: &mut StdRng, mut rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut files = Vec::new();
    while !rows.is_empty() {
        let most = rows.len().min(FILE_ROWS - 1);
        files.push(rows.drain(..random.random_range(0..=most)).collect());
    }
    files
}
