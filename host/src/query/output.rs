//! The places of a job, as the engine asks them and opens them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_connectors::{ConsoleOutput, MemoryTables, PlannedSink, SinkConfig, SinkContext};
use tidemill_core::{ConnectorError, QueryId};
use tidemill_engine::{DeadLetters, EngineError, Output, PlaceFound, PlannedOutput, TargetFactory};

use super::letters::LetterPlace;
use super::targets::Target;

/// The places of a job.
pub(super) struct JobOutput {
    pub(super) to: To,
    pub(super) letters: Option<LetterPlace>,
    pub(super) around: Around,
}

/// The sink of a job.
pub(super) enum To {
    Sink(Arc<PlannedSink>),
    Handler {
        plugin: String,
        function: String,
        /// Those that the plugin is granted.
        targets: BTreeMap<String, SinkConfig>,
    },
}

/// What the sinks of a query share with the process.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) console: ConsoleOutput,
    pub(super) tables: MemoryTables,
}

impl Around {
    fn context(self, query_id: &QueryId) -> SinkContext {
        SinkContext { query_id: query_id.clone(), console: self.console, tables: self.tables }
    }
}

impl PlannedOutput for JobOutput {
    fn places(&self, query_id: &QueryId) -> Result<Vec<PlaceFound>, ConnectorError> {
        let context = self.around.clone().context(query_id);
        let mut places = match &self.to {
            To::Sink(sink) => vec![PlaceFound::sink(sink.description(), sink.held(&context)?)],
            To::Handler { targets, .. } => {
                let found = targets.iter().map(|(name, config)| {
                    let target = Target::new(config.clone(), context.clone());
                    let (description, held) = target.held()?;
                    Ok(PlaceFound { name: name.clone(), description, held })
                });
                found.collect::<Result<_, ConnectorError>>()?
            }
        };
        if let Some(letters) = &self.letters {
            places.push(letters.found(&context)?);
        }
        Ok(places)
    }

    fn open_dead_letters(&self, query_id: &QueryId) -> Result<Option<DeadLetters>, EngineError> {
        let context = self.around.clone().context(query_id);
        Ok(self.letters.as_ref().map(|letters| letters.open(&context)).transpose()?)
    }

    fn open(self: Box<Self>, query_id: &QueryId) -> Result<Output, EngineError> {
        let context = self.around.context(query_id);
        match self.to {
            To::Sink(sink) => Ok(Output::Sink(sink.open(&context)?)),
            To::Handler { plugin, function, targets } => {
                let target = |(name, config)| {
                    let target = Target::new(config, context.clone());
                    (name, Arc::new(target) as Arc<dyn TargetFactory>)
                };
                let targets = targets.into_iter().map(target).collect();
                Ok(Output::Handler { plugin, function, targets })
            }
        }
    }
}
