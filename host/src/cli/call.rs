//! `tidemill call`: one function of a plugin on some rows.

use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use tempfile::NamedTempFile;
use tidemill_core::{BatchId, ConnectorError, Secrets};
use tidemill_time::UTC;

use super::arguments::CallArguments;
use super::check::code_of;
use super::printed_rows::PrintedRows;
use super::{ENDED_WELL, FAILED, REFUSED, UNREAD, complain, logging};
use crate::print::say;
use crate::query::{Call, CallError, CallOutput, PrepareError, RefusedInput, Shared, load_plugin};

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
    let rows = PrintedRows::begin(arguments.format, call.output(), UTC, batch, shared.console)?;
    let mut shown = Shown { rows, refused: 0 };
    let ended = call.run(&mut shown);
    let Shown { rows, refused } = shown;
    let ended = ended.and_then(|()| rows.print().map_err(CallError::Output));
    Ok(match ended {
        Ok(()) => {
            if refused > 0 {
                say(&format!(
                    "{} refused; a job sends them to its dead letters, or fails by them where it has no place for those",
                    counted(refused)
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

fn counted(count: u64) -> String {
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

/// The rows that are printed at the end, and what was refused beside them.
struct Shown {
    rows: PrintedRows,
    refused: u64,
}

impl CallOutput for Shown {
    fn rows(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.rows.write(rows)
    }

    fn refused(&mut self, refused: RefusedInput) {
        self.refused += 1;
        let row = refused.row.map_or_else(String::new, |row| format!(": {row}"));
        say(&format!("row {} is refused: {}{row}", refused.number, refused.reason));
    }
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
