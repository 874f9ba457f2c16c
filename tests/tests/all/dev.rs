//! `tidemill dev`: a job and its plugin are changed while it runs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Workbench, plugin};

use crate::new::with_toolchain;
use crate::reload::{interrupt, lines};

const JOB: &str = r#"
name = "dev"
[source.s]
format = "json"
path = "input"
schema = "delay BIGINT"
options = { maxFilesPerTrigger = 1 }
[plugin.p]
path = "crate/flights.wasm"
[[step]]
name = "t"
sql = "SELECT delay_class(delay) AS class FROM s"
[sink]
format = "console"
options = { format = "json" }
"#;

/// No line is longer in coming, not even one of a compiler.
const PATIENCE: Duration = Duration::from_secs(120);

/// A crate that makes a file of the plugin's name.
const CRATE: &str = r#"
[package]
name = "flights"
version = "0.1.0"
edition = "2024"
[lib]
crate-type = ["cdylib"]
[workspace]
"#;

struct Dev {
    bench: Workbench,
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    files: i64,
}

/// Lines as they come; none is waited for without end.
fn told(output: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = sync_channel(10_000);
    std::thread::spawn(move || lines(output).try_for_each(|line| tell.send(line)));
    told
}

impl Dev {
    fn start(bench: Workbench) -> Dev {
        let mut command = with_toolchain(bench.command(&["dev", "job.toml"]));
        let mut child = command.spawn().unwrap();
        let stdout = told(child.stdout.take().unwrap());
        let stderr = told(child.stderr.take().unwrap());
        Dev { bench, child, stdout, stderr, files: 0 }
    }

    /// Puts a row, and gives what comes of it.
    fn put(&mut self, delay: i64) -> Value {
        let row = json!({ "delay": delay }).to_string();
        replace(&self.bench, &format!("input/{}.json", self.files), row);
        self.files += 1;
        loop {
            let line = self.stdout.recv_timeout(PATIENCE).expect("a row comes");
            if let Ok(row) = serde_json::from_str::<Value>(&line) {
                return row["row"].clone();
            }
        }
    }

    fn says(&self, words: &str) -> String {
        let mut said = Vec::new();
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => said.push(line),
                Err(_) => panic!("nobody says {words}:\n{}", said.join("\n")),
            }
        }
    }

    fn end(mut self) {
        interrupt(&self.child);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

/// The plugin with another word for a class.
fn renamed() -> Vec<u8> {
    let mut bytes = std::fs::read(plugin("flights")).unwrap();
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(b"on time") {
            bytes[at..at + 7].copy_from_slice(b"in time");
        }
    }
    bytes
}

fn bench() -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", JOB);
    std::fs::create_dir(bench.path("input")).unwrap();
    bench.write("crate/flights.wasm", std::fs::read(plugin("flights")).unwrap());
    bench
}

/// Replaces a file all at once.
fn replace(bench: &Workbench, name: &str, content: impl AsRef<[u8]>) {
    // Not beside it, where a source would read it.
    let new = bench.write("new", content);
    std::fs::rename(new, bench.path(name)).unwrap();
}

#[test]
fn a_job_that_changes_is_started_anew_and_a_wrong_one_is_not() {
    let mut dev = Dev::start(bench());
    assert_eq!(dev.put(5), json!({"class": "on time"}));
    replace(&dev.bench, "job.toml", JOB.replace("SELECT delay_class", "SELECT nothing"));
    let refused = dev.says("nothing");
    assert!(refused.contains("the job from before goes on"), "{refused}");
    assert_eq!(dev.put(20), json!({"class": "late"}));
    replace(&dev.bench, "job.toml", JOB.replace("AS class", "AS class, delay"));
    // The old job ends after the batch in flight.
    let found = std::iter::repeat_with(|| dev.put(70)).find(|row| row["delay"] == 70);
    assert_eq!(found.unwrap()["class"], "very late");
    dev.end();
}

