//! What the view knows: events come in, and what is drawn is read off. No terminal, no clock.

use std::collections::VecDeque;

use tidemill_core::{Progress, printable};

/// Batches that are remembered: as many as the line of their times is wide on a large screen.
pub(super) const BATCHES_MAX: usize = 200;
/// Lines of output and of the log that are remembered: more than a screen has.
const LINES_MAX: usize = 500;
/// Lines of an error or of a difference that are remembered.
const TEXT_LINES_MAX: usize = 2_000;
/// Characters of a line: more than a screen is wide.
const LINE_CHARS: usize = 500;

/// What happened, as far as the view shows it. Texts have been freed of secrets.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Event {
    /// The job was read, and has these plugins.
    Job { name: String, plugins: Vec<String> },
    /// The plugin's crate is being built.
    Building { plugin: String },
    /// The build ended; `error` is what the compiler said of it, if it failed.
    Built { plugin: String, error: Option<String> },
    /// A query was started; this batch comes first.
    Started { next: u64 },
    /// An attempt at a batch begins.
    Running { batch: u64 },
    /// A batch was committed.
    Batch(Batch),
    /// The sources have nothing more at the moment.
    Idle,
    /// From this batch on the plugin runs new bytes.
    Reloaded { plugin: String, digest: String, batch: u64 },
    /// The plugin's new bytes cannot be used.
    Refused { plugin: String, reason: String },
    /// A batch failed, and is tried again.
    Retrying { batch: u64, reason: String },
    /// The query failed: nothing runs until something changes.
    Failed { error: String },
    /// All that was there is processed, or the query was ended for another one.
    Ended,
    /// The job cannot be started as it is. A query that runs goes on.
    Wrong { error: String },
    /// A batch is run again, aside.
    Replaying { batch: u64 },
    /// What came of that.
    Difference { batch: u64, lines: Vec<String> },
    /// A line that is no event.
    Note(String),
    /// Lines that were written to standard output.
    Output(Vec<String>),
    /// Lines that were written to standard error.
    Log(Vec<String>),
    /// The whole error is to be shown, or no longer.
    ToggleError,
    /// Lines to go down in the whole error; up, where negative.
    Scroll(i32),
    /// Somebody wants an end.
    Quitting,
    /// Nothing but the terminal's size changed.
    Resized,
    /// The view is to go away.
    Close,
}

/// A batch that was committed.
#[derive(Clone, PartialEq, Default, Debug)]
pub(in super::super) struct Batch {
    pub(super) id: u64,
    /// Time of day of its trigger, UTC.
    pub(super) at: String,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    pub(super) millis: u64,
    /// `None` where no rows came in.
    pub(super) rows_per_second: Option<u64>,
    pub(super) watermark: Option<String>,
    /// Rows that the operators hold; `None` for a query without state.
    pub(super) state_rows: Option<u64>,
    pub(super) late: u64,
    pub(super) refused: u64,
    /// Names of the plugins, and the digests of the bytes that it ran.
    pub(super) plugins: Vec<(String, String)>,
}

impl Batch {
    pub(in super::super) fn of(progress: &Progress) -> Batch {
        let rate = progress.processed_rows_per_second;
        let operators = &progress.state_operators;
        Batch {
            id: progress.batch_id,
            at: progress.timestamp.get(11..19).unwrap_or_default().to_owned(),
            rows_in: progress.num_input_rows,
            // -1 where the sink does not count.
            rows_out: u64::try_from(progress.sink.num_output_rows).unwrap_or(0),
            millis: progress.batch_duration,
            rows_per_second: (progress.num_input_rows > 0 && rate.is_finite())
                .then_some(rate as u64),
            watermark: progress.event_time.watermark.clone(),
            state_rows: (!operators.is_empty())
                .then(|| operators.iter().map(|operator| operator.num_rows_total).sum()),
            late: operators.iter().map(|operator| operator.num_rows_dropped_by_watermark).sum(),
            refused: progress.dead_letters.unwrap_or(0),
            plugins: (progress.plugins.iter())
                .map(|plugin| (plugin.name.clone(), plugin.digest.short()))
                .collect(),
        }
    }
}

/// What the query does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Query {
    /// None was started yet.
    None,
    Starting,
    Running {
        batch: u64,
    },
    Waiting,
    Retrying {
        batch: u64,
    },
    Ended,
    Failed,
}

/// A plugin of the job.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) is_building: bool,
    /// The digest of the bytes in use, and the first batch that was seen to run them.
    pub(super) generation: Option<(String, u64)>,
    /// What the compiler said of the last build, or why the new bytes were refused.
    pub(super) error: Vec<String>,
}

