//! The batch of a `foreach_batch` handler, and tables made of it.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::{Error, Result, Row, host};

/// A table that the host holds. The rows stay there until they are collected.
#[derive(Debug)]
pub struct DataFrame {
    handle: host::Handle,
    /// The batch itself is the host's; what the handler made of it is the handler's to release.
    made_here: bool,
}

impl DataFrame {
    /// A table of rows.
    pub fn from_rows<T: Row>(rows: &[T]) -> Result<DataFrame> {
        DataFrame::from_batches(&T::schema(), &[T::to_batch(rows)?])
    }

    /// A table of record batches, all of them of `schema`.
    pub fn from_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<DataFrame> {
        for batch in batches {
            check_width(batch, schema.fields().len())?;
        }
        Ok(DataFrame::made(host::from_rows(schema, batches)?))
    }

    /// The result of a query over this table, which it calls `batch`.
    pub fn sql(&self, query: &str) -> Result<DataFrame> {
        self.sql_with(query, &[])
    }

    /// As [`sql`](Self::sql), with further tables by name. The query sees nothing else.
    pub fn sql_with(&self, query: &str, tables: &[(&str, &DataFrame)]) -> Result<DataFrame> {
        let mut named = vec![("batch", self.handle)];
        named.extend(tables.iter().map(|(name, table)| (*name, table.handle)));
        Ok(DataFrame::made(host::sql(query, &named)?))
    }

    /// All rows, as structs.
    pub fn collect<T: Row>(&self) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        for batch in self.collect_batches()? {
            rows.extend(T::from_batch(&batch)?);
        }
        Ok(rows)
    }

    /// All rows, as record batches.
    pub fn collect_batches(&self) -> Result<Vec<RecordBatch>> {
        host::collect(self.handle)
    }

    /// Number of rows.
    pub fn count(&self) -> Result<u64> {
        host::count(self.handle)
    }

    /// The columns.
    pub fn schema(&self) -> Result<SchemaRef> {
        host::schema_of(self.handle)
    }

    /// Writes all rows to the target that the job names `target`, and gives the number of rows
    /// written.
    ///
    /// The host writes the same call of the same batch once: after a crash the handler runs again
    /// from its beginning, and a write that the target already holds is skipped and gives 0. For
    /// that, a handler has to make the same writes in the same order whenever it sees the same
    /// batch.
    pub fn write(&self, target: &str) -> Result<u64> {
        host::write(self.handle, target)
    }

    /// The batch of a call. What `#[foreach_batch]` hands to the handler.
    #[doc(hidden)]
    #[must_use]
    pub fn of_batch(handle: u64) -> DataFrame {
        DataFrame { handle, made_here: false }
    }

    fn made(handle: host::Handle) -> DataFrame {
        DataFrame { handle, made_here: true }
    }
}

fn check_width(batch: &RecordBatch, wanted: usize) -> Result<()> {
    match batch.num_columns() {
        found if found == wanted => Ok(()),
        found => Err(Error::fatal(format!(
            "a record batch has {found} columns, and the schema of the table {wanted}"
        ))),
    }
}

impl Drop for DataFrame {
    fn drop(&mut self) {
        if self.made_here {
            host::release(self.handle);
        }
    }
}
