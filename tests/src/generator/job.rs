//! A random query as steps of a job.

use super::shape::{How, Joined, Of, On, Shape, Windowed};

const AGGREGATES: &str = "count(*) AS n, count(value) AS c,
  sum(value) AS total, min(value) AS low, max(value) AS high";

/// The last one gives the result.
pub(super) fn steps(shape: &Shape, inputs: usize) -> String {
    let mut steps = Steps { inputs, count: 0, text: String::new() };
    steps.result(shape);
    steps.text
}

struct Steps {
    inputs: usize,
    count: usize,
    text: String,
}

impl Steps {
    /// Gives the name of the step.
    fn add(&mut self, words: &str) -> String {
        self.count += 1;
        let name = format!("step{}", self.count);
        self.text += &format!("\n[[step]]\nname = \"{name}\"\n{words}\n");
        name
    }

    fn select(&mut self, sql: &str) -> String {
        self.add(&format!("sql = \"\"\"\nSELECT {sql}\n\"\"\""))
    }

    /// A step with the columns by which results are compared.
    fn result(&mut self, shape: &Shape) {
        let sql = match shape {
            Shape::Totals { by_key: false } => format!("{AGGREGATES} FROM {}", self.input()),
            Shape::Totals { by_key: true } => {
                format!("key, {AGGREGATES} FROM {} GROUP BY key", self.input())
            }
            Shape::Windows(windowed) => {
                let (bounds, from) = self.windows(windowed);
                let key = if windowed.by_key { "key, " } else { "" };
                format!("unix_seconds({bounds}.start) AS at, {key}{AGGREGATES} {from}")
            }
            Shape::Sessions { gap } => format!(
                "unix_seconds(session_window.start) AS at,
  unix_seconds(session_window.end) AS until, key, {AGGREGATES}
FROM {} GROUP BY session_window(time, '{gap} seconds'), key",
                self.input()
            ),
            Shape::Once { within_watermark: true } => format!("id FROM {}", self.table(shape)),
            Shape::Once { within_watermark: false } => {
                format!("key, value, unix_seconds(time) AS at FROM {}", self.table(shape))
            }
            Shape::Join(joined) => {
                let right = if joined.how == How::Semi { "" } else { ", r.id AS r" };
                format!("l.id AS l{right} {}", pairs(*joined))
            }
        };
        self.select(&sql);
    }

    /// A step with what an operator above takes: `key`, `value`, and `time`, which may be a window.
    fn table(&mut self, shape: &Shape) -> String {
        match shape {
            Shape::Totals { .. } => unreachable!("nothing is above totals"),
            Shape::Windows(windowed) => {
                let (bounds, from) = self.windows(windowed);
                let key = if windowed.by_key { "key" } else { "0 AS key" };
                self.select(&format!("{key}, sum(value) AS value, {bounds} AS time {from}"))
            }
            Shape::Sessions { gap } => {
                let from = self.input();
                self.select(&format!(
                    "key, sum(value) AS value, session_window AS time
FROM {from} GROUP BY session_window(time, '{gap} seconds'), key"
                ))
            }
            Shape::Once { within_watermark: true } => self.add(
                "from = \"a\"\ndrop_duplicates = { columns = [\"key\"], within_watermark = true }",
            ),
            Shape::Once { within_watermark: false } => {
                let from = self.select("key, value, time FROM a");
                self.add(&format!("from = \"{from}\"\ndrop_duplicates = {{}}"))
            }
            Shape::Join(joined) => {
                let (taken, other) = if joined.by_left { ("l", "r") } else { ("r", "l") };
                // A semi join has no other.
                let other = if joined.how == How::Semi { taken } else { other };
                let time = match joined.on {
                    On::Windows(_) => "w",
                    On::Range { .. } => "time",
                };
                self.select(&format!(
                    "{taken}.key AS key, {other}.value AS value, {taken}.{time} AS time {}",
                    pairs(*joined)
                ))
            }
        }
    }

    /// The name of the windows' bounds, and all that follows the columns.
    fn windows(&mut self, windowed: &Windowed) -> (&'static str, String) {
        let from = match &windowed.below {
            Some(below) => self.table(below),
            None => self.input(),
        };
        let bounds = if windowed.of == Of::Same { "time" } else { "window" };
        let (size, slide) = (windowed.windows.size, windowed.windows.slide);
        let group = match windowed.of {
            Of::Time | Of::Window => format!("window(time, '{size} seconds', '{slide} seconds')"),
            Of::WindowTime => {
                format!("window(window_time(time), '{size} seconds', '{slide} seconds')")
            }
            Of::Same => "time".to_owned(),
        };
        let by = if windowed.by_key { ", key" } else { "" };
        (bounds, format!("FROM {from} GROUP BY {group}{by}"))
    }

    /// The table of all inputs' rows.
    fn input(&self) -> String {
        match self.inputs {
            1 => "a".to_owned(),
            _ => "(SELECT * FROM a UNION ALL SELECT * FROM b)".to_owned(),
        }
    }
}

/// A join from FROM on.
fn pairs(Joined { how, on, .. }: Joined) -> String {
    let (left, right, condition) = match on {
        On::Windows(size) => {
            let side = |table: &str| {
                format!("(SELECT id, key, value, window(time, '{size} seconds') AS w FROM {table})")
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
    let words = match how {
        How::Inner => "JOIN",
        How::Left => "LEFT OUTER JOIN",
        How::Right => "RIGHT OUTER JOIN",
        How::Full => "FULL OUTER JOIN",
        How::Semi => "LEFT SEMI JOIN",
    };
    format!("FROM {left} l {words} {right} r ON l.key = r.key AND {condition}")
}
