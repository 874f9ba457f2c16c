//! Values of any type as bytes that sort as the values do: Arrow's row format.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array, new_null_array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

/// Turns the values of one column into bytes, and back. Nulls sort first, NaN last, as in Spark.
pub(super) struct Column {
    data_type: DataType,
    converter: RowConverter,
    null: Box<[u8]>,
}

impl Column {
    pub(super) fn new(data_type: &DataType) -> Result<Column> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        let null = converter.convert_columns(&[new_null_array(data_type, 1)])?;
        Ok(Column { data_type: data_type.clone(), null: null.row(0).as_ref().into(), converter })
    }

    pub(super) fn bytes(&self, values: &ArrayRef) -> Result<Rows> {
        Ok(self.converter.convert_columns(&[Arc::clone(values)])?)
    }

    /// The values of these bytes, which [`Column::bytes`] gave; none is null.
    pub(super) fn values<'a>(
        &self,
        bytes: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let rows: Vec<_> = bytes.map(|bytes| parser.parse(bytes.unwrap_or(&self.null))).collect();
        if rows.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        Ok(self.converter.convert_rows(rows)?.swap_remove(0))
    }
}
