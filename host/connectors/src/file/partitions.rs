//! Partition columns: `day=1/` in the path of a file is a column `day`, as Spark's
//! `PartitioningUtils` has it.
//!
//! Names and values are those of the directories between a base and the file. All files of a source
//! have the same names in the same order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use tidemill_codec::{partition_type, partition_value};
use tidemill_core::{ConnectorError, RowStream};
use tidemill_time::Zone;
use tidemill_types::sql_name;

use super::parts::FilePart;
use crate::rows::record_batch;

/// The value of a partition without one.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// One directory of a file's path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Partition {
    pub(super) name: String,
    /// `None`: null.
    pub(super) value: Option<String>,
}

/// What is known of the path of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Partitions {
    /// From the base on.
    pub(super) values: Vec<Partition>,
    /// The directory that has the first of them.
    root: PathBuf,
    /// Whether that one lies below the base.
    are_deeper: bool,
}

impl Partitions {
    /// Those of a file, in directories below a base.
    ///
    /// # Errors
    /// A directory has a name or a value that is empty.
    pub(super) fn of(path: &str, base: &Path) -> Result<Partitions, ConnectorError> {
        let mut found = Partitions::default();
        // Going up, directories of other names are passed over until there is one.
        for directory in Path::new(path).ancestors().skip(1) {
            found.root = directory.to_owned();
            if base == directory {
                break;
            }
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.split_once('=') {
                Some((name, value)) => found.values.push(partition(directory, name, value)?),
                None if !found.values.is_empty() => break,
                None => {}
            }
        }
        found.values.reverse();
        found.are_deeper = !found.values.is_empty() && found.root != base;
        for (place, partition) in found.values.iter().enumerate() {
            if found.values[..place].iter().any(|other| is_name(&other.name, &partition.name)) {
                return Err(ConnectorError::fatal(format!(
                    "[COLUMN_ALREADY_EXISTS] the file {path} lies in two partitions of `{}`; rename a directory",
                    partition.name
                )));
            }
        }
        Ok(found)
    }

    /// Whether they lie in a directory below the base that is none of them.
    pub(super) fn are_deeper(&self) -> bool {
        self.are_deeper
    }

    /// The one of a column.
    pub(super) fn find(&self, column: &str) -> Option<&Partition> {
        self.values.iter().find(|partition| is_name(&partition.name, column))
    }

    /// Whether the columns have these names.
    fn are_called(&self, others: &Partitions) -> bool {
        self.values.len() == others.values.len()
            && self.values.iter().zip(&others.values).all(|(a, b)| is_name(&a.name, &b.name))
    }
}

/// Names count in any case.
pub(super) fn is_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn partition(directory: &Path, name: &str, value: &str) -> Result<Partition, ConnectorError> {
    let empty = |class: &str, what: &str| {
        let directory = directory.display();
        ConnectorError::fatal(format!(
            "[{class}] the directory {directory} is a partition, and its {what} is empty; rename it"
        ))
    };
    match (name, value) {
        ("", _) => Err(empty("EMPTY_PARTITION_COLUMN_NAME", "column's name")),
        (_, "") => Err(empty("EMPTY_PARTITION_COLUMN_VALUE", "value")),
        (name, NULL) => Ok(Partition { name: unescaped(name), value: None }),
        (name, value) => Ok(Partition { name: unescaped(name), value: Some(unescaped(value)) }),
    }
}

