//! Where log lines and spans go.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::{panic, thread};

use parking_lot::RwLock;
use tidemill_core::Secrets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use crate::observe::Trace;
use crate::print::say;

const VARIABLE: &str = "TIDEMILL_LOG";
const DEFAULT: &str = "warn";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Which log lines are asked for, or what is wrong with how they are.
pub(super) fn filter() -> Result<EnvFilter, String> {
    parse(std::env::var_os(VARIABLE))
}

fn parse(asked: Option<OsString>) -> Result<EnvFilter, String> {
    let hint = "write a level (off, error, warn, info, debug or trace), or levels of targets like tidemill_engine=debug,warn";
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(EnvFilter::new(DEFAULT));
    };
    let shown = asked.to_string_lossy().into_owned();
    let wrong = |what: &str| format!("{VARIABLE}=\"{shown}\": {what}; {hint}");
    let text = asked.to_str().ok_or_else(|| wrong("it is no text"))?;
    // A word that is no level would be taken for a target, and hide the lines of all others.
    let is_word = |part: &&str| !part.contains(['=', '[', ']', '{', '}', '"']);
    for word in text.split(',').map(str::trim).filter(is_word) {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !is_level && !word.starts_with("tidemill") && word.parse::<u8>().is_err() {
            return Err(wrong(&format!("\"{word}\" is neither a level nor a target with one")));
        }
    }
    EnvFilter::try_new(text).map_err(|error| wrong(&error.to_string()))
}

/// A panic is said like any other line, so that its message shows no secret, either.
fn conceal_panics(secrets: Concealed) {
    panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => "\nset RUST_BACKTRACE=1 to see where from".to_owned(),
        };
        let name = thread.name().unwrap_or("unnamed");
        say(&secrets.conceal(&format!("thread '{name}' {info}{trace}")));
    }));
}

/// What log lines do not show. Clones share it.
#[derive(Clone)]
pub(super) struct Concealed(Arc<RwLock<Secrets>>);

impl Concealed {
    /// They do not show these, either.
    pub(super) fn extend(&self, secrets: &Secrets) {
        self.0.write().extend(secrets);
    }

    /// All of them.
    pub(super) fn all(&self) -> Secrets {
        self.0.read().clone()
    }

    fn conceal(&self, text: &str) -> String {
        self.0.read().conceal(text).into_owned()
    }
}

/// Log lines go to standard error, spans into the trace if there is one. Without, the filter of
/// the lines alone decides, so that a span costs a comparison.
pub(super) fn start(filter: EnvFilter, trace: Option<&Trace>, secrets: &Secrets) -> Concealed {
    let secrets = Concealed(Arc::new(RwLock::new(secrets.clone())));
    conceal_panics(secrets.clone());
    let concealed = secrets.clone();
    let lines = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || Lines { secrets: secrets.clone() });
    match trace {
        None => registry().with(lines).with(filter).init(),
        Some(trace) => {
            let (spans, wanted) = trace.layer();
            registry().with(lines.with_filter(filter)).with(spans.with_filter(wanted)).init();
        }
    }
    concealed
}

/// Standard error without secrets. It always takes a line: to complain that it cannot be written,
/// as the layer would, panics in its turn.
struct Lines {
    secrets: Concealed,
}

impl Write for Lines {
    /// The layer writes each line at once, so no secret is torn apart.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let _ = io::stderr().lock().write_all(self.secrets.conceal(&text).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        parse(Some(text.into())).map(|filter| filter.to_string())
    }

    #[test]
    fn levels_and_levels_of_targets_are_taken() {
        for text in ["info", "DEBUG", "off", "tidemill_engine=trace", "warn,rdkafka=debug", "3"] {
            assert!(parsed(text).is_ok(), "{text}");
        }
        assert_eq!(parsed("").as_deref(), Ok("warn"));
        assert_eq!(parse(None).unwrap().to_string(), "warn");
    }

    #[test]
    fn what_is_no_level_is_refused_by_name() {
        for text in ["inof", "verbose", "info,wran", "tidemill_engine=loud", "a=b=c"] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(&format!("TIDEMILL_LOG=\"{text}\": ")), "{error}");
            assert!(error.contains("write a level"), "{error}");
        }
    }
}
