//! JSON.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::logical_expr::{ScalarUDF, lit};

use super::{of, repeated, required};
use crate::call::called;
use crate::function::Function;
use crate::interval_fields::fields_here;
use crate::kernels::csv::options;
use crate::kernels::from_json::FromJson;
use crate::kernels::json_path;
use crate::kernels::to_json::ToJson;
use crate::parameters::Takes::{Any, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "from_json",
        "A value of a schema, which is written out as DDL, from a text in JSON. Options are a map of texts that are written out.",
        &[required("jsonStr", Text), required("schema", Text), repeated("options", Text).as_options()],
        |call| Ok(call.of(&Arc::new(ScalarUDF::new_from_impl(FromJson::default())))),
    )
    .spelled(|name, mut arguments| {
        arguments.truncate(1);
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT from_json('{\"a\":1}', 'a INT').a", "1"),
    Function::scalar(
        "get_json_object",
        "What a path leads to in a text in JSON, as a text; null where there is nothing.",
        &[required("json_txt", Text), required("path", Text)],
        of!(json_path::get_json_object),
    )
    .example("SELECT get_json_object('{\"a\":\"b\"}', '$.a')", "b"),
    Function::scalar(
        "json_array_length",
        "How many values an array in JSON has; null where a text is none.",
        &[required("jsonArray", Text)],
        of!(json_path::array_length),
    )
    .example("SELECT json_array_length('[1,2,3,4]')", "4"),
    Function::scalar(
        "json_object_keys",
        "The names in an object in JSON; null where a text is none.",
        &[required("json_object", Text)],
        of!(json_path::object_keys),
    )
    .example("SELECT json_object_keys('{\"f1\":1,\"f2\":2}')", "[f1, f2]"),
    Function::scalar(
        "schema_of_json",
        "The schema of a text in JSON that is written out. Options are a map of texts that are written out.",
        &[required("json", Text), repeated("options", Any)],
        |call| {
            if call.is_null(0) {
                return plan_err!("[DATATYPE_MISMATCH.UNEXPECTED_NULL] schema_of_json(): The json must not be null");
            }
            Ok(lit(json_path::schema_of(call.constant_text(0)?, &options(call, 1)?)?))
        },
    )
    .spelled(first_alone)
    .example("SELECT schema_of_json('[{\"col\":0}]')", "ARRAY<STRUCT<col: BIGINT>>"),
    Function::scalar(
        "to_json",
        "A struct, an array or a map as JSON, without fields that are null. Options are ignoreNullFields, sortKeys, timestampFormat and dateFormat.",
        &[required("expr", Any), repeated("options", Any)],
        |call| {
            let intervals = fields_here(&call.argument(0), call.kind(0));
            let function = ToJson::with(&options(call, 1)?, intervals)?;
            Ok(called(&Arc::new(ScalarUDF::new_from_impl(function)), vec![call.argument(0)]))
        },
    )
    .spelled(first_alone)
    .example("SELECT to_json(named_struct('a', 1, 'b', 2))", "{\"a\":1,\"b\":2}"),
];

/// Options do not show.
pub(super) fn first_alone(name: &str, mut arguments: Vec<String>) -> String {
    arguments.truncate(1);
    format!("{name}({})", arguments.join(", "))
}
