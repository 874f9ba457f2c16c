//! What a file sink writes down: `_owner` first, then the names of the files, then Spark's entry.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tidemill_core::{Attempt, BatchId, ConnectorError, Delivery, Digest, EncodedSpec, Mark};

use super::log::{
    COMPACT_INTERVAL, EntryId, LogFolder, SinkFile, parse, sync_folder, text_of, without_deleted,
};
use super::owner::{Fault, Landed, OWNER_FILE, Owner, faulty};

/// The log of one directory, and its writer's side of it.
pub(super) struct Ledger {
    directory: PathBuf,
    folder: LogFolder,
    owner: Owner,
}

impl Ledger {
    /// Takes the directory, or finds that it is taken.
    ///
    /// Batch numbers of two queries in one log would be taken for one another, and rows lost in
    /// silence; so a directory belongs to one sink of one query.
    pub(super) fn open(
        directory: &Path,
        query_id: &str,
        target: &str,
    ) -> Result<Ledger, ConnectorError> {
        let folder = LogFolder::of(directory);
        create_folder(folder.path())?;
        let owner = match owner_of(directory, &folder, query_id, target)? {
            Some(owner) => owner,
            None => {
                let (query_id, target) = (query_id.to_owned(), target.to_owned());
                let owner = Owner { query_id, target, landed: None };
                owner.write(&folder)?;
                owner
            }
        };
        Ok(Ledger { directory: directory.to_owned(), folder, owner })
    }

    /// The last delivery that landed in a directory, which has to be this sink's or nobody's.
    /// Creates nothing.
    pub(super) fn mark_in(
        directory: &Path,
        query_id: &str,
        target: &str,
    ) -> Result<Option<Mark>, ConnectorError> {
        let folder = LogFolder::of(directory);
        if !folder.path().exists() {
            return Ok(None);
        }
        let owner = owner_of(directory, &folder, query_id, target)?;
        Ok(owner.and_then(|owner| owner.mark()))
    }

