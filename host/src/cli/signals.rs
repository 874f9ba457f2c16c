//! What ends a run from outside.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidemill_engine::StopSignal;

use super::INTERRUPTED;
use crate::observe::Trace;
use crate::print::say;

/// The first signal asks the queries to end, the second ends the process. `talks`: somebody sits at
/// a terminal, who may wonder why it does not end at once.
pub(super) fn stop_on_signals(
    stop: StopSignal,
    trace: Option<Trace>,
    talks: bool,
) -> io::Result<()> {
    on_signals(move || {
        if stop.is_set() {
            trace.iter().for_each(Trace::finish);
            std::process::exit(INTERRUPTED.into());
        }
        stop.stop();
        if talks {
            say("stopping: the batch in flight is finished first; Ctrl-C again ends at once");
        }
    })
}

/// Calls `act` for each signal that asks the process to end.
pub(super) fn on_signals(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM];
    // Under `nohup` a terminal that goes away is to change nothing.
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new().name("tidemill-signals".to_owned()).spawn(move || {
        signals.forever().for_each(|_| act());
    })?;
    Ok(())
}

/// Whether whoever started the process made it ignore a signal.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_by(&status, signal)
}

/// See proc_pid_status(5): a mask in hexadecimal digits, the lowest bit of which is signal 1.
fn ignored_by(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_counts_from_one() {
        let status = "Name:\ttidemill\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert!(ignored_by(status, SIGHUP));
        assert!(!ignored_by(status, SIGINT));
        assert!(!ignored_by("", SIGHUP));
    }
}
