//! The session's time zone, from texts that come in to texts that go out.

use tidemill_tests::Workbench;

const JOB: &str = r#"
output_mode = "append"
trigger = { available_now = true }

[options]
time_zone = "America/Los_Angeles"

[source.clicks]
format = "json"
path = "in"
schema = "id INT, at TIMESTAMP"

[[step]]
name = "days"
sql = "SELECT id, at, CAST(at AS DATE) AS day, hour(at) AS hour, date_trunc('DAY', at) AS midnight, at + INTERVAL 1 DAY AS next FROM clicks"

[sink]
"#;

fn job(sink: &str) -> String {
    format!("{JOB}{sink}\n")
}

/// The second line names a zone of its own; the first is in the session's.
const CLICKS: &str =
    "{\"id\":1,\"at\":\"2019-03-09 23:30:00\"}\n{\"id\":2,\"at\":\"2019-03-10T10:30:00Z\"}\n";

#[test]
fn texts_are_read_and_written_as_the_clocks_of_the_session_show_them() {
    let bench = Workbench::new();
    bench.write_input("in/clicks.json", 0, CLICKS);
    bench.write("job.toml", job("format = \"console\"\noptions = { format = \"json\" }"));
    let printed = bench.run(&["run", "job.toml"]).expect_success().stdout;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"batch_id":0,"row":{"id":1,"at":"2019-03-09T23:30:00.000-08:00","day":"2019-03-09","hour":23,"midnight":"2019-03-09T00:00:00.000-08:00","next":"2019-03-10T23:30:00.000-07:00"}}"#,
            r#"{"batch_id":0,"row":{"id":2,"at":"2019-03-10T03:30:00.000-07:00","day":"2019-03-10","hour":3,"midnight":"2019-03-10T00:00:00.000-08:00","next":"2019-03-11T03:30:00.000-07:00"}}"#,
        ]
    );
}

#[test]
fn files_have_the_session_s_offset_unless_an_option_names_another_zone() {
    let bench = Workbench::new();
    bench.write_input("in/clicks.json", 0, CLICKS);
    bench.write(
        "job.toml",
        job("format = \"json\"\npath = \"out\"\noptions = { timeZone = \"Asia/Tokyo\", timestampFormat = \"dd.MM.yyyy HH:mm z\" }"),
    );
    bench.run(&["run", "job.toml"]).expect_success();
    let written: String = bench
        .names("out")
        .iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| std::fs::read_to_string(bench.path("out").join(name)).unwrap())
        .collect();
    assert!(written.contains("\"at\":\"10.03.2019 16:30 JST\""), "{written}");
    assert!(written.contains("\"day\":\"2019-03-09\""), "{written}");
}

#[test]
fn the_zone_of_the_first_start_stays() {
    let bench = Workbench::new();
    bench.write_input("in/clicks.json", 0, CLICKS);
    bench.write("job.toml", job("format = \"console\""));
    let first = bench.run(&["run", "job.toml"]).expect_success().stdout;
    assert!(first.contains("|2019-03-09 23:30:00|"), "{first}");
    bench.write_input("in/more.json", 1, "{\"id\":3,\"at\":\"2019-03-10 01:00:00\"}\n");
    let set = "options.time_zone=Europe/Berlin";
    let second = bench.run(&["run", "job.toml", "--set", set]).expect_success();
    assert!(
        second.stderr.contains("options.time_zone is fixed in the checkpoint"),
        "{}",
        second.stderr
    );
    assert!(second.stdout.contains("|2019-03-10 00:00:00|"), "{}", second.stdout);
}

#[test]
fn a_zone_that_there_is_not_is_refused_before_anything_starts() {
    let bench = Workbench::new();
    bench
        .write("job.toml", job("format = \"console\"").replace("America/Los_Angeles", "Mars/Base"));
    bench.run(&["check", "job.toml"]).expect_failure(
        2,
        &["options.time_zone", "Mars/Base", "[INVALID_TIMEZONE]", "'area/city'"],
    );
}