    /// The last delivery that landed.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.owner.mark()
    }

    /// Finishes what an earlier run, or a commit that failed, left half done, and sees that
    /// nothing is damaged.
    pub(super) fn recover(&self) -> Result<(), ConnectorError> {
        self.finish()?;
        self.check()
    }

    /// Adds a delivery. It has landed when `_owner` is on the disk: after an error before that
    /// nothing has, after one later all has, and only opening the directory again can tell.
    pub(super) fn land(
        &mut self,
        delivery: &Delivery,
        added: Vec<SinkFile>,
    ) -> Result<(), ConnectorError> {
        let batch = delivery.batch.0;
        let (mut entries, kept_from) = match &self.owner.landed {
            Some(landed) => (landed.entries.clone(), landed.kept_from()),
            None => (BTreeMap::new(), 0),
        };
        entries.retain(|entry, _| entry.batch >= kept_from);
        let settled = entries.keys().map(|entry| entry.batch).max();
        let before = entries.get(&EntryId::of(batch)).copied();
        let texts = self.texts(batch, &added, &entries)?;
        entries.extend(texts.iter().map(|(entry, text)| (*entry, Digest::of(text.as_bytes()))));
        self.owner.landed = Some(Landed {
            batch,
            calls: delivery.call,
            digest: delivery.spec.digest(),
            spec: delivery.spec.text().to_owned(),
            settled,
            before,
            entries,
            added,
        });
        self.owner.write(&self.folder)?;
        self.name_files()?;
        for (entry, text) in texts {
            self.folder.write(entry, &text)?;
        }
        self.remove_taken_back()?;
        self.remove_folded()
    }

    /// Takes files back that have landed, and gives their number. To the log it is one delivery more of
    /// the last batch, whose lines take them back; then they are removed.
    pub(super) fn take_back(
        &mut self,
        is_wanted: impl Fn(&SinkFile) -> bool,
    ) -> Result<usize, ConnectorError> {
        let Some(landed) = &self.owner.landed else { return Ok(0) };
        let files = self.lines(&landed.entries)?.into_iter().filter(|file| is_wanted(file));
        let files: Vec<SinkFile> = files.map(SinkFile::taken_back).collect();
        let count = files.len();
        if count > 0 {
            let delivery = Delivery {
                batch: BatchId(landed.batch),
                spec: EncodedSpec::from_text(landed.spec.as_str()),
                attempt: Attempt::FIRST,
                call: landed.calls + 1,
            };
            self.land(&delivery, files)?;
        }
        Ok(count)
    }

    /// What is left to do of the last delivery.
    fn finish(&self) -> Result<(), ConnectorError> {
        let Some(landed) = &self.owner.landed else { return Ok(()) };
        // What is believed of `_owner` from here on has to outlive a power cut, too.
        let path = self.folder.path();
        sync_folder(path).map_err(|error| failed("sync", path, error))?;
        self.name_files()?;
        let mut is_written = true;
        for (entry, wanted) in landed.entries.iter().filter(|(entry, _)| landed.is_pending(**entry))
        {
            let found = self.folder.bytes(*entry)?.map(|bytes| Digest::of(&bytes));
            if landed.before.is_none() && found.is_some_and(|found| found != *wanted) {
                let file = self.folder.file(*entry);
                tracing::warn!("{} was damaged; it is written anew", file.display());
            }
            is_written &= found == Some(*wanted);
        }
        if !is_written {
            let mut settled = landed.entries.clone();
            settled.retain(|entry, _| landed.settled.is_some_and(|last| entry.batch <= last));
            if let Some(before) = landed.before {
                settled.insert(EntryId::of(landed.batch), before);
            }
            for (entry, text) in self.texts(landed.batch, &landed.added, &settled)? {
                self.folder.write(entry, &text)?;
            }
        }
        self.remove_taken_back()?;
        self.remove_folded()
    }

    /// The entries that a delivery makes: its batch's own, and those of batches that were passed
    /// over (a handler may), since Spark's readers want every id from the last fold on. `settled`
    /// are the entries before it.
    fn texts(
        &self,
        batch: u64,
        added: &[SinkFile],
        settled: &BTreeMap<EntryId, Digest>,
    ) -> Result<Vec<(EntryId, String)>, ConnectorError> {
        let next = settled.keys().map(|entry| entry.batch + 1).max().unwrap_or(0);
        // Nothing before the last fold is read.
        let fold = (batch / COMPACT_INTERVAL * COMPACT_INTERVAL).saturating_sub(1);
        let mut texts = Vec::new();
        for missing in (next.max(fold)..batch).map(EntryId::of) {
            let lines = if missing.is_folded { self.lines(settled)? } else { Vec::new() };
            texts.push((missing, text_of(&lines)?));
        }
        let entry = EntryId::of(batch);
        let mut lines = match settled.get(&entry) {
            _ if entry.is_folded => self.lines(settled)?,
            Some(digest) => self.lines_of(entry, *digest)?,
            None => Vec::new(),
        };
        lines.extend_from_slice(added);
        texts.push((entry, text_of(&lines)?));
        Ok(texts)
    }

    /// All lines of some entries, from their newest fold on.
    fn lines(&self, entries: &BTreeMap<EntryId, Digest>) -> Result<Vec<SinkFile>, ConnectorError> {
        let fold = entries.keys().filter(|entry| entry.is_folded).max().copied();
        let mut lines = Vec::new();
        for (entry, digest) in entries.iter().filter(|(entry, _)| Some(**entry) >= fold) {
            lines.extend(self.lines_of(*entry, *digest)?);
        }
        Ok(without_deleted(lines))
    }

    fn lines_of(&self, entry: EntryId, wanted: Digest) -> Result<Vec<SinkFile>, ConnectorError> {
        let bytes = self.folder.bytes(entry)?;
        let bytes = bytes.ok_or_else(|| faulty(&self.folder, entry, Fault::Missing))?;
        let found = Digest::of(&bytes);
        if found != wanted {
            return Err(faulty(&self.folder, entry, Fault::Damaged { found, wanted }));
        }
        parse(&self.folder.file(entry), &bytes)
    }

    /// Gives the files of the last delivery their final names, unless they have them.
    fn name_files(&self) -> Result<(), ConnectorError> {
        let Some(landed) = &self.owner.landed else { return Ok(()) };
        for file in landed.added.iter().filter(|file| !file.is_taken_back()) {
            let name = file.name();
            let (from, to) = (self.directory.join(format!(".{name}")), self.directory.join(&name));
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_file(file)?,
                Err(error) => return Err(failed("rename", &from, error)),
                Ok(()) => {}
            }
        }
        if landed.added.is_empty() {
            return Ok(());
        }
        sync_folder(&self.directory).map_err(|error| failed("sync", &self.directory, error))
    }

    /// Removes the files that the last delivery takes back, which no entry names any more.
    fn remove_taken_back(&self) -> Result<(), ConnectorError> {
        let Some(landed) = &self.owner.landed else { return Ok(()) };
        for file in landed.added.iter().filter(|file| file.is_taken_back()) {
            remove(&self.directory.join(file.name()))?;
        }
        Ok(())
    }

    fn remove_folded(&self) -> Result<(), ConnectorError> {
        let Some(landed) = &self.owner.landed else { return Ok(()) };
        if !EntryId::of(landed.batch).is_folded {
            return Ok(());
        }
        let kept_from = landed.kept_from();
        let mut old = self.folder.entries()?.into_iter().filter(|entry| entry.batch < kept_from);
        old.try_for_each(|entry| self.folder.remove(entry))
    }

    /// Sees that every entry is as it was written, and every file there as a whole.
    fn check(&self) -> Result<(), ConnectorError> {
        let entries = self.owner.landed.as_ref().map(|landed| &landed.entries);
        let first = entries.and_then(|entries| entries.keys().next()).map_or(0, |e| e.batch);
        let mut found = BTreeMap::new();
        for entry in self.folder.entries()?.into_iter().filter(|entry| entry.batch >= first) {
            if let Some(bytes) = self.folder.bytes(entry)? {
                found.insert(entry, Digest::of(&bytes));
            }
        }
        self.owner.check_complete(&self.folder, first, &found)?;
        self.owner.check_digests(&self.folder, &found)?;
        match entries {
            Some(entries) => self.lines(entries)?.iter().try_for_each(|file| self.check_file(file)),
            None => Ok(()),
        }
    }

    fn check_file(&self, file: &SinkFile) -> Result<(), ConnectorError> {
        let path = self.directory.join(file.name());
        let found = match std::fs::metadata(&path) {
            Ok(about) => about.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ConnectorError::fatal(format!(
                    "the file {} is gone, and the log in {} names it: whoever reads the directory by it lacks its rows; put it back from a backup",
                    path.display(),
                    self.folder.path().display()
                )));
            }
            Err(error) => return Err(failed("look at", &path, error)),
        };
        if found == file.size {
            return Ok(());
        }
        Err(ConnectorError::fatal(format!(
            "the file {} has {found} bytes, and the log in {} has {} for it: it is damaged; put it back from a backup",
            path.display(),
            self.folder.path().display(),
            file.size
        )))
    }
}

