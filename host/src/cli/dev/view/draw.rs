//! Draws the model into a buffer: a function of the model and the size alone.
//!
//! From above: the job and what it does, the last batches, the plugins, and then what there is of
//! errors, of a difference, of output and of the log. These four share the lines that are left.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget};

use super::model::{Batch, Model, Plugin, Query};
use crate::cli::report::grouped;

/// Batches in the table.
const TABLE_BATCHES: usize = 5;
/// Lines of an error below its plugin. The rest shows with `e`.
const PLUGIN_ERROR_LINES: usize = 8;
/// Columns before a value.
const LABEL: u16 = 11;

const KEYS: &str = " q quit   r run the last batch again   e whole error";
const ERROR_KEYS: &str = " e back   up and down scroll   q quit";

pub(super) fn draw(model: &Model, area: Rect, buffer: &mut Buffer) {
    let mut page = Page { area, next: area.y, buffer };
    page.line(header(model, area.width));
    if let Some(from) = model.error_from {
        page.area.height = page.area.height.saturating_sub(1);
        page.line(Line::default());
        model.whole_error().iter().skip(from).for_each(|line| page.text(line));
        page.area = area;
        page.footer(ERROR_KEYS);
        return;
    }
    page.area.height = page.area.height.saturating_sub(1);
    page.line(Line::default());
    batches(model, &mut page);
    plugins(model, &mut page);
    sections(model, &mut page);
    page.area = area;
    page.footer(KEYS);
}

/// Lines one below the other, as long as there is room.
struct Page<'a> {
    area: Rect,
    next: u16,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    fn left(&self) -> u16 {
        self.area.bottom().saturating_sub(self.next)
    }

    /// The next line, if there is one.
    fn row(&mut self) -> Option<Rect> {
        let row = Rect::new(self.area.x, self.next, self.area.width, 1);
        (self.left() > 0).then(|| self.next += 1)?;
        Some(row)
    }

    fn line(&mut self, line: Line<'_>) {
        if let Some(row) = self.row() {
            line.render(row, self.buffer);
        }
    }

    fn text(&mut self, text: &str) {
        self.line(Line::from(format!(" {text}")));
    }

    fn footer(&mut self, keys: &str) {
        if self.area.height > 1 {
            let row = Rect::new(self.area.x, self.area.bottom() - 1, self.area.width, 1);
            Line::from(keys).dim().render(row, self.buffer);
        }
    }
}

fn header(model: &Model, width: u16) -> Line<'static> {
    let (state, style) = state(model);
    let job = format!(" {}", model.job);
    // The state is worth more than the end of a long name.
    let room = usize::from(width).saturating_sub(state.chars().count() + 3);
    let job: String = job.chars().take(room).collect();
    Line::from(vec![job.bold(), "  ".into(), Span::styled(state, style)])
}

fn state(model: &Model) -> (String, Style) {
    let (good, bad) = (Style::new().fg(Color::Green), Style::new().fg(Color::Red));
    let busy = Style::new().fg(Color::Yellow);
    if model.is_quitting {
        return ("stopping after the batch in flight".to_owned(), busy);
    }
    let building = model.plugins.iter().find(|plugin| plugin.is_building);
    match (&model.query, building) {
        (Query::None | Query::Failed | Query::Ended, Some(plugin)) => {
            (format!("building {}", plugin.name), busy)
        }
        (Query::None, None) if !model.error.is_empty() => {
            ("not started: waits for a change".to_owned(), bad)
        }
        (Query::None | Query::Starting, None) | (Query::Starting, Some(_)) => {
            ("starting".to_owned(), busy)
        }
        (Query::Running { batch }, _) => (format!("running batch {batch}"), good),
        (Query::Waiting, _) => ("waiting for rows".to_owned(), good),
        (Query::Retrying { batch }, _) => (format!("trying batch {batch} again"), busy),
        (Query::Ended, None) => ("ended: waits for a change".to_owned(), good),
        (Query::Failed, None) => ("failed: waits for a change".to_owned(), bad),
    }
}

fn batches(model: &Model, page: &mut Page<'_>) {
    let Some(last) = model.batches.back() else {
        return page.line(Line::from(" no batch yet").dim());
    };
    let mut figures = format!("{} ms", grouped(last.millis));
    if let Some(rate) = last.rows_per_second {
        figures += &format!(", {} rows/s", grouped(rate));
    }
    let more =
        [("state", last.state_rows), ("late", some(last.late)), ("refused", some(last.refused))];
    for (name, count) in more {
        figures += &count.map(|count| format!(", {name} {}", grouped(count))).unwrap_or_default();
    }
    page.line(labelled("last", figures));
    if let Some(watermark) = &last.watermark {
        page.line(labelled("watermark", watermark.clone()));
    }
    times(model, page);
    page.line(Line::default());
    table(model, page);
}

fn some(count: u64) -> Option<u64> {
    Some(count).filter(|count| *count > 0)
}

fn labelled(label: &str, value: String) -> Line<'static> {
    let label = format!(" {label:<width$}", width = usize::from(LABEL) - 1);
    Line::from(vec![label.dim(), value.into()])
}

