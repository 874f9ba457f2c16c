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
/// An empty line and the title of a section.
const HEAD: usize = 2;
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
        let share = usize::from(page.left()) / (count - place);
        section.draw(share.saturating_sub(HEAD), page);
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
            // What it is about is worth more than how much there is of it.
            (_, false) if room == 1 => {
                self.lines.iter().take(1).for_each(|text| page.line(line(text)))
            }
            (cut, false) => {
                let shown = &self.lines[..room - 1];
                shown.iter().for_each(|text| page.line(line(text)));
                let text = format!("   … {} more lines", grouped(cut as u64 + 1));
                page.line(Line::from(text).dim());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::Event;
    use super::*;

    fn job() -> Model {
        let mut model = Model::new("job.toml".to_owned());
        model.take(Event::Job { name: "orders".to_owned(), plugins: vec!["till".to_owned()] });
        model
    }

    fn batch(id: u64) -> Event {
        Event::Batch(Batch {
            id,
            at: format!("12:00:0{id}"),
            rows_in: 1_000 * (id + 1),
            rows_out: 10,
            millis: 20 * (id + 1),
            rows_per_second: Some(50_000),
            watermark: Some("2026-01-01T11:50:00.000Z".to_owned()),
            state_rows: Some(1_200),
            late: 3,
            plugins: vec![("till".to_owned(), "7da75d617f8a".to_owned())],
            ..Batch::default()
        })
    }

    fn started(batches: u64) -> Model {
        let mut model = job();
        model.take(Event::Started { next: 0 });
        (0..batches).for_each(|id| model.take(batch(id)));
        model
    }

    #[track_caller]
    fn shows(model: &Model, (width, height): (u16, u16), expected: &[&str]) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(model, frame.area(), frame.buffer_mut())).unwrap();
        let cells = terminal.backend().buffer().content();
        let lines = cells.chunks(usize::from(width)).map(|line| {
            let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        });
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines, expected, "\n{}\n", lines.join("\n"));
    }

    #[test]
    fn a_job_that_runs_shows_its_batches_its_plugins_and_its_output() {
        let mut model = started(3);
        model.take(Event::Running { batch: 3 });
        model.take(Event::Output((0..9).map(|row| format!("row {row}")).collect()));
        shows(
            &model,
            (70, 18),
            &[
                " orders  running batch 3",
                "",
                " last      60 ms, 50,000 rows/s, state 1,200, late 3",
                " watermark 2026-01-01T11:50:00.000Z",
                " times     ▂▅█",
                "",
                "   batch     rows in         out       ms      rows/s  at (UTC)",
                "       2       3,000          10       60      50,000  12:00:02",
                "       1       2,000          10       40      50,000  12:00:01",
                "       0       1,000          10       20      50,000  12:00:00",
                "",
                " plugins",
                "   till             7da75d617f8a since batch 0",
                "",
                " output",
                "   row 7",
                "   row 8",
                " q quit   r run the last batch again   e whole error",
            ],
        );
    }

    #[test]
    fn a_compilers_error_stands_at_its_plugin_and_shows_whole_when_asked_for() {
        let mut model = job();
        let plugin = "till".to_owned();
        model.take(Event::Building { plugin: plugin.clone() });
        let keys = " q quit   r run the last batch again   e whole error";
        let top = [" orders  building till", "", " no batch yet", "", " plugins"];
        let building = "   till             no batch ran it yet  building…";
        shows(&model, (60, 7), &[&top[..], &[building, keys]].concat());
        let error: Vec<String> = (0..10).map(|line| format!("error {line}")).collect();
        model.take(Event::Built { plugin, error: Some(error.join("\n")) });
        let mut expected = vec![" orders  starting", "", " no batch yet", "", " plugins"];
        expected.push("   till             no batch ran it yet  not taken over");
        let lines: Vec<String> = error.iter().take(8).map(|line| format!("   {line}")).collect();
        expected.extend(lines.iter().map(String::as_str));
        expected.extend(["   … 2 more lines: e", keys]);
        shows(&model, (60, 16), &expected);
        model.take(Event::ToggleError);
        model.take(Event::Scroll(8));
        let whole = [" orders  starting", "", " error 7", " error 8", ERROR_KEYS];
        shows(&model, (60, 5), &whole);
    }

    #[test]
    fn a_batch_that_failed_shows_why_and_that_nothing_runs() {
        let mut model = started(1);
        model.take(Event::Failed { error: "batch 1 failed: division by zero\nways".to_owned() });
        model.take(Event::Replaying { batch: 0 });
        model.take(Event::Note("a line".to_owned()));
        shows(
            &model,
            (50, 21),
            &[
                " orders  failed: waits for a change",
                "",
                " last      20 ms, 50,000 rows/s, state 1,200, late",
                " watermark 2026-01-01T11:50:00.000Z",
                " times     █",
                "",
                "   batch     rows in         out       ms",
                "       0       1,000          10       20",
                "",
                " plugins",
                "   till             7da75d617f8a since batch 0",
                "",
                " error",
                "   batch 1 failed: division by zero",
                "",
                " batch 0 again",
                "   running…",
                "",
                " log",
                "   a line",
                " q quit   r run the last batch again   e whole err",
            ],
        );
    }

    #[test]
    fn a_narrow_terminal_keeps_the_state_and_a_tiny_one_is_no_panic() {
        let mut model = started(2);
        model.take(Event::Idle);
        shows(
            &model,
            (24, 8),
            &[
                " orde  waiting for rows",
                "",
                " last      40 ms, 50,000",
                " watermark 2026-01-01T11",
                " times     ▄█",
                "",
                "   batch     rows in",
                " q quit   r run the last",
            ],
        );
        for (width, height) in [(1, 1), (3, 2), (11, 4), (12, 30), (200, 3)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(&model, frame.area(), frame.buffer_mut())).unwrap();
        }
    }
}
