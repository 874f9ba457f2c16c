//! JSON lines files: options, and the decoder that they ask for.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use tidemill_codec::{JsonDecoder, JsonOptions};
use tidemill_core::ConnectorError;
use tidemill_time::Zone;

use super::form::TextForm;
use crate::options::{refused_value, revealed};
use crate::{ConfigError, OptionText};

/// The decoder's options out of all options of a source; the names were checked already.
pub(crate) fn options(
    given: &BTreeMap<String, OptionText>,
    session: Zone,
    place: &str,
) -> Result<JsonOptions, ConfigError> {
    let of_json =
        revealed(given, |key| JsonOptions::has_key(key) && !TextForm::has_encoding_key(key));
    JsonOptions::parse(&of_json, session)
        .map_err(|error| refused_value(given, place, error.key, error.reason))
}

/// Refuses columns that JSON cannot be read as.
pub(crate) fn check_schema(
    schema: &SchemaRef,
    options: &JsonOptions,
    place: &str,
) -> Result<(), ConfigError> {
    match JsonDecoder::new(schema.clone(), options.clone()) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(ConfigError::Schema { place: place.to_owned(), reason: error.to_string() })
        }
    }
}

/// A decoder for columns of a source.
pub(crate) fn decoder(
    schema: SchemaRef,
    options: &JsonOptions,
) -> Result<JsonDecoder, ConnectorError> {
    JsonDecoder::new(schema, options.clone())
        .map_err(|error| ConnectorError::fatal(error.to_string()))
}
