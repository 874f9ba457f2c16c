//! Where a query's rows go.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::{ConnectorError, Sink};

use crate::{PlaceFound, TargetFactory};

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
    /// The places behind it, as they are now. To be asked between two deliveries.
    pub(crate) fn places(&mut self) -> Result<Vec<PlaceFound>, ConnectorError> {
        match self {
            Output::Sink(sink) => Ok(vec![PlaceFound::sink(sink.description(), sink.held()?)]),
            Output::Handler { targets, .. } => {
                let found = targets.iter().map(|(name, target)| {
                    let (description, held) = target.held()?;
                    Ok(PlaceFound { name: name.clone(), description, held })
                });
                found.collect()
            }
        }
    }

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
