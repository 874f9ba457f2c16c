//! Arrays in an order by chance.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Lists, Picked, as_first_list, item};

/// The function, of which two calls give two orders.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shuffle {
    signature: Signature,
}

/// `shuffle(array)`.
pub(crate) fn shuffle() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Volatile);
    Arc::new(ScalarUDF::new_from_impl(Shuffle { signature }))
}

impl ScalarUDFImpl for Shuffle {
    fn name(&self) -> &str {
        "shuffle"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        as_first_list(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [array] = arguments.args.as_slice() else {
            return internal_err!("shuffle() takes one array");
        };
        // Of a constant, each row has an order of its own, too.
        let column: ArrayRef = array.to_array(arguments.number_rows)?;
        let kind = arguments.return_field.data_type();
        let lists = Lists::of(&column, item(kind)?.data_type())?;
        let mut result = Picked::new(lists.len());
        for row in 0..lists.len() {
            if lists.is_null(row) {
                result.close_null()?;
                continue;
            }
            let mut places: Vec<usize> = lists.range(row).collect();
            fastrand::shuffle(&mut places);
            result.extend(0, places);
            result.close()?;
        }
        Ok(ColumnarValue::Array(result.finish(kind, &[&lists.values])?))
    }
}