/// A batch that was run again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Difference {
    pub(super) batch: u64,
    /// `None`: it still runs.
    pub(super) lines: Option<Vec<String>>,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) job: String,
    pub(super) query: Query,
    pub(super) is_quitting: bool,
    /// The newest is last.
    pub(super) batches: VecDeque<Batch>,
    pub(super) plugins: Vec<Plugin>,
    /// Why the query failed, or the job cannot be started.
    pub(super) error: Vec<String>,
    pub(super) difference: Option<Difference>,
    pub(super) output: VecDeque<String>,
    pub(super) log: VecDeque<String>,
    /// Whether the whole error covers the view, and from which line on.
    pub(super) error_from: Option<usize>,
}

impl Model {
    /// Before anything happened with the job in this file.
    pub(super) fn new(job: String) -> Model {
        Model {
            job,
            query: Query::None,
            is_quitting: false,
            batches: VecDeque::new(),
            plugins: Vec::new(),
            error: Vec::new(),
            difference: None,
            output: VecDeque::new(),
            log: VecDeque::new(),
            error_from: None,
        }
    }

    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Job { name, plugins } => self.take_job(name, plugins),
            Event::Building { plugin } => self.plugin(&plugin, |plugin| plugin.is_building = true),
            Event::Built { plugin, error } => self.plugin(&plugin, |plugin| {
                plugin.is_building = false;
                plugin.error = error.map(|error| lines_of(&error)).unwrap_or_default();
            }),
            Event::Started { .. } => {
                self.query = Query::Starting;
                self.error.clear();
            }
            Event::Running { batch } => self.query = Query::Running { batch },
            Event::Batch(batch) => self.take_batch(batch),
            Event::Idle => self.query = Query::Waiting,
            Event::Reloaded { plugin, digest, batch } => self.plugin(&plugin, |plugin| {
                plugin.generation = Some((digest, batch));
                plugin.error.clear();
            }),
            Event::Refused { plugin, reason } => {
                let reason = lines_of(&format!("the new file is refused: {reason}"));
                self.plugin(&plugin, |plugin| plugin.error = reason);
            }
            Event::Retrying { batch, reason } => {
                self.query = Query::Retrying { batch };
                self.error = lines_of(&reason);
            }
            Event::Failed { error } => {
                self.query = Query::Failed;
                self.error = lines_of(&error);
            }
            Event::Ended => self.query = Query::Ended,
            Event::Wrong { error } => self.error = lines_of(&error),
            Event::Replaying { batch } => {
                self.difference = Some(Difference { batch, lines: None });
            }
            Event::Difference { batch, lines } => {
                let lines = lines.iter().take(TEXT_LINES_MAX).map(|line| plain(line)).collect();
                self.difference = Some(Difference { batch, lines: Some(lines) });
            }
            Event::Note(line) => keep(&mut self.log, lines_of(&line)),
            Event::Output(lines) => keep(&mut self.output, lines),
            Event::Log(lines) => keep(&mut self.log, lines),
            Event::ToggleError => {
                let is_shown = self.error_from.is_some();
                self.error_from = (!is_shown && !self.whole_error().is_empty()).then_some(0);
            }
            Event::Scroll(lines) => self.scroll(lines),
            Event::Quitting => self.is_quitting = true,
            Event::Resized | Event::Close => {}
        }
        if self.whole_error().is_empty() {
            self.error_from = None;
        }
    }

    /// All errors that stand: the query's, then those of plugins.
    pub(super) fn whole_error(&self) -> Vec<String> {
        let mut lines = self.error.clone();
        for plugin in self.plugins.iter().filter(|plugin| !plugin.error.is_empty()) {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(format!("plugin {}", plugin.name));
            lines.extend(plugin.error.iter().cloned());
        }
        lines
    }

    /// What is said when the view is gone.
    pub(super) fn farewell(&self) -> String {
        let after = match self.batches.back() {
            Some(batch) => format!("after batch {}", batch.id),
            None => "before a batch ended".to_owned(),
        };
        match (&self.query, self.error.is_empty()) {
            (Query::Failed, false) => {
                format!("stopped {after}; what failed:\n{}", self.error.join("\n"))
            }
            _ => format!("stopped {after}; start again to go on"),
        }
    }

    /// Plugins that stay keep what is known of them.
    fn take_job(&mut self, name: String, plugins: Vec<String>) {
        self.job = plain(&name);
        let mut known = std::mem::take(&mut self.plugins);
        self.plugins = (plugins.into_iter())
            .map(|name| match known.iter().position(|plugin| plugin.name == name) {
                Some(place) => known.swap_remove(place),
                None => Plugin { name, ..Plugin::default() },
            })
            .collect();
    }

    fn take_batch(&mut self, batch: Batch) {
        for (name, digest) in &batch.plugins {
            self.plugin(name, |plugin| {
                if plugin.generation.as_ref().is_none_or(|(known, _)| known != digest) {
                    plugin.generation = Some((digest.clone(), batch.id));
                }
            });
        }
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
        if let Query::Retrying { .. } = self.query {
            self.error.clear();
        }
        self.query = Query::Waiting;
    }

    fn plugin(&mut self, name: &str, change: impl FnOnce(&mut Plugin)) {
        if let Some(plugin) = self.plugins.iter_mut().find(|plugin| plugin.name == name) {
            change(plugin);
        }
    }

    fn scroll(&mut self, lines: i32) {
        let last = self.whole_error().len().saturating_sub(1);
        if let Some(from) = &mut self.error_from {
            let distance = usize::try_from(lines.unsigned_abs()).unwrap_or(usize::MAX);
            *from = match lines < 0 {
                true => from.saturating_sub(distance),
                false => from.saturating_add(distance).min(last),
            };
        }
    }
}

