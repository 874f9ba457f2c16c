//! Standard streams that are closed, full or not read, signals, and a person at a terminal.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use rusqlite::Connection;
use tidemill_tests::{Workbench, tidemill};

use crate::orders;
use crate::reload::lines;

const SOURCE: &str = "[source.s]\nformat = \"json\"\npath = \"input\"\nschema = \"n BIGINT, text STRING\"\noptions = { maxFilesPerTrigger = 1 }\n";
const CONSOLE: &str = "[sink]\nformat = \"console\"\noptions = { format = \"json\" }\n";
const SQLITE: &str =
    "[sink]\nformat = \"sqlite\"\npath = \"out.db\"\noptions = { dbtable = \"t\" }\n";

/// Three files, a batch each. One batch of them is more than a pipe holds.
fn bench(sink: &str) -> Workbench {
    let bench = Workbench::new();
    let text = "x".repeat(200);
    for file in 0..3 {
        let row = |n: i64| format!("{{\"n\":{},\"text\":\"{text}\"}}\n", file * 1_000 + n);
        bench.write_input(
            &format!("input/{file}.json"),
            file,
            (0..1_000).map(row).collect::<String>(),
        );
    }
    bench.write("job.toml", format!("name = \"j\"\n[options]\nretries = 0\n{SOURCE}{sink}"));
    bench
}

const RUN: [&str; 4] = ["run", "job.toml", "--trigger", "available-now"];

/// A disk without room.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn rows_of(bench: &Workbench) -> i64 {
    let database = Connection::open(bench.path("out.db")).unwrap();
    database.query_row("SELECT count(DISTINCT n) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn nobody_has_to_read_what_is_said_of_a_run() {
    for (name, stream) in [("full", full as fn() -> Stdio), ("unread", unread)] {
        let bench = bench(SQLITE);
        let mut command = bench.command(&[&RUN[..], &["--progress", "json"]].concat());
        command.env("TIDEMILL_LOG", "debug").stderr(stream());
        assert_eq!(command.status().unwrap().code(), Some(0), "{name}");
        assert_eq!(rows_of(&bench), 3_000, "{name}");
    }
}

#[test]
fn a_refusal_that_nobody_hears_is_still_one() {
    for stream in [full as fn() -> Stdio, unread] {
        let bench = Workbench::new();
        bench.write("job.toml", "[source.s]\n");
        for verb in ["run", "check"] {
            let status = bench.command(&[verb, "job.toml"]).stderr(stream()).status().unwrap();
            assert_eq!(status.code(), Some(2), "{verb}");
        }
        let metrics = [&RUN[..], &["--metrics", "0"]].concat();
        let bench = self::bench(SQLITE);
        let status = bench.command(&metrics).stderr(stream()).status().unwrap();
        assert_eq!(status.code(), Some(0), "metrics");
    }
}

#[test]
fn what_check_found_counts_where_nobody_reads_it_and_not_where_it_is_lost() {
    let bench = bench(SQLITE);
    let check =
        |stream: Stdio| bench.command(&["check", "job.toml"]).stdout(stream).output().unwrap();
    let done = check(unread());
    assert_eq!((done.status.code(), said(&done).as_str()), (Some(0), ""));
    let done = check(full());
    assert_eq!(done.status.code(), Some(1));
    assert!(said(&done).contains("standard output cannot be written"), "{done:?}");
    let help = Command::new(tidemill()).arg("--help").stdout(full()).output().unwrap();
    assert_ne!(help.status.code(), Some(101));
    said(&help);
}

/// `tidemill run job.toml | head -1`.
#[test]
fn a_reader_that_goes_ends_the_query_quietly_and_leaves_the_batch_to_the_next_start() {
    let bench = bench(CONSOLE);
    let mut child = bench.spawn(&RUN);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"batch_id\":0,"), "{line}");
    drop(reader);
    let done = child.wait_with_output().unwrap();
    // As of a process that SIGPIPE ended.
    assert_eq!((done.status.code(), said(&done).as_str()), (Some(141), ""));
    // The batch was not committed, and did not fail: it comes again, whole.
    let again = bench.run(&[&RUN[..], &["--progress", "json"]].concat()).expect_success();
    assert_eq!(again.stdout.lines().count(), 3_000);
    assert_eq!(again.progress().len(), 3);
    assert!(again.stdout.starts_with(&line), "{}", &again.stdout[..200]);
}

