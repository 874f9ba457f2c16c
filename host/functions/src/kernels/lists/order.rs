//! Values in Spark's order: NaN is equal to itself and the largest, and both zeros are equal.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

/// Values of several columns of one type, which can be compared with each other. Nulls are equal,
/// and the least.
pub(crate) fn comparable<const N: usize>(columns: [&ArrayRef; N]) -> Result<[Rows; N]> {
    let kind = columns.first().map_or(DataType::Null, |column| column.data_type().clone());
    let converter = RowConverter::new(vec![SortField::new(kind)])?;
    let mut rows = Vec::with_capacity(N);
    for column in columns {
        rows.push(converter.convert_columns(&[normal(column)?])?);
    }
    rows.try_into().map_err(|_| {
        datafusion::error::DataFusionError::Internal("there are as many rows as columns".to_owned())
    })
}

fn has_floats(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => has_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        kind => kind.is_floating(),
    }
}

/// Values of which the equal ones have the same bits.
pub(crate) fn normal(column: &ArrayRef) -> Result<ArrayRef> {
    if !has_floats(column.data_type()) {
        return Ok(Arc::clone(column));
    }
    Ok(match column.data_type() {
        DataType::Float64 => {
            let same = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(same))
        }
        DataType::Float32 => {
            let same = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(same))
        }
        DataType::List(_) => {
            let (field, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(field, offsets, normal(&values)?, nulls)?)
        }
        DataType::Struct(_) => {
            let (fields, columns, nulls) = column.as_struct().clone().into_parts();
            let columns = columns.iter().map(normal).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields, columns, nulls)?)
        }
        _ => Arc::clone(column),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn nan_is_the_largest_and_zeros_are_equal() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(0.0),
            Some(-0.0),
            Some(f64::NAN),
            Some(-f64::NAN),
            Some(f64::INFINITY),
            None,
        ]));
        let [rows] = comparable([&values]).unwrap();
        assert_eq!(rows.row(0), rows.row(1));
        assert_eq!(rows.row(2), rows.row(3));
        assert!(rows.row(2) > rows.row(4));
        assert!(rows.row(5) < rows.row(0));
    }
}
