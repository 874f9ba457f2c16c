//! The only place that prints, but for what console sinks and log lines do.
//!
//! `println!` and `eprintln!` end the process with a panic where the stream is closed or its disk is
//! full. What is said here is never worth that.

use std::io::{self, ErrorKind, Write};

use tidemill_core::printable;

/// Says a line on standard error. If that is gone, nobody is left to be told.
pub(crate) fn say(line: &str) {
    // In one write, so that lines of several processes stay whole.
    let _ = io::stderr().lock().write_all(format!("{}\n", printable(line)).as_bytes());
}

/// Prints an answer on standard output. Whoever reads it may have enough of it and go, as `head`
/// does; that is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
