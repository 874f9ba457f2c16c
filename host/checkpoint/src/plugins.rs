//! The bytes of plugins, by digest: a batch is replayed with the bytes that it was planned with.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::Digest;

use crate::CheckpointError;
use crate::disk::{Disk, Unfinished};
use crate::names::{Layout, plugin_digest, temporary};

/// The plugins of a checkpoint. Clones are the same.
#[derive(Clone)]
pub(crate) struct Plugins {
    disk: Arc<dyn Disk>,
    layout: Layout,
    /// What is there, and whether this run uses it. Locked while files come and go, so that
    /// retention does not remove what is just being taken into use.
    held: Arc<Mutex<BTreeMap<Digest, bool>>>,
}

impl Plugins {
    pub(crate) fn open(disk: Arc<dyn Disk>, layout: Layout) -> Result<Plugins, CheckpointError> {
        let dir = layout.plugins();
        let files = disk.list(&dir).map_err(CheckpointError::io("list", &dir))?;
        let held = files.iter().filter_map(|file| Some((plugin_digest(&file.name)?, false)));
        let held = Arc::new(Mutex::new(held.collect()));
        Ok(Plugins { disk, layout, held })
    }

    /// Keeps the bytes, durably. Fine if they are there.
    pub(crate) fn store(&self, digest: Digest, bytes: &[u8]) -> Result<(), CheckpointError> {
        let path = self.layout.plugin(&digest);
        check(digest, bytes, &path)?;
        let mut held = self.held();
        if !held.contains_key(&digest) {
            write_durably(&*self.disk, &path, bytes)?;
        }
        held.insert(digest, true);
        Ok(())
    }

    pub(crate) fn bytes(&self, digest: Digest) -> Result<Vec<u8>, CheckpointError> {
        self.take_into_use(&digest)?;
        kept_bytes(&*self.disk, &self.layout, digest)
    }

    /// The plugin stays for as long as this run lasts.
    pub(crate) fn take_into_use(&self, digest: &Digest) -> Result<(), CheckpointError> {
        let mut held = self.held();
        let Some(is_used) = held.get_mut(digest) else {
            return Err(CheckpointError::NoPlugin {
                digest: *digest,
                path: self.layout.plugin(digest),
            });
        };
        *is_used = true;
        Ok(())
    }

    /// Removes the plugins that neither this run uses nor `is_wanted` names. Gives those that
    /// were removed.
    pub(crate) fn retain(
        &self,
        is_wanted: impl Fn(&Digest) -> bool,
    ) -> Result<Vec<Digest>, CheckpointError> {
        let mut held = self.held();
        let unwanted = held.iter().filter(|(digest, is_used)| !**is_used && !is_wanted(digest));
        let unwanted: Vec<Digest> = unwanted.map(|(&digest, _)| digest).collect();
        for digest in &unwanted {
            let path = self.layout.plugin(digest);
            held.remove(digest);
            self.disk.remove(&path).map_err(CheckpointError::io("remove", &path))?;
        }
        Ok(unwanted)
    }

    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.held().contains_key(digest)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, bool>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a plugin that is kept.
pub(crate) fn kept_bytes(
    disk: &dyn Disk,
    layout: &Layout,
    digest: Digest,
) -> Result<Vec<u8>, CheckpointError> {
    let path = layout.plugin(&digest);
    let mut bytes = Vec::new();
    let mut file = match disk.read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CheckpointError::NoPlugin { digest, path });
        }
        file => file.map_err(CheckpointError::io("read", &path))?,
    };
    file.read_to_end(&mut bytes).map_err(CheckpointError::io("read", &path))?;
    check(digest, &bytes, &path)?;
    Ok(bytes)
}

fn check(wanted: Digest, bytes: &[u8], path: &Path) -> Result<(), CheckpointError> {
    let found = Digest::of(bytes);
    if found == wanted {
        return Ok(());
    }
    Err(CheckpointError::WrongPlugin { wanted, found, path: path.to_owned() })
}

/// The file is there whole, or not at all.
fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut file = Unfinished::create(disk, temporary(path))?;
    file.append(bytes)?;
    file.finish(path)
}
