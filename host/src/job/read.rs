//! Reads a job's text.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tidemill_core::{Secret, Secrets, nearest};
use toml_edit::{DocumentMut, Item, Table, Value};

use super::environment;
use super::error::{JobError, Location};
use super::raw::RawJob;
use crate::exhausted::is_exhausted;

/// Bytes of a job file. The largest that were seen have some ten thousand; a file that is no job,
/// like a disk's image or `/dev/zero`, must not fill the memory before that is noticed. How deep its
/// tables nest is bounded by the TOML parser, at 80.
const JOB_BYTES_MAX: u64 = 1 << 20;

/// Characters of a key of `--set` that an error shows. Those of jobs have some fifty.
const SHOWN_CHARACTERS_MAX: usize = 200;

/// `--set key=value`: changes one value of a job before it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// As it was typed.
    key: String,
    path: Vec<String>,
    /// It may be a password.
    value: Secret<String>,
}

impl FromStr for Override {
    type Err = String;

    /// `path.to.key=value`. Keys with dots are quoted: `source.orders.options."kafka.x"=1`. The
    /// value is TOML where it can be, and else a text. An error does not show it.
    fn from_str(argument: &str) -> Result<Override, String> {
        let (key, value) = argument.split_once('=').ok_or(
            "--set has an argument without `=`; write key=value, like trigger.processing_time=\"5 seconds\"",
        )?;
        let key = key.trim();
        let shown: String = key.chars().take(SHOWN_CHARACTERS_MAX).collect();
        let keys = toml_edit::Key::parse(key)
            .map_err(|error| format!("--set {shown}: {}", error.to_string().trim()))?;
        Ok(Override {
            key: shown,
            path: keys.iter().map(|key| key.get().to_owned()).collect(),
            value: Secret::new(value.trim().to_owned()),
        })
    }
}

/// What a job's file says.
pub(super) struct JobText {
    /// With the overrides.
    pub(super) text: String,
    pub(super) raw: RawJob,
    /// What the environment gave.
    pub(super) secrets: Secrets,
}

/// Reads a job with its overrides.
pub(super) fn read(path: &Path, overrides: &[Override]) -> Result<JobText, JobError> {
    let text = text_of(path)?;
    let text = if overrides.is_empty() { text } else { overridden(path, &text, overrides)? };
    let table = toml::from_str(&text).map_err(|error| syntax(path, &text, &error))?;
    let secrets = environment::secrets(&table);
    let raw =
        toml::from_str(&text).map_err(|error| syntax(path, &text, &error).concealed(&secrets))?;
    Ok(JobText { text, raw, secrets })
}

fn text_of(path: &Path) -> Result<String, JobError> {
    let failed = |error: std::io::Error| {
        let may_pass = is_exhausted(&error);
        let (path, reason) = match looks_like_set(path) {
            Some(key) if error.kind() == ErrorKind::NotFound => {
                (PathBuf::from(key), "there is no such file; was it meant for --set?".to_owned())
            }
            _ => (path.to_owned(), error.to_string()),
        };
        JobError::Read { path, reason, may_pass }
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(JOB_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let invalid = |reason: &str| JobError::Invalid { path: path.to_owned(), reason: reason.into() };
    if bytes.len() as u64 > JOB_BYTES_MAX {
        return Err(invalid("the file has more than 1 MiB, which no job has; name the job's file"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("the file is not UTF-8, as TOML has to be"))
}

/// The key of a `key=value` that stands where a job's file should: its value may be a secret.
fn looks_like_set(path: &Path) -> Option<String> {
    let (key, _) = path.to_str()?.split_once('=')?;
    Some(format!("{key}=…"))
}

fn overridden(path: &Path, text: &str, overrides: &[Override]) -> Result<String, JobError> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let span = error.span().unwrap_or(0..0);
        let location = Location::of(path, text, &span);
        JobError::Syntax { location, reason: error.message().to_owned() }
    })?;
    for change in overrides {
        set(document.as_table_mut(), change)?;
    }
    Ok(document.to_string())
}

fn set(root: &mut Table, change: &Override) -> Result<(), JobError> {
    let error = |reason: String| JobError::Override { key: change.key.clone(), reason };
    let Some((last, tables)) = change.path.split_last() else {
        return Err(error("the key is empty".to_owned()));
    };
    let mut table: &mut dyn toml_edit::TableLike = root;
    for key in tables {
        let next = table.entry(key).or_insert_with(|| Item::Table(Table::new()));
        table = next
            .as_table_like_mut()
            .ok_or_else(|| error(format!("\"{key}\" is a value, and has no keys")))?;
    }
    let text = change.value.reveal().as_str();
    let value = text.parse::<Value>().unwrap_or_else(|_| text.into());
    // A trigger excludes the others: setting one replaces what the file has.
    if tables.len() == 1 && tables[0] == "trigger" {
        table.clear();
    }
    table.insert(last, Item::Value(value));
    Ok(())
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> JobError {
    let span = error.span().unwrap_or(0..0);
    let location = Location::of(path, text, &span);
    JobError::Syntax { location, reason: with_suggestion(&without_text(error.message())) }
}

/// Serde shows a text where it wanted something else. The place says which it is, and it may be a
/// password.
fn without_text(message: &str) -> String {
    const TEXT: &str = ": string \"";
    const END: &str = "\", expected ";
    match (message.find(TEXT), message.rfind(END)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}: a text, expected {}", &message[..begin], &message[end + END.len()..])
        }
        _ => message.to_owned(),
    }
}

