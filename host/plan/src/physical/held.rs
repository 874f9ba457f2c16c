//! Memory that grows by an entry at a time, where the one who adds cannot fail: while state is
//! visited, say.

use datafusion::error::{DataFusionError, Result};
use tidemill_core::{OutOfMemory, Reservation};

/// Bytes that are reserved at a time. Less than this is not worth the question.
const STEP: u64 = 64 * 1024;

/// Bytes of a `Box<[u8]>` or a `Vec` beside what is in it, its allocation included.
pub(super) const BOX_BYTES: usize = 32;

/// What an operator holds, reserved step by step. After a refusal nothing is to be added, and
/// [`Held::check`] fails.
#[derive(Debug)]
pub(super) struct Held {
    reservation: Reservation,
    /// Added since the last step.
    open: u64,
    refused: Option<OutOfMemory>,
}

impl Held {
    pub(super) fn new(reservation: Reservation) -> Held {
        Held { reservation, open: 0, refused: None }
    }

    /// Counts bytes that are about to be held. Whether they may be.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        if self.refused.is_some() {
            return false;
        }
        self.open += bytes as u64;
        if self.open >= STEP {
            match self.reservation.try_grow(self.open) {
                Ok(()) => self.open = 0,
                Err(refused) => self.refused = Some(refused),
            }
        }
        self.refused.is_none()
    }

    /// The refusal, if there was one.
    pub(super) fn check(&mut self) -> Result<()> {
        self.refused.take().map_or(Ok(()), |refused| Err(memory_error(refused)))
    }

    /// What was held is held no longer.
    pub(super) fn clear(&mut self) {
        self.open = 0;
        self.reservation.shrink(u64::MAX);
    }
}

/// Reserves more, as operators fail.
pub(super) fn grow(reservation: &mut Reservation, bytes: u64) -> Result<()> {
    reservation.try_grow(bytes).map_err(memory_error)
}

/// Reserves more or less, as operators fail.
pub(super) fn resize(reservation: &mut Reservation, bytes: u64) -> Result<()> {
    reservation.try_resize(bytes).map_err(memory_error)
}

fn memory_error(refused: OutOfMemory) -> DataFusionError {
    DataFusionError::External(Box::new(refused))
}

#[cfg(test)]
mod tests {
    use tidemill_core::MemoryBudget;

    use super::*;

    #[test]
    fn entries_are_reserved_by_the_step_and_refused_once_and_for_all() {
        let budget = MemoryBudget::new(2 * STEP);
        let mut held = Held::new(budget.reserve("entries"));
        assert!(held.add(STEP as usize - 1));
        assert_eq!(budget.used(), 0);
        assert!(held.add(1));
        assert_eq!(budget.used(), STEP);
        assert!(!held.add(2 * STEP as usize));
        assert!(!held.add(1), "what was refused is not forgotten");
        assert!(held.check().unwrap_err().to_string().contains("entries"));
        held.clear();
        assert_eq!(budget.used(), 0);
    }
}
