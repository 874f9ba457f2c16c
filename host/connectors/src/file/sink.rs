//! The file sink: a directory to which every batch adds files, exactly once.
//!
//! 1. Rows are written to hidden files, `.part-00000-<query>-b00000012.json`; `prepare` makes them
//!    durable.
//! 2. `commit` adds their final names to the `_spark_metadata` log, durably: from here on the
//!    batch has landed.
//! 3. The files get their final names. A crash before that is made good when the directory is
//!    next opened: what the log names is renamed, what it does not name is removed.
//!
//! A reader of the log sees exactly the committed files, a reader that globs sees whole files.

use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use tidemill_core::{
    BatchId, Begin, ConnectorError, Delivery, Held, Mark, OutputMode, QueryId, Sink,
};

use super::FileFormat;
use super::log::{METADATA_DIR, MetadataLog, SinkFile, sync_folder, write_durably};
use super::parts::FilePart;
use super::writer::{Encoding, JSON_OPTIONS, PARQUET_OPTIONS, PartWriter};
use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};

const OPTIONS: Known = Known {
    built: &["path", "maxRecordsPerFile"],
    later: &["retention", "partitionOverwriteMode"],
};

/// Beside the log's entries, and no part of them: which query's sink the directory belongs to.
const OWNER_FILE: &str = "_owner";

/// A file sink that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct FileSinkPlan {
    directory: PathBuf,
    encoding: Encoding,
    records_max: u64,
    target: String,
}

#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    query_id: String,
    target: String,
}

impl FileSinkPlan {
    pub(crate) fn new(
        format: FileFormat,
        config: &SinkConfig,
        place: &str,
    ) -> Result<FileSinkPlan, ConfigError> {
        let known = if format == FileFormat::Json { JSON_OPTIONS } else { PARQUET_OPTIONS };
        let options = Options::check(place, &config.options, &[OPTIONS, known])?;
        if config.output_mode != OutputMode::Append {
            return Err(ConfigError::OutputMode {
                place: place.to_owned(),
                format: config.format.clone(),
                mode: config.output_mode,
                hint: "files only take append; use output_mode = \"append\" (an aggregation then needs a watermark), or a keyed place such as sqlite".to_owned(),
            });
        }
        let path = options.path(config.path.as_deref())?;
        let directory =
            std::path::absolute(&path).map_err(|error| options.bad("path", &error.to_string()))?;
        if directory.to_str().is_none() {
            return Err(options.bad("path", "it has to be UTF-8"));
        }
        let encoding = match format {
            FileFormat::Json => Encoding::json(&options)?,
            _ => Encoding::parquet(&options)?,
        };
        Ok(FileSinkPlan {
            directory,
            encoding,
            records_max: options.number("maxRecordsPerFile", 1)?.unwrap_or(u64::MAX),
            target: config.name.clone(),
        })
    }

    /// Whether the directory could be written, without writing or creating anything.
    pub(crate) fn check(&self) -> Result<(), ConnectorError> {
        crate::place::check_writable_directory(&self.directory)?;
        let metadata = self.directory.join(METADATA_DIR);
        if metadata.exists() { crate::place::check_writable_directory(&metadata) } else { Ok(()) }
    }

    pub(crate) fn description(&self) -> String {
        format!("FileSink[{}]", self.directory.display())
    }

    /// What the directory holds of a query. Creates nothing.
    pub(crate) fn held(&self, query_id: &QueryId) -> Result<Held, ConnectorError> {
        let log = MetadataLog::new(&self.directory);
        if self.owner(&log)? != Some(self.ours(query_id)) {
            return Ok(Held::Nothing);
        }
        Ok(newest_mark(&log)?.into())
    }

    pub(crate) fn open(&self, query_id: &QueryId) -> Result<FileSink, ConnectorError> {
        let log = MetadataLog::new(&self.directory);
        create_folder(log.folder())?;
        self.take_ownership(&log, query_id)?;
        let mut sink = FileSink {
            plan: self.clone(),
            query_id: query_id.clone(),
            log,
            mark: None,
            open: None,
            unnamed: Vec::new(),
        };
        sink.recover()?;
        Ok(sink)
    }

