//! Servers that tests and the demo talk to: ordinary processes on loopback, without containers.
//!
//! The state of each instance is a folder in the target directory. No record is kept elsewhere, so
//! a folder that is deleted is forgotten, and instances with different names know nothing of each
//! other.

mod daemon;
mod jars;
pub(crate) mod kafka;
mod ports;

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fs4::FileExt;

/// How often something that is waited for is looked at.
const TICK: Duration = Duration::from_millis(100);

/// The right to change what lies beside `path`, until it is dropped. Another process's is waited
/// for: it is busy for a minute at most, when it downloads.
fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = open.with_context(|| format!("opening {}", path.display()))?;
    FileExt::lock(&file).with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}
