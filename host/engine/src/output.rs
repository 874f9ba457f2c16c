//! Where a query's rows go.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::{ConnectorError, QueryId, Sink};

use crate::{DeadLetters, EngineError, PlaceFound, TargetFactory};

/// The sink of a query before it is opened.
pub trait PlannedOutput: Send {
    /// The places behind it, and what they hold of the query. Creates and changes nothing.
    fn places(&self, query_id: &QueryId) -> Result<Vec<PlaceFound>, ConnectorError>;

    /// Opens the place for dead letters, as [`open`](Self::open) does the sink; `None`: there is none,
    /// and a refused row fails its batch.
    fn open_dead_letters(&self, query_id: &QueryId) -> Result<Option<DeadLetters>, EngineError> {
        let _ = query_id;
        Ok(None)
    }

    /// Opens it, and finishes or undoes what a crash left there.
    fn open(self: Box<Self>, query_id: &QueryId) -> Result<Output, EngineError>;
}

/// The sink of a query.
pub enum Output {
    /// A place.
    Sink(Box<dyn Sink>),
    /// A plugin's foreach_batch handler.
    Handler {
        /// Name of the plugin.
        plugin: String,
        /// Name of the function.
        function: String,
        /// The places that it may write to.
        targets: BTreeMap<String, Arc<dyn TargetFactory>>,
    },
}

impl Output {
    /// As progress records name it.
    pub(crate) fn description(&self) -> String {
        match self {
            Output::Sink(sink) => sink.description(),
            Output::Handler { plugin, function, .. } => {
                format!("ForeachBatch[{plugin}.{function}]")
            }
        }
    }
}
