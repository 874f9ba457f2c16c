//! The keys by which rows of two sides of a join find each other, and its conditions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, Rows};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::physical_plan::PhysicalExpr;

use super::encoding::{comparable, encoding};

/// The keys of one side. Both sides have the same types.
pub(super) struct JoinKeys {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    types: Vec<DataType>,
    /// Of each key: whether null meets null.
    nulls_are_equal: Vec<bool>,
    converter: RowConverter,
}

/// The keys of some rows.
pub(super) struct KeyRows {
    /// As columns.
    pub(super) columns: Vec<ArrayRef>,
    /// As bytes: rows with equal keys have equal bytes.
    pub(super) bytes: Rows,
    /// Whether each row can meet any: its key has no null that is unequal to all.
    pub(super) can_meet: Vec<bool>,
    /// Whether any key is null.
    pub(super) has_null: bool,
}

/// The types of keys over rows of a schema.
pub(super) fn key_types(keys: &[Arc<dyn PhysicalExpr>], schema: &Schema) -> Result<Vec<DataType>> {
    keys.iter().map(|key| key.data_type(schema)).collect()
}

impl JoinKeys {
    pub(super) fn try_new(
        keys: Vec<Arc<dyn PhysicalExpr>>,
        types: &[DataType],
        nulls_are_equal: Vec<bool>,
    ) -> Result<JoinKeys> {
        Ok(JoinKeys { keys, types: types.to_vec(), nulls_are_equal, converter: encoding(types)? })
    }

    pub(super) fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.keys
    }

    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The keys of rows; there has to be at least one.
    pub(super) fn of(&self, rows: &RecordBatch) -> Result<KeyRows> {
        let mut columns = Vec::with_capacity(self.keys.len());
        for (key, kind) in self.keys.iter().zip(&self.types) {
            let values = key.evaluate(rows)?.into_array(rows.num_rows())?;
            columns.push(if values.data_type() == kind { values } else { cast(&values, kind)? });
        }
        let (mut can_meet, mut has_null) = (vec![true; rows.num_rows()], false);
        for (values, nulls_are_equal) in columns.iter().zip(&self.nulls_are_equal) {
            if values.null_count() == 0 {
                continue;
            }
            has_null = true;
            if !nulls_are_equal {
                can_meet.iter_mut().enumerate().for_each(|(row, can)| *can &= values.is_valid(row));
            }
        }
        let bytes = self.converter.convert_columns(&comparable(&columns))?;
        Ok(KeyRows { columns, bytes, can_meet, has_null })
    }
}

/// Which rows fulfil a condition; null counts as no.
pub(super) fn fulfils(
    condition: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<BooleanArray> {
    let values = condition.evaluate(rows)?.into_array(rows.num_rows())?;
    let values = values
        .as_boolean_opt()
        .ok_or_else(|| exec_datafusion_err!("a join's condition has to be a BOOLEAN"))?;
    Ok(match values.null_count() {
        0 => values.clone(),
        _ => values.iter().map(|value| Some(value == Some(true))).collect(),
    })
}
