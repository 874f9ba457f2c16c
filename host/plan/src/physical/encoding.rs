//! How rows become the bytes of keys and values in the state.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::error::Result;

/// The encoding of columns of these types. Checkpoints depend on it: equal rows have to have the
/// bytes that they had when the checkpoint was made.
pub(super) fn encoding<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<RowConverter> {
    let fields = types.into_iter().map(|kind| SortField::new(kind.clone())).collect();
    Ok(RowConverter::new(fields)?)
}

/// Columns whose equal values have equal bytes: floating-point numbers with one zero and one NaN
/// (Spark's NormalizeFloatingNumbers, which it does for the keys of aggregations, joins and
/// deduplications).
pub(super) fn comparable(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    columns.iter().map(one_zero).collect()
}

fn one_zero(values: &ArrayRef) -> ArrayRef {
    if let Some(doubles) = values.as_primitive_opt::<Float64Type>() {
        let one = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
        return Arc::new(doubles.unary::<_, Float64Type>(one));
    }
    if let Some(floats) = values.as_primitive_opt::<Float32Type>() {
        let one = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
        return Arc::new(floats.unary::<_, Float32Type>(one));
    }
    if let Some(structs) = values.as_struct_opt() {
        let (fields, columns, nulls) = structs.clone().into_parts();
        if !columns.is_empty() {
            return Arc::new(StructArray::new(fields, comparable(&columns), nulls));
        }
    }
    if let Some(lists) = values.as_list_opt::<i32>() {
        let (field, offsets, values, nulls) = lists.clone().into_parts();
        return Arc::new(ListArray::new(field, offsets, one_zero(&values), nulls));
    }
    Arc::clone(values)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
        Int8Array, Int16Array, Int32Array, Int64Array, StringArray, StringViewArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Fields, Int32Type};

    use super::*;

    fn bytes(column: ArrayRef) -> Vec<String> {
        let rows = encoding([column.data_type()]).unwrap().convert_columns(&[column]).unwrap();
        let hex = |row: arrow::row::Row<'_>| {
            row.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        rows.iter().map(hex).collect()
    }

    /// Arrow does not promise these bytes. If a new version has others, checkpoints need a new
    /// version of their format, or a conversion.
    #[test]
    fn the_bytes_of_each_type_never_change() {
        const LONG_BYTES: &str = "027477656c76652062ff7974657320616e64ff20736f6d65207468ff\
            697274792d74776fff206d6f72652c20746f206265207375726500000000000000000000000000000011";

        let window = StructArray::new(
            Fields::from(vec![Field::new("end", DataType::Int64, true)]),
            vec![Arc::new(Int64Array::from(vec![Some(5), None])) as ArrayRef],
            Some(vec![true, false].into()),
        );
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            Some(vec![]),
            None,
        ]);
        let long = "twelve bytes and some thirty-two more, to be sure";
        let columns: Vec<(ArrayRef, &[&str])> = vec![
            (
                Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
                &["0101", "0100", "0000"],
            ),
            (Arc::new(Int8Array::from(vec![Some(-2), None])), &["017e", "0000"]),
            (Arc::new(Int16Array::from(vec![Some(-2), None])), &["017ffe", "000000"]),
            (
                Arc::new(Int32Array::from(vec![Some(-2), Some(300), None])),
                &["017ffffffe", "018000012c", "0000000000"],
            ),
            (
                Arc::new(Int64Array::from(vec![Some(-2), Some(300), None])),
                &["017ffffffffffffffe", "01800000000000012c", "000000000000000000"],
            ),
            (
                Arc::new(Float32Array::from(vec![Some(1.5), Some(-1.5), None])),
                &["01bfc00000", "01403fffff", "0000000000"],
            ),
            (
                Arc::new(Float64Array::from(vec![Some(1.5), Some(-1.5), None])),
                &["01bff8000000000000", "014007ffffffffffff", "000000000000000000"],
            ),
            (Arc::new(Date32Array::from(vec![Some(20_000), None])), &["0180004e20", "0000000000"]),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None])),
                &["018000000000000001", "000000000000000000"],
            ),
            (
                Arc::new(Decimal128Array::from(vec![Some(-150), None])),
                &["017fffffffffffffffffffffffffffff6a", "0000000000000000000000000000000000"],
            ),
            (
                Arc::new(StringArray::from(vec![Some("cup"), Some(""), Some(long), None])),
                &["02637570000000000003", "01", LONG_BYTES, "00"],
            ),
            (
                Arc::new(StringViewArray::from(vec![Some("cup"), Some(long), None])),
                &["02637570000000000003", LONG_BYTES, "00"],
            ),
            (
                Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None])),
                &["0200ff00000000000002", "00"],
            ),
            (Arc::new(window), &["01018000000000000005", "00000000000000000000"]),
            (Arc::new(list), &["020180000001000000050200000000000000000501", "01", "00"]),
        ];
        for (column, expected) in columns {
            let kind = column.data_type().clone();
            assert_eq!(bytes(column), expected, "{kind}");
        }
    }

    #[test]
    fn minus_zero_is_zero_however_deep_it_is() {
        let doubles = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let in_struct = |values| {
            let field = Arc::new(Field::new("x", DataType::Float64, true));
            Arc::new(StructArray::from(vec![(field, doubles(values))])) as ArrayRef
        };
        let in_list = |value| {
            let lists = [Some(vec![Some(value)])];
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists)) as ArrayRef
        };
        for [minus, plus] in [
            [doubles(vec![-0.0]), doubles(vec![0.0])],
            [in_struct(vec![-0.0]), in_struct(vec![0.0])],
            [in_list(-0.0), in_list(0.0)],
        ] {
            let [minus, plus] = [minus, plus].map(|column| comparable(&[column]).remove(0));
            assert_eq!(bytes(minus), bytes(plus));
        }
    }
}
