//! Columns in Spark's DDL: `order_id STRING, amount DOUBLE NOT NULL`.

use syn::{Error, LitStr, Result};

/// Refuses what the plugin could not read once it runs, and gives the names of the columns.
pub(crate) fn check(ddl: &LitStr) -> Result<Vec<String>> {
    if ddl.value().trim().is_empty() {
        return Ok(Vec::new());
    }
    let columns = tidemill_types::parse_plan_columns(&ddl.value());
    let columns = columns.map_err(|error| Error::new(ddl.span(), error))?;
    Ok(columns.iter().map(|column| column.name().clone()).collect())
}
