//! Random queries over random rows, cut into random files and starts, and what a simple model of
//! Spark's rules makes of them.

mod model;

use rand::Rng;
use rand::rngs::StdRng;

use crate::Workbench;

/// 2026-01-01 in seconds since 1970. All times are seconds.
const BEGIN: i64 = 1_767_225_600;
/// So long after everything else that nothing waits for it.
const END: i64 = BEGIN + 1_000_000;
/// Keys of the rows at the end of each input. They differ, so that these rows meet no other.
const END_KEYS: [u8; 2] = [98, 99];
const INPUTS: [&str; 2] = ["a", "b"];

/// A row of an input.
#[derive(Clone, Debug)]
struct Row {
    id: u32,
    key: u8,
    value: Option<i64>,
    time: i64,
}

/// Kinds of queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Aggregation by windows, of one input.
    Windows,
    /// The same of the rows of two inputs.
    Union,
    /// Equal rows once.
    Deduplication,
    /// Pairs of rows of two inputs.
    Join,
}

#[derive(Clone, Debug)]
enum Shape {
    Windows { size: i64, slide: i64, by_key: bool },
    Once { within_watermark: bool },
    Join { how: How, on: On },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Inner,
    Left,
    Right,
    Full,
    Semi,
}

/// When two rows of one key meet.
#[derive(Clone, Copy, Debug)]
enum On {
    /// In equal windows of this size.
    Windows(i64),
    /// The right one from `before` the left one to `after` it, bounds included.
    Range { before: i64, after: i64 },
}

/// A query, and how its rows come in.
#[derive(Clone, Debug)]
pub struct Scenario {
    shape: Shape,
    is_complete: bool,
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

/// Makes rows of one scenario.
struct Rows<'a> {
    random: &'a mut StdRng,
    delays: &'a [i64],
    may_be_late: bool,
    /// Latest time of each input.
    clocks: Vec<i64>,
    id: u32,
}