fn keep(kept: &mut VecDeque<String>, lines: Vec<String>) {
    kept.extend(lines.iter().map(|line| plain(line)));
    let too_many = kept.len().saturating_sub(LINES_MAX);
    kept.drain(..too_many);
}

fn lines_of(text: &str) -> Vec<String> {
    text.trim_end().lines().take(TEXT_LINES_MAX).map(plain).collect()
}

/// A line as it may stand in a cell of the screen: without a terminal's commands, which compilers
/// write for their colours, and not longer than a screen is wide.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len().min(LINE_CHARS));
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                // Up to the letter that ends the sequence, see ECMA-48, 5.4.
                chars.next();
                chars.by_ref().find(|c| matches!(c, '\u{40}'..='\u{7e}'));
            }
            '\t' => text.push_str("    "),
            other => text.push(other),
        }
    }
    printable(&text).chars().take(LINE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(events: impl IntoIterator<Item = Event>) -> Model {
        let mut model = Model::new("job.toml".to_owned());
        events.into_iter().for_each(|event| model.take(event));
        model
    }

    fn job(plugins: &[&str]) -> Event {
        let plugins = plugins.iter().map(|&name| name.to_owned()).collect();
        Event::Job { name: "orders".to_owned(), plugins }
    }

    fn batch(id: u64, digest: &str) -> Event {
        let plugins = vec![("till".to_owned(), digest.to_owned())];
        Event::Batch(Batch { id, plugins, ..Batch::default() })
    }

    #[test]
    fn a_generation_is_as_old_as_the_first_batch_that_ran_it() {
        let till = |model: &Model| model.plugins[0].generation.clone();
        let mut model = model([job(&["till"]), batch(4, "aa"), batch(5, "aa")]);
        assert_eq!(till(&model), Some(("aa".to_owned(), 4)));
        let (plugin, digest) = ("till".to_owned(), "bb".to_owned());
        model.take(Event::Reloaded { plugin, digest, batch: 6 });
        model.take(batch(6, "bb"));
        assert_eq!(till(&model), Some(("bb".to_owned(), 6)));
        model.take(job(&["other", "till"]));
        assert_eq!(model.plugins[1].generation, Some(("bb".to_owned(), 6)));
    }

    #[test]
    fn a_compilers_error_stands_until_the_plugin_builds() {
        let plugin = "till".to_owned();
        let error = Some("error: no\n  --> src/lib.rs:1:20\n".to_owned());
        let mut model = model([job(&["till"]), Event::Building { plugin: plugin.clone() }]);
        assert!(model.plugins[0].is_building);
        model.take(Event::Built { plugin: plugin.clone(), error });
        model.take(Event::ToggleError);
        assert_eq!(model.whole_error(), ["plugin till", "error: no", "  --> src/lib.rs:1:20"]);
        model.take(Event::Scroll(100));
        assert_eq!(model.error_from, Some(2));
        model.take(Event::Built { plugin, error: None });
        assert_eq!(model.error_from, None);
    }

    #[test]
    fn an_error_of_the_query_stands_until_the_next_one_starts() {
        let mut model = model([job(&[]), Event::Started { next: 0 }, Event::Running { batch: 0 }]);
        model.take(Event::Failed { error: "batch 0 failed: division by zero".to_owned() });
        assert_eq!(model.query, Query::Failed);
        assert!(model.farewell().ends_with("division by zero"));
        model.take(Event::Started { next: 0 });
        assert_eq!((model.query, model.error.len()), (Query::Starting, 0));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let lines = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>();
        let mut model = model([Event::Output(lines(LINES_MAX)), Event::Log(lines(3 * LINES_MAX))]);
        model.take(Event::Output(vec!["x".repeat(10 * LINE_CHARS)]));
        assert_eq!([model.output.len(), model.log.len()], [LINES_MAX; 2]);
        assert_eq!(model.output.back().map(String::len), Some(LINE_CHARS));
        (0..2 * BATCHES_MAX as u64).for_each(|id| model.take(batch(id, "aa")));
        assert_eq!(model.batches.len(), BATCHES_MAX);
    }

    #[test]
    fn no_line_commands_the_terminal() {
        assert_eq!(plain("\u{1b}[1m\u{1b}[31merror\u{1b}[0m:\tno"), "error:    no");
        assert_eq!(plain("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
    }
}
