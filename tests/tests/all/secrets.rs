//! A secret that the job knows is shown nowhere: planted in many places, and looked for in
//! everything that leaves the process.

use std::io::Read;

use tidemill_tests::Workbench;
use walkdir::WalkDir;

use crate::observe::Observed;
use crate::orders;

const SECRET: &str = "hunter2-sEcReT-4711";

/// Everything that a run left: what it printed, its exit status first, and all files but the job.
fn left_by(bench: &Workbench, arguments: &[&str]) -> String {
    let mut command = bench.command(arguments);
    command.env("PASSWORD", SECRET).env("TIDEMILL_LOG", "trace");
    let output = command.output().unwrap();
    let mut everything = format!("status {:?}\n", output.status.code()).into_bytes();
    everything.extend(output.stdout);
    everything.extend(output.stderr);
    everything.extend(files(bench));
    String::from_utf8_lossy(&everything).into_owned()
}

/// The bytes of all files, and their names.
fn files(bench: &Workbench) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in WalkDir::new(bench.path("")).into_iter().map(Result::unwrap) {
        let is_job = entry.file_name() == "job.toml";
        if entry.file_type().is_file() && !is_job {
            std::fs::File::open(entry.path()).unwrap().read_to_end(&mut bytes).unwrap();
        }
    }
    bytes
}

#[track_caller]
fn assert_hidden(what: &str, text: &str) {
    if let Some(at) = text.find(SECRET) {
        let begin = text[..at].rfind('\n').map_or(0, |line| line + 1);
        panic!("{what} shows the secret: {}", &text[begin..at + SECRET.len()]);
    }
    assert!(!text.contains("panicked at"), "{what} panics: {text}");
}

const SOURCE: &str = "[source.s]\nformat = \"json\"\npath = \"input\"\nschema = \"n BIGINT\"\n";
const NOOP: &str = "[sink]\nformat = \"noop\"\n";

fn kafka(options: &str) -> String {
    format!(
        "[source.s]\nformat = \"kafka\"\noptions = {{ \"kafka.bootstrap.servers\" = \"127.0.0.1:1\", subscribe = \"x\", {options} }}\n{NOOP}"
    )
}

/// `[sink]` of a format with some options.
fn sink(format: &str, options: &str) -> String {
    format!("{SOURCE}[sink]\nformat = \"{format}\"\noptions = {{ {options} }}\n")
}

/// `options` of the source, and other keys.
fn source(more: &str) -> String {
    format!("{SOURCE}{more}\n{NOOP}")
}

