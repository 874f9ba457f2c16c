//! Rows as structs.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemill_types::sql_name;

use crate::value::FromColumn;
use crate::{Error, Result};

/// A struct whose fields are columns, by name. Derive it:
///
/// ```
/// use tidemill_plugin::prelude::*;
///
/// #[derive(Row, Debug, PartialEq)]
/// struct Revenue {
///     category: String,
///     total_revenue: Option<f64>,
/// }
///
/// let rows = vec![Revenue { category: "books".into(), total_revenue: Some(1.5) }];
/// let batch = Revenue::to_batch(&rows)?;
/// assert_eq!(Revenue::from_batch(&batch)?, rows);
/// # Ok::<(), Error>(())
/// ```
///
/// Columns that no field names are left alone. A field that is not an `Option` takes no nulls.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row",
    note = "add #[derive(Row)] to `{Self}`, whose fields name the columns"
)]
pub trait Row: Sized {
    /// The columns that the fields name, in their order.
    fn schema() -> SchemaRef;

    /// A struct for each row.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>>;

    /// A row for each struct.
    fn to_batch(rows: &[Self]) -> Result<RecordBatch>;
}

/// The column `name` as `T` reads it. What `#[derive(Row)]` calls for each field.
#[doc(hidden)]
pub fn column<'a, T>(batch: &'a RecordBatch, name: &str) -> Result<&'a T::Column>
where
    T: FromColumn<'a>,
{
    let array = batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::bad_input(format!("there is no column \"{name}\"; there are {}", found.join(", ")))
    })?;
    let column = array.as_any().downcast_ref();
    let column = column
        .filter(|_| tidemill_block::fits(&T::data_type(), array.data_type()))
        .ok_or_else(|| {
            let (wanted, found) = (sql_name(&T::data_type()), sql_name(array.data_type()));
            Error::bad_input(format!(
                "column \"{name}\" is {found} and the field wants {wanted}; cast it in SQL"
            ))
        })?;
    if !T::NULLABLE && array.null_count() > 0 {
        return Err(Error::bad_input(format!(
            "column \"{name}\" has nulls and the field has no place for them; make it an Option"
        )));
    }
    if !T::takes(column) {
        return Err(Error::bad_input(format!(
            "there are nulls within values of the column \"{name}\" and the field has no place for \
             them; write an Option there, such as Vec<Option<i64>>"
        )));
    }
    Ok(column)
}