/// `%2F` is a slash, as Hive writes it. What is no such escape stays.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let code = rest.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                // A character of Java's, which is the same as one of Unicode below 256.
                out.extend_from_slice(char::from(byte).encode_utf8(&mut [0; 4]).as_bytes());
                bytes = &rest[2..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Refuses files that have not the same columns, or whose partitions begin in two directories.
///
/// # Errors
/// There are such files.
pub(super) fn check_alike(
    files: &[FilePart],
    partitions: &[Partitions],
) -> Result<(), ConnectorError> {
    let mut all = files.iter().zip(partitions);
    let Some((file, first)) = all.next() else { return Ok(()) };
    let conflict = |class: &str, other: &FilePart, what: &str| {
        let (one, other) = (&file.path, &other.path);
        ConnectorError::fatal(format!("[{class}] the files {one} and {other} {what}"))
    };
    for (other, found) in all {
        if !first.are_called(found) {
            return Err(conflict(
                "CONFLICTING_PARTITION_COLUMN_NAMES",
                other,
                "have other partition columns; keep files of one kind in a directory, or take some by pathGlobFilter or a glob as the path",
            ));
        }
        if !found.values.is_empty() && first.root != found.root {
            return Err(conflict(
                "CONFLICTING_DIRECTORY_STRUCTURES",
                other,
                "have partitions in two directories; name one of these as the path, or the one above them as basePath",
            ));
        }
    }
    Ok(())
}

/// The columns, in the types that all values have.
pub(super) fn columns(all: &[Partitions], zone: Zone) -> Fields {
    let Some(first) = all.first() else { return Fields::empty() };
    let column = |(place, partition): (usize, &Partition)| {
        let texts = all.iter().map(|file| file.values[place].value.as_deref());
        Field::new(&partition.name, partition_type(texts, zone), true)
    };
    first.values.iter().enumerate().map(column).collect()
}

/// Where a column of rows comes from.
enum Column {
    /// A column of the file.
    File(usize),
    /// One row, which has the value of a partition.
    Partition(ArrayRef),
}

/// The rows of files that lie in some partitions, with the columns of these among them.
///
/// # Errors
/// A value is none of its column's type.
pub(super) fn with_partitions(
    rows: RowStream,
    partitions: &Partitions,
    wanted: &SchemaRef,
    zone: Zone,
    path: &str,
) -> Result<RowStream, ConnectorError> {
    let mut in_file = 0..;
    let column = |field: &FieldRef| match partitions.find(field.name()) {
        Some(partition) => value(partition, field.data_type(), zone, path).map(Column::Partition),
        None => Ok(Column::File(in_file.next().unwrap_or_default())),
    };
    let columns = wanted.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let wanted = Arc::clone(wanted);
    Ok(Box::new(rows.map(move |rows| beside_partitions(&rows?, &columns, &wanted))))
}

fn beside_partitions(
    rows: &RecordBatch,
    columns: &[Column],
    wanted: &SchemaRef,
) -> Result<RecordBatch, ConnectorError> {
    let count = rows.num_rows();
    let first = UInt32Array::from_value(0, count);
    let column = |column: &Column| match column {
        Column::File(index) => Ok(Arc::clone(rows.column(*index))),
        Column::Partition(value) => take(value, &first, None),
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>();
    let columns = columns.map_err(|error| {
        ConnectorError::fatal("the columns of partitions could not be made").caused_by(error)
    })?;
    record_batch(wanted, columns, count)
}

/// A column of one row, which has the value of a partition.
fn value(
    partition: &Partition,
    kind: &DataType,
    zone: Zone,
    path: &str,
) -> Result<ArrayRef, ConnectorError> {
    let Some(text) = &partition.value else {
        return Ok(new_null_array(kind, 1));
    };
    partition_value(text, kind, zone).ok_or_else(|| {
        ConnectorError::fatal(format!(
            "[INVALID_PARTITION_VALUE] the file {path} lies in a partition where {} is '{text}', which is no {}; give the column another type in the schema",
            partition.name,
            sql_name(kind)
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn of(path: &str) -> Vec<(String, Option<String>)> {
        let found = Partitions::of(path, Path::new("/in")).unwrap();
        found.values.into_iter().map(|p| (p.name, p.value)).collect()
    }

    #[test]
    fn directories_below_the_base_are_columns() {
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(of("/in/a=1/b=x/f"), [pair("a", "1"), pair("b", "x")]);
        assert_eq!(of("/in/a=1/sub/f"), [pair("a", "1")]);
        assert_eq!(of("/in/sub/a=1/f"), [pair("a", "1")]);
        assert_eq!(of("/in/k=__HIVE_DEFAULT_PARTITION__/f"), [("k".to_owned(), None)]);
        assert_eq!(of("/in/a%20b=x%2Fy%zz%/f"), [pair("a b", "x/y%zz%")]);
        assert_eq!(of("/in/a=b=c/f"), [pair("a", "b=c")]);
    }
}
