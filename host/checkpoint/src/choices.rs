//! Which generation of a plugin is used in place of its file's, because somebody chose it.
//!
//! A small file beside the log, read at a start: a choice is about what runs next, and no part of
//! what the log says of batches.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidemill_core::Digest;

use crate::CheckpointError;
use crate::disk::Disk;
use crate::framed::{self, FramedWriter};
use crate::log::record::{self, kind};
use crate::names::{Layout, temporary};

const MAGIC: [u8; 8] = *b"TIDECHOI";

/// What such a file should be.
const WANTED: &str = "the choices of a checkpoint";

/// What is used of one plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The bytes that are used, which the checkpoint keeps.
    pub digest: Digest,
    /// They are used while the plugin's file holds these bytes; `None`: whatever it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Digest>,
}

/// By the job's name for a plugin.
pub(crate) type Choices = BTreeMap<String, Choice>;

/// Those of the checkpoint; none where there is no file.
pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Choices, CheckpointError> {
    let path = layout.choices();
    read_from(disk, &path).map_err(|error| match error {
        CheckpointError::Damaged { file, found, .. } => CheckpointError::Choices { file, found },
        other => other,
    })
}

fn read_from(disk: &dyn Disk, path: &Path) -> Result<Choices, CheckpointError> {
    let mut frames = match framed::open(disk, path, MAGIC, WANTED) {
        Err(CheckpointError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Choices::new());
        }
        frames => frames?,
    };
    let offset = frames.offset();
    match (frames.next_good()?, frames.next_good()?) {
        (Some(frame), None) if frame.kind == kind::CHOICES => {
            let choices = record::from_json(&frame.payload);
            choices.map_err(|found| CheckpointError::damaged(path, offset, found))
        }
        _ => Err(CheckpointError::damaged(path, offset, format!("it is not {WANTED}"))),
    }
}

/// In place of those that are there, durably.
pub(crate) fn write(
    disk: &dyn Disk,
    layout: &Layout,
    choices: &Choices,
) -> Result<(), CheckpointError> {
    let path = layout.choices();
    let mut file = FramedWriter::create(disk, temporary(&path), MAGIC)?;
    file.frame(kind::CHOICES, |bytes| bytes.extend(record::json(choices)))?;
    file.finish(&path)
}
