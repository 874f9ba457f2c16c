//! `${NAME}` and `${NAME:-default}` in the texts of a job.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tidemill_connectors::OptionText;
use tidemill_core::Secrets;

/// A text of the job, with the environment's values in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Text(pub String);

/// Says nothing of the text, which may have the environment's secrets in it.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let text = String::deserialize(deserializer)?;
        substitute(&text, &mut variable).map(Text).map_err(D::Error::custom)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// An option's value. Spark's options are texts; numbers and booleans may be written as such.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OptionValue(pub OptionText);

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OptionValue, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = OptionValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<OptionValue, E> {
                Ok(OptionValue(value.to_string().into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<OptionValue, E> {
                Ok(OptionValue(value.to_string().into()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<OptionValue, E> {
                Ok(OptionValue(value.to_string().into()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<OptionValue, E> {
                Ok(OptionValue(value.to_string().into()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<OptionValue, E> {
                let mut is_secret = false;
                let substituted = substitute(value, &mut |name| {
                    let value = variable(name);
                    is_secret |= value.is_some();
                    value
                });
                let text = substituted.map_err(E::custom)?;
                let text = if is_secret { OptionText::secret(text) } else { text.into() };
                Ok(OptionValue(text))
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}

impl JsonSchema for OptionValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OptionValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The environment's values that a job's texts have in them, each under the name that the file
/// has for it. A default is no secret: it stands in the file.
pub(super) fn secrets(job: &toml::Table) -> Secrets {
    let mut secrets = Secrets::default();
    for value in job.values() {
        collect(value, &mut secrets);
    }
    secrets
}

fn collect(value: &toml::Value, secrets: &mut Secrets) {
    match value {
        toml::Value::String(text) => {
            let add = &mut |name: &str| {
                let value = variable(name);
                let shown = format!("${{{name}}}");
                value.iter().for_each(|value| secrets.add(value, Some(&shown)));
                value
            };
            // A text that cannot be put together is refused where it is read.
            let _ = substitute(text, add);
        }
        toml::Value::Array(values) => values.iter().for_each(|value| collect(value, secrets)),
        toml::Value::Table(table) => table.values().for_each(|value| collect(value, secrets)),
        _ => {}
    }
}

/// Puts the environment's values in. `$${` stands for `${` itself.
fn substitute(
    text: &str,
    variable: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &after[2..];
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            return Err(
                "a text has ${ without a closing brace; write $${ for the characters themselves"
                    .to_owned(),
            );
        };
        let inside = &after[2..end];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match variable(name).or_else(|| default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => {
                return Err(format!(
                    "the environment has no variable {name}; set it, or give a default as ${{{name}:-default}}"
                ));
            }
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_home(text: &str) -> Result<String, String> {
        substitute(text, &mut |name| (name == "HOME").then(|| "/root".to_owned()))
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        assert_eq!(with_home("${HOME}/x").as_deref(), Ok("/root/x"));
        assert_eq!(with_home("a${NO:-b}c").as_deref(), Ok("abc"));
        assert_eq!(with_home("${NO:-}").as_deref(), Ok(""));
        assert_eq!(with_home("$${HOME} costs $5").as_deref(), Ok("${HOME} costs $5"));
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert!(with_home("${PG_PASSWORD}").is_err_and(|e| e.contains("PG_PASSWORD")));
        assert!(with_home("a secret ${HOME").is_err_and(|e| !e.contains("secret")));
    }
}
