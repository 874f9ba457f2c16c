//! Bad input: exit 2, with what was asked, what was found, what to do; and nothing is created.

use tidemill_tests::Workbench;

use crate::orders::{JOB, bench};

#[track_caller]
fn refused(job: &str, words: &[&str]) {
    let bench = bench();
    bench.write("job.toml", job);
    let before = bench.names("");
    for verb in ["check", "run"] {
        bench.run(&[verb, "job.toml"]).expect_failure(2, words);
        assert_eq!(bench.names(""), before, "`{verb}` created something");
    }
}

#[test]
fn a_key_with_a_slip_names_its_line_and_the_nearest_key() {
    refused(
        &JOB.replace("output_mode", "output_mod"),
        &["job.toml:3:1", "\"output_mod\"", "did you mean \"output_mode\"?"],
    );
}

#[test]
fn an_option_with_a_slip_names_the_nearest_option() {
    let job = JOB.replace("maxFilesPerTrigger", "maxFilePerTrigger");
    refused(&job, &["maxFilePerTrigger", "maxFilesPerTrigger"]);
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let job = JOB.replace("format = \"json\"", "format = \"socket\"");
    refused(&job, &["socket", "not supported yet"]);
    let job = JOB.replace("available_now = true", "continuous = \"1 second\"");
    refused(&job, &["trigger.continuous", "not supported yet"]);
}

#[test]
fn a_time_that_is_negative_is_refused() {
    let job = JOB.replace("delay = \"5 minutes\"", "delay = \"-5 minutes\"");
    refused(&job, &["watermark.delay", "must not be negative"]);
    let job = JOB.replace("delay = \"5 minutes\"", "delay = \"5 minutes\", idle = \"-1 minute\"");
    refused(&job, &["watermark.idle", "must not be negative"]);
    let job = JOB.replace("available_now = true", "processing_time = \"-1 second\"");
    refused(&job, &["trigger.processing_time", "must not be negative"]);
}

#[test]
fn wrong_sql_names_the_step_and_what_is_wrong() {
    refused(&JOB.replace("sum(amount)", "sum(amonut)"), &["step \"revenue\"", "amonut"]);
    refused(
        &JOB.replace("SELECT window.start", "SELEC window.start"),
        &["step \"revenue\"", "SELEC"],
    );
    refused(&JOB.replace("FROM clean", "FROM cleen"), &["step \"revenue\"", "cleen"]);
}

#[test]
fn a_schema_that_is_none_says_where() {
    refused(&JOB.replace("amount DOUBLE", "amount DUBLE"), &["source.orders.schema", "DUBLE"]);
}

#[test]
fn a_watermark_needs_a_timestamp_that_is_there() {
    refused(&JOB.replace("column = \"order_time\"", "column = \"tome\""), &["tome", "order_time"]);
    refused(
        &JOB.replace("column = \"order_time\"", "column = \"amount\""),
        &["amount", "TIMESTAMP"],
    );
}

#[test]
fn a_plugin_has_to_be_there_and_to_be_wasm() {
    refused(&JOB.replace("orders.wasm", "missing.wasm"), &["plugin \"orders\"", "missing.wasm"]);
    refused(&JOB.replace("orders.wasm", "job.toml"), &["plugin \"orders\"", "WebAssembly"]);
}

#[test]
fn a_function_has_to_be_there_and_of_the_right_kind() {
    refused(&JOB.replace("\"normalise\"", "\"normalize\""), &["normalize", "normalise"]);
    refused(&JOB.replace("\"deliver\"", "\"delivers\""), &["delivers", "deliver"]);
    refused(&JOB.replace("\"normalise\"", "\"deliver\""), &["deliver", "foreach_batch"]);
}

#[test]
fn a_transform_has_to_find_its_columns() {
    // It reads this one; `user_id` goes by it, and may be missing.
    let job = JOB.replace("amount DOUBLE, ", "");
    refused(&job, &["normalise", "wants a column \"amount\""]);
}

