//! Where an earlier run stopped, and how this one goes on.

use std::collections::BTreeMap;

use tidemill_checkpoint::Resume;
use tidemill_core::{Attempt, AttemptSpec, BatchSpec, Delivered};

use crate::phase::{Phase, Planned};
use crate::places::{FirstStep, LeftBatch, Reached};
use crate::query::Query;
use crate::{EngineError, QueryEvent};

/// Why the attempt that ran did not end, in the log.
const PLANNED_ANEW: &str = "the batch is planned anew, as was asked";

impl Query {
    /// Where an earlier run stopped.
    pub(crate) fn first_phase(&mut self) -> Result<Phase, EngineError> {
        let (next, is_replay, phase) = match self.first.take() {
            None => (self.next_batch, false, Phase::Idle),
            Some(FirstStep::Resume(Resume::Start(batch))) => (batch, false, Phase::Idle),
            Some(FirstStep::Resume(Resume::Replay { spec, attempt })) => {
                let batch = spec.batch;
                self.plan_for_replay(&attempt)?;
                (batch, true, Phase::Logged(Planned::new(spec, attempt)))
            }
            Some(FirstStep::Resume(Resume::Retry { spec, last_attempt })) => {
                let batch = spec.batch;
                let attempt = self.attempt(last_attempt.next());
                (batch, true, Phase::Constructed(Planned::new(spec, attempt)))
            }
            Some(FirstStep::Adopt { spec, place }) => {
                let batch = spec.batch;
                self.knows_sources_of(&spec)?;
                (self.on_event)(QueryEvent::Adopted { batch, place: &place });
                let attempt = self.attempt(Attempt::FIRST);
                (batch, true, Phase::Constructed(Planned::new(spec, attempt)))
            }
            Some(FirstStep::Skip { left, holding }) => {
                let next = left.spec.batch.next();
                self.skip(&left, holding)?;
                (next, false, Phase::Idle)
            }
            Some(FirstStep::Replan(left)) => {
                let batch = left.spec.batch;
                (batch, true, Phase::Logged(self.replan(&left)?))
            }
        };
        self.next_batch = next;
        (self.on_event)(QueryEvent::Started { next, is_replay });
        Ok(phase)
    }

    /// A spec from a place may be of a job with other sources.
    fn knows_sources_of(&self, spec: &BatchSpec) -> Result<(), EngineError> {
        let is_known =
            |name: &&String| self.reading.sources().iter().any(|named| named.name == **name);
        match spec.ranges.keys().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(EngineError::Incompatible(format!(
                "batch {}, which a place holds, read a source \"{name}\" that the job does not have; put the job back as it was, or start with a new checkpoint and a new place",
                spec.batch
            ))),
        }
    }

    /// Commits a batch that was left unfinished without its rows: no place gets any, and state is
    /// as if there were none.
    fn skip(
        &mut self,
        left: &LeftBatch,
        holding: Vec<(String, Delivered)>,
    ) -> Result<(), EngineError> {
        let spec = &left.spec;
        self.knows_sources_of(spec)?;
        let attempt = match left.reached {
            Reached::Running(_) => None,
            Reached::Failed(last) => Some(self.attempt(last.next())),
            Reached::Unlogged => Some(self.attempt(Attempt::FIRST)),
        };
        let places: Vec<String> =
            holding.iter().map(|(_, delivered)| delivered.place.clone()).collect();
        let delivered: BTreeMap<String, Delivered> = holding.into_iter().collect();
        let watermark = self.tracker.current();
        {
            let mut checkpoint = self.checkpoint();
            if let Some(attempt) = attempt {
                checkpoint.append_planned(spec, &attempt)?;
            }
            checkpoint.append_committed(spec.batch, watermark, self.state.as_ref(), delivered)?;
            checkpoint.sync()?;
        }
        self.last_watermark = spec.watermark;
        (self.on_event)(QueryEvent::Skipped { spec, holding: &places });
        Ok(())
    }

    /// Plans a batch that was left unfinished over what its sources have now; they stand before it.
    fn replan(&mut self, left: &LeftBatch) -> Result<Planned, EngineError> {
        self.next_batch = left.spec.batch;
        let triggered_at = self.pace.trigger();
        let mut constructing = self.constructing(triggered_at);
        // The batch has a number in the log, so it has to run even if nothing is left to read.
        constructing.may_have_no_data = true;
        let spec = self.reading.construct(&constructing)?;
        let spec = spec.expect("a batch that may be without data is always made");
        let (Reached::Running(last) | Reached::Failed(last)) = left.reached else {
            return Err(EngineError::Incompatible(format!(
                "batch {} is not in the log, so it cannot be planned anew",
                left.spec.batch
            )));
        };
        let planned = Planned::new(spec, self.attempt(last.next()));
        {
            let mut checkpoint = self.checkpoint();
            if let Reached::Running(attempt) = left.reached {
                checkpoint.append_failed(left.spec.batch, attempt, PLANNED_ANEW)?;
            }
            checkpoint.append_replanned(&planned.spec, &planned.attempt)?;
            checkpoint.sync()?;
        }
        (self.on_event)(QueryEvent::Replanned { spec: &planned.spec });
        Ok(planned)
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
