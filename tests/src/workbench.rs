//! A directory with a job in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use filetime::FileTime;
use serde_json::Value;
use tempfile::TempDir;

/// The root of the repository: of the checkout that is tested, not of the one in which the test was
/// built, as several may share a target directory.
#[must_use]
pub fn repository() -> PathBuf {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says which package it tests");
    Path::new(&package).join("..")
}

/// The command under test, built by `cargo xtask test` beside the tests themselves.
#[must_use]
pub fn tidemill() -> PathBuf {
    let path = target_directory().join("tidemill");
    assert!(path.exists(), "there is no {}; run `cargo xtask test`", path.display());
    path
}

/// A plugin of this repository, built for WebAssembly.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    let directory = std::env::var_os("TIDEMILL_PLUGIN_DIR").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| target_directory().join("../plugins"));
    let path = directory.join(format!("{name}.wasm"));
    assert!(path.exists(), "there is no {}; run `cargo xtask plugins`", path.display());
    path
}

/// Where cargo put this test and the command: two levels above the test's own file.
fn target_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its file");
    test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").to_owned()
}

/// A temporary directory to run jobs in.
pub struct Workbench {
    directory: TempDir,
}

/// A run of the command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Default for Workbench {
    fn default() -> Workbench {
        Workbench::new()
    }
}

impl Workbench {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Workbench {
        Workbench { directory: TempDir::new().expect("a temporary directory") }
    }

    /// A place in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let parent = path.parent().expect("the file is in the directory");
        std::fs::create_dir_all(parent).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Writes an input file whose modification time is the `order`th second of a day, so that the
    /// files of a test are read in the order that it says.
    pub fn write_input(&self, name: &str, order: i64, content: impl AsRef<[u8]>) -> PathBuf {
        // Sources read whatever has no dot before its name; so it gets its own last.
        let (folder, file) = name.rsplit_once('/').unwrap_or((".", name));
        let hidden = self.write(&format!("{folder}/.{file}.part"), content);
        let time = FileTime::from_unix_time(1_700_000_000 + order, 0);
        filetime::set_file_mtime(&hidden, time).expect("a modification time");
        let path = self.path(name);
        std::fs::rename(hidden, &path).expect("a rename");
        path
    }

    /// The command, to be run in the directory.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tidemill());
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("XDG_CACHE_HOME", target_directory().join("../test-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let output = self.command(arguments).output().expect("the command starts");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the command.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the command starts")
    }

    /// Names of what lies in the directory, sorted.
    #[must_use]
    pub fn names(&self, below: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(below)) else {
            return Vec::new();
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

impl Finished {
    /// The records that `--progress json` printed.
    #[must_use]
    pub fn progress(&self) -> Vec<Value> {
        let lines = self.stderr.lines().filter(|line| line.starts_with('{'));
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Ends the test unless the command ended well.
    #[track_caller]
    pub fn expect_success(self) -> Finished {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Ends the test unless the command ended with `code` and said all of `words`.
    #[track_caller]
    pub fn expect_failure(self, code: i32, words: &[&str]) -> Finished {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no \"{word}\" in:\n{}", self.stderr);
        }
        self
    }
}
