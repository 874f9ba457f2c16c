//! Notices that source files changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Compares the newest modification time below some directories. Asked five times a second of some
/// twenty files, that costs less than a watcher of the operating system's would in code.
pub(crate) struct Watch {
    directories: Vec<PathBuf>,
    newest: Option<SystemTime>,
}

impl Watch {
    pub(crate) fn new(directories: &[PathBuf]) -> Watch {
        let mut watch = Watch { directories: directories.to_vec(), newest: None };
        watch.changed();
        watch
    }

    /// Whether a file changed or came since the last call.
    pub(crate) fn changed(&mut self) -> bool {
        let newest = self.directories.iter().filter_map(|directory| newest_below(directory)).max();
        let changed = newest > self.newest;
        self.newest = newest.max(self.newest);
        changed
    }
}

fn newest_below(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).ok()?;
    let times = entries.flatten().filter_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            return newest_below(&entry.path());
        }
        let is_source =
            entry.path().extension().is_some_and(|e| e == "rs" || e == "wit" || e == "toml");
        is_source.then(|| entry.metadata().ok()?.modified().ok())?
    });
    times.max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_new_source_file_is_noticed_once_and_other_files_never() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[directory.path().to_owned()]);
        assert!(!watch.changed());
        std::fs::create_dir(directory.path().join("src")).unwrap();
        std::fs::write(directory.path().join("src/lib.rs"), "").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
        std::fs::write(directory.path().join("src/lib.rs.swp"), "").unwrap();
        assert!(!watch.changed());
    }
}
