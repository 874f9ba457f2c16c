//! Scalars: a function of one row gives a value. It is called for each row of a batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_types::sql_name;

use crate::bindings::exports::tidemill::plugin::scalars::{BlockResult, Guest};
use crate::bindings::tidemill::plugin::types::{Failure, FunctionKind, RowError};
use crate::exports::{Exports, Functions, with};
use crate::kinds::{Body, Called, Declared, Opened, all_of};
use crate::rows::{self, Given, Selection};
use crate::value::{FromColumn, IntoColumn, ScalarResult};
use crate::{BatchContext, Error, Result, crossing};

/// A function with `#[scalar]`.
pub struct Scalar {
    /// The arguments.
    pub input: Vec<Field>,
    /// The result.
    pub output: Field,
    /// The function, for all rows of a batch.
    pub call: fn(&RecordBatch, &BatchContext) -> Result<Evaluated>,
}

/// The result column of a scalar, and the rows that it refused.
pub(crate) type Evaluated = (ArrayRef, Vec<RowError>);

impl Body for Scalar {
    fn declared(&self) -> Declared {
        Declared {
            input: Some(Arc::new(Schema::new(self.input.clone()))),
            output: Some(Arc::new(Schema::new(vec![self.output.clone()]))),
            ..Declared::of(FunctionKind::Scalar)
        }
    }

    fn open(self: Box<Scalar>, input: &SchemaRef) -> Result<Opened> {
        check_arguments(&self.input, input)?;
        let output = Arc::new(Schema::new(vec![self.output]));
        let scalar = OpenedScalar { input: Arc::clone(input), call: self.call };
        Ok(Opened::making(output, all_of(input), scalar))
    }
}

/// Refuses arguments of other types than the function takes.
pub(crate) fn check_arguments(wanted: &[Field], found: &Schema) -> Result<()> {
    let types = |fields: &mut dyn Iterator<Item = &Field>| {
        fields.map(|field| sql_name(field.data_type())).collect::<Vec<_>>().join(", ")
    };
    let fits = wanted.len() == found.fields().len()
        && wanted
            .iter()
            .zip(found.fields())
            .all(|(wanted, found)| tidemill_block::fits(wanted.data_type(), found.data_type()));
    if fits {
        return Ok(());
    }
    let found = types(&mut found.fields().iter().map(AsRef::as_ref));
    let wanted = types(&mut wanted.iter());
    Err(Error::bad_input(format!(
        "the arguments are ({found}), and the function takes ({wanted}); cast them in SQL"
    )))
}

/// A scalar for arguments of these types.
struct OpenedScalar {
    input: SchemaRef,
    call: fn(&RecordBatch, &BatchContext) -> Result<Evaluated>,
}

impl Called for OpenedScalar {
    const KIND: &'static str = "a scalar";
}

impl<P: Functions> Guest for Exports<P> {
    fn call(opened: u32, arguments: BlockResult) -> Result<Vec<RowError>, Failure> {
        with(opened, |scalar: &mut OpenedScalar, context| {
            let arguments = crossing::arrived(&scalar.input, arguments)?;
            let (column, refused) = (scalar.call)(&arguments, context)?;
            rows::give(Given { selection: Selection::All, columns: vec![column] })?;
            Ok(refused)
        })
    }
}

/// The column of an argument, as the host has checked it.
pub fn argument<'a, T: FromColumn<'a>>(
    arguments: &'a RecordBatch,
    index: usize,
) -> Result<&'a T::Column> {
    let number = index + 1;
    let column = arguments.columns().get(index).and_then(|array| array.as_any().downcast_ref());
    let column = column.ok_or_else(|| {
        Error::bad_input(format!("argument {number} has to be {}", sql_name(&T::data_type())))
    })?;
    if !T::takes(column) {
        return Err(Error::bad_input(format!(
            "there are nulls within values of argument {number} and it has no place for them; write an \
             Option there, such as Vec<Option<i64>>"
        )));
    }
    Ok(column)
}

/// An argument as the signature tells it.
pub fn parameter<'a, T: FromColumn<'a>>(name: &str) -> Field {
    Field::new(name, T::data_type(), true)
}

/// A scalar's result as the signature tells it.
pub fn result<R: ScalarResult>(name: &str) -> Field {
    Field::new(name, R::Value::data_type(), true)
}

/// Where an argument that takes no nulls is null.
pub fn nulls<'a, T: FromColumn<'a>>(
    arguments: &RecordBatch,
    index: usize,
    others: Option<NullBuffer>,
) -> Option<NullBuffer> {
    let column = arguments.column(index);
    if T::NULLABLE || column.null_count() == 0 {
        return others;
    }
    NullBuffer::union(others.as_ref(), column.nulls())
}

