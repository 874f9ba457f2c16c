//! A job's plugins: loaded, watched, and swapped between batches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidemill_checkpoint::{CheckpointError, Disk};
use tidemill_core::{Digest, PluginModule, Wake};
use tidemill_engine::{PluginChange, Plugins};
use tidemill_plugin_host::{Limits, Module, PluginConfig, PluginHost, Reloader, UsedFunction};

use super::compiled_in::CompiledIn;
use super::error::PrepareError;
use super::origins::{Origin, Origins, chooser};
use super::shared::Shared;
use crate::job::JobPlugin;

/// How long a plugin that is ready waits for others whose files have changed.
const TOGETHER_WAIT_MAX: Duration = Duration::from_secs(10);

/// All plugins of a query.
pub(super) enum JobPlugins {
    /// From the files that the job names.
    Files { host: PluginHost, plugins: Vec<Loaded> },
    /// Compiled in.
    Native(Vec<Arc<CompiledIn>>),
}

pub(super) struct Loaded {
    name: String,
    path: PathBuf,
    config: PluginConfig,
    watch: bool,
    current: Arc<Module>,
    /// The generation before, until the engine has planned with the present one.
    previous: Option<Arc<Module>>,
    reloader: Option<Reloader>,
}

impl JobPlugins {
    pub(super) fn load(
        shared: &Shared,
        plugins: &[JobPlugin],
        origins: &Origins,
    ) -> Result<JobPlugins, PrepareError> {
        if !shared.native.is_empty() {
            return JobPlugins::compiled_in(&shared.native);
        }
        let host = shared.host()?;
        let mut loaded = Vec::new();
        for plugin in plugins {
            let config = config_of(plugin);
            let name = &plugin.name;
            let current = match origins.get(name) {
                None => host.load_file(name, &plugin.path, config.clone())?,
                Some(Origin::Kept { bytes, .. }) => host.load(name, bytes, config.clone())?,
                Some(Origin::Other(path)) => host.load_file(name, path, config.clone())?,
            };
            loaded.push(Loaded {
                name: name.clone(),
                path: plugin.path.clone(),
                config,
                watch: plugin.watch.unwrap_or(shared.watch),
                current,
                previous: None,
                reloader: None,
            });
        }
        Ok(JobPlugins::Files { host, plugins: loaded })
    }

    fn compiled_in(modules: &[Arc<dyn PluginModule>]) -> Result<JobPlugins, PrepareError> {
        let modules =
            modules.iter().map(|module| CompiledIn::new(Arc::clone(module)).map(Arc::new));
        let modules = modules.collect::<std::io::Result<_>>().map_err(|error| {
            PrepareError::Invalid(format!(
                "the plugins are compiled in, and the executable, whose bytes stand for them, \
                 cannot be read: {error}"
            ))
        })?;
        Ok(JobPlugins::Native(modules))
    }

    /// Starts to watch the files of the plugins that are to be reloaded, and what is chosen for them
    /// in the checkpoint at `checkpoint`.
    pub(super) fn watch(
        &mut self,
        uses: &[(String, UsedFunction)],
        disk: &Arc<dyn Disk>,
        checkpoint: &Path,
    ) -> Result<(), PrepareError> {
        let JobPlugins::Files { host, plugins } = self else {
            return Ok(());
        };
        if plugins.iter().any(|plugin| plugin.watch) {
            // It is about to be made anyway, and only what is there can be watched.
            disk.create_dir(checkpoint).map_err(|source| {
                let (action, path) = ("create", checkpoint.to_owned());
                PrepareError::from(CheckpointError::Io { action, path, source })
            })?;
        }
        for plugin in plugins.iter_mut().filter(|plugin| plugin.watch) {
            let mine = uses.iter().filter(|(name, _)| *name == plugin.name);
            plugin.reloader = Some(Reloader::new(
                host,
                (&plugin.name, &plugin.path),
                plugin.config.clone(),
                plugin.current.digest(),
                mine.map(|(_, function)| function.clone()).collect(),
                Some(chooser(&plugin.name, disk, checkpoint)),
            )?);
        }
        Ok(())
    }
}

