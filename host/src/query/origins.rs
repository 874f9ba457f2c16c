//! Where the bytes of a query's plugins come from: their files, or what somebody chose in their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_checkpoint::{Checkpoint, Choice, Disk};
use tidemill_core::Digest;
use tidemill_plugin_host::{Chooser, PluginHost};

use super::error::PrepareError;
use super::shared::Shared;
use crate::job::{Job, JobPlugin};

/// In place of a plugin's file.
pub(super) enum Origin {
    /// Bytes that the checkpoint keeps.
    Kept {
        /// The bytes.
        bytes: Vec<u8>,
        /// Of the bytes.
        digest: Digest,
        /// What the file holds, until it changes; `None`: the file is ignored.
        file: Option<Digest>,
    },
    /// Another file.
    Other(PathBuf),
}

/// By the job's name for a plugin. The others run their files.
pub(super) type Origins = BTreeMap<String, Origin>;

/// What was chosen for the plugins of a job that has a checkpoint.
pub(super) fn chosen(job: &Job, shared: &Shared) -> Result<Origins, PrepareError> {
    let disk = shared.disk.as_ref();
    let choices = Checkpoint::choices(disk, &job.checkpoint)?;
    let mut origins = Origins::new();
    for plugin in &job.plugins {
        let Some(choice) = choices.get(&plugin.name) else { continue };
        if let Some(origin) = origin(job, shared, plugin, *choice)? {
            origins.insert(plugin.name.clone(), origin);
        }
    }
    Ok(origins)
}

/// What a choice comes to; `None`: the file, which is another one than was rolled back.
pub(super) fn origin(
    job: &Job,
    shared: &Shared,
    plugin: &JobPlugin,
    choice: Choice,
) -> Result<Option<Origin>, PrepareError> {
    let file = match choice.instead_of {
        None => None,
        Some(rolled_back) => {
            let file = PluginHost::digest_of_file(&plugin.name, &plugin.path)?;
            if file != rolled_back {
                return Ok(None);
            }
            Some(file)
        }
    };
    let bytes = Checkpoint::kept_plugin(shared.disk.as_ref(), &job.checkpoint, choice.digest)?;
    Ok(Some(Origin::Kept { bytes, digest: choice.digest, file }))
}

/// Chooses for a plugin while its query runs, as a start would. Where that cannot be read, nothing changes.
pub(super) fn chooser(name: &str, disk: &Arc<dyn Disk>, checkpoint: &Path) -> Chooser {
    let (name, disk, path) = (name.to_owned(), Arc::clone(disk), checkpoint.to_owned());
    let choose = move |file: Option<Digest>| {
        let choices = Checkpoint::choices(disk.as_ref(), &path);
        let mut choices = choices.map_err(|error| error.to_string())?;
        let choice = choices.remove(&name);
        let holds = |choice: &Choice| choice.instead_of.is_none() || choice.instead_of == file;
        let Some(choice) = choice.filter(holds) else { return Ok(None) };
        let bytes = Checkpoint::kept_plugin(disk.as_ref(), &path, choice.digest);
        bytes.map(Some).map_err(|error| error.to_string())
    };
    Chooser { file: Checkpoint::choices_file(checkpoint), choose: Box::new(choose) }
}

/// Says which files are not what runs.
pub(super) fn warn(job: &Job, shared: &Shared, origins: &Origins) {
    for plugin in &job.plugins {
        let Some(Origin::Kept { digest, file, .. }) = origins.get(&plugin.name) else { continue };
        let (name, digest, path) = (&plugin.name, digest.short(), plugin.path.display());
        if file.is_some() {
            tracing::warn!(
                "plugin \"{name}\" was rolled back: {digest} runs in place of {path}, until that file changes"
            );
            continue;
        }
        let is_watched = plugin.watch.unwrap_or(shared.watch);
        let watched = if is_watched { ", whatever changes there" } else { "" };
        tracing::warn!(
            "plugin \"{name}\" is pinned to {digest}: its file {path} is ignored{watched}; `tidemill plugins JOB pin {name} --off` ends that"
        );
    }
}
