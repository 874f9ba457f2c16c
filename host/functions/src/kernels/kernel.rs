//! A kernel of few words: its name, the type of what it gives, and how it makes columns of columns.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use tidemill_time::Zone;

use super::bounded::{BLOCK_BYTES_MAX, VALUE_BYTES_MAX};
use super::session::session_zone;

/// The type of what a kernel gives, by those of its arguments.
pub(crate) type Gives = fn(&[DataType]) -> Result<DataType>;

/// Columns of as many rows each, which become one of the type that was announced.
pub(crate) type Run = fn(&[ArrayRef], &DataType) -> Result<ArrayRef>;

/// The same, by the clocks of the session's time zone.
pub(crate) type RunZoned = fn(&[ArrayRef], &DataType, Zone) -> Result<ArrayRef>;

#[derive(Debug)]
enum How {
    Plain(Run),
    Zoned(RunZoned),
}

/// A function of columns. Its arguments are what its caller gives it: they are not cast.
#[derive(Debug)]
pub(crate) struct Kernel {
    name: &'static str,
    gives: Gives,
    how: How,
    signature: Signature,
}

/// Makes one. The name tells it from all others.
pub(crate) fn kernel(name: &'static str, gives: Gives, run: Run) -> Arc<ScalarUDF> {
    made(name, gives, How::Plain(run))
}

/// One whose results depend on the session's time zone.
pub(crate) fn zoned_kernel(name: &'static str, gives: Gives, run: RunZoned) -> Arc<ScalarUDF> {
    made(name, gives, How::Zoned(run))
}

fn made(name: &'static str, gives: Gives, how: How) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Kernel { name, gives, how, signature }))
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Kernel {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        (self.gives)(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kind = arguments.return_field.data_type();
        on_columns(&arguments, |columns| match self.how {
            How::Plain(run) => run(columns, kind),
            How::Zoned(run) => run(columns, kind, session_zone(&arguments.config_options)?),
        })
    }
}

/// Runs on columns of as many rows each. Constants are columns of one row, and so is what they give.
pub(crate) fn on_columns(
    arguments: &ScalarFunctionArgs,
    run: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let are_constant =
        arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    let rows = if are_constant { 1 } else { arguments.number_rows };
    let columns = arguments.args.iter().map(|argument| argument.to_array(rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let values = run(&columns)?;
    Ok(match are_constant && !columns.is_empty() {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
        false => ColumnarValue::Array(values),
    })
}

/// STRING, whatever the arguments are.
pub(crate) fn text(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

/// BINARY.
pub(crate) fn binary(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Binary)
}

/// INT.
pub(crate) fn int(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Int32)
}

/// BIGINT.
pub(crate) fn long(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Int64)
}

/// DOUBLE.
pub(crate) fn double(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Float64)
}

/// BOOLEAN.
pub(crate) fn boolean(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Boolean)
}

/// What the first argument is.
pub(crate) fn as_first(arguments: &[DataType]) -> Result<DataType> {
    Ok(arguments.first().cloned().unwrap_or(DataType::Null))
}

/// A column of STRING.
pub(crate) fn texts(columns: &[ArrayRef], place: usize) -> &StringArray {
    columns[place].as_string::<i32>()
}

/// A column of BINARY.
pub(crate) fn bytes(columns: &[ArrayRef], place: usize) -> &BinaryArray {
    columns[place].as_binary::<i32>()
}

/// A text for each row, written by `write`, which says whether there is one.
pub(crate) fn written(
    rows: usize,
    mut write: impl FnMut(usize, &mut String) -> Result<bool>,
) -> Result<ArrayRef> {
    let (mut builder, mut buffer) = (StringBuilder::with_capacity(rows, rows * 8), String::new());
    let mut bytes = 0;
    for row in 0..rows {
        buffer.clear();
        match write(row, &mut buffer)? {
            true => builder.append_value(&buffer),
            false => builder.append_null(),
        }
        bytes = check_bytes(bytes, buffer.len())?;
    }
    Ok(Arc::new(builder.finish()))
}

/// Adds the bytes of one value to those of a block. What has no bound that is known before stops
/// here.
///
/// # Errors
/// One of them, or all together, are more than there may be.
pub(crate) fn check_bytes(before: u64, one: usize) -> Result<u64> {
    let (one, all) = (one as u64, before.saturating_add(one as u64));
    if one <= VALUE_BYTES_MAX && all <= BLOCK_BYTES_MAX {
        return Ok(all);
    }
    exec_err!(
        "a function gave {one} bytes for a row, and {all} for a block of rows, and one may have {VALUE_BYTES_MAX} and {BLOCK_BYTES_MAX}; ask for less, or let the source give fewer rows at once"
    )
}