/// Serde lists what it knows; people want to know what they may have meant.
fn with_suggestion(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((unknown, known)) = names.split_first() else {
        return message.trim().to_owned();
    };
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return message.trim().to_owned();
    }
    let what = if message.starts_with("unknown field") { "key" } else { "value" };
    match nearest(unknown, known.iter().copied()) {
        Some(nearest) => format!("unknown {what} \"{unknown}\"; did you mean \"{nearest}\"?"),
        None => format!("unknown {what} \"{unknown}\"; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    const JOB: &str = "[sink]\nformat = \"noop\"\n";

    fn error_of(text: &str) -> String {
        let error = toml::from_str::<RawJob>(text).unwrap_err();
        syntax(Path::new("job.toml"), text, &error).to_string()
    }

    fn set_in(text: &str, change: &str) -> String {
        overridden(Path::new("job.toml"), text, &[change.parse().unwrap()]).unwrap()
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_key() {
        assert_eq!(
            error_of("name = \"x\"\noutput_mod = \"append\"\n[sink]\nformat = \"noop\"\n"),
            "job.toml:2:1: unknown key \"output_mod\"; did you mean \"output_mode\"?"
        );
        assert_eq!(
            error_of("[sink]\nformat = \"noop\"\n[source.a]\nformat = \"json\"\nwatermrk = 1\n"),
            "job.toml:5:1: unknown key \"watermrk\"; did you mean \"watermark\"?"
        );
    }

    #[test]
    fn an_unknown_value_names_the_nearest() {
        assert_eq!(
            error_of("output_mode = \"updat\"\n[sink]\nformat = \"noop\"\n"),
            "job.toml:1:15: unknown value \"updat\"; did you mean \"update\"?"
        );
    }

    #[test]
    fn a_text_in_the_wrong_place_is_not_shown() {
        let error = error_of("[options]\nretries = \"hunter2\"\n[sink]\nformat = \"noop\"\n");
        assert_eq!(error, "job.toml:2:11: invalid type: a text, expected u32");
        let error = error_of("[sink]\nformat = \"noop\"\noptions = \"a \\\", expected b\"\n");
        assert!(error.starts_with("job.toml:3:11: invalid type: a text, expected"), "{error}");
        assert!(!error.contains("expected b"), "{error}");
    }

    #[test]
    fn an_override_that_does_not_fit_does_not_show_its_value() {
        let errors = ["hunter2", "a b=hunter2", "=hunter2"];
        for error in errors.map(|text| text.parse::<Override>().unwrap_err()) {
            assert!(error.contains("--set") && !error.contains("hunter2"), "{error}");
        }
        let change: Override = "sink.format.x=hunter2".parse().unwrap();
        assert!(!format!("{change:?}").contains("hunter2"));
        let error = overridden(Path::new("job.toml"), JOB, &[change]).unwrap_err().to_string();
        assert_eq!(error, "--set sink.format.x: \"format\" is a value, and has no keys");
    }

    #[test]
    fn set_changes_and_adds() {
        let text = set_in(JOB, "sink.format=console");
        assert!(text.contains("format = \"console\""), "{text}");
        let text = set_in(JOB, "source.a.options.\"kafka.x\"=1");
        assert!(text.contains("\"kafka.x\" = 1"), "{text}");
        let text = set_in("trigger = { once = true }\n", "trigger.available_now=true");
        assert!(!text.contains("once"), "{text}");
    }
}
