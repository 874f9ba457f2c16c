//! The values of an array as one text.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::Lists;
use crate::kernels::cast::{Casting, converted};
use crate::kernels::kernel::{text, texts, written, zoned_kernel};

/// `array_join(array, between[, for nulls])`: nulls are left out where nothing stands for them.
pub(crate) fn array_join() -> Arc<ScalarUDF> {
    zoned_kernel("array_join", text, |columns, _, zone| {
        let lists = Lists::as_they_are(&columns[0])?;
        let values = converted(&lists.values, &DataType::Utf8, Casting::strict(zone))?;
        let values = values.as_string::<i32>();
        let between = texts(columns, 1);
        written(lists.len(), |row, text| {
            if lists.is_null(row) || columns.iter().any(|column| column.is_null(row)) {
                return Ok(false);
            }
            let mut is_first = true;
            for place in lists.range(row) {
                let value = match columns.get(2) {
                    _ if values.is_valid(place) => values.value(place),
                    Some(_) => texts(columns, 2).value(row),
                    None => continue,
                };
                if !is_first {
                    text.push_str(between.value(row));
                }
                is_first = false;
                text.push_str(value);
            }
            Ok(true)
        })
    })
}
