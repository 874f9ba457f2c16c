//! `window(…)` as DataFusion's planner meets it, and the struct that it becomes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::logical::micros_literal;

/// Spark's name of the function.
pub(crate) const WINDOW: &str = "window";

/// `struct<start, end>` from a column of starts.
pub(crate) fn window_struct(start: Expr, size_micros: i64) -> Expr {
    let function = Arc::new(ScalarUDF::new_from_impl(WindowStruct::default()));
    Expr::ScalarFunction(ScalarFunction::new_udf(
        function,
        vec![start, micros_literal(size_micros)],
    ))
}

fn window_type(time: &DataType) -> Result<DataType> {
    let DataType::Timestamp(_, zone) = time else {
        return plan_err!("window() needs a TIMESTAMP, found {time}");
    };
    let bound = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    Ok(DataType::Struct(Fields::from(vec![
        Field::new("start", bound.clone(), true),
        Field::new("end", bound, true),
    ])))
}

/// Stands for `window(…)` until the plan is rewritten; never runs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowCall {
    signature: Signature,
}

impl Default for WindowCall {
    fn default() -> WindowCall {
        WindowCall { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowCall {
    fn name(&self) -> &str {
        WINDOW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(time) => window_type(time),
            None => plan_err!("window() takes a time, a size, and optionally a slide and a start"),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("window() was left in an expression")
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowStruct {
    signature: Signature,
}

impl Default for WindowStruct {
    fn default() -> WindowStruct {
        WindowStruct { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowStruct {
    fn name(&self) -> &str {
        "window_struct"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        window_type(&arguments[0])
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let start = &arguments.arg_fields[0];
        Ok(Arc::new(Field::new(self.name(), window_type(start.data_type())?, start.is_nullable())))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(ColumnarValue::Scalar(datafusion::common::ScalarValue::Int64(Some(size)))) =
            arguments.args.get(1)
        else {
            return exec_err!("window_struct: the size has to be a number of microseconds");
        };
        let starts = arguments.args[0].to_array(arguments.number_rows)?;
        Ok(ColumnarValue::Array(window_bounds(&starts, *size)?))
    }
}

fn window_bounds(starts: &ArrayRef, size: i64) -> Result<ArrayRef> {
    let DataType::Struct(fields) = window_type(starts.data_type())? else {
        return internal_err!("a window is a struct");
    };
    let start = starts
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| exec_datafusion_err!("window starts have to be microseconds"))?;
    let end: TimestampMicrosecondArray = start.unary(|start| start.wrapping_add(size));
    let end = end.with_data_type(start.data_type().clone());
    let nulls = start.nulls().cloned();
    Ok(Arc::new(StructArray::try_new(fields, vec![Arc::new(start.clone()), Arc::new(end)], nulls)?))
}