    /// Batch numbers of two queries in one log would be taken for one another, and rows lost in
    /// silence; so a directory belongs to one sink of one query.
    fn take_ownership(&self, log: &MetadataLog, query: &QueryId) -> Result<(), ConnectorError> {
        let wanted = self.ours(query);
        match self.owner(log)? {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(self.is_not_ours(&serde_json::json!(found).to_string())),
            None if log.latest()?.is_some() => Err(self.is_not_ours("a query that is not known")),
            None => {
                let text = serde_json::json!(wanted).to_string();
                write_durably(log.folder(), OWNER_FILE, text.as_bytes())
            }
        }
    }

    fn ours(&self, query: &QueryId) -> Owner {
        Owner { query_id: query.0.clone(), target: self.target.clone() }
    }

    /// Whose directory it is; `None` where nobody says.
    fn owner(&self, log: &MetadataLog) -> Result<Option<Owner>, ConnectorError> {
        let path = log.folder().join(OWNER_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|_| self.is_not_ours(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    fn is_not_ours(&self, owner: &str) -> ConnectorError {
        ConnectorError::fatal(format!(
            "the directory {} holds the output of another query or sink ({owner}), whose batch numbers would be taken for this one's; write to another directory, or remove this one if its rows are not needed (was the checkpoint removed?)",
            self.directory.display()
        ))
    }

    fn file_name(&self, query: &QueryId, delivery: &Delivery, part: usize) -> String {
        let query: String = query.0.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let call = if delivery.call > 1 { format!("-c{}", delivery.call) } else { String::new() };
        let (batch, extension) = (delivery.batch.0, self.encoding.extension());
        format!("part-{part:05}-{query}-b{batch:08}{call}.{extension}")
    }
}

/// The call that a file of `batch` was written by.
fn call_of(name: &str, batch: u64) -> Option<u32> {
    let (_, rest) = name.split_once(&format!("-b{batch:08}"))?;
    match rest.strip_prefix("-c") {
        Some(rest) => rest.split('.').next()?.parse().ok(),
        None => Some(1),
    }
}

/// The mark that the newest entry of the log is.
fn newest_mark(log: &MetadataLog) -> Result<Option<Mark>, ConnectorError> {
    let newest = log.newest()?.map(|(batch, files)| {
        let calls = files.iter().filter_map(|file| call_of(&file.name(), batch)).max();
        Mark { batch: BatchId(batch), calls: calls.unwrap_or(1), digest: None, spec: None }
    });
    Ok(newest)
}

/// A running file sink.
pub(crate) struct FileSink {
    plan: FileSinkPlan,
    query_id: QueryId,
    log: MetadataLog,
    mark: Option<Mark>,
    open: Option<OpenDelivery>,
    /// Names of files that the log has and that are still hidden.
    unnamed: Vec<String>,
}

struct OpenDelivery {
    delivery: Delivery,
    writer: Option<PartWriter>,
    /// Name and size of each finished file.
    finished: Vec<(String, u64)>,
    name: String,
}

impl FileSink {
    /// Finishes or undoes what the last run left.
    fn recover(&mut self) -> Result<(), ConnectorError> {
        let newest = self.log.newest()?;
        let names: Vec<String> =
            newest.iter().flat_map(|(_, files)| files.iter().map(SinkFile::name)).collect();
        self.mark = newest_mark(&self.log)?;
        let directory = self.plan.directory.clone();
        let list = std::fs::read_dir(&directory).map_err(|e| failed("list", &directory, e))?;
        for entry in list {
            let entry = entry.map_err(|error| failed("list", &directory, error))?.file_name();
            let Some(name) = entry.to_str().and_then(|name| name.strip_prefix('.')) else {
                continue;
            };
            if !name.starts_with("part-") {
                continue;
            }
            if names.iter().any(|named| named == name) {
                self.unnamed.push(name.to_owned());
            } else {
                remove(&directory.join(format!(".{name}")))?;
            }
        }
        self.name_files()
    }

    /// Gives files that the log has their final names.
    fn name_files(&mut self) -> Result<(), ConnectorError> {
        if self.unnamed.is_empty() {
            return Ok(());
        }
        let directory = &self.plan.directory;
        while let Some(name) = self.unnamed.last() {
            let (from, to) = (directory.join(format!(".{name}")), directory.join(name));
            std::fs::rename(&from, &to).map_err(|error| failed("rename", &from, error))?;
            self.unnamed.pop();
        }
        sync_folder(directory).map_err(|error| failed("sync", directory, error))
    }

    fn delivery(&mut self) -> Result<&mut OpenDelivery, ConnectorError> {
        self.open.as_mut().ok_or_else(crate::mark::not_begun)
    }

    /// Finishes the file in progress, if there is one.
    fn finish_file(&mut self) -> Result<(), ConnectorError> {
        let open = self.delivery()?;
        if let Some(writer) = open.writer.take() {
            let size = writer.finish()?;
            open.finished.push((open.name.clone(), size));
        }
        Ok(())
    }

    fn writer(&mut self, schema: &SchemaRef) -> Result<&mut PartWriter, ConnectorError> {
        let records_max = self.plan.records_max;
        if self.delivery()?.writer.as_ref().is_some_and(|writer| writer.rows() >= records_max) {
            self.finish_file()?;
        }
        let (plan, query_id) = (self.plan.clone(), self.query_id.clone());
        let open = self.delivery()?;
        if open.writer.is_none() {
            open.name = plan.file_name(&query_id, &open.delivery, open.finished.len());
            let hidden = plan.directory.join(format!(".{}", open.name));
            open.writer = Some(PartWriter::create(hidden, plan.encoding, schema)?);
        }
        open.writer.as_mut().ok_or_else(crate::mark::not_begun)
    }
}

impl Sink for FileSink {
    fn description(&self) -> String {
        self.plan.description()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(self.mark.clone().into())
    }

    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError> {
        self.name_files()?;
        let begun = Mark::begin(self.mark.as_ref(), &delivery)?;
        if begun == Begin::Wanted {
            self.open = Some(OpenDelivery {
                delivery,
                writer: None,
                finished: Vec::new(),
                name: String::new(),
            });
        }
        Ok(begun)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        let records_max = self.plan.records_max;
        let mut at = 0;
        while at < rows.num_rows() {
            let writer = self.writer(&rows.schema())?;
            let room = usize::try_from(records_max - writer.rows()).unwrap_or(usize::MAX);
            let count = room.min(rows.num_rows() - at);
            writer.write(&rows.slice(at, count))?;
            at += count;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        self.finish_file()?;
        let directory = &self.plan.directory;
        sync_folder(directory).map_err(|error| failed("sync", directory, error))
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        let directory = self.plan.directory.clone();
        let open = self.delivery()?;
        let delivery = open.delivery.clone();
        let mut files = Vec::new();
        for (name, size) in &open.finished {
            let hidden = directory.join(format!(".{name}"));
            let modified_ms = super::parts::modified_ms(
                &std::fs::metadata(&hidden).map_err(|error| failed("read", &hidden, error))?,
            );
            let path = directory.join(name).to_string_lossy().into_owned();
            files.push(SinkFile::added(&FilePart { path, size: *size, modified_ms }));
        }
        let names: Vec<String> = open.finished.iter().map(|(name, _)| name.clone()).collect();
        self.log.add(delivery.batch.0, &files)?;
        // It has landed: an abort must not remove the files any more.
        self.open = None;
        self.mark = Some(Mark::of(&delivery));
        self.unnamed = names;
        self.name_files()
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let in_progress = open.writer.is_some().then_some(&open.name);
        // The file is closed before it is removed.
        drop(open.writer);
        for name in open.finished.iter().map(|(name, _)| name).chain(in_progress) {
            remove(&self.plan.directory.join(format!(".{name}")))?;
        }
        Ok(())
    }
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

fn remove(path: &Path) -> Result<(), ConnectorError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> ConnectorError {
    ConnectorError::retryable(format!("could not {what} {}", path.display())).caused_by(error)
}
