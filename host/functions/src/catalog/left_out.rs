//! Functions of Spark that no job can have, and why. They are found by name, so that who calls one is
//! told; they are suggested to nobody.

use std::sync::LazyLock;

use crate::function::Function;

/// Functions that are left out for one reason.
#[derive(Debug, Clone, Copy)]
pub struct LeftOut {
    /// What they have in common.
    pub title: &'static str,
    /// Why there are none, and what to do instead.
    pub reason: &'static str,
    /// Their names.
    pub names: &'static [&'static str],
}

const LEFT_OUT: &[LeftOut] = &[
    LeftOut {
        title: "Random values",
        reason: "a batch that is run again would give other rows; take the value from the input",
        names: &["randn", "randstr", "uniform"],
    },
    LeftOut {
        title: "The user",
        reason: "a batch that is run again by another user would give other rows; write the name out",
        names: &["current_user", "session_user", "user"],
    },
    LeftOut {
        title: "Where a row is from",
        reason: "rows do not keep the file that they are from; put its name into the input",
        names: &["input_file_block_length", "input_file_block_start", "input_file_name"],
    },
    LeftOut {
        title: "Numbers of rows and partitions",
        reason: "rows and partitions have no numbers that are Spark's, and that stay when a batch is run again; take one from the input",
        names: &["monotonically_increasing_id", "spark_partition_id"],
    },
    LeftOut {
        title: "The session",
        reason: "there is no such session here; write the value out",
        names: &["current_path", "version"],
    },
    LeftOut {
        title: "Calls of Java",
        reason: "there is no Java here; write a function in a plugin",
        names: &["java_method", "reflect", "try_reflect"],
    },
    LeftOut {
        title: "The type VARIANT",
        reason: "there is no type VARIANT; keep the text in JSON, and read it with from_json() or get_json_object()",
        names: &[
            "is_valid_variant",
            "is_variant_null",
            "parse_json",
            "schema_of_variant",
            "schema_of_variant_agg",
            "to_variant_object",
            "try_parse_json",
            "try_variant_array_append",
            "try_variant_get",
            "try_variant_insert",
            "try_variant_set",
            "variant_array_append",
            "variant_delete",
            "variant_explode",
            "variant_explode_outer",
            "variant_get",
            "variant_insert",
            "variant_set",
            "variant_strip_nulls",
        ],
    },
    LeftOut {
        title: "The type TIME",
        reason: "there is no type TIME, which Spark's defaults refuse, too; take a TIMESTAMP, or a number of microseconds of the day",
        names: &[
            "current_time",
            "localtime",
            "make_time",
            "time",
            "time_diff",
            "time_from_micros",
            "time_from_millis",
            "time_from_seconds",
            "time_to_micros",
            "time_to_millis",
            "time_to_seconds",
            "time_trunc",
            "to_time",
            "try_to_time",
        ],
    },
    LeftOut {
        title: "Nanoseconds",
        reason: "a TIMESTAMP has microseconds; take timestamp_micros() or unix_micros()",
        names: &["timestamp_nanos", "unix_nanos"],
    },
    LeftOut {
        title: "XML",
        reason: "XML is not read or written; make JSON of it before, or write a function in a plugin",
        names: &[
            "from_xml",
            "schema_of_xml",
            "to_xml",
            "xpath",
            "xpath_boolean",
            "xpath_double",
            "xpath_float",
            "xpath_int",
            "xpath_long",
            "xpath_number",
            "xpath_short",
            "xpath_string",
        ],
    },
    LeftOut {
        title: "Avro and Protobuf",
        reason: "these formats are not read or written; write a function in a plugin",
        names: &["from_avro", "from_protobuf", "schema_of_avro", "to_avro", "to_protobuf"],
    },
    LeftOut {
        title: "Geometry and geography",
        reason: "there are no types GEOMETRY and GEOGRAPHY; keep the bytes of WKB, and write a function in a plugin",
        names: &["st_asbinary", "st_geogfromwkb", "st_geomfromwkb", "st_setsrid", "st_srid"],
    },
    LeftOut {
        title: "Sketches of the most frequent values",
        reason: "the bytes of DataSketches are not written; take approx_top_k(), whose state is kept from batch to batch",
        names: &["approx_top_k_accumulate", "approx_top_k_combine", "approx_top_k_estimate"],
    },
    LeftOut {
        title: "Sketches of distinct values",
        reason: "the bytes of DataSketches are not written; take approx_count_distinct(), or bitmap_construct_agg() where sets are to be united",
        names: &[
            "hll_sketch_agg",
            "hll_sketch_estimate",
            "hll_union",
            "hll_union_agg",
            "theta_difference",
            "theta_intersection",
            "theta_intersection_agg",
            "theta_sketch_agg",
            "theta_sketch_estimate",
            "theta_union",
            "theta_union_agg",
        ],
    },
    LeftOut {
        title: "Sketches of distinct values with numbers",
        reason: "the bytes of DataSketches are not written; group by the key, and take sum() or another aggregate",
        names: &[
            "tuple_difference_double",
            "tuple_difference_integer",
            "tuple_difference_theta_double",
            "tuple_difference_theta_integer",
            "tuple_intersection_agg_double",
            "tuple_intersection_agg_integer",
            "tuple_intersection_double",
            "tuple_intersection_integer",
            "tuple_intersection_theta_double",
            "tuple_intersection_theta_integer",
            "tuple_sketch_agg_double",
            "tuple_sketch_agg_integer",
            "tuple_sketch_estimate_double",
            "tuple_sketch_estimate_integer",
            "tuple_sketch_summary_double",
            "tuple_sketch_summary_integer",
            "tuple_sketch_theta_double",
            "tuple_sketch_theta_integer",
            "tuple_union_agg_double",
            "tuple_union_agg_integer",
            "tuple_union_double",
            "tuple_union_integer",
            "tuple_union_theta_double",
            "tuple_union_theta_integer",
        ],
    },
    LeftOut {
        title: "Sketches of quantiles",
        reason: "the bytes of DataSketches are not written; take approx_percentile() or percentile()",
        names: &[
            "kll_merge_agg_bigint",
            "kll_merge_agg_double",
            "kll_merge_agg_float",
            "kll_sketch_agg_bigint",
            "kll_sketch_agg_double",
            "kll_sketch_agg_float",
            "kll_sketch_get_n_bigint",
            "kll_sketch_get_n_double",
            "kll_sketch_get_n_float",
            "kll_sketch_get_quantile_bigint",
            "kll_sketch_get_quantile_double",
            "kll_sketch_get_quantile_float",
            "kll_sketch_get_rank_bigint",
            "kll_sketch_get_rank_double",
            "kll_sketch_get_rank_float",
            "kll_sketch_merge_bigint",
            "kll_sketch_merge_double",
            "kll_sketch_merge_float",
            "kll_sketch_to_string_bigint",
            "kll_sketch_to_string_double",
            "kll_sketch_to_string_float",
        ],
    },
    LeftOut {
        title: "Metrics of views, and counters",
        reason: "there are no metric views, and no windows of rows in a stream; write the aggregate, or the difference of max() and min(), out",
        names: &["counter_diff", "measure"],
    },
    LeftOut {
        title: "Functions that are tables",
        reason: "the tables of a query are its sources and steps; name one of them, or take range()",
        names: &["collations", "python_worker_logs", "sql_keywords"],
    },
];

/// All functions that are left out, by their reasons.
#[must_use]
pub fn left_out() -> &'static [LeftOut] {
    LEFT_OUT
}

static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let functions = |group: &'static LeftOut| {
        group.names.iter().map(|name| Function::left_out(name, group.title, group.reason))
    };
    LEFT_OUT.iter().flat_map(functions).collect()
});

/// Their descriptors.
pub(super) fn functions() -> &'static [Function] {
    &FUNCTIONS
}
