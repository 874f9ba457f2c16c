//! Where an earlier run stopped, and how this one goes on.

use tidemill_checkpoint::Resume;
use tidemill_core::AttemptSpec;

use crate::phase::{Phase, Planned};
use crate::query::Query;
use crate::{EngineError, QueryEvent};

impl Query {
    /// Where an earlier run stopped.
    pub(crate) fn first_phase(&mut self) -> Result<Phase, EngineError> {
        let (next, is_replay, phase) = match self.resume.take() {
            None => (self.next_batch, false, Phase::Idle),
            Some(Resume::Start(batch)) => (batch, false, Phase::Idle),
            Some(Resume::Replay { spec, attempt }) => {
                let batch = spec.batch;
                self.plan_for_replay(&attempt)?;
                (batch, true, Phase::Logged(Planned::new(spec, attempt)))
            }
            Some(Resume::Retry { spec, last_attempt }) => {
                let batch = spec.batch;
                let attempt = self.attempt(last_attempt.next());
                (batch, true, Phase::Constructed(Planned::new(spec, attempt)))
            }
        };
        self.next_batch = next;
        (self.on_event)(QueryEvent::Started { next, is_replay });
        Ok(phase)
    }

    /// A batch is replayed with the plugin bytes that its record names.
    fn plan_for_replay(&mut self, attempt: &AttemptSpec) -> Result<(), EngineError> {
        if attempt.job != self.job {
            tracing::warn!(
                "the job changed while a batch was in flight; the batch is replayed with the job as it is now"
            );
        }
        for (table, digest) in &self.statics {
            if attempt.statics.get(table).is_some_and(|logged| logged != digest) {
                tracing::warn!(
                    "the static table \"{table}\" changed while a batch was in flight; the batch is replayed with the table as it is now"
                );
            }
        }
        let mut modules = Vec::new();
        for module in self.plugins.current() {
            let Some(digest) = attempt.plugins.get(module.name()).copied() else {
                modules.push(module);
                continue;
            };
            if digest == module.digest() {
                modules.push(module);
                continue;
            }
            let bytes = self.checkpoint().plugin_bytes(digest)?;
            let name = module.name().to_owned();
            let logged = self.plugins.load(&name, &bytes).map_err(|reason| {
                EngineError::Incompatible(format!(
                    "the batch in flight ran plugin \"{name}\" as {}, which cannot be loaded any more: {reason}",
                    digest.short()
                ))
            })?;
            self.runs_logged_plugins = true;
            modules.push(logged);
        }
        if self.runs_logged_plugins {
            self.use_modules(modules)?;
        }
        Ok(())
    }
}
