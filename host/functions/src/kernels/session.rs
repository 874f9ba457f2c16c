//! The session's time zone, and zones by their names.
//!
//! A plan's functions learn the zone when they are called, from the session's options: a plan does
//! not hold it, and no other zone stands in where it is missing.

use std::cell::RefCell;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_time::Zone;

thread_local! {
    static LAST: RefCell<Option<(String, Zone)>> = const { RefCell::new(None) };
}

/// The zone of a name, which is mostly that of the row before.
///
/// # Errors
/// There is none of that name.
pub(crate) fn zone(name: &str) -> Result<Zone> {
    LAST.with_borrow_mut(|last| match last {
        Some((known, zone)) if known == name => Ok(*zone),
        _ => {
            let zone = Zone::named(name).map_err(|error| exec_datafusion_err!("{error}"))?;
            *last = Some((name.to_owned(), zone));
            Ok(zone)
        }
    })
}

fn name_of(options: &ConfigOptions) -> Result<&str> {
    match &options.execution.time_zone {
        Some(name) => Ok(name),
        None => internal_err!("the session has no time zone"),
    }
}

/// The time zone of a session.
///
/// # Errors
/// It has none.
pub fn session_zone(options: &ConfigOptions) -> Result<Zone> {
    zone(name_of(options)?)
}

/// `current_timezone()`: the session's zone, as it was told.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentTimezone {
    signature: Signature,
}

/// `current_timezone()`.
pub(crate) fn current_timezone() -> Expr {
    let signature = Signature::nullary(Volatility::Immutable);
    ScalarUDF::new_from_impl(CurrentTimezone { signature }).call(vec![])
}

impl ScalarUDFImpl for CurrentTimezone {
    fn name(&self) -> &str {
        "current_timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = name_of(&arguments.config_options)?;
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name.to_owned()))))
    }
}
