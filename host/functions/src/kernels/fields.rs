//! A field of a struct, or of each struct of an array, by its number.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};

/// Name of the function: of a struct, the number of a field.
const STRUCT_FIELD: &str = "struct_field";

/// The field of a number, from 0, of a struct; of an array of structs, an array of these fields.
#[must_use]
pub fn struct_field(of: Expr, number: usize) -> Expr {
    kernel().call(vec![of, lit(number as i64)])
}

fn kernel() -> ScalarUDF {
    ScalarUDF::new_from_impl(StructField { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct StructField {
    signature: Signature,
}

fn place(number: &ScalarValue) -> Option<usize> {
    match number {
        ScalarValue::Int64(Some(number)) => usize::try_from(*number).ok(),
        _ => None,
    }
}

impl ScalarUDFImpl for StructField {
    fn name(&self) -> &str {
        STRUCT_FIELD
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the type follows from the number")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let number = arguments.scalar_arguments.get(1).copied().flatten().and_then(place);
        match (arguments.arg_fields[0].data_type(), number) {
            (DataType::Struct(fields), Some(number)) if number < fields.len() => {
                let field = &fields[number];
                Ok(Arc::new(Field::new(field.name(), field.data_type().clone(), true)))
            }
            (DataType::List(item), Some(number)) => match item.data_type() {
                DataType::Struct(fields) if number < fields.len() => {
                    let field = &fields[number];
                    let list = DataType::new_list(field.data_type().clone(), true);
                    Ok(Arc::new(Field::new(field.name(), list, true)))
                }
                other => internal_err!("{STRUCT_FIELD}() takes an array of structs, found {other}"),
            },
            (other, _) => internal_err!("{STRUCT_FIELD}() takes a struct, found {other}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(number)] = arguments.args.as_slice() else {
            return internal_err!("{STRUCT_FIELD}() takes a struct and a number");
        };
        let value = value.to_array(arguments.number_rows)?;
        let Some(number) = place(number) else {
            return internal_err!("{STRUCT_FIELD}() takes a number");
        };
        let column = match value.data_type() {
            DataType::List(_) => {
                let lists = value.as_list::<i32>();
                let column = column_of(lists.values().as_struct(), number)?;
                let item = Arc::new(Field::new_list_field(column.data_type().clone(), true));
                let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
                Arc::new(ListArray::try_new(item, offsets, column, nulls)?)
            }
            _ => column_of(value.as_struct(), number)?,
        };
        Ok(ColumnarValue::Array(column))
    }
}

/// A field, which is null where the struct is.
fn column_of(structs: &StructArray, number: usize) -> Result<ArrayRef> {
    let column = structs.column(number);
    let nulls = NullBuffer::union(structs.nulls(), column.nulls());
    Ok(match structs.null_count() {
        0 => Arc::clone(column),
        _ if column.data_type().is_null() => Arc::clone(column),
        _ => make_array(column.to_data().into_builder().nulls(nulls).build()?),
    })
}