/// How long the last batches took, as bars.
fn times(model: &Model, page: &mut Page<'_>) {
    let Some(row) = page.row() else { return };
    labelled("times", String::new()).render(row, page.buffer);
    let width = row.width.saturating_sub(LABEL + 1);
    let bars = Rect::new(row.x + LABEL, row.y, width, 1).intersection(row);
    let skipped = model.batches.len().saturating_sub(usize::from(width));
    let millis: Vec<u64> = model.batches.iter().skip(skipped).map(|b| b.millis.max(1)).collect();
    Sparkline::default().data(&millis).render(bars, page.buffer);
}

/// A column of the table: its head, its width, and what of a batch is in it.
type Column = (&'static str, usize, fn(&Batch) -> String);

/// The least important is last: it goes first where the terminal is narrow.
const COLUMNS: [Column; 6] = [
    ("batch", 8, |batch| batch.id.to_string()),
    ("rows in", 12, |batch| grouped(batch.rows_in)),
    ("out", 12, |batch| grouped(batch.rows_out)),
    ("ms", 9, |batch| grouped(batch.millis)),
    ("rows/s", 12, |batch| batch.rows_per_second.map(grouped).unwrap_or_default()),
    ("at (UTC)", 10, |batch| batch.at.clone()),
];

fn table(model: &Model, page: &mut Page<'_>) {
    let mut left = usize::from(page.area.width);
    let columns: Vec<Column> = (COLUMNS.into_iter())
        .take_while(|(_, width, _)| left.checked_sub(*width).map(|rest| left = rest).is_some())
        .collect();
    let line = |cells: Vec<String>| cells.concat();
    let padded = |text: &str, width: usize| format!("{text:>width$}");
    let head = columns.iter().map(|(name, width, _)| padded(name, *width)).collect();
    page.line(Line::from(line(head)).dim());
    for batch in model.batches.iter().rev().take(TABLE_BATCHES) {
        let cells = columns.iter().map(|(_, width, value)| padded(&value(batch), *width));
        page.line(Line::from(line(cells.collect())));
    }
}

fn plugins(model: &Model, page: &mut Page<'_>) {
    if model.plugins.is_empty() {
        return;
    }
    page.line(Line::default());
    page.line(Line::from(" plugins").bold());
    for plugin in &model.plugins {
        page.line(generation(plugin));
        let shown = plugin.error.iter().take(PLUGIN_ERROR_LINES);
        shown.for_each(|line| page.line(Line::from(format!("   {line}")).red()));
        more(plugin.error.len().saturating_sub(PLUGIN_ERROR_LINES), page);
    }
}

fn generation(plugin: &Plugin) -> Line<'static> {
    let used = match &plugin.generation {
        Some((digest, since)) => format!("{digest} since batch {since}"),
        None => "no batch ran it yet".to_owned(),
    };
    let mut line = vec![format!("   {:<16} ", plugin.name).into(), used.into()];
    if plugin.is_building {
        line.push("  building…".yellow());
    } else if !plugin.error.is_empty() {
        line.push("  not taken over".red());
    }
    Line::from(line)
}

fn more(lines: usize, page: &mut Page<'_>) {
    if lines > 0 {
        page.line(Line::from(format!("   … {} more lines: e", grouped(lines as u64))).dim());
    }
}

/// What takes the lines that are left.
struct Section<'a> {
    title: String,
    lines: Vec<&'a str>,
    /// Whether the last lines count, where there is not room for all.
    is_tail: bool,
    style: Style,
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

fn sections(model: &Model, page: &mut Page<'_>) {
    let (plain, bad) = (Style::new(), Style::new().fg(Color::Red));
    let mut sections = vec![Section {
        title: "error".to_owned(),
        lines: texts(&model.error),
        is_tail: false,
        style: bad,
    }];
    if let Some(difference) = &model.difference {
        let title = format!("batch {} again", difference.batch);
        let lines = match &difference.lines {
            None => vec!["running…"],
            Some(found) => texts(found),
        };
        sections.push(Section { title, lines, is_tail: false, style: plain });
    }
    for (title, kept) in [("output", &model.output), ("log", &model.log)] {
        let lines = kept.iter().map(String::as_str).collect();
        sections.push(Section { title: title.to_owned(), lines, is_tail: true, style: plain });
    }
    sections.retain(|section| !section.lines.is_empty());
    let count = sections.len();
    for (place, section) in sections.iter().enumerate() {
        // An empty line and the title are part of a share.
        let share = usize::from(page.left()) / (count - place);
        section.draw(share.saturating_sub(2), page);
    }
}

impl Section<'_> {
    fn draw(&self, room: usize, page: &mut Page<'_>) {
        if room == 0 {
            return;
        }
        page.line(Line::default());
        page.line(Line::from(format!(" {}", self.title)).bold());
        let cut = self.lines.len().saturating_sub(room);
        let line = |line: &str| Line::from(format!("   {line}")).style(self.style);
        match (cut, self.is_tail) {
            (0, _) => self.lines.iter().for_each(|text| page.line(line(text))),
            (cut, true) => self.lines[cut..].iter().for_each(|text| page.line(line(text))),
            (cut, false) => {
                let shown = &self.lines[..room - 1];
                shown.iter().for_each(|text| page.line(line(text)));
                let text = format!("   … {} more lines", grouped(cut as u64 + 1));
                page.line(Line::from(text).dim());
            }
        }
    }
}
