//! `window(…)`, `session_window(…)` and `window_time(…)` as a query calls them, and the structs
//! that they become.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use tidemill_frontend::CatalogFunction;
use tidemill_functions::timestamp_type;

use super::{
    is_event_time, micros_literal, window_ends, with_event_time_of, with_session, with_session_of,
    without_event_time,
};

/// The function of tumbling and sliding windows.
pub(crate) const WINDOW: &str = tidemill_functions::WINDOW.name;
/// The function of a window's last microsecond.
pub(crate) const WINDOW_TIME: &str = tidemill_functions::WINDOW_TIME.name;
/// The function of sessions.
pub(crate) const SESSION_WINDOW: &str = tidemill_functions::SESSION_WINDOW.name;

/// The functions, as a query calls them, and their names.
pub(crate) fn window_functions() -> [(&'static str, CatalogFunction); 3] {
    let window = |name| {
        let function = ScalarUDF::new_from_impl(WindowCall::named(name));
        (name, CatalogFunction::Window(Arc::new(function)))
    };
    let time = ScalarUDF::new_from_impl(WindowTime::default());
    let time = (WINDOW_TIME, CatalogFunction::Plain(Arc::new(time)));
    [window(WINDOW), window(SESSION_WINDOW), time]
}

/// `struct<start, end>` from a column of starts and a size.
pub(crate) fn window_struct(start: Expr, size_micros: i64) -> Expr {
    bounds_struct(start, micros_literal(size_micros))
}

/// `struct<start, end>` from a column of starts, and one of ends or a size in microseconds. It has
/// the tag of event time if either column has.
pub(crate) fn bounds_struct(start: Expr, end: Expr) -> Expr {
    let function = Arc::new(ScalarUDF::new_from_impl(WindowStruct::default()));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![start, end]))
}

/// The last microsecond of a window, by which the window itself can be grouped into larger ones.
pub(crate) fn window_time(window: Expr) -> Expr {
    let function = Arc::new(ScalarUDF::new_from_impl(WindowTime::default()));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![window]))
}

/// The type of the windows over times of a type: those of a TIMESTAMP, of a window (which stands
/// for its last microsecond), and of what can be cast to a TIMESTAMP.
fn window_type(time: &DataType) -> Result<DataType> {
    let bound = match time {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Struct(fields) => match fields.find("end") {
            Some((_, end)) => end.data_type().clone(),
            None => return plan_err!("window() needs a TIMESTAMP or a window, found {time}"),
        },
        other if other.is_string() || matches!(other, DataType::Date32) => timestamp_type(),
        other => return plan_err!("window() needs a TIMESTAMP, found {other}"),
    };
    Ok(DataType::Struct(Fields::from(vec![
        Field::new("start", bound.clone(), true),
        Field::new("end", bound, true),
    ])))
}

/// The tag of event time is taken from a column of a union whose first input has none.
pub(crate) fn plain_time(time: Expr) -> Expr {
    ScalarUDF::new_from_impl(PlainTime::default()).call(vec![time])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PlainTime {
    signature: Signature,
}

impl Default for PlainTime {
    fn default() -> PlainTime {
        PlainTime { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for PlainTime {
    fn name(&self) -> &str {
        "plain_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(without_event_time(&arguments.arg_fields[0]))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(arguments.args[0].clone())
    }
}

/// Stands for `window(…)` or `session_window(…)` until the plan is rewritten; never runs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowCall {
    name: &'static str,
    signature: Signature,
}

impl WindowCall {
    pub(super) fn named(name: &'static str) -> WindowCall {
        WindowCall { name, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowCall {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(time) => window_type(time),
            None if self.name == WINDOW => {
                plan_err!("window() takes a time, a size, and optionally a slide and a start")
            }
            None => plan_err!("session_window() takes a time and a gap"),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{}() was left in an expression", self.name)
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
        let field = Field::new(self.name(), window_type(start.data_type())?, start.is_nullable());
        let tagged = arguments.arg_fields.iter().find(|field| is_event_time(field));
        let window = match tagged {
            Some(tagged) => with_event_time_of(&field, tagged, None),
            None => Arc::new(field),
        };
        Ok(with_session_of(window, start))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let starts = arguments.args[0].to_array(arguments.number_rows)?;
        let end = match &arguments.args[1] {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(size))) => {
                let starts = microseconds(&starts)?;
                let ends: TimestampMicrosecondArray = starts.unary(|s| s.wrapping_add(*size));
                Arc::new(ends.with_data_type(starts.data_type().clone()))
            }
            ends => ends.to_array(arguments.number_rows)?,
        };
        let DataType::Struct(fields) = window_type(starts.data_type())? else {
            return internal_err!("a window is a struct");
        };
        let nulls = starts.nulls().cloned();
        let bounds = StructArray::try_new(fields, vec![starts, end], nulls)?;
        Ok(ColumnarValue::Array(Arc::new(bounds)))
    }
}

/// A bound of sessions, `start` or `end`, as a column that sessions can be grouped by. The end has
/// the tag of event time, if they have.
pub(crate) fn session_bound(sessions: Expr, bound: &'static str) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(SessionBound { bound, signature }).call(vec![sessions])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionBound {
    bound: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for SessionBound {
    fn name(&self) -> &str {
        match self.bound {
            "end" => "session_end",
            _ => "session_start",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamp_type())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name(), timestamp_type(), false);
        let field = with_session(&field, self.bound);
        Ok(match self.bound {
            "end" => with_event_time_of(&field, &arguments.arg_fields[0], None),
            _ => field,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let sessions = arguments.args[0].to_array(arguments.number_rows)?;
        let bounds = sessions.as_struct_opt().and_then(|s| s.column_by_name(self.bound));
        let bounds = bounds.ok_or_else(|| exec_datafusion_err!("sessions are structs"))?;
        Ok(ColumnarValue::Array(Arc::clone(bounds)))
    }
}

/// Spark's `window_time(window)`: its end less a microsecond. It keeps the tag of event time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowTime {
    signature: Signature,
}

impl Default for WindowTime {
    fn default() -> WindowTime {
        WindowTime { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowTime {
    fn name(&self) -> &str {
        WINDOW_TIME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &arguments[0] {
            DataType::Struct(fields) if fields.find("start").is_some() => {
                match fields.find("end") {
                    Some((_, end)) => Ok(end.data_type().clone()),
                    None => plan_err!("window_time() takes a window"),
                }
            }
            other => plan_err!("window_time() takes a window, found {other}"),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let window = &arguments.arg_fields[0];
        let kind = self.return_type(&[window.data_type().clone()])?;
        let field = Field::new(self.name(), kind, window.is_nullable());
        Ok(with_event_time_of(&field, window, None))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let windows = arguments.args[0].to_array(arguments.number_rows)?;
        let ends = window_ends(&windows)?;
        let ends = microseconds(&ends)?;
        let times: TimestampMicrosecondArray = ends.unary(|end| end.wrapping_sub(1));
        Ok(ColumnarValue::Array(Arc::new(times.with_data_type(ends.data_type().clone()))))
    }
}

fn microseconds(times: &ArrayRef) -> Result<&TimestampMicrosecondArray> {
    times
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| exec_datafusion_err!("the bounds of windows have to be microseconds"))
}
