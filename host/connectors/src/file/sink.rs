//! The file sink: a directory to which every batch adds files, exactly once.
//!
//! 1. Rows are written to hidden files, `.part-00000-<query>-b00000012.json`; `prepare` makes them
//!    durable.
//! 2. `commit` replaces `_spark_metadata/_owner`, durably, which holds their names and the digest
//!    of the entry to come: from here on the batch has landed.
//! 3. The files get their final names.
//! 4. Their entry is added to the `_spark_metadata` log.
//!
//! A crash after 2 is made good when the directory is next opened: what `_owner` names is renamed
//! and gets its entry, and hidden files that it does not name are removed.
//!
//! A reader that globs sees whole files of batches that have landed. A reader of the log sees
//! files that are there, also while the sink works or has died at any point.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_core::{
    BatchId, Begin, ConnectorError, Delivery, Held, Mark, OutputMode, QueryId, Sink,
};

use super::FileFormat;
use super::ledger::{Ledger, failed, remove};
use super::log::{METADATA_DIR, SinkFile, sync_folder};
use super::parts::FilePart;
use super::writer::{Encoding, JSON_OPTIONS, PARQUET_OPTIONS, PartWriter};
use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};

const OPTIONS: Known = Known {
    built: &["path", "maxRecordsPerFile"],
    later: &["retention", "partitionOverwriteMode"],
};

/// A file sink that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct FileSinkPlan {
    directory: PathBuf,
    encoding: Encoding,
    records_max: u64,
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
            FileFormat::Json => Encoding::json(&options, config.time_zone)?,
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
        Ok(Ledger::mark_in(&self.directory, &query_id.0, &self.target)?.into())
    }

    /// Takes the files of batches back that have landed, and gives their number. The query must not
    /// run.
    pub(crate) fn take_back(
        &self,
        query_id: &QueryId,
        is_wanted: &dyn Fn(BatchId) -> bool,
    ) -> Result<usize, ConnectorError> {
        self.recovered(query_id)?.take_back(|file| batch_of(&file.name()).is_some_and(is_wanted))
    }

    pub(crate) fn open(&self, query_id: &QueryId) -> Result<FileSink, ConnectorError> {
        let ledger = self.recovered(query_id)?;
        Ok(FileSink {
            plan: self.clone(),
            query_id: query_id.clone(),
            ledger,
            open: None,
            is_in_doubt: false,
        })
    }

    /// Opens the directory, and finishes or undoes what was begun there.
    fn recovered(&self, query_id: &QueryId) -> Result<Ledger, ConnectorError> {
        let ledger = Ledger::open(&self.directory, &query_id.0, &self.target)?;
        ledger.recover()?;
        let list = |error| failed("list", &self.directory, error);
        for entry in std::fs::read_dir(&self.directory).map_err(list)? {
            let entry = entry.map_err(list)?.file_name();
            // What has landed has its final name by now.
            if entry.to_str().is_some_and(|name| name.starts_with(".part-")) {
                remove(&self.directory.join(entry))?;
            }
        }
        Ok(ledger)
    }

    fn file_name(&self, query: &QueryId, delivery: &Delivery, part: usize) -> String {
        let query: String = query.0.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let call = if delivery.call > 1 { format!("-c{}", delivery.call) } else { String::new() };
        let (batch, extension) = (delivery.batch.0, self.encoding.extension());
        format!("part-{part:05}-{query}-b{batch:08}{call}.{extension}")
    }
}

/// The batch in the name of a file: `part-00000-1f0c2b9a-b00000012.json`.
fn batch_of(name: &str) -> Option<BatchId> {
    let (_, rest) = name.rsplit_once("-b")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok().map(BatchId)
}

/// A running file sink.
pub(crate) struct FileSink {
    plan: FileSinkPlan,
    query_id: QueryId,
    ledger: Ledger,
    open: Option<OpenDelivery>,
    /// A commit failed, and only the directory knows how far it came.
    is_in_doubt: bool,
}

struct OpenDelivery {
    delivery: Delivery,
    writer: Option<PartWriter>,
    /// Name and size of each finished file.
    finished: Vec<(String, u64)>,
    name: String,
}

impl FileSink {
    /// Finds out what became of a commit that failed, and finishes or undoes it.
    fn settle(&mut self) -> Result<(), ConnectorError> {
        if self.is_in_doubt {
            self.ledger = self.plan.recovered(&self.query_id)?;
            self.is_in_doubt = false;
        }
        Ok(())
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
            open.writer = Some(PartWriter::create(hidden, &plan.encoding, schema)?);
        }
        open.writer.as_mut().ok_or_else(crate::mark::not_begun)
    }
}

impl Sink for FileSink {
    fn description(&self) -> String {
        self.plan.description()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        self.settle()?;
        Ok(self.ledger.mark().into())
    }

    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError> {
        self.settle()?;
        let begun = Mark::begin(self.ledger.mark().as_ref(), &delivery)?;
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
            files.push(SinkFile::added(&FilePart {
                path,
                size: *size,
                modified_ms,
                takes_outside: false,
            }));
        }
        // From here on it may have landed: an abort must not remove the files any more.
        self.open = None;
        self.is_in_doubt = true;
        self.ledger.land(&delivery, files)?;
        self.is_in_doubt = false;
        Ok(())
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