#[test]
fn a_target_has_to_exist() {
    let job = JOB.replace("targets = [\"summary\"]", "targets = [\"sumary\"]");
    refused(&job, &["sumary", "target"]);
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_start() {
    let job = JOB.replace("path = \"revenue.db\"", "path = \"no/such/place/revenue.db\"");
    refused(&job, &["no/such/place"]);
}

#[test]
fn append_needs_a_watermark_on_the_groups() {
    let job = JOB
        .replace("output_mode = \"update\"", "output_mode = \"append\"")
        .replace("watermark = { column = \"order_time\", delay = \"5 minutes\" }\n", "");
    refused(&job, &["append", "watermark"]);
}

#[test]
fn complete_needs_an_aggregation_and_sorting_needs_complete() {
    let simple = |sql: &str, mode: &str| {
        let text = format!(
            "output_mode = \"{mode}\"\n[source.s]\nformat = \"rate\"\n[[step]]\nname = \"t\"\nsql = \"{sql}\"\n[sink]\nformat = \"noop\"\n"
        );
        let bench = Workbench::new();
        bench.write("job.toml", text);
        bench.run(&["check", "job.toml"])
    };
    simple("SELECT value FROM s", "complete").expect_failure(2, &["complete", "aggregation"]);
    simple("SELECT value FROM s ORDER BY value", "append").expect_failure(2, &["Sorting"]);
    simple("SELECT count(DISTINCT value) AS n FROM s", "update").expect_failure(2, &["Distinct"]);
    simple("SELECT a.value FROM s a JOIN s b ON a.value = b.value", "complete")
        .expect_failure(2, &["complete", "no streaming aggregations"]);
}

#[test]
fn what_could_not_be_repeated_or_would_be_lost_is_refused() {
    let job = |sql: &str| {
        format!(
            "output_mode = \"update\"\n[source.s]\nformat = \"rate\"\n[source.t]\nformat = \"rate\"\n[[step]]\nname = \"r\"\nsql = \"{sql}\"\n[sink]\nformat = \"noop\"\n"
        )
    };
    let check = |sql: &str| {
        let bench = Workbench::new();
        bench.write("job.toml", job(sql));
        bench.run(&["check", "job.toml"])
    };
    check("SELECT value FROM s").expect_failure(2, &["source \"t\"", "no step reads it"]);
    check("SELECT rand() AS r FROM s").expect_failure(2, &["rand"]);
    let job = |sql: &str| {
        let table =
            "[static.fixed]\nformat = \"json\"\npath = \"fixed\"\nschema = \"value BIGINT\"\n";
        job(sql).replace("[source.t]\nformat = \"rate\"\n", table)
    };
    for sql in [
        "SELECT s.value, f.r FROM s JOIN (SELECT value, rand() AS r FROM fixed) f ON s.value = f.value",
        "SELECT value FROM s WHERE value IN (SELECT value FROM fixed WHERE rand() < 2)",
    ] {
        let bench = Workbench::new();
        std::fs::create_dir_all(bench.path("fixed")).unwrap();
        bench.write("job.toml", job(sql));
        bench.run(&["check", "job.toml"]).expect_failure(2, &["random", "same rows"]);
    }
    let bench = Workbench::new();
    std::fs::create_dir_all(bench.path("fixed")).unwrap();
    bench.write("job.toml", job("SELECT value FROM s INTERSECT SELECT value FROM fixed"));
    bench.run(&["check", "job.toml"]).expect_failure(2, &["Intersect of streaming"]);
    check("SELECT value FROM s TABLESAMPLE (10 PERCENT)").expect_failure(2, &["TABLESAMPLE"]);
}

#[test]
fn a_checkpoint_of_another_query_is_refused_and_stays() {
    let bench = bench();
    tidemill_tests::write_orders(&bench, 0, 1, 50);
    bench.run(&["run", "job.toml"]).expect_success();
    let other = JOB
        .replace("category, sum", "user_id AS category, sum")
        .replace(", category\n", ", user_id\n");
    bench.write("job.toml", other);
    bench
        .run(&["run", "job.toml"])
        .expect_failure(2, &["checkpoint", "stateful operators", "user_id"]);
    bench.write("job.toml", JOB);
    bench.run(&["run", "job.toml"]).expect_success();
}

#[test]
fn an_environment_variable_that_is_missing_is_named() {
    let job = JOB.replace("\"revenue.db\"", "\"${TIDEMILL_TEST_NO_SUCH_VARIABLE}\"");
    refused(&job, &["TIDEMILL_TEST_NO_SUCH_VARIABLE", "job.toml:"]);
}