impl Rows<'_> {
    fn start(&mut self) -> Start {
        let is_once = self.random.random_bool(0.3);
        let files = (0..self.delays.len()).map(|input| self.files(input)).collect();
        Start { is_once, files }
    }

    fn files(&mut self, input: usize) -> Vec<Vec<Row>> {
        let files = self.random.random_range(0..4);
        (0..files)
            .map(|_| {
                let rows = self.random.random_range(0..6);
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

impl Scenario {
    /// A random query. Where nobody knows its batches (a crash can cost the one without data),
    /// nothing depends on them: no row is late, and no key is forgotten and comes again.
    pub fn generate(random: &mut StdRng, kind: Kind, batches_are_known: bool) -> Scenario {
        let inputs = if matches!(kind, Kind::Union | Kind::Join) { 2 } else { 1 };
        let shape = Shape::generate(random, kind, batches_are_known);
        let is_complete = matches!(shape, Shape::Windows { .. }) && random.random_bool(0.25);
        let delays: Vec<i64> = (0..inputs).map(|_| random.random_range(1..40)).collect();
        let clocks = vec![BEGIN; inputs];
        let count = random.random_range(1..5);
        let mut rows =
            Rows { random, delays: &delays, may_be_late: batches_are_known, clocks, id: 0 };
        let mut starts: Vec<Start> = (0..count).map(|_| rows.start()).collect();
        // Last, everything leaves.
        let end = |input| Row { id: 0, key: END_KEYS[input], value: None, time: END };
        let files = (0..inputs).map(|input| vec![vec![end(input)]]).collect();
        starts.push(Start { is_once: false, files });
        Scenario { shape, is_complete, delays, starts }
    }

    /// How often the query is started.
    #[must_use]
    pub fn starts(&self) -> usize {
        self.starts.len()
    }

    /// Writes the job, which keeps its result in memory.
    pub fn write_job(&self, bench: &Workbench) {
        let mode = if self.is_complete { "complete" } else { "append" };
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
        job += &self.shape.steps(self.delays.len());
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

impl Row {
    fn line(&self) -> String {
        let Row { id, key, time, .. } = self;
        let value = or_null(self.value);
        format!("{{\"id\":{id},\"key\":{key},\"value\":{value},\"time\":{time}}}\n")
    }
}

impl Shape {
    fn generate(random: &mut StdRng, kind: Kind, batches_are_known: bool) -> Shape {
        match kind {
            Kind::Windows | Kind::Union => {
                let slide = random.random_range(1..30);
                let size = if random.random_bool(0.5) {
                    slide
                } else {
                    slide + random.random_range(0..40)
                };
                Shape::Windows { size, slide, by_key: random.random_bool(0.7) }
            }
            Kind::Deduplication => {
                Shape::Once { within_watermark: batches_are_known && random.random_bool(0.5) }
            }
            Kind::Join => {
                let hows = [How::Inner, How::Left, How::Right, How::Full, How::Semi];
                let on = if random.random_bool(0.5) {
                    On::Windows(random.random_range(1..60))
                } else {
                    On::Range {
                        before: random.random_range(0..30),
                        after: random.random_range(0..30),
                    }
                };
                Shape::Join { how: hows[random.random_range(0..hows.len())], on }
            }
        }
    }

    fn steps(&self, inputs: usize) -> String {
        match self {
            Shape::Windows { size, slide, by_key } => {
                let from = match inputs {
                    1 => "a".to_owned(),
                    _ => "(SELECT * FROM a UNION ALL SELECT * FROM b)".to_owned(),
                };
                let key = if *by_key { "key, " } else { "" };
                let by = if *by_key { ", key" } else { "" };
                step(&format!(
                    "SELECT unix_seconds(window.start) AS at, {key}count(*) AS n, count(value) AS c,
  sum(value) AS total, min(value) AS low, max(value) AS high
FROM {from} GROUP BY window(time, '{size} seconds', '{slide} seconds'){by}"
                ))
            }
            Shape::Once { within_watermark: true } => {
                let once = "drop_duplicates = { columns = [\"key\"], within_watermark = true }";
                let out = step("SELECT id FROM once");
                format!("\n[[step]]\nname = \"once\"\n{once}\n{out}")
            }
            Shape::Once { within_watermark: false } => {
                let once = "\n[[step]]\nname = \"once\"\ndrop_duplicates = {}\n";
                let out = "SELECT key, value, unix_seconds(time) AS at FROM once";
                let columns =
                    "\n[[step]]\nname = \"columns\"\nsql = \"SELECT key, value, time FROM a\"\n";
                format!("{columns}{once}{}", step(out))
            }
            Shape::Join { how, on } => {
                let (left, right, condition) = match on {
                    On::Windows(size) => {
                        let side = |table: &str| {
                            format!(
                                "(SELECT id, key, window(time, '{size} seconds') AS w FROM {table})"
                            )
                        };
                        (side("a"), side("b"), "l.w = r.w".to_owned())
                    }
                    On::Range { before, after } => (
                        "a".to_owned(),
                        "b".to_owned(),
                        format!(
                            "r.time BETWEEN l.time - INTERVAL {before} SECONDS AND l.time + INTERVAL {after} SECONDS"
                        ),
                    ),
                };
                let (columns, words) = match how {
                    How::Inner => ("l.id AS l, r.id AS r", "JOIN"),
                    How::Left => ("l.id AS l, r.id AS r", "LEFT OUTER JOIN"),
                    How::Right => ("l.id AS l, r.id AS r", "RIGHT OUTER JOIN"),
                    How::Full => ("l.id AS l, r.id AS r", "FULL OUTER JOIN"),
                    How::Semi => ("l.id AS l", "LEFT SEMI JOIN"),
                };
                step(&format!(
                    "SELECT {columns} FROM {left} l {words} {right} r ON l.key = r.key AND {condition}"
                ))
            }
        }
    }
}

fn step(sql: &str) -> String {
    format!("\n[[step]]\nname = \"out\"\nsql = \"\"\"\n{sql}\n\"\"\"\n")
}

fn or_null(value: Option<i64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}
