//! Why a plugin could not be loaded.

use std::path::PathBuf;

use tidemill_core::PluginFailure;

/// A plugin could not be loaded. What was loaded before is unharmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\": {problem}")]
pub struct LoadError {
    /// The job's name for the plugin.
    pub plugin: String,
    /// What is wrong.
    pub problem: LoadProblem,
}

/// What is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadProblem {
    /// The file cannot be read.
    #[error("could not read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The system cannot tell when the file changes, as where it has no watches or threads left.
    #[error("{} cannot be watched: {reason}; start without --watch, or raise what the system allows (fs.inotify.max_user_instances, ulimit -n, ulimit -u)", path.display())]
    Unwatched {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Nobody knows whether other bytes were chosen in place of the file's.
    #[error("what was chosen in place of its file cannot be used: {0}")]
    Unchosen(String),
    /// The bytes are no WebAssembly.
    #[error(
        "the file is not WebAssembly: it begins with {found}; name the .wasm file that \
         `cargo build --target wasm32-unknown-unknown` makes"
    )]
    NotWasm {
        /// The first bytes.
        found: String,
    },
    /// It is WebAssembly and no plugin.
    #[error(
        "the module is no plugin for this host: {reason}; build it with the \
         tidemill-plugin crate of this version, and list its functions in `plugin! {{ … }}`"
    )]
    NoPlugin {
        /// What is missing.
        reason: String,
    },
    /// It wants something of the host that a plugin does not get.
    #[error("{0}")]
    Import(String),
    /// There is more in it than a plugin may have.
    #[error("{0}")]
    TooLarge(String),
    /// It could not be compiled.
    #[error("could not be compiled: {0}")]
    Compile(String),
    /// The system gives no threads to compile it on, as where other programs have them all.
    #[error(
        "there are no threads to compile it on ({0}); raise the limit of processes (ulimit -u, or pids.max of the control group)"
    )]
    NoThread(String),
    /// It could not say which functions it has.
    #[error("could not say which functions it has: {0}")]
    Describe(PluginFailure),
    /// A function that the query uses is not there as the query uses it.
    #[error("{0}; the query goes on with the module that it has")]
    Unfit(String),
    /// The host itself could not be set up.
    #[error("the host could not be set up: {0}")]
    Host(String),
}

impl LoadError {
    /// Whether the same file may be loaded later, as it is: the machine lacks something.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.problem, LoadProblem::Unwatched { .. } | LoadProblem::NoThread(_))
    }
}
