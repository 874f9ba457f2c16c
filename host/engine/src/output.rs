//! Where a query's rows go.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::Sink;

use crate::TargetFactory;

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
