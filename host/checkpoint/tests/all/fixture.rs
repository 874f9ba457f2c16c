//! Checkpoints that lie in `tests/fixtures`, each made when its format was new, are opened and go
//! on. A fixture is never changed. A new format, or another way to write this one, gets one more:
//!
//! ```text
//! TIDEMILL_UPDATE=NAME cargo test -p tidemill-checkpoint --test all fixture
//! ```
//!
//! writes `tests/fixtures/NAME`, and refuses to write over one that is there.

use std::path::{Path, PathBuf};

use tidemill_checkpoint::{Checkpoint, Choice, MemoryDisk, Resume};
use tidemill_core::{BatchId, Digest};

use crate::support::{self, Query, entries, options, root};

/// Two lives with snapshots and segments, and a third in which batch 17 is in flight: its handler
/// has marked it. A write after that was torn.
fn lives() -> MemoryDisk {
    let disk = MemoryDisk::new();
    Query::open(&disk).unwrap().run_through(12).unwrap();
    Query::open(&disk).unwrap().run_through(14).unwrap();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(16).unwrap();
    query.plan(BatchId(17)).unwrap();
    query.checkpoint.append_mark(BatchId(17), "deliver").unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);
    Checkpoint::choose(&disk, root(), "numbers", Some(choice())).unwrap();
    let path = support::last_segment(&disk);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes.extend([7, 0, 0, 0, 5]);
    disk.put(&path, &bytes);
    disk
}

/// What was chosen in the newest of them.
fn choice() -> Choice {
    Choice { digest: Digest::of(support::PLUGIN), instead_of: Some(Digest([9; 32])) }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A fixture, as a disk.
fn disk_of(fixture: &Path) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for dir in ["", "log", "snapshots", "plugins"] {
        let Ok(files) = std::fs::read_dir(fixture.join(dir)) else { continue };
        for file in files.map(Result::unwrap).filter(|file| file.path().is_file()) {
            let path = root().join(dir).join(file.file_name());
            disk.put(&path, &std::fs::read(file.path()).unwrap());
        }
    }
    disk
}

fn write(disk: &MemoryDisk, fixture: &Path) {
    assert!(!fixture.exists(), "{} is there, and a fixture is never changed", fixture.display());
    for path in disk.paths() {
        let file = fixture.join(path.strip_prefix(root()).unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, disk.bytes(&path).unwrap()).unwrap();
    }
}

#[test]
fn every_fixture_is_opened_and_goes_on() {
    if let Some(name) = std::env::var_os("TIDEMILL_UPDATE").filter(|name| name != "1") {
        write(&lives(), &fixtures().join(name));
    }
    let wanted = lives();
    let mut wanted = Query::open(&wanted).unwrap();
    let dirs: Vec<_> =
        std::fs::read_dir(fixtures()).unwrap().map(|dir| dir.unwrap().path()).collect();
    assert!(!dirs.is_empty());
    let state = entries(&wanted.state);
    wanted.run_through(20).unwrap();
    for dir in dirs {
        let disk = disk_of(&dir);
        let has = |what: &str| disk.paths().iter().any(|path| path.starts_with(root().join(what)));
        assert!(has("snapshots") && has("plugins") && support::segments(&disk).len() > 2);
        let mut query = Query::open(&disk).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let spec = match &query.recovered.next {
            Resume::Replay { spec, attempt } => {
                assert_eq!(*attempt, support::attempt(0));
                spec.clone()
            }
            other => panic!("{}: {other:?}", dir.display()),
        };
        assert_eq!(spec, support::spec(17, query.watermark, query.late_watermark));
        assert!(query.checkpoint.is_processed(BatchId(17), "deliver"));
        assert_eq!(
            query.checkpoint.plugin_bytes(Digest::of(support::PLUGIN)).unwrap(),
            support::PLUGIN
        );
        assert_eq!(query.recovered.pinned, options().pinned);
        assert_eq!(query.position, 180);
        assert_eq!(entries(&query.state), state);
        query.run_through(20).unwrap();
        assert_eq!(entries(&query.state), entries(&wanted.state));
        let choices = Checkpoint::choices(&disk, root()).unwrap();
        let chosen = has("choices").then(|| ("numbers".to_owned(), choice()));
        assert_eq!(choices, chosen.into_iter().collect());
    }
}
