//! Rows that a plugin gives the host.

use arrow::array::Array;

/// Takes rows apart, and looks at every value of what was let in.
pub(crate) fn rows(bytes: &[u8]) {
    let Ok(rows) = tidemill_plugin_host::rows_of_guest(bytes.to_vec()) else { return };
    for column in rows.columns() {
        column.to_data().validate_full().expect("what is let in is sound");
    }
    // Values that make no text, as a date of the year 300,000, say so; that is no find.
    let _ = arrow::util::pretty::pretty_format_batches(&[rows]);
}