/// Jobs that are refused, with `$` where the secret comes, by what is wrong with them.
fn wrong_jobs() -> Vec<(&'static str, String)> {
    let jaas = |module: &str, end: &str| {
        let login = format!("{module} required username=\\\"u\\\" password=\\\"$\\\"{end}");
        kafka(&format!("\"kafka.sasl.jaas.config\" = \"{login}\""))
    };
    let setting = |name: &str| kafka(&format!("\"kafka.{name}\" = \"$\""));
    vec![
        ("a login module that is not known", jaas("NoSuchModule", ";")),
        ("a setting that is decided", setting("group.id")),
        ("a setting that is misspelt", setting("sasl.pasword")),
        ("a setting without its prefix", kafka("\"sasl.password\" = \"$\"")),
        ("a setting that is one of few", setting("security.protocol")),
        ("a number that is none", setting("fetch.min.bytes")),
        ("a store of another kind", setting("ssl.truststore.location")),
        ("offsets that are none", kafka("startingOffsets = \"$\"")),
        ("an option for later", sink("sqlite", "dbtable = \"t\", password = \"$\"")),
        ("an option that is not known", sink("noop", "token = \"$\"")),
        ("an option that is given twice", sink("console", "numRows = 1, NUMROWS = \"$\"")),
        ("a word that is one of few", sink("console", "format = \"$\"")),
        ("a boolean that is none", sink("console", "truncate = \"$\"")),
        ("a format for later", sink("postgres", "url = \"postgresql://u:$@h/db\"")),
        ("a URL of another kind", sink("sqlite", "dbtable = \"t\", url = \"pg://u:$@h/db\"")),
        ("a URL of the wrong form", sink("sqlite", "dbtable = \"t\", url = \"u:$@h\"")),
        ("a place that is not there", sink("sqlite", "dbtable = \"t\", url = \"sqlite:$/x.db\"")),
        ("a format that is none", sink("$", "")),
        ("a size that is none", source("options = { maxBytesPerTrigger = \"$\" }")),
        ("a time that is none", source("options = { maxFileAge = \"$\" }")),
        ("a pattern that is none", source("options = { pathGlobFilter = \"[$\" }")),
        ("a mode of JSON that is none", source("options = { mode = \"$\" }")),
        ("a watermark's column", source("watermark = { column = \"$\", delay = \"1 second\" }")),
        ("a watermark's delay", source("watermark = { column = \"n\", delay = \"$\" }")),
        ("a schema", SOURCE.replace("n BIGINT", "$") + NOOP),
        ("a path", SOURCE.replace("\"input\"", "\"no/$\"") + NOOP),
        ("a trigger", format!("trigger = {{ processing_time = \"$\" }}\n{SOURCE}{NOOP}")),
        ("a limit", source("[plugin.p]\npath = \"p.wasm\"\nlimits = { memory = \"$\" }")),
        ("a plugin's path", source("[plugin.p]\npath = \"$.wasm\"")),
        ("a table", source("[[step]]\nname = \"t\"\nsql = \"SELECT * FROM `$`\"")),
        (
            "SQL that is none",
            source("[[step]]\nname = \"t\"\nsql = \"SELECT n FROM s WHERE n = '$\""),
        ),
        ("a key that is not known", source("password = \"$\"")),
        ("a number that is a text", format!("{SOURCE}{NOOP}[options]\nretries = \"$\"\n")),
        (
            "options that are a text",
            format!("{SOURCE}[sink]\nformat = \"noop\"\noptions = \"$\"\n"),
        ),
        ("TOML that breaks off", format!("{SOURCE}{NOOP}options = {{ password = \"$\"")),
        ("a brace that stays open", source("options = { password = \"$ ${PASSWORD\" }")),
        (
            "a target",
            format!("{SOURCE}{NOOP}[target.t]\nformat = \"sqlite\"\noptions = {{ url = \"$\" }}\n"),
        ),
    ]
}

#[test]
fn a_job_that_is_refused_shows_no_secret_of_the_environment() {
    let mut accepted = Vec::new();
    for (what, job) in wrong_jobs() {
        let bench = Workbench::new();
        bench.write_input("input/0.json", 0, "{\"n\":1}\n");
        bench.write("job.toml", job.replace('$', "${PASSWORD}").replace("${PASSWORD}{", "${"));
        let checked = left_by(&bench, &["check", "job.toml"]);
        assert_hidden(what, &checked);
        if !checked.starts_with("status Some(2)\n") {
            accepted.push(what);
        }
        let run = left_by(&bench, &["run", "job.toml", "--trace", "trace.json"]);
        assert_hidden(what, &run);
    }
    assert_eq!(accepted, [""; 0], "each of them is wrong");
}

/// Where it stands in the file itself, what names it as a secret, or what is nothing but wrong.
#[test]
fn a_secret_in_the_file_is_not_shown_where_its_name_or_place_says_that_it_is_one() {
    let jobs = wrong_jobs();
    let is_named = |what: &str| {
        ["login", "later", "URL", "is a text", "are a text", "breaks off", "stays open"]
            .iter()
            .any(|part| what.contains(part))
    };
    let named: Vec<_> = jobs.into_iter().filter(|(what, _)| is_named(what)).collect();
    assert!(named.len() >= 9);
    for (what, job) in named {
        let bench = Workbench::new();
        bench.write_input("input/0.json", 0, "{\"n\":1}\n");
        bench.write("job.toml", job.replace("${", "{").replace('$', SECRET));
        assert_hidden(what, &left_by(&bench, &["check", "job.toml"]));
    }
}

#[test]
fn an_argument_that_does_not_fit_is_not_shown() {
    let bench = Workbench::new();
    bench.write_input("input/0.json", 0, "{\"n\":1}\n");
    bench.write("job.toml", format!("{SOURCE}{NOOP}"));
    let password = format!("sink.options.password={SECRET}");
    let url = format!("target.t.options.url=postgres://u:{SECRET}@h");
    let no_table = format!("sink.format.x={SECRET}");
    let no_key = format!("a b={SECRET}");
    for arguments in [
        ["check", "job.toml", "--set", SECRET],
        ["check", "job.toml", "--set", &password],
        ["check", "job.toml", "--set", &url],
        ["check", "job.toml", "--set", &no_table],
        ["check", "job.toml", "--set", &no_key],
        ["check", "job.toml", "job.toml", &password],
    ] {
        let left = left_by(&bench, &arguments);
        assert_hidden(arguments[3], &left);
        assert!(left.starts_with("status Some(2)\n"), "{arguments:?}: {left}");
    }
}