#[test]
fn a_reader_of_a_handlers_console_that_goes_is_no_failure_of_the_handler() {
    let bench = orders::bench();
    let row = r#"{"order_id":"1","user_id":"u","amount":1.5,"category":"a","order_time":"2026-01-01T00:01:00Z"}"#;
    bench.write_input("input/0.json", 0, row);
    let screen = "targets = [\"summary\", \"screen\"]\nconfig = { screen = true }";
    let job = orders::JOB.replace("targets = [\"summary\"]", screen);
    bench.write("job.toml", job + "[target.screen]\nformat = \"console\"\n");
    let done = bench.command(&["run", "job.toml"]).stdout(unread()).output().unwrap();
    assert_eq!((done.status.code(), said(&done).as_str()), (Some(141), ""));
    let again = bench.run(&["run", "job.toml"]).expect_success();
    assert!(again.stdout.contains("Batch: 0"), "{}", again.stdout);
    assert_eq!(orders::revenue(&bench.path("revenue.db")).len(), 1);
}

#[test]
fn a_console_that_cannot_be_written_fails_the_batch() {
    let bench = bench(CONSOLE);
    let done = bench.command(&RUN).stdout(full()).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(said(&done).contains("could not print batch 0"), "{done:?}");
}

/// Rows come as long as it runs.
const ENDLESS: &str = "[source.s]\nformat = \"rate-micro-batch\"\noptions = { rowsPerBatch = 1 }\n[sink]\nformat = \"noop\"\n";

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The next progress record of a run.
fn next_record(lines: &mut impl Iterator<Item = String>) {
    lines.find(|line| line.starts_with('{')).expect("batches run");
}

