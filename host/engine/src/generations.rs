//! Swaps plugins between two batches.

use std::sync::Arc;

use tidemill_core::PluginModule;
use tidemill_plan::{Frames, PlannedQuery, ReadAhead};

use crate::query::Query;
use crate::trace::section;
use crate::{EngineError, PluginChange, QueryEvent};

impl Query {
    /// Plans anew with the plugins' changed generations, between two batches.
    pub(crate) fn take_plugin_changes(&mut self) -> Result<(), EngineError> {
        if std::mem::take(&mut self.runs_logged_plugins) {
            self.use_modules(self.plugins.current())?;
        }
        let mut accepted = Vec::new();
        while let Some(change) = self.plugins.next_change() {
            match change {
                PluginChange::Refused { name, reason } => {
                    (self.on_event)(QueryEvent::ReloadRefused { plugin: &name, reason: &reason });
                }
                PluginChange::Accepted { name, digest } => accepted.push((name, digest)),
            }
        }
        if accepted.is_empty() {
            return Ok(());
        }
        // All together: one may give what another one wants now.
        if let Err(error) = self.use_modules(self.plugins.current()) {
            let reason = error.to_string();
            for (name, _) in accepted {
                self.plugins.refuse(&name);
                (self.on_event)(QueryEvent::ReloadRefused { plugin: &name, reason: &reason });
            }
            return Ok(());
        }
        self.store_plugins()?;
        let batch = self.next_batch;
        for (name, digest) in accepted {
            self.reporter.count_reload(&name);
            (self.on_event)(QueryEvent::Reloaded { plugin: &name, digest, batch });
        }
        Ok(())
    }

    pub(crate) fn use_modules(
        &mut self,
        modules: Vec<Arc<dyn PluginModule>>,
    ) -> Result<(), EngineError> {
        let _section = section!("plan_again", query = self.name.as_str()).entered();
        let mut definition = self.definition.clone();
        definition.plugins.clone_from(&modules);
        let plan = self.runtime.block_on(PlannedQuery::plan(&definition))?;
        if plan.schema() != self.plan.schema() {
            return Err(EngineError::Incompatible(
                "the query's result would have other columns; stop it, and start it anew"
                    .to_owned(),
            ));
        }
        self.forms = self.forms.under(&plan)?;
        self.definition = definition;
        self.plan = plan;
        // It was read for the old plan's columns.
        self.ahead = ReadAhead::default();
        self.in_use = modules;
        // Kept plans of batch SQL belong to the generation that sent the text.
        self.frames = Arc::new(Frames::in_zone(&self.definition.time_zone));
        Ok(())
    }

    /// What the next attempts run is kept, so that it can be run again.
    pub(crate) fn store_plugins(&mut self) -> Result<(), EngineError> {
        for module in self.plugins.current() {
            if let Some(bytes) = self.plugins.bytes(module.digest()) {
                self.checkpoint().store_plugin(module.digest(), &bytes)?;
            }
        }
        Ok(())
    }
}
