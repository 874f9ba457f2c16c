//! `CAST(bytes AS STRING)`, which never fails in Spark.

use std::sync::Arc;

use arrow::array::{AsArray, BinaryArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Bytes as a text. Spark keeps bytes that are no UTF-8 and shows them as U+FFFD; a text of ours
/// is UTF-8, and has that character.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct BytesAsText {
    signature: Signature,
}

impl Default for BytesAsText {
    fn default() -> BytesAsText {
        BytesAsText { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for BytesAsText {
    fn name(&self) -> &str {
        "bytes_as_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = arguments.args.as_slice() else {
            return exec_err!("a cast takes one value");
        };
        let bytes = cast(&value.to_array(arguments.number_rows)?, &DataType::Binary)?;
        Ok(ColumnarValue::Array(Arc::new(text(bytes.as_binary::<i32>()))))
    }
}

fn text(bytes: &BinaryArray) -> StringArray {
    let (offsets, values, nulls) = bytes.clone().into_parts();
    // Where all is UTF-8, the bytes are looked at once and not copied.
    StringArray::try_new(offsets, values, nulls)
        .unwrap_or_else(|_| bytes.iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf_8_is_replaced_and_the_rest_stays() {
        let rows: [Option<&[u8]>; 4] = [Some(b"a"), None, Some(b"b\xffc"), Some("ü".as_bytes())];
        let expected = [Some("a"), None, Some("b\u{fffd}c"), Some("ü")];
        assert_eq!(text(&BinaryArray::from_iter(rows)), StringArray::from(expected.to_vec()));
        let good = BinaryArray::from_iter([Some("ä"), None]);
        assert_eq!(text(&good), StringArray::from(vec![Some("ä"), None]));
    }
}
