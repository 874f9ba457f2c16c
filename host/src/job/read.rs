//! Reads a job's text.

use std::path::Path;
use std::str::FromStr;

use toml_edit::{DocumentMut, Item, Table, Value};

use super::error::{JobError, Location};
use super::raw::RawJob;

/// `--set key=value`: changes one value of a job before it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    argument: String,
    path: Vec<String>,
    value: String,
}

impl FromStr for Override {
    type Err = String;

    /// `path.to.key=value`. Keys with dots are quoted: `source.orders.options."kafka.x"=1`. The
    /// value is TOML where it can be, and else a text.
    fn from_str(argument: &str) -> Result<Override, String> {
        let (key, value) = argument
            .split_once('=')
            .ok_or("write it as key=value, like trigger.processing_time=\"5 seconds\"")?;
        let keys = toml_edit::Key::parse(key.trim()).map_err(|error| error.to_string())?;
        Ok(Override {
            argument: argument.to_owned(),
            path: keys.iter().map(|key| key.get().to_owned()).collect(),
            value: value.trim().to_owned(),
        })
    }
}

/// The text of a job with its overrides, and what it says.
pub(super) fn read(path: &Path, overrides: &[Override]) -> Result<(String, RawJob), JobError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| JobError::Read { path: path.to_owned(), reason: error.to_string() })?;
    let text = if overrides.is_empty() { text } else { overridden(path, &text, overrides)? };
    let job = toml::from_str(&text).map_err(|error| syntax(path, &text, &error))?;
    Ok((text, job))
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
    let error = |reason: String| JobError::Override { argument: change.argument.clone(), reason };
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
    let value = change.value.parse::<Value>().unwrap_or_else(|_| change.value.as_str().into());
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
    JobError::Syntax { location, reason: with_suggestion(error.message()) }
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
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name))
        .filter(|(distance, name)| *distance <= name.len().max(unknown.len()) / 2)
        .min();
    match nearest {
        Some((_, nearest)) => format!("unknown {what} \"{unknown}\"; did you mean \"{nearest}\"?"),
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
    fn set_changes_and_adds() {
        let text = set_in(JOB, "sink.format=console");
        assert!(text.contains("format = \"console\""), "{text}");
        let text = set_in(JOB, "source.a.options.\"kafka.x\"=1");
        assert!(text.contains("\"kafka.x\" = 1"), "{text}");
        let text = set_in("trigger = { once = true }\n", "trigger.available_now=true");
        assert!(!text.contains("once"), "{text}");
    }
}
