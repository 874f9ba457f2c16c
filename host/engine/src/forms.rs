//! In which forms the state of a query's operators is, and what the next batch makes of them.

use std::collections::BTreeMap;

use tidemill_plan::{FORMS, Migration, OperatorForm, PlannedQuery};

use crate::EngineError;

/// The forms that the checkpoint has, and those of the plan.
pub(crate) struct Forms {
    /// After the last commit.
    kept: Vec<OperatorForm>,
    planned: Vec<OperatorForm>,
    /// How the next batch gets from the ones to the others.
    pub(crate) migration: Migration,
}

impl Forms {
    /// `kept` is what a checkpoint fixed; one that fixed nothing of operators has no state either.
    ///
    /// # Errors
    /// The plan cannot go on with that state.
    pub(crate) fn of(kept: Option<&String>, plan: &PlannedQuery) -> Result<Forms, EngineError> {
        let kept = match kept {
            Some(text) => OperatorForm::read(text).map_err(EngineError::Incompatible)?,
            None => plan.forms(),
        };
        Forms::between(kept, plan).map_err(EngineError::Incompatible)
    }

    /// The same state under another plan.
    ///
    /// # Errors
    /// It cannot go on with it.
    pub(crate) fn under(&self, plan: &PlannedQuery) -> Result<Forms, EngineError> {
        Forms::between(self.kept.clone(), plan)
            .map_err(|what| EngineError::Incompatible(format!("the query's state is of {what}")))
    }

    fn between(kept: Vec<OperatorForm>, plan: &PlannedQuery) -> Result<Forms, String> {
        let migration = Migration::between(&kept, plan.operators())?;
        Ok(Forms { kept, planned: plan.forms(), migration })
    }

    /// What the checkpoint fixes from the next commit on in place of what it fixed before.
    pub(crate) fn renewed(&self) -> BTreeMap<String, String> {
        match self.kept == self.planned {
            true => BTreeMap::new(),
            false => BTreeMap::from([(FORMS.to_owned(), OperatorForm::write(&self.planned))]),
        }
    }

    /// A batch was committed that ran on the plan.
    pub(crate) fn commit(&mut self) {
        if self.kept != self.planned {
            self.kept.clone_from(&self.planned);
        }
        self.migration = Migration::default();
    }
}