/// Fails in its first batch, with the secret in what the failing function says.
const FAILS: &str = r#"
name = "j"
[options]
retries = 0
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
[[step]]
name = "t"
sql = "SELECT CAST(concat('${PASSWORD}', n) AS INT) AS x FROM s"
[sink]
format = "noop"
"#;

#[test]
fn a_batch_that_fails_shows_no_secret_in_its_error_nor_in_the_log() {
    let bench = Workbench::new();
    bench.write_input("input/0.json", 0, "{\"n\":1}\n");
    bench.write("job.toml", FAILS);
    let left = left_by(&bench, &["run", "job.toml", "--trace", "trace.json"]);
    assert!(left.starts_with("status Some(1)\n"), "{left}");
    assert!(left.contains("${PASSWORD}"), "the error shows the name instead: {left}");
    assert_hidden("the failure", &left);
}

#[test]
fn a_handler_and_the_log_hear_nothing_of_a_targets_secret() {
    let bench = orders::bench();
    let row = r#"{"order_id":"1","user_id":"u","amount":1.5,"category":"a","order_time":"2026-01-01T00:01:00Z"}"#;
    bench.write_input("input/0.json", 0, row);
    let job = orders::JOB.replace("\"revenue.db\"", "\"${PASSWORD}/revenue.db\"");
    bench.write(
        "job.toml",
        job.replace("[source.orders]", "[options]\nretries = 0\n[source.orders]"),
    );
    std::fs::create_dir(bench.path(SECRET)).unwrap();
    // A table without the columns that the handler writes.
    let database = rusqlite::Connection::open(bench.path(SECRET).join("revenue.db")).unwrap();
    database.execute_batch("CREATE TABLE revenue (other INTEGER)").unwrap();
    drop(database);
    let left = left_by(&bench, &["run", "job.toml"]);
    assert!(left.starts_with("status Some(1)\n"), "{left}");
    assert!(left.contains("${PASSWORD}/revenue.db"), "{left}");
    assert_hidden("the handler's failure", &left);
}

/// Runs well, with the secret in its SQL.
const RUNS: &str = r#"
name = "j"
[source.s]
format = "rate-micro-batch"
options = { rowsPerBatch = 10 }
[[step]]
name = "t"
sql = "SELECT value, '${PASSWORD}' IS NULL AS x FROM s"
[sink]
format = "sqlite"
options = { dbtable = "t", url = "sqlite:out.db" }
"#;

#[test]
fn a_job_that_runs_shows_no_secret_to_those_who_look() {
    let bench = Workbench::new();
    bench.write("job.toml", RUNS);
    let mut job = Observed::start_with(&bench, &["--trace", "trace.json"], |command| {
        command.env("PASSWORD", SECRET).env("TIDEMILL_LOG", "trace");
    });
    job.wait_for_batch(2);
    for path in ["/", "/metrics", "/status"] {
        assert_hidden(path, &job.get(path));
    }
    let said = job.stop_and_listen();
    assert_hidden("standard error", &said);
    assert_hidden("files", &String::from_utf8_lossy(&files(&bench)));
}

/// A plugin's configuration is its own: what stands there goes to the guest, and nowhere else.
#[test]
fn what_a_plugin_is_configured_with_is_shown_to_it_alone() {
    let bench = orders::bench();
    let row = r#"{"order_id":"1","user_id":"u","amount":1.5,"category":"a","order_time":"2026-01-01T00:01:00Z"}"#;
    bench.write_input("input/0.json", 0, row);
    let config =
        format!("targets = [\"summary\"]\nconfig = {{ screen = false, token = \"{SECRET}\" }}");
    bench.write("job.toml", orders::JOB.replace("targets = [\"summary\"]", &config));
    let left = left_by(&bench, &["run", "job.toml", "--progress", "json", "--trace", "t.json"]);
    assert!(left.starts_with("status Some(0)\n"), "{left}");
    assert_hidden("a run with it", &left);
}
