//! Where the dead letters of a query go.

use tidemill_core::{Begin, Delivered, Secrets, Sink};
use tidemill_plan::{LetterRules, RunningBatch, TooManyLetters};

use crate::EngineError;
use crate::phase::Executed;
use crate::trace::section;

/// A query's place for dead letters, and how many of them it puts up with.
pub struct DeadLetters {
    /// The place. It keeps a mark under a name of its own, [`crate::DEAD_LETTERS`].
    pub sink: Box<dyn Sink>,
    /// Which rows leave.
    pub rules: LetterRules,
    /// In one batch, of the rows that it reads. `None`: any.
    pub max_share: Option<f64>,
}

impl DeadLetters {
    /// Sees that a batch that was computed has not too many.
    pub(crate) fn check(&self, batch: &RunningBatch) -> Result<(), TooManyLetters> {
        let (Some(letters), Some(max)) = (batch.letters(), self.max_share) else { return Ok(()) };
        letters.check_share(batch.report().rows_by_source.values().sum(), max)
    }

    /// Shows the letters of a batch, before the sink shows its rows: a row that the batch does not
    /// have any more is never missing in both. Gives what the place holds then; `None` where the batch
    /// has no letters, and the place is not asked.
    ///
    /// An attempt before this one may have come as far. What it delivered stays: its letters are those
    /// of the same rows, unless job or plugin were changed meanwhile.
    pub(crate) fn deliver(
        &mut self,
        executed: &Executed,
        secrets: &Secrets,
    ) -> Result<Option<Delivered>, EngineError> {
        let letters = executed.batch.letters().filter(|letters| letters.count() > 0);
        let Some(letters) = letters else { return Ok(None) };
        let _section = section!("dead_letters").entered();
        let planned = &executed.planned;
        let delivery = planned.delivery(1);
        if self.sink.begin(delivery.clone())? == Begin::Wanted {
            let conceal = |reason: &str| secrets.conceal(reason).into_owned();
            for rows in letters.blocks(&planned.spec, conceal) {
                self.sink.write(&rows.map_err(|error| EngineError::from_plan(&error))?)?;
            }
            self.sink.prepare()?;
            self.sink.commit()?;
        } else if planned.attempt.attempt.0 > 0 {
            tracing::warn!(
                batch = planned.spec.batch.0,
                "{} holds dead letters of this batch from an earlier attempt, and keeps what it has",
                self.sink.description()
            );
        }
        Ok(Some(Delivered::of(self.sink.description(), &delivery)))
    }
}
