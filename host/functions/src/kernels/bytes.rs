//! `CAST(bytes AS STRING)`, which never fails in Spark.

use arrow::array::{BinaryArray, StringArray};

/// Bytes as a text. Spark keeps bytes that are no UTF-8 and shows them as U+FFFD; a text of ours
/// is UTF-8, and has that character.
pub(super) fn text(bytes: &BinaryArray) -> StringArray {
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
