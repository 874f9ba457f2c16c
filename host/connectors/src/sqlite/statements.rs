//! The SQL for one table and one set of columns.

use arrow::datatypes::{DataType, Schema};
use tidemill_core::ConnectorError;

/// Statements with one parameter a column, in the columns' order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Statements {
    pub(super) create: String,
    /// Adds a row, or replaces the one with its key.
    pub(super) write: String,
    /// For a row with a null in its key, which no unique index finds: what replaces the row that
    /// is there. Where it changes none, `insert` follows.
    pub(super) replace_null_key: String,
    pub(super) insert: String,
    /// Places of the key's columns.
    pub(super) key: Vec<usize>,
}

impl Statements {
    pub(super) fn new(
        table: &str,
        schema: &Schema,
        key: &[String],
    ) -> Result<Statements, ConnectorError> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let key = key.iter().map(|column| {
            names.iter().position(|name| name.eq_ignore_ascii_case(column)).ok_or_else(|| {
                ConnectorError::fatal(format!(
                    "the rows for the table \"{table}\" have no column \"{column}\", which is its key; their columns are {}",
                    names.join(", ")
                ))
            })
        });
        let key = key.collect::<Result<Vec<usize>, _>>()?;
        let quoted_table = quote(table);
        let columns = join(names.iter().map(|name| quote(name)), ", ");
        let parameters = join((1..=names.len()).map(|i| format!("?{i}")), ", ");
        let insert = format!("INSERT INTO {quoted_table} ({columns}) VALUES ({parameters})");
        let key_columns = join(key.iter().map(|&i| quote(names[i])), ", ");
        let is_key =
            join(key.iter().map(|&i| format!("{} IS ?{}", quote(names[i]), i + 1)), " AND ");
        let rest: Vec<usize> = (0..names.len()).filter(|i| !key.contains(i)).collect();
        let (write, replace_null_key) = if key.is_empty() {
            (insert.clone(), String::new())
        } else if rest.is_empty() {
            (
                format!("{insert} ON CONFLICT ({key_columns}) DO NOTHING"),
                // A row that is its key is the same afterwards.
                format!("DELETE FROM {quoted_table} WHERE {is_key}"),
            )
        } else {
            let from_new = rest.iter().map(|&i| format!("{0} = excluded.{0}", quote(names[i])));
            let to_parameters = rest.iter().map(|&i| format!("{} = ?{}", quote(names[i]), i + 1));
            (
                format!(
                    "{insert} ON CONFLICT ({key_columns}) DO UPDATE SET {}",
                    join(from_new, ", ")
                ),
                format!("UPDATE {quoted_table} SET {} WHERE {is_key}", join(to_parameters, ", ")),
            )
        };
        let mut definitions: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("{} {}", quote(field.name()), column_type(field.data_type())))
            .collect();
        if !key.is_empty() {
            definitions.push(format!("PRIMARY KEY ({key_columns})"));
        }
        let create =
            format!("CREATE TABLE IF NOT EXISTS {quoted_table} ({})", definitions.join(", "));
        Ok(Statements { create, write, replace_null_key, insert, key })
    }
}

/// An identifier that is taken as it is.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn join(pieces: impl Iterator<Item = String>, with: &str) -> String {
    pieces.collect::<Vec<_>>().join(with)
}

fn column_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "INTEGER",
        other if other.is_integer() => "INTEGER",
        other if other.is_floating() => "REAL",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BLOB",
        _ => "TEXT",
    }
}
