//! Arrays of arrays, and arrays beside each other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Lists, NULL, Picked, item, list_of, picked};
use crate::kernels::kernel::kernel;

/// `flatten(array of arrays)`: null where one of them is.
pub(crate) fn flatten() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| {
        let inner = item(item(&kinds[0])?.data_type())?;
        Ok(list_of(inner.data_type().clone()))
    };
    kernel("flatten", gives, |columns, kind| {
        let outer = Lists::as_they_are(&columns[0])?;
        let inner = Lists::of(&outer.values, item(kind)?.data_type())?;
        let mut result = Picked::new(outer.len());
        for row in 0..outer.len() {
            let lists = outer.range(row);
            if outer.is_null(row) || lists.clone().any(|list| inner.is_null(list)) {
                result.close_null()?;
                continue;
            }
            lists.for_each(|list| result.extend(0, inner.range(list)));
            result.close()?;
        }
        result.finish(kind, &[&inner.values])
    })
}

/// `arrays_zip(array, …)`: arrays as one of structs, whose fields have these names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Zip {
    names: Vec<String>,
    signature: Signature,
}

/// The function that gives structs with fields of such names.
pub(crate) fn arrays_zip(names: Vec<String>) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Zip { names, signature }))
}

impl ScalarUDFImpl for Zip {
    fn name(&self) -> &str {
        "arrays_zip"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let fields = self.names.iter().zip(arguments);
        let fields =
            fields.map(|(name, kind)| Ok(Field::new(name, item(kind)?.data_type().clone(), true)));
        let pair = DataType::Struct(fields.collect::<Result<Fields>>()?);
        Ok(DataType::List(Arc::new(Field::new("item", pair, false))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let values = zipped(&columns, arguments.return_field.data_type())?;
        let are_constant =
            arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        Ok(match are_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

/// A shorter array is as if nulls followed.
fn zipped(columns: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = item(kind)?.data_type() else {
        return internal_err!("arrays_zip() gives structs");
    };
    let lists = columns.iter().zip(fields);
    let lists = lists.map(|(column, field)| Lists::of(column, field.data_type()));
    let lists = lists.collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(0, |column| column.len());
    let mut shape = Picked::new(rows);
    let mut places = vec![Vec::new(); lists.len()];
    for row in 0..rows {
        if lists.iter().any(|list| list.is_null(row)) {
            shape.close_null()?;
            continue;
        }
        let longest = lists.iter().map(|list| list.range(row).len()).max().unwrap_or(0);
        for (list, places) in lists.iter().zip(&mut places) {
            let own = list.range(row);
            let missing = longest - own.len();
            places.extend(own.map(|place| (0, place)));
            places.extend(std::iter::repeat_n(NULL, missing));
        }
        shape.extend(0, 0..longest);
        shape.close()?;
    }
    let values = lists.iter().zip(&places).zip(fields);
    let values =
        values.map(|((list, places), field)| picked(places, field.data_type(), &[&list.values]));
    let values = values.collect::<Result<Vec<ArrayRef>>>()?;
    let structs = StructArray::try_new(fields.clone(), values, None)?;
    let (offsets, _, nulls) = shape.into_parts();
    let lists = ListArray::try_new(Arc::clone(item(kind)?), offsets, Arc::new(structs), nulls)?;
    Ok(Arc::new(lists))
}
