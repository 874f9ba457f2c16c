//! Who is told what happens: a reader of lines, or a view.

use std::path::PathBuf;

use tidemill_core::{BatchId, Secrets};
use tidemill_engine::QueryEvent;

use super::view::{Batch, Event, Teller, View};
use crate::cli::answer::Answer;
use crate::cli::arguments::ProgressArgument;
use crate::cli::build::BuildError;
use crate::cli::report::Reporter;
use crate::job::Job;
use crate::print::say;
use crate::query::PrepareError;

/// Clones tell the same one.
#[derive(Clone)]
pub(super) struct Told {
    /// `None`: lines are printed.
    view: Option<Teller>,
}

impl Told {
    pub(super) fn by(view: Option<&View>) -> Told {
        Told { view: view.map(View::teller) }
    }

    pub(super) fn note(&self, line: &str) {
        self.tell_or_say(|| Event::Note(line.to_owned()), || line.to_owned());
    }

    /// The job is as it is now, so far as it can be read.
    pub(super) fn job(&self, job: &Job) {
        self.tell(|| Event::Job {
            name: job.name.clone(),
            plugins: job.plugins.iter().map(|plugin| plugin.name.clone()).collect(),
        });
    }

    /// Builds a plugin. `build` is given where to put the compiler's words, if they are not to go
    /// to standard error.
    pub(super) fn build(
        &self,
        plugin: &str,
        build: impl FnOnce(Option<&mut Vec<u8>>) -> Result<PathBuf, BuildError>,
    ) -> Result<PathBuf, BuildError> {
        let name = || plugin.to_owned();
        if self.view.is_none() {
            return build(None).inspect_err(|error| match error {
                BuildError::Stopped => {}
                error => say(&format!("\"{plugin}\" stays as it is: {error}")),
            });
        }
        self.tell(|| Event::Building { plugin: name() });
        let mut heard = Vec::new();
        let built = build(Some(&mut heard));
        let error = built.as_ref().err().map(|error| {
            // What it is about comes first.
            let heard = String::from_utf8_lossy(&heard);
            let from = heard.find("\nerror").map_or(0, |line| line + 1);
            let from = if heard.starts_with("error") { 0 } else { from };
            format!("{}\n{error}", heard[from..].trim_end()).trim_start().to_owned()
        });
        self.tell(|| Event::Built { plugin: name(), error });
        built
    }

    /// The job cannot be started as it is.
    pub(super) fn wrong(&self, error: &str) {
        self.tell_or_say(|| Event::Wrong { error: error.to_owned() }, || format!("error: {error}"));
    }

    /// The query failed.
    pub(super) fn failed(&self, error: &str) {
        self.tell_or_say(
            || Event::Failed { error: error.to_owned() },
            || format!("error: {error}"),
        );
    }

    /// The query ended well.
    pub(super) fn ended(&self) {
        self.tell(|| Event::Ended);
    }

    /// Nothing runs. A view shows it anyway.
    pub(super) fn idle(&self) {
        if self.view.is_none() {
            say("nothing runs until the job or a plugin changes");
        }
    }

    /// Who tells lines of the query's events.
    pub(super) fn reporter(&self, job: &Job) -> Reporter {
        match self.view.clone() {
            None => Reporter::new(job, true, ProgressArgument::Auto),
            Some(view) => Reporter::by(
                job,
                Box::new(move |line: &str| view.tell(Event::Note(line.to_owned()))),
            ),
        }
    }

    /// An event of the query, of which lines are the reporter's.
    pub(super) fn query(&self, event: &QueryEvent<'_>, secrets: &Secrets) {
        let conceal = |text: &str| secrets.conceal(text).into_owned();
        let event = match event {
            _ if self.view.is_none() => return,
            QueryEvent::Started { next, .. } => Event::Started { next: next.0 },
            QueryEvent::Running { batch } => Event::Running { batch: batch.0 },
            QueryEvent::Progress(progress) => Event::Batch(Batch::of(progress)),
            QueryEvent::Idle => Event::Idle,
            QueryEvent::Reloaded { plugin, digest, batch } => Event::Reloaded {
                plugin: (*plugin).to_owned(),
                digest: digest.short(),
                batch: batch.0,
            },
            QueryEvent::ReloadRefused { plugin, reason } => {
                Event::Refused { plugin: (*plugin).to_owned(), reason: conceal(reason) }
            }
            QueryEvent::Retrying { batch, reason, .. } => {
                Event::Retrying { batch: batch.0, reason: conceal(&reason.to_string()) }
            }
            QueryEvent::Adopted { .. }
            | QueryEvent::Skipped { .. }
            | QueryEvent::Replanned { .. }
            | QueryEvent::Migrating { .. }
            | QueryEvent::Unanswered(_) => return,
        };
        self.tell(|| event);
    }

    /// Runs a batch again by `run`, and shows what it answers.
    pub(super) fn again(
        &self,
        batch: BatchId,
        secrets: &Secrets,
        run: impl FnOnce(&Answer) -> Result<(), PrepareError>,
    ) {
        let answer = match self.view {
            None => Answer::of_process(),
            Some(_) => Answer::kept(),
        };
        self.tell(|| Event::Replaying { batch: batch.0 });
        if let Err(error) = run(&answer) {
            let with = if self.view.is_none() { " with the new plugin" } else { "" };
            let text = format!("batch {batch} is not run again{with}: {error}");
            answer.say(&secrets.conceal(&text));
        }
        self.tell(|| Event::Difference { batch: batch.0, lines: answer.lines() });
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(view) = &self.view {
            view.tell(event());
        }
    }

    fn tell_or_say(&self, event: impl FnOnce() -> Event, line: impl FnOnce() -> String) {
        match &self.view {
            Some(view) => view.tell(event()),
            None => say(&line()),
        }
    }
}
