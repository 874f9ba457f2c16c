//! Random queries over random rows, cut into random files and starts, and what a simple model of
//! Spark's rules makes of them.

mod job;
mod model;
mod rows;
mod shape;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::Workbench;
use rows::{Row, Rows, cut};
use shape::Shape;

/// So long after everything else that nothing waits for it.
const END: i64 = rows::BEGIN + 1_000_000;
/// Keys of the rows at the end of each input. They differ, so that these rows meet no other.
const END_KEYS: [u8; 2] = [98, 99];
const INPUTS: [&str; 2] = ["a", "b"];

/// Kinds of queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Aggregation without windows, in complete mode.
    Totals,
    /// Aggregation by windows, of one input.
    Windows,
    /// The same of the rows of two inputs.
    Union,
    /// Aggregation by sessions.
    Sessions,
    /// Equal rows once.
    Deduplication,
    /// Pairs of rows of two inputs.
    Join,
    /// Aggregation by windows of what an aggregation by windows gives.
    WindowsOfWindows,
    /// Aggregation by windows of what an aggregation by sessions gives.
    WindowsOfSessions,
    /// Aggregation by windows of rows that are taken once.
    WindowsOfDeduplication,
    /// Aggregation by windows of pairs of rows.
    WindowsOfJoin,
}

impl Kind {
    fn inputs(self) -> usize {
        if matches!(self, Kind::Union | Kind::Join | Kind::WindowsOfJoin) { 2 } else { 1 }
    }

    /// The output modes in which it may run. In update mode every batch counts, so that they have to
    /// be known.
    fn modes(self, batches_are_known: bool) -> &'static [Mode] {
        match (self, batches_are_known) {
            (Kind::Totals, true) => &[Mode::Complete, Mode::Update],
            (Kind::Totals, false) => &[Mode::Complete],
            (Kind::Windows | Kind::Union, true) => &[Mode::Append, Mode::Complete, Mode::Update],
            (Kind::Windows | Kind::Union, false) | (Kind::Sessions, _) => {
                &[Mode::Append, Mode::Complete]
            }
            _ => &[Mode::Append],
        }
    }
}

/// An output mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Append,
    Complete,
    Update,
}

/// A query, and how its rows come in.
#[derive(Clone, Debug)]
pub struct Scenario {
    shape: Shape,
    mode: Mode,
    /// Of the watermark of each input.
    delays: Vec<i64>,
    starts: Vec<Start>,
}

/// New files, and a start of the query, which then processes them and ends.
#[derive(Clone, Debug)]
struct Start {
    /// The trigger is `once`: one batch. Otherwise it is `available_now`, and a batch has one file
    /// of each input.
    is_once: bool,
    /// Of each input.
    files: Vec<Vec<Vec<Row>>>,
}

impl Scenario {
    /// A random query. Where nobody knows its batches (a crash can cost the one without data, and
    /// rows can be cut otherwise), nothing depends on them: no row is late, and no key is forgotten
    /// and comes again.
    pub fn generate(random: &mut StdRng, kind: Kind, batches_are_known: bool) -> Scenario {
        let shape = Shape::generate(random, kind, batches_are_known);
        let modes = kind.modes(batches_are_known);
        let mode = modes[random.random_range(0..modes.len())];
        Scenario::with_rows(random, kind, shape, mode, batches_are_known)
    }

    /// A random query in complete mode, where no row is too late, except for sessions.
    pub fn generate_complete(random: &mut StdRng, kind: Kind) -> Scenario {
        let shape = Shape::generate(random, kind, false);
        let may_be_late = !shape.drops_late_rows_in_complete_mode();
        Scenario::with_rows(random, kind, shape, Mode::Complete, may_be_late)
    }

