//! A table in this process that holds what was delivered: for tests and for programs that read
//! a query's result.
//!
//! Tables outlive the sinks that fill them, with their marks, so that a query that is started
//! again in the same process delivers each batch once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tidemill_core::{Begin, ConnectorError, Delivery, Held, Mark, OutputMode, QueryId, Sink};

use crate::mark::not_begun;
use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};

const OPTIONS: Known = Known { built: &[], later: &[] };

/// A table holds at most this much; a result that outgrows it wants a file or a database.
const TABLE_BYTES_MAX: usize = 1 << 30;

/// All memory tables, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryTables {
    tables: Arc<Mutex<BTreeMap<String, MemoryTable>>>,
}

impl MemoryTables {
    /// The table of a sink, once a query has begun to fill it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<MemoryTable> {
        self.tables.lock().get(name).cloned()
    }

    fn open(&self, name: &str) -> MemoryTable {
        self.tables.lock().entry(name.to_owned()).or_default().clone()
    }
}

/// One memory table. Clones share its rows.
#[derive(Clone, Debug, Default)]
pub struct MemoryTable {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    rows: Vec<RecordBatch>,
    bytes: usize,
    marks: HashMap<(QueryId, String), Mark>,
}

impl MemoryTable {
    /// The rows of all batches that were committed, in their order.
    #[must_use]
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.content.lock().rows.clone()
    }
}

/// A memory sink that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct MemoryPlan {
    table: String,
    target: String,
    replaces: bool,
}

impl MemoryPlan {
    pub(crate) const DESCRIPTION: &str = "MemorySink";

    pub(crate) fn new(config: &SinkConfig, place: &str) -> Result<MemoryPlan, ConfigError> {
        Options::check(place, &config.options, &[OPTIONS])?;
        let named = [&config.query_name, &config.name].into_iter().find(|name| !name.is_empty());
        Ok(MemoryPlan {
            table: named.cloned().unwrap_or_default(),
            target: config.name.clone(),
            replaces: config.output_mode == OutputMode::Complete,
        })
    }

    pub(crate) fn open(&self, query_id: &QueryId, tables: &MemoryTables) -> MemorySink {
        MemorySink {
            table: tables.open(&self.table),
            mark_key: (query_id.clone(), self.target.clone()),
            replaces: self.replaces,
            open: None,
        }
    }
}

/// A running memory sink.
pub(crate) struct MemorySink {
    table: MemoryTable,
    mark_key: (QueryId, String),
    replaces: bool,
    open: Option<(Delivery, Vec<RecordBatch>, usize)>,
}

impl MemorySink {
    fn mark(&self) -> Option<Mark> {
        self.table.content.lock().marks.get(&self.mark_key).cloned()
    }
}

impl Sink for MemorySink {
    fn description(&self) -> String {
        MemoryPlan::DESCRIPTION.to_owned()
    }

    /// A table without a mark may have been filled by a process that is no more.
    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(self.mark().map_or(Held::Unknown, Held::UpTo))
    }

    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError> {
        let begun = Mark::begin(self.mark().as_ref(), &delivery)?;
        if begun == Begin::Wanted {
            self.open = Some((delivery, Vec::new(), 0));
        }
        Ok(begun)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        let (_, held, bytes) = self.open.as_mut().ok_or_else(not_begun)?;
        *bytes += rows.get_array_memory_size();
        let before = if self.replaces { 0 } else { self.table.content.lock().bytes };
        if before + *bytes > TABLE_BYTES_MAX {
            return Err(ConnectorError::fatal(format!(
                "the memory table would hold {} bytes, and at most {TABLE_BYTES_MAX} are kept; write to files or a database instead",
                before + *bytes
            )));
        }
        if rows.num_rows() > 0 {
            held.push(rows.clone());
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        self.open.as_ref().map(|_| ()).ok_or_else(not_begun)
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        let (delivery, held, bytes) = self.open.take().ok_or_else(not_begun)?;
        let mut content = self.table.content.lock();
        if self.replaces {
            content.rows.clear();
            content.bytes = 0;
        }
        content.rows.extend(held);
        content.bytes += bytes;
        content.marks.insert(self.mark_key.clone(), Mark::of(&delivery));
        Ok(())
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.open = None;
        Ok(())
    }
}
