//! A process that outlives the chore that started it, and that the next one finds again.
//!
//! Only what we started is ever signalled: beside the process id stands when the kernel started
//! it, so that an id that meanwhile went to another process is not taken for ours.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::TICK;
use crate::process;

/// How long a killed process may take to be gone. The kernel needs milliseconds.
const KILLED: Duration = Duration::from_secs(10);

/// A process that we started. It may have ended since.
pub(super) struct Daemon {
    id: u32,
    started: u64,
}

impl Daemon {
    /// Starts `command` with its output in `log`, and notes it in `record`.
    pub(super) fn spawn(command: &mut Command, record: &Path, log: &Path) -> Result<Daemon> {
        let log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // The terminal's Ctrl-C is for the chore.
            .process_group(0);
        let child = command.spawn();
        let mut child = child.with_context(|| format!("could not start {command:?}"))?;
        let id = child.id();
        let stat = stat(id).context("/proc does not show what was started: this needs Linux")?;
        let daemon = Daemon { id, started: stat.started };
        fs::write(record, format!("{id} {}\n", daemon.started))?;
        // Should it end before us, it must not stay as a zombie.
        std::thread::spawn(move || child.wait());
        Ok(daemon)
    }

    /// The process that `record` names, if it lives.
    pub(super) fn find(record: &Path) -> Option<Daemon> {
        let text = fs::read_to_string(record).ok()?;
        let (id, started) = text.trim().split_once(' ')?;
        let daemon = Daemon { id: id.parse().ok()?, started: started.parse().ok()? };
        daemon.lives().then_some(daemon)
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn lives(&self) -> bool {
        stat(self.id).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }

    /// Asks it to end, and kills it if it has not within `patience`.
    pub(super) fn stop(&self, patience: Duration) -> Result<()> {
        self.signal("-TERM")?;
        if self.gone_within(patience) {
            return Ok(());
        }
        eprintln!("process {} did not end in {} s, killing it", self.id, patience.as_secs());
        self.signal("-KILL")?;
        if self.gone_within(KILLED) {
            Ok(())
        } else {
            bail!("process {} cannot be killed", self.id)
        }
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let sent = process::output(Command::new("kill").args([signal, &self.id.to_string()]));
        // It may have ended just before.
        if self.lives() { sent.map(drop) } else { Ok(()) }
    }

    fn gone_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.lives() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(TICK);
        }
        true
    }
}

struct Stat {
    /// In the kernel's ticks since it was booted.
    started: u64,
    /// It is a zombie: ended, and its parent has not asked how.
    ended: bool,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The program's name stands in parentheses and may hold anything. What follows is numbered
    // from 3 in proc(5): the state is 3, the start 22.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_process_is_found_again_until_it_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let (record, log) = (directory.path().join("pid"), directory.path().join("log"));
        assert!(Daemon::find(&record).is_none());
        let daemon = Daemon::spawn(Command::new("sleep").arg("600"), &record, &log).unwrap();
        assert_eq!(Daemon::find(&record).unwrap().id(), daemon.id());
        daemon.stop(Duration::from_secs(10)).unwrap();
        assert!(Daemon::find(&record).is_none());
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let (record, log) = (directory.path().join("pid"), directory.path().join("log"));
        let script = "trap '' TERM; echo deaf; while :; do sleep 1; done";
        let daemon = Daemon::spawn(Command::new("sh").args(["-c", script]), &record, &log).unwrap();
        while fs::read_to_string(&log).unwrap().is_empty() {
            std::thread::yield_now();
        }
        daemon.stop(Duration::from_millis(200)).unwrap();
        assert!(!daemon.lives());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_taken_for_ours() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("pid");
        let us = std::process::id();
        let started = stat(us).unwrap().started;
        fs::write(&record, format!("{us} {}", started + 1)).unwrap();
        assert!(Daemon::find(&record).is_none());
        fs::write(&record, format!("{us} {started}")).unwrap();
        assert!(Daemon::find(&record).is_some());
    }
}