    fn with_rows(
        random: &mut StdRng,
        kind: Kind,
        shape: Shape,
        mode: Mode,
        may_be_late: bool,
    ) -> Scenario {
        let delays: Vec<i64> = (0..kind.inputs()).map(|_| random.random_range(1..40)).collect();
        let count = random.random_range(1..5);
        let mut rows = Rows::new(random, &delays, may_be_late);
        let mut starts: Vec<Start> = (0..count).map(|_| rows.start()).collect();
        // Last, everything leaves: with the second row, as a crash can cost the batch without data
        // after the first one.
        let end = |input| Row { id: 0, key: END_KEYS[input], value: None, time: END };
        let files = (0..kind.inputs()).map(|input| vec![vec![end(input)]; 2]).collect();
        starts.push(Start { is_once: false, files });
        Scenario { shape, mode, delays, starts }
    }

    /// The same query over the same rows, cut otherwise into files and starts. The rows of an input
    /// keep their order, so that none becomes late, unless the query takes late ones too.
    #[must_use]
    pub fn cut_anew(&self, random: &mut StdRng) -> Scenario {
        let (end, earlier) = self.starts.split_last().expect("a start at the end");
        let count = random.random_range(1..6);
        let mut starts: Vec<Start> = (0..count)
            .map(|_| Start { is_once: random.random_bool(0.3), files: Vec::new() })
            .collect();
        for input in 0..self.delays.len() {
            let mut rows: Vec<Row> =
                earlier.iter().flat_map(|start| start.files[input].concat()).collect();
            if self.is_complete() && !self.shape.drops_late_rows_in_complete_mode() {
                rows.shuffle(random);
            }
            let files = cut(random, rows);
            let mut files = files.into_iter();
            for (number, start) in starts.iter_mut().enumerate() {
                let is_last = number + 1 == count;
                let most = files.len();
                let taken = if is_last { most } else { random.random_range(0..=most) };
                start.files.push(files.by_ref().take(taken).collect());
            }
        }
        starts.push(end.clone());
        Scenario { starts, ..self.clone() }
    }

    /// How often the query is started.
    #[must_use]
    pub fn starts(&self) -> usize {
        self.starts.len()
    }

    /// Whether each batch gives the whole result.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.mode == Mode::Complete
    }

    /// Writes the job, which keeps its result in memory.
    pub fn write_job(&self, bench: &Workbench) {
        let mode = match self.mode {
            Mode::Append => "append",
            Mode::Complete => "complete",
            Mode::Update => "update",
        };
        let mut job = format!("name = \"random\"\noutput_mode = \"{mode}\"\n");
        for (name, delay) in INPUTS.iter().zip(&self.delays) {
            std::fs::create_dir_all(bench.path(&format!("input/{name}"))).expect("a directory");
            job += &format!(
                "
[source.{name}]
format = \"json\"
path = \"input/{name}\"
schema = \"id INT, key INT, value BIGINT, time TIMESTAMP\"
options = {{ maxFilesPerTrigger = 1 }}
watermark = {{ column = \"time\", delay = \"{delay} seconds\" }}
"
            );
        }
        job += &job::steps(&self.shape, self.delays.len());
        job += "\n[sink]\nformat = \"memory\"\n";
        bench.write("job.toml", job);
    }

    /// Puts the files of a start in place, and gives its trigger as a word of the job.
    pub fn write_files(&self, bench: &Workbench, start: usize) -> &'static str {
        for (input, name) in INPUTS.iter().enumerate().take(self.delays.len()) {
            let earlier: usize = self.starts[..start].iter().map(|s| s.files[input].len()).sum();
            for (file, rows) in self.starts[start].files[input].iter().enumerate() {
                let number = earlier + file;
                let lines: String = rows.iter().map(Row::line).collect();
                bench.write_input(&format!("input/{name}/{number:04}.json"), number as i64, lines);
            }
        }
        if self.starts[start].is_once { "trigger.once=true" } else { "trigger.available_now=true" }
    }
}

fn or_null(value: Option<i64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}
