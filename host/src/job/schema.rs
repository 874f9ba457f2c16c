//! The JSON Schema of a job, for editors.

use super::raw::RawJob;

/// The schema as text, as `schemas/job.schema.json` has it.
#[must_use]
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(RawJob);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