/// What `_owner` says; `None` where the directory is nobody's.
fn owner_of(
    directory: &Path,
    folder: &LogFolder,
    query_id: &str,
    target: &str,
) -> Result<Option<Owner>, ConnectorError> {
    match Owner::read(folder)? {
        Some(owner) if owner.is(query_id, target) => Ok(Some(owner)),
        Some(owner) => {
            let whose = format!("query {}, sink \"{}\"", owner.query_id, owner.target);
            Err(not_ours(directory, &whose))
        }
        None if folder.entries()?.is_empty() => Ok(None),
        None => {
            let file = folder.path().join(OWNER_FILE);
            let whose = format!("a query that is not known: there is no {}", file.display());
            Err(not_ours(directory, &whose))
        }
    }
}

fn not_ours(directory: &Path, whose: &str) -> ConnectorError {
    ConnectorError::fatal(format!(
        "the directory {} holds the output of another query or sink ({whose}), whose batch numbers would be taken for this one's; write to another directory, or remove this one if its rows are not needed (was the checkpoint removed?)",
        directory.display()
    ))
}

/// Creates a folder and its parents, durably.
fn create_folder(folder: &Path) -> Result<(), ConnectorError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
    for parent in missing.iter().filter_map(|path| path.parent()) {
        sync_folder(parent).map_err(|error| failed("sync", parent, error))?;
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), ConnectorError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> ConnectorError {
    ConnectorError::retryable(format!("could not {what} {}", path.display())).caused_by(error)
}