#[test]
fn a_new_plugin_is_taken_and_what_it_changes_is_shown() {
    let mut dev = Dev::start(bench());
    assert_eq!(dev.put(5), json!({"class": "on time"}));
    replace(&dev.bench, "crate/flights.wasm", renamed());
    dev.says("reloaded plugin \"p\"");
    dev.says("flights.wasm: 1 row of 1");
    let lines: Vec<String> = std::iter::repeat_with(|| dev.stdout.recv_timeout(PATIENCE).unwrap())
        .filter(|line| line.starts_with("only with") || line.contains(" time|"))
        .take(4)
        .collect();
    assert!(lines[0].ends_with("as it ran: 1 row") && lines[1].contains("on time"), "{lines:?}");
    assert!(lines[2].ends_with("wasm: 1 row") && lines[3].contains("in time"), "{lines:?}");
    assert_eq!(dev.put(5), json!({"class": "in time"}));
    dev.end();
}

#[test]
fn what_fails_ends_nothing_and_waits_for_the_next_change() {
    let bench = bench();
    bench.write("job.toml", JOB.replace("delay_class(delay)", "10 / delay"));
    let mut dev = Dev::start(bench);
    replace(&dev.bench, "input/0.json", "{\"delay\":0}");
    dev.files = 1;
    dev.says("batch 0 failed");
    dev.says("nothing runs until the job or a plugin changes");
    // The next attempt at the batch is the new job's.
    replace(&dev.bench, "job.toml", JOB);
    let first = dev.put(20);
    assert_eq!([first, dev.put(70)], [json!({"class": "on time"}), json!({"class": "late"})]);
    dev.end();
}

#[test]
fn a_plugin_is_built_of_its_sources_and_the_compilers_words_are_shown() {
    let bench = bench();
    bench.write("crate/Cargo.toml", CRATE);
    bench.write("crate/src/lib.rs", "pub fn f() -> u8 { 300 }\n");
    let mut dev = Dev::start(bench);
    dev.says("src/lib.rs:1:20");
    dev.says("\"p\" stays as it is: the plugin does not build");
    assert_eq!(dev.put(5), json!({"class": "on time"}));
    // It compiles, and is no plugin: what runs goes on.
    replace(&dev.bench, "crate/src/lib.rs", "pub fn f() -> u8 { 30 }\n");
    dev.says("the new plugin \"p\" is refused");
    assert_eq!(dev.put(5), json!({"class": "on time"}));
    dev.end();
}

/// A build script that says through a pipe that it runs, and never ends while there is no file `go`.
const ENDLESS: &str = r#"
use std::io::Write;
fn main() {
    println!("cargo:rerun-if-changed=go");
    if std::path::Path::new("go").exists() {
        return;
    }
    let mut pipe = std::fs::File::options().write(true).open("../pipe").unwrap();
    writeln!(pipe, "building").unwrap();
    loop {
        std::thread::park();
    }
}
"#;

/// Starts a job whose plugin's build does not end, and waits until it runs. The lines of the pipe end with
/// the build script.
fn building() -> (Dev, Receiver<String>) {
    let bench = bench();
    let pipe = bench.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    bench.write("crate/Cargo.toml", CRATE);
    bench.write("crate/build.rs", ENDLESS);
    bench.write("crate/src/lib.rs", "pub fn f() -> u8 { 30 }\n");
    let dev = Dev::start(bench);
    let (tell, piped) = sync_channel(10);
    // Who opens a pipe waits for its other end.
    std::thread::spawn(move || {
        let lines = BufReader::new(File::open(pipe).unwrap()).lines();
        lines.map_while(Result::ok).try_for_each(|line| tell.send(line))
    });
    assert_eq!(piped.recv_timeout(PATIENCE).unwrap(), "building");
    (dev, piped)
}

#[test]
fn a_build_is_stopped_by_a_newer_save_and_begun_anew() {
    let (mut dev, piped) = building();
    dev.bench.write("crate/go", "");
    replace(&dev.bench, "crate/src/lib.rs", "pub fn f() -> u8 { 300 }\n");
    // Not cargo alone has ended, but the script that it had started, too.
    assert_eq!(piped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    dev.says("\"p\" is built anew");
    dev.says("src/lib.rs:1:20");
    dev.says("\"p\" stays as it is: the plugin does not build");
    assert_eq!(dev.put(5), json!({"class": "on time"}));
    dev.end();
}

#[test]
fn a_build_is_stopped_by_who_asks_for_an_end() {
    let (mut dev, piped) = building();
    interrupt(&dev.child);
    assert_eq!(piped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    assert_eq!(dev.child.wait().unwrap().code(), Some(0));
}