fn config_of(plugin: &JobPlugin) -> PluginConfig {
    let default = Limits::default();
    PluginConfig {
        config_json: plugin.config.reveal().clone(),
        limits: Limits {
            memory: plugin.memory.unwrap_or(default.memory),
            deadline: plugin.deadline.unwrap_or(default.deadline),
        },
        targets: plugin.targets.iter().cloned().collect::<BTreeSet<String>>(),
        reuse: plugin.reuse,
    }
}

impl Plugins for JobPlugins {
    fn current(&self) -> Vec<Arc<dyn PluginModule>> {
        match self {
            JobPlugins::Native(modules) => {
                modules.iter().map(|module| Arc::clone(module) as Arc<dyn PluginModule>).collect()
            }
            JobPlugins::Files { plugins, .. } => plugins
                .iter()
                .map(|plugin| Arc::clone(&plugin.current) as Arc<dyn PluginModule>)
                .collect(),
        }
    }

    fn bytes(&self, digest: Digest) -> Option<Arc<[u8]>> {
        match self {
            JobPlugins::Native(modules) => {
                let module = modules.iter().find(|module| module.digest() == digest)?;
                Some(module.identity())
            }
            JobPlugins::Files { plugins, .. } => {
                let plugin = plugins.iter().find(|plugin| plugin.current.digest() == digest)?;
                Some(plugin.current.bytes())
            }
        }
    }

    fn load(&mut self, name: &str, bytes: &[u8]) -> Result<Arc<dyn PluginModule>, String> {
        let JobPlugins::Files { host, plugins } = self else {
            return Err(
                "it was compiled into another build of this program; start that build once \
                        more, and it finishes the batch"
                    .to_owned(),
            );
        };
        let plugin = plugins
            .iter()
            .find(|plugin| plugin.name == name)
            .ok_or_else(|| format!("the job has no plugin \"{name}\""))?;
        let module = host.load(name, bytes, plugin.config.clone());
        Ok(module.map_err(|error| error.to_string())?)
    }

    fn next_change(&mut self) -> Option<PluginChange> {
        let JobPlugins::Files { plugins, .. } = self else {
            return None;
        };
        // Those that change together are swapped together, unless one changes without end.
        let reloaders = || plugins.iter().filter_map(|plugin| plugin.reloader.as_ref());
        let is_due = |reloader: &Reloader| {
            reloader.ready_for().is_some_and(|ready| ready >= TOGETHER_WAIT_MAX)
        };
        if reloaders().any(Reloader::is_busy) && !reloaders().any(is_due) {
            return None;
        }
        plugins.iter_mut().find_map(|plugin| {
            let outcome = plugin.reloader.as_ref().and_then(Reloader::take_ready)?;
            let name = plugin.name.clone();
            Some(match outcome {
                Ok(module) => {
                    let digest = module.digest();
                    plugin.previous = Some(std::mem::replace(&mut plugin.current, module));
                    PluginChange::Accepted { name, digest }
                }
                Err(error) => PluginChange::Refused { name, reason: error.to_string() },
            })
        })
    }

    fn notify(&mut self, wake: Wake) {
        let JobPlugins::Files { plugins, .. } = self else {
            return;
        };
        for reloader in plugins.iter().filter_map(|plugin| plugin.reloader.as_ref()) {
            reloader.notify(Arc::clone(&wake));
        }
    }

    fn refuse(&mut self, name: &str) {
        let JobPlugins::Files { plugins, .. } = self else {
            return;
        };
        let plugin = plugins.iter_mut().find(|plugin| plugin.name == name);
        if let Some(plugin) = plugin
            && let Some(previous) = plugin.previous.take()
        {
            plugin.current = previous;
        }
    }
}