#[test]
fn a_terminal_that_goes_away_ends_a_query_as_a_signal_to_stop_does() {
    let bench = Workbench::new();
    bench.write("job.toml", ENDLESS);
    // Whoever runs the tests under nohup ignores the signal, and so would the command.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(tidemill());
    command.args(["run", "job.toml", "--progress", "json"]).current_dir(bench.path(""));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = lines(child.stderr.take().unwrap());
    next_record(&mut said);
    signal(&child, "-HUP");
    said.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn under_nohup_a_terminal_that_goes_away_changes_nothing() {
    let bench = Workbench::new();
    bench.write("job.toml", ENDLESS);
    let mut command = Command::new("sh");
    command.arg("-c").arg("trap '' HUP; exec \"$0\" run job.toml --progress json").arg(tidemill());
    command.current_dir(bench.path("")).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = lines(child.stderr.take().unwrap());
    next_record(&mut said);
    signal(&child, "-HUP");
    // More than what a pipe holds was written since.
    (0..200).for_each(|_| next_record(&mut said));
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "-TERM");
    said.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn log_lines_that_are_asked_for_wrongly_are_refused_by_name() {
    let bench = bench(SQLITE);
    let before = bench.names("");
    for wrong in ["inof", "tidemill_engine=loud"] {
        for arguments in [&["check", "job.toml"][..], &["run", "job.toml", "--trace", "t.json"]] {
            let done = bench.command(arguments).env("TIDEMILL_LOG", wrong).output().unwrap();
            assert_eq!(done.status.code(), Some(2));
            let said = said(&done);
            assert!(said.contains(&format!("TIDEMILL_LOG=\"{wrong}\"")), "{said}");
            assert_eq!(bench.names(""), before, "something was created");
        }
    }
}

/// The command at a terminal of its own, which util-linux's `script` makes.
fn at_a_terminal(bench: &Workbench, arguments: &str) -> Child {
    let mut command = Command::new("script");
    command.args([
        "-q",
        "-e",
        "-c",
        &format!("exec {} {arguments}", tidemill().display()),
        "/dev/null",
    ]);
    command.current_dir(bench.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("the command `script` of util-linux")
}

#[test]
fn a_person_at_a_terminal_is_told_what_it_waits_for_and_where_it_stopped() {
    let bench = bench(SQLITE);
    let mut child = at_a_terminal(&bench, "run job.toml");
    let mut screen = lines(child.stdout.take().unwrap());
    let started = screen.next().unwrap();
    assert!(started.contains("starts with batch 0; checkpoint .tidemill/j"), "{started}");
    for batch in 0..3 {
        let line = screen.next().unwrap();
        assert!(line.starts_with(&format!("batch {batch}: 1,000 rows in")), "{line}");
    }
    let waits = screen.next().unwrap();
    assert!(waits.contains("waits for rows of s (json, input); Ctrl-C ends it"), "{waits}");
    // Ctrl-C, as a terminal sends it.
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let rest: Vec<String> = screen.collect();
    let rest = rest.join("\n");
    assert!(rest.contains("stopped after batch 2; start again to go on"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let mut child = at_a_terminal(&bench, "run job.toml --trigger available-now");
    let mut screen = String::new();
    child.stdout.take().unwrap().read_to_string(&mut screen).unwrap();
    assert!(screen.contains("goes on with batch 3"), "{screen}");
    assert!(screen.contains("ended after batch 2: all that was there is processed"), "{screen}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn off_a_terminal_nothing_is_said_of_a_run_that_goes_well() {
    let bench = bench(SQLITE);
    let done = bench.run(&RUN).expect_success();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
}

/// A file that is no job must not fill the memory before that is noticed, and no text of a job ends
/// the process otherwise than with what is wrong.
#[test]
fn a_job_file_that_is_huge_or_hostile_is_refused() {
    let bench = Workbench::new();
    bench.run(&["check", "/dev/zero"]).expect_failure(2, &["/dev/zero", "1 MiB"]);
    let deep = |open: &str, close: &str| {
        format!("name = \"j\"\nx = {}1{}\n{ENDLESS}", open.repeat(50_000), close.repeat(50_000))
    };
    let dots = format!("{}a = 1\n{ENDLESS}", "a.".repeat(50_000));
    let header = format!("{ENDLESS}[{}a]\n", "a.".repeat(50_000));
    let keys: String = (0..20_000).map(|n| format!("k{n} = {n}\n")).collect();
    for job in [deep("[", "]"), deep("{a=", "}"), dots, header, keys + ENDLESS, "\u{0}".repeat(99)]
    {
        bench.write("job.toml", &job);
        let done = bench.run(&["check", "job.toml"]).expect_failure(2, &["error: job.toml"]);
        assert!(done.stderr.len() < 2_000, "{}", &done.stderr[..2_000]);
    }
    bench.write("job.toml", [0xff, 0xfe, 0x00]);
    bench.run(&["check", "job.toml"]).expect_failure(2, &["not UTF-8"]);
    let deep_set = format!("{}a=1", "a.".repeat(50_000));
    bench.write("job.toml", ENDLESS);
    bench.run(&["check", "job.toml", "--set", &deep_set]).expect_failure(2, &["--set"]);
}

#[test]
fn a_name_has_to_be_one_of_a_thread_a_file_and_a_label() {
    let bench = Workbench::new();
    for name in ["a\\u0000b", "a\\nb", "", "..", "a/b", "../../x"] {
        bench.write("job.toml", format!("name = \"{name}\"\n{ENDLESS}"));
        let once = ["run", "job.toml", "--trigger", "once"];
        bench.run(&once).expect_failure(2, &["name"]);
        assert_eq!(bench.names(""), ["job.toml"], "{name}");
    }
    bench.write("job.toml", format!("name = \"a/b\"\ncheckpoint = \"c\"\n{ENDLESS}"));
    bench.run(&["run", "job.toml", "--trigger", "once"]).expect_failure(2, &["name", "directory"]);
    bench.write("job.toml", ENDLESS.replace("[source.s]", "[source.\"s\\u0000\"]"));
    bench.run(&["check", "job.toml"]).expect_failure(2, &["source", "control"]);
}

/// What the machine lacks is no fault of the job: whoever starts us again may have more luck.
#[test]
fn a_machine_without_handles_is_no_wrong_job() {
    let bench = bench("[sink]\nformat = \"noop\"\n");
    let mut failed = 0;
    // From too few for anything but the job's file to enough.
    for handles in 5..30 {
        let script =
            format!("ulimit -n {handles}; exec \"$0\" run job.toml --metrics 0 --trigger once");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(tidemill()).current_dir(bench.path(""));
        let done = command.output().unwrap();
        let said = said(&done);
        let code = done.status.code();
        assert!(matches!(code, Some(0 | 1)), "{handles} handles: {code:?} {said}");
        failed += u32::from(code == Some(1));
    }
    assert!(failed > 3, "{failed}");
}
