//! `json_tuple(text, name, …)`: values of an object by their names, in one pass over the text.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::json_path::Writer;
use super::json_tree::{Json, parse};
use super::kernel::{check_bytes, kernel, texts};
use super::rows::rows_of;

/// The columns of a call for so many names: `c0`, `c1` and so on.
pub(crate) fn fields(names: usize) -> Fields {
    (0..names).map(|place| Field::new(format!("c{place}"), DataType::Utf8, true)).collect()
}

/// An array of one struct for each row, whatever the text is.
pub(crate) fn json_tuple() -> Arc<ScalarUDF> {
    let gives = |arguments: &[DataType]| {
        let fields = fields(arguments.len().saturating_sub(1));
        Ok(DataType::new_list(DataType::Struct(fields), true))
    };
    kernel("json_tuple", gives, |columns, _| {
        let (rows, names) = (rows_of(columns), columns.len().saturating_sub(1));
        let builder = || StringBuilder::with_capacity(rows, rows * 8);
        let mut builders: Vec<StringBuilder> = (0..names).map(|_| builder()).collect();
        let mut bytes = 0;
        for row in 0..rows {
            bytes = append(columns, row, &mut builders, bytes)?;
        }
        let values = builders.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
        let structs = StructArray::try_new(fields(names), values, None)?;
        let item = Arc::new(Field::new_list_field(DataType::Struct(fields(names)), true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows));
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), None)?))
    })
}

fn append(
    columns: &[ArrayRef],
    row: usize,
    builders: &mut [StringBuilder],
    mut bytes: u64,
) -> Result<u64> {
    let parsed = match columns.first().is_some_and(|column| column.is_valid(row)) {
        true => parse(texts(columns, 0).value(row)),
        false => None,
    };
    let object = match &parsed {
        Some(Json::Object(fields)) => fields.as_slice(),
        _ => &[],
    };
    for (place, builder) in builders.iter_mut().enumerate() {
        let is_named = columns[place + 1].is_valid(row);
        let name = texts(columns, place + 1).value(row);
        // Of several fields with a name the last that is not null.
        let mut found = object
            .iter()
            .rev()
            .filter(|(known, value)| is_named && known == name && *value != Json::Null);
        match found.next().map(|(_, value)| value) {
            None => builder.append_null(),
            Some(Json::Text(text)) => {
                bytes = check_bytes(bytes, text.len())?;
                builder.append_value(text);
            }
            Some(value) => {
                let text = Writer::text_of(value);
                bytes = check_bytes(bytes, text.len())?;
                builder.append_value(text);
            }
        }
    }
    Ok(bytes)
}
