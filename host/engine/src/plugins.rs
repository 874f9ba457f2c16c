//! Where the engine gets plugins from, without knowing what they are made of.

use std::sync::Arc;

use tidemill_core::{Digest, PluginModule, Wake};

/// The plugins of a query: their present generations, and others from kept bytes.
pub trait Plugins: Send {
    /// The present generation of each plugin.
    fn current(&self) -> Vec<Arc<dyn PluginModule>>;

    /// The bytes of a present generation.
    fn bytes(&self, digest: Digest) -> Option<Arc<[u8]>>;

    /// A generation from bytes that the checkpoint kept.
    fn load(&mut self, name: &str, bytes: &[u8]) -> Result<Arc<dyn PluginModule>, String>;

    /// What happened to the file of one plugin, if it is not known yet. Does not wait. An accepted
    /// module is the present generation from then on, unless [`Plugins::refuse`] takes it back: one
    /// at a time, so that no plugin is refused for another's faults.
    fn next_change(&mut self) -> Option<PluginChange>;

    /// Gives what to call, from any thread, when there may be changes. Called once.
    fn notify(&mut self, wake: Wake);

    /// The query cannot be planned with the module that was just accepted: the one before it
    /// stays.
    fn refuse(&mut self, name: &str);
}

/// What happened to a plugin's file.
pub enum PluginChange {
    /// New bytes were checked and compiled.
    Accepted {
        /// The job's name for the plugin.
        name: String,
        /// Their digest.
        digest: Digest,
    },
    /// New bytes cannot be used; the old ones stay.
    Refused {
        /// The job's name for the plugin.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A query without plugins.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPlugins;

impl Plugins for NoPlugins {
    fn current(&self) -> Vec<Arc<dyn PluginModule>> {
        Vec::new()
    }

    fn bytes(&self, _: Digest) -> Option<Arc<[u8]>> {
        None
    }

    fn load(&mut self, name: &str, _: &[u8]) -> Result<Arc<dyn PluginModule>, String> {
        Err(format!("the job has no plugin \"{name}\""))
    }

    fn next_change(&mut self) -> Option<PluginChange> {
        None
    }

    fn notify(&mut self, _: Wake) {}

    fn refuse(&mut self, _: &str) {}
}
