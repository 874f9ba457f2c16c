//! The logger behind [`log`](crate::log): lines go to the host's log, where they carry the plugin's, the
//! function's and the batch's name.

use log::{LevelFilter, Log, Metadata, Record};

/// Makes the macros of `log` heard, the author's and those of the crates that the plugin is built of.
pub(crate) fn start() {
    // A logger that the author has set in a test of their own stays.
    if log::set_logger(&Logger).is_ok() {
        // Which lines are worth keeping is the host's to say.
        log::set_max_level(LevelFilter::Trace);
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _line: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, line: &Record<'_>) {
        write(line);
    }

    fn flush(&self) {}
}

#[cfg(target_arch = "wasm32")]
fn write(line: &Record<'_>) {
    use crate::bindings::tidemill::plugin::log as host;

    let level = match line.level() {
        log::Level::Trace => host::Level::Trace,
        log::Level::Debug => host::Level::Debug,
        log::Level::Info => host::Level::Info,
        log::Level::Warn => host::Level::Warn,
        log::Level::Error => host::Level::Error,
    };
    let fields = fields(line);
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    host::write(level, line.target(), &line.args().to_string(), &fields);
}

/// In the author's own unit tests there is no host.
#[cfg(not(target_arch = "wasm32"))]
fn write(line: &Record<'_>) {
    let fields: String =
        fields(line).iter().map(|(name, value)| format!(" {name}={value}")).collect();
    eprintln!("{} {}: {}{fields}", line.level(), line.target(), line.args());
}

/// The names and values of a line, as in `log::info!(orders = 3; "dropped")`.
fn fields(line: &Record<'_>) -> Vec<(String, String)> {
    struct Fields(Vec<(String, String)>);

    impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
        fn visit_pair(
            &mut self,
            key: log::kv::Key<'kvs>,
            value: log::kv::Value<'kvs>,
        ) -> Result<(), log::kv::Error> {
            self.0.push((key.to_string(), value.to_string()));
            Ok(())
        }
    }

    let mut fields = Fields(Vec::new());
    // The visitor above does not fail.
    let _ = line.key_values().visit(&mut fields);
    fields.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_fields_as_texts() {
        let values: &[(&str, log::kv::Value<'_>)] = &[("orders", 3.into()), ("why", "late".into())];
        let line = Record::builder().key_values(&values).build();
        let expected = [("orders", "3"), ("why", "late")];
        assert_eq!(fields(&line), expected.map(|(name, value)| (name.into(), value.into())));
    }
}
