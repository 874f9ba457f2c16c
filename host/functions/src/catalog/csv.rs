//! CSV.

use datafusion::common::{plan_datafusion_err, plan_err};
use tidemill_types::parse_schema_or_type;

use super::json::first_alone;
use super::{repeated, required};
use crate::function::Function;
use crate::interval_fields::fields_here;
use crate::kernels::csv::{self, options};
use crate::parameters::Takes::{Any, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "from_csv",
        "A struct of a schema, which is written out as DDL, from a row of CSV. Options are a map of texts that are written out.",
        &[required("csvStr", Text), required("schema", Text), repeated("options", Any)],
        |call| {
            let kind = parse_schema_or_type(call.constant_text(1)?)
                .map_err(|error| plan_datafusion_err!("[PARSE_SYNTAX_ERROR] from_csv(): {error}"))?;
            let function = csv::from_csv(kind, options(call, 2)?)?;
            Ok(function.call(vec![call.argument(0)]))
        },
    )
    .spelled(first_alone)
    .example("SELECT from_csv('1, 0.8', 'a INT, b DOUBLE').a", "1"),
    Function::scalar(
        "schema_of_csv",
        "The schema of a row of CSV that is written out. Options are a map of texts that are written out.",
        &[required("csv", Text), repeated("options", Any)],
        |call| {
            if call.is_null(0) {
                return plan_err!("[DATATYPE_MISMATCH.UNEXPECTED_NULL] schema_of_csv(): The csv must not be null");
            }
            Ok(csv::literal(csv::schema_of(call.constant_text(0)?, &options(call, 1)?)?))
        },
    )
    .spelled(first_alone)
    .example("SELECT schema_of_csv('1,abc')", "STRUCT<_c0: INT, _c1: STRING>"),
    Function::scalar(
        "to_csv",
        "A struct as a row of CSV.",
        &[required("expr", Any), repeated("options", Any)],
        |call| {
            let intervals = fields_here(&call.argument(0), call.kind(0));
            let function = csv::to_csv(&options(call, 1)?, intervals)?;
            Ok(function.call(vec![call.argument(0)]))
        },
    )
    .spelled(first_alone)
    .example("SELECT to_csv(named_struct('a', 1, 'b', 2))", "1,2"),
];
