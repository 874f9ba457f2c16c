//! `tidemill run` as a process: its records are counted, its other messages shown.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// As many signals as mean something: the first lets the queries finish their batch, the second
/// ends them at once.
const SIGNALS_MAX: usize = 2;

/// A process that runs one or several jobs.
pub(super) struct Job {
    child: Child,
    /// Passes on what it says, until it has ended.
    reader: JoinHandle<()>,
    signals: usize,
}

impl Job {
    /// Starts the built command with `arguments`; its records go to `records`.
    pub(super) fn start<A: AsRef<OsStr>>(
        workspace: &Workspace,
        arguments: &[A],
        variables: &[(&str, &str)],
        records: SyncSender<Progress>,
    ) -> Result<Job> {
        use std::os::unix::process::CommandExt;

        let binary = workspace.target.join("debug/tidemill");
        let mut command = Command::new(&binary);
        command
            .arg("run")
            .args(arguments)
            .args(["--progress", "json"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            // The terminal's Ctrl-C is ours alone: we pass on as many signals as are meant.
            .process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("could not start {}", binary.display()))?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let reader = std::thread::spawn(move || read(stderr, &records));
        Ok(Job { child, reader, signals: 0 })
    }

    /// Passes on as many signals as there were in all so far.
    pub(super) fn signal(&mut self, count: usize) -> Result<()> {
        while self.signals < count.min(SIGNALS_MAX) {
            process::interrupt(self.child.id())?;
            self.signals += 1;
        }
        Ok(())
    }

    /// Whether it was asked to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.signals > 0
    }

    /// Whether it has ended, and all its records are where they were to go.
    pub(super) fn has_ended(&self) -> bool {
        self.reader.is_finished()
    }

    /// Waits for its end, and says whether that was a good one.
    pub(super) fn finish(mut self) -> Result<()> {
        let status: ExitStatus = self.child.wait()?;
        // A second signal makes it end with a failure.
        let is_well = status.success() || self.signals == SIGNALS_MAX;
        if is_well { Ok(()) } else { bail!("the job ended with {status}") }
    }
}

impl Drop for Job {
    /// An error elsewhere must not leave it running. One that has ended takes no notice.
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Sends the records on, and shows everything else.
fn read(stderr: ChildStderr, records: &SyncSender<Progress>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match Progress::parse(&line) {
            Some(progress) => {
                if records.send(progress).is_err() {
                    return;
                }
            }
            None => eprintln!("{line}"),
        }
    }
}