/// Calls a function for every row but those with a null that it has no place for: they give null.
pub fn evaluate<R: ScalarResult>(
    rows: usize,
    skip: Option<&NullBuffer>,
    mut call: impl FnMut(usize) -> R,
) -> Result<Evaluated> {
    if skip.is_none()
        && let Some(column) = R::column(rows, &mut call)
    {
        return Ok((column, Vec::new()));
    }
    let mut builder = R::Value::builder(rows);
    let mut refused = Vec::new();
    for row in 0..rows {
        if skip.is_some_and(|nulls| nulls.is_null(row)) {
            R::Value::append(&mut builder, None);
            continue;
        }
        match call(row).into_value() {
            Ok(value) => R::Value::append(&mut builder, value.as_ref()),
            Err(Error::BadRow(reason)) => {
                refused.push(RowError { row: row as u32, reason });
                R::Value::append(&mut builder, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((R::Value::finish(builder), refused))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{AsArray, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::Row;
    use crate::kinds::Exported;

    #[crate::scalar]
    fn parsed(text: &str) -> Result<i64> {
        text.parse().map_err(|_| Error::bad_row(format!("\"{text}\" is no number")))
    }

    #[crate::scalar]
    fn in_batch(n: Option<i64>, ctx: &BatchContext) -> Option<i64> {
        (n? > 0).then_some(ctx.batch_id as i64)
    }

    #[derive(Row)]
    struct Step {
        from: i64,
        to: Option<i64>,
    }

    #[crate::scalar]
    fn steps(path: Vec<i64>) -> Vec<Step> {
        let next = |at: usize| path.get(at + 1).copied();
        path.iter().enumerate().map(|(at, from)| Step { from: *from, to: next(at) }).collect()
    }

    fn called<F: Exported>(column: ArrayRef) -> Result<Evaluated> {
        let rows = RecordBatch::try_from_iter_with_nullable([("a", column, true)])?;
        let opened = F::function().body.open(&rows.schema())?;
        let scalar = opened.call.downcast::<OpenedScalar>().unwrap();
        let mut context = BatchContext::default();
        context.batch_id = 7;
        (scalar.call)(&rows, &context)
    }

    #[test]
    fn a_row_with_a_null_gives_null_and_a_bad_one_is_refused() {
        let texts = StringArray::from(vec![Some("1"), None, Some("one"), Some("-3")]);
        let (column, refused) = called::<parsed>(Arc::new(texts)).unwrap();
        let numbers: Vec<_> = column.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(numbers, [Some(1), None, None, Some(-3)]);
        let refused: Vec<_> = refused.into_iter().map(|row| (row.row, row.reason)).collect();
        assert_eq!(refused, [(2, "\"one\" is no number".to_owned())]);
    }

    #[test]
    fn a_scalar_sees_nulls_and_the_batch_if_it_asks_for_them() {
        let numbers = Int64Array::from(vec![Some(1), None, Some(-1)]);
        let (column, _) = called::<in_batch>(Arc::new(numbers)).unwrap();
        let numbers: Vec<_> = column.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(numbers, [Some(7), None, None]);
    }

    #[test]
    fn a_scalar_may_give_a_list_of_structs() {
        let paths = [Some(vec![Some(1), Some(2)]), None, Some(vec![])];
        let paths = ListArray::from_iter_primitive::<Int64Type, _, _>(paths);
        let (column, _) = called::<steps>(Arc::new(paths)).unwrap();
        let given = column.as_list::<i32>();
        assert_eq!(given.value_offsets(), [0, 2, 2, 2]);
        assert_eq!((0..3).map(|row| given.is_null(row)).collect::<Vec<_>>(), [false, true, false]);
        let to = given.values().as_struct().column(1).as_primitive::<Int64Type>();
        assert_eq!(to.iter().collect::<Vec<_>>(), [Some(2), None]);
        let told = steps::function().describe(steps::NAME).output;
        assert_eq!(told.as_deref(), Some("steps array<struct<from:bigint,to:bigint>>"));
    }

    #[crate::scalar]
    fn joined(numbers: &[i64], texts: Vec<&str>) -> String {
        format!("{numbers:?} {texts:?}")
    }

    #[test]
    fn items_need_not_be_copied() {
        let mut texts = ListBuilder::new(StringBuilder::new());
        texts.append_value([Some("a"), Some("b")]);
        texts.append_value([] as [Option<&str>; 0]);
        let numbers = [Some(vec![Some(1)]), Some(vec![Some(2), Some(3)])];
        let numbers = ListArray::from_iter_primitive::<Int64Type, _, _>(numbers);
        let rows: [(&str, ArrayRef); 2] =
            [("n", Arc::new(numbers)), ("t", Arc::new(texts.finish()))];
        let rows = RecordBatch::try_from_iter(rows).unwrap();
        let opened = joined::function().body.open(&rows.schema()).unwrap();
        let scalar = opened.call.downcast::<OpenedScalar>().unwrap();
        let (column, _) = (scalar.call)(&rows, &BatchContext::default()).unwrap();
        let given: Vec<_> = column.as_string::<i32>().iter().flatten().collect();
        assert_eq!(given, ["[1] [\"a\", \"b\"]", "[2, 3] []"]);
    }

    #[test]
    fn a_null_within_a_value_needs_a_place() {
        let paths = [Some(vec![Some(1), None])];
        let paths = ListArray::from_iter_primitive::<Int64Type, _, _>(paths);
        let told = called::<steps>(Arc::new(paths)).unwrap_err();
        let expected = "there are nulls within values of argument 1 and it has no place for them; write \
                        an Option there, such as Vec<Option<i64>>";
        assert_eq!(told, Error::bad_input(expected));
    }
}
