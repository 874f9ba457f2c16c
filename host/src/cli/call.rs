//! `tidemill call`: one function of a plugin on some rows.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tempfile::NamedTempFile;
use tidemill_connectors::{OptionText, SinkConfig, SinkContext, plan_sink};
use tidemill_core::{
    Attempt, BatchId, ConnectorError, Delivery, EncodedSpec, QueryId, Secrets, Sink,
};

use super::arguments::{CallArguments, CallFormat};
use super::check::code_of;
use super::{ENDED_WELL, FAILED, REFUSED, UNREAD, complain, logging};
use crate::print::say;
use crate::query::{Call, CallError, CallOutput, PrepareError, RefusedInput, Shared, load_plugin};

/// Rows that are shown as a table; the console takes no more.
const TABLE_ROWS: &str = "100000";

/// Calls the function, and prints what it gives.
pub(super) fn call(arguments: &CallArguments) -> u8 {
    let nothing = Secrets::default();
    let asked = logging::filter().and_then(|filter| Ok((filter, config_json(&arguments.config)?)));
    let config = match asked {
        Ok((filter, config)) => {
            logging::start(filter, None, &nothing);
            config
        }
        Err(error) => {
            complain(&nothing, &error);
            return REFUSED;
        }
    };
    match called(arguments, config) {
        Ok(code) => code,
        Err(error) => {
            complain(&nothing, &error);
            code_of(error.is_retryable())
        }
    }
}

fn called(arguments: &CallArguments, config: String) -> Result<u8, PrepareError> {
    let shared = Shared::new(false);
    let module = load_plugin(&shared, &arguments.file, config)?;
    let input = Input::of(&arguments.input)?;
    let batch = BatchId(arguments.batch_id);
    let call = Call::open(module.as_ref(), &arguments.function, &input.path, batch)?;
    let sink = console(&shared, arguments.format, call.output())?;
    let mut shown = Shown { sink, refused: 0 };
    shown.sink.begin(delivery(batch))?;
    let ended = call.run(&mut shown);
    let ended = ended.and_then(|()| {
        shown.sink.prepare().and_then(|()| shown.sink.commit()).map_err(CallError::Output)
    });
    Ok(match ended {
        Ok(()) => {
            if shown.refused > 0 {
                say(&format!(
                    "{} refused; a job sends them to its dead letters, or fails by them where it has no place for those",
                    rows(shown.refused)
                ));
            }
            ENDED_WELL
        }
        Err(CallError::Output(error)) if error.is_unread() => UNREAD,
        Err(error) => {
            complain(&Secrets::default(), &error);
            match error {
                CallError::Input(error) => code_of(error.is_retryable()),
                CallError::Plugin(_) | CallError::Output(_) => FAILED,
            }
        }
    })
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row is".to_owned() } else { format!("{count} rows are") }
}

/// Where the rows are: a file, or a copy of what came on standard input, whose columns are looked
/// at before the rows are read.
struct Input {
    path: PathBuf,
    /// Removes the copy at the end.
    _copy: Option<NamedTempFile>,
}

impl Input {
    fn of(named: &Path) -> Result<Input, PrepareError> {
        if named.as_os_str() != "-" {
            return Ok(Input { path: named.to_owned(), _copy: None });
        }
        let copy = || {
            // Sources pass over names that begin with a dot.
            let mut copy = tempfile::Builder::new().prefix("stdin-").suffix(".jsonl").tempfile()?;
            io::copy(&mut io::stdin().lock(), copy.as_file_mut())?;
            Ok::<_, io::Error>(copy)
        };
        let copy = copy().map_err(|error| {
            PrepareError::Exhausted(format!("standard input could not be kept in a file: {error}"))
        })?;
        Ok(Input { path: copy.path().to_owned(), _copy: Some(copy) })
    }
}

/// The console sink, and what was refused beside it.
struct Shown {
    sink: Box<dyn Sink>,
    refused: u64,
}

impl CallOutput for Shown {
    fn rows(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.sink.write(rows)
    }

    fn refused(&mut self, refused: RefusedInput) {
        self.refused += 1;
        let row = refused.row.map_or_else(String::new, |row| format!(": {row}"));
        say(&format!("row {} is refused: {}{row}", refused.number, refused.reason));
    }
}

fn console(
    shared: &Shared,
    format: CallFormat,
    schema: SchemaRef,
) -> Result<Box<dyn Sink>, PrepareError> {
    let options: &[(&str, &str)] = match format {
        CallFormat::Table => &[("numRows", TABLE_ROWS), ("truncate", "false")],
        CallFormat::Json => &[("format", "json")],
    };
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), OptionText::from(*value)));
    let planned = plan_sink(SinkConfig {
        name: "call".to_owned(),
        format: "console".to_owned(),
        options: options.collect::<BTreeMap<_, _>>(),
        schema: Some(schema),
        ..SinkConfig::default()
    })?;
    let context = SinkContext {
        query_id: QueryId("call".to_owned()),
        console: shared.console.clone(),
        tables: shared.tables.clone(),
    };
    Ok(planned.open(&context)?)
}

fn delivery(batch: BatchId) -> Delivery {
    // The console keeps no mark, which is what a spec is for.
    Delivery { batch, spec: EncodedSpec::from_text("{}"), attempt: Attempt::FIRST, call: 1 }
}

/// The plugin's settings of `key=value` arguments, as a job's `config` table would give them. A
/// value is TOML where it can be, and else a text.
fn config_json(arguments: &[String]) -> Result<String, String> {
    let mut lines = String::new();
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or_else(|| {
            format!("--config {argument} has no `=`; write key=value, like tax_rate=0.1")
        })?;
        toml_edit::Key::parse(key.trim())
            .map_err(|error| format!("--config {key}: {}", error.to_string().trim()))?;
        let value = match value.trim().parse::<toml_edit::Value>() {
            Ok(value) => value,
            Err(_) => toml_edit::Value::from(value.trim()),
        };
        lines += &format!("{} = {value}\n", key.trim());
    }
    let config: toml::Table =
        toml::from_str(&lines).map_err(|error| format!("--config: {}", error.message()))?;
    serde_json::to_string(&config).map_err(|error| format!("--config: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_toml_where_they_can_be_and_else_texts() {
        let given = ["rate=0.5", "deep.name = two words", "deep.on=true", "list=[1, 2]", "no="];
        let given: Vec<String> = given.map(str::to_owned).into();
        let wanted = r#"{"deep":{"name":"two words","on":true},"list":[1,2],"no":"","rate":0.5}"#;
        let found: Result<serde_json::Value, _> =
            serde_json::from_str(&config_json(&given).unwrap_or_default());
        assert_eq!(found.ok(), serde_json::from_str(wanted).ok());
        for wrong in ["a", "a b=1", "=1"] {
            assert!(config_json(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(config_json(&["a=1".to_owned(), "a=2".to_owned()]).is_err());
    }
}
