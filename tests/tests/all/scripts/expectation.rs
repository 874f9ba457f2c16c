//! What a `run` is expected to do, and what it did: the same words.

use std::fmt::Write;

use tidemill_tests::is_same;

use super::row::{self, Row};

/// The lines below a `run`.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) batches: Vec<Batch>,
    pub(super) figures: Vec<Figure>,
    /// What the message of its failure holds.
    pub(super) fails: Vec<String>,
}

/// A micro-batch.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) has_data: bool,
    pub(super) watermark_ms: Option<i64>,
    pub(super) rows: Vec<Row>,
}

/// A figure of the whole run, like `state 2 6`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: String,
}

/// The figures that can be asked for.
pub(super) const FIGURES: [&str; 5] = ["state", "updated", "removed", "dropped", "event times"];

impl Outcome {
    /// Reads the lines below a `run`. An error names the line, counted from the first of them.
    pub(super) fn parse(lines: &[String]) -> Result<Outcome, (usize, String)> {
        let mut outcome = Outcome::default();
        for (at, line) in lines.iter().enumerate() {
            outcome.read(line).map_err(|reason| (at, reason))?;
        }
        Ok(outcome)
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if line.starts_with("    ") {
            let batch = self.batches.last_mut().ok_or("rows stand below their batch")?;
            batch.rows.extend(row::parse(text)?);
        } else if let Some(batch) = text.strip_prefix("batch ") {
            self.batches.push(Batch::parse(batch)?);
        } else if let Some(fragment) = text.strip_prefix("fails ") {
            self.fails.push(fragment.to_owned());
        } else {
            self.figures.push(Figure::parse(text)?);
        }
        Ok(())
    }

    /// The lines for it, with those figures that `asked` has.
    pub(super) fn lines(&self, asked: &Outcome) -> Vec<String> {
        let mut lines = Vec::new();
        for batch in &self.batches {
            lines.push(format!("  {}", batch.title()));
            lines.extend(batch.rows.iter().map(|row| format!("    {}", row::print(row))));
        }
        let figures = asked.figures.iter().filter_map(|figure| self.figure(&figure.name));
        lines.extend(figures.map(|figure| format!("  {} {}", figure.name, figure.value)));
        lines.extend(self.fails.iter().map(|fragment| format!("  fails {fragment}")));
        lines
    }

    /// Whether it is what was expected: the same batches, and the figures that were asked for.
    pub(super) fn is(&self, expected: &Outcome, in_order: bool) -> bool {
        let same_batches = self.batches.len() == expected.batches.len()
            && self.batches.iter().zip(&expected.batches).all(|(a, b)| a.is(b, in_order));
        let same_figures =
            expected.figures.iter().all(|figure| self.figure(&figure.name) == Some(figure));
        same_batches && same_figures
    }

    fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

impl Batch {
    /// Reads `3, no data, watermark 15 s`.
    fn parse(text: &str) -> Result<Batch, String> {
        let mut parts = text.split(',').map(str::trim);
        let number = parts.next().and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| format!("`{text}` does not begin with a number"))?;
        let mut batch = Batch { number, has_data: true, watermark_ms: None, rows: Vec::new() };
        for part in parts {
            match part.strip_prefix("watermark ") {
                Some(time) => batch.watermark_ms = Some(parse_seconds(time)?),
                None if part == "no data" => batch.has_data = false,
                None => return Err(format!("a batch has no `{part}`")),
            }
        }
        Ok(batch)
    }

    fn title(&self) -> String {
        let mut title = format!("batch {}", self.number);
        if !self.has_data {
            title += ", no data";
        }
        if let Some(watermark) = self.watermark_ms {
            write!(title, ", watermark {}", seconds(watermark)).unwrap();
        }
        title
    }

    fn is(&self, expected: &Batch, in_order: bool) -> bool {
        self.number == expected.number
            && self.has_data == expected.has_data
            && self.watermark_ms == expected.watermark_ms
            && self.rows.len() == expected.rows.len()
            && if in_order {
                self.rows.iter().zip(&expected.rows).all(|(a, b)| is_same_row(a, b))
            } else {
                are_same_rows(&expected.rows, &self.rows)
            }
    }
}

impl Figure {
    fn parse(text: &str) -> Result<Figure, String> {
        let name =
            FIGURES.iter().find(|name| text == **name || text.starts_with(&format!("{name} ")));
        let name = name.ok_or_else(|| {
            format!(
                "`{text}` is neither a batch, nor rows below one, nor one of {}",
                FIGURES.join(", ")
            )
        })?;
        let value = text[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Figure { name: (*name).to_owned(), value })
    }
}

/// Event time as scripts have it: seconds since 1970.
pub(super) fn seconds(millis: i64) -> String {
    match millis.rem_euclid(1_000) {
        0 => format!("{} s", millis / 1_000),
        _ => format!("{} s", millis as f64 / 1_000.0),
    }
}

fn parse_seconds(text: &str) -> Result<i64, String> {
    let seconds = text.strip_suffix(" s").and_then(|seconds| seconds.parse::<f64>().ok());
    seconds
        .map(|seconds| (seconds * 1_000.0).round() as i64)
        .ok_or_else(|| format!("`{text}` is no time; write it like `15 s`"))
}

fn are_same_rows(expected: &[Row], found: &[Row]) -> bool {
    let mut left: Vec<&Row> = found.iter().collect();
    expected.iter().all(|row| match left.iter().position(|other| is_same_row(row, other)) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    }) && left.is_empty()
}

fn is_same_row(a: &Row, b: &Row) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
}

#[test]
fn an_outcome_is_read_as_it_is_printed() {
    let text = "  batch 3, no data, watermark 15.5 s\n    10, \"a\"\n  state 2 6\n  event times 1 s to 2 s";
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let outcome = Outcome::parse(&lines).unwrap();
    assert_eq!(outcome.lines(&outcome), lines);
    assert!(outcome.is(&outcome, true));
    let other = Outcome::parse(&["  batch 3, no data, watermark 15 s".to_owned()]).unwrap();
    assert!(!outcome.is(&other, false));
    let error = Outcome::parse(&["  stat 2".to_owned()]).unwrap_err();
    assert!(error.1.contains("stat 2"), "{error:?}");
}
