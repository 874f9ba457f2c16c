//! What a file source of a job means: checked options, and no open file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use tidemill_codec::{CsvOptions, JsonOptions};
use tidemill_core::{ConnectorError, PayloadDecoder, RowStream, Slice};

use super::committed::OUTSIDE_OPTION;
use super::content::text_spans;
use super::decoded::DecodedLines;
use super::listing::Listing;
use super::parts::{FilePart, spans, whole_files};
use super::position::Memory;
use super::{csv, json, parquet, text};
use crate::malformed::Tally;
use crate::options::{Known, Options};
use crate::{ConfigError, SourceConfig};

/// Options of every file source.
const FILE_OPTIONS: Known = Known {
    built: &[
        "path",
        "maxFilesPerTrigger",
        "maxBytesPerTrigger",
        "latestFirst",
        "maxFileAge",
        "fileNameOnly",
        "pathGlobFilter",
        OUTSIDE_OPTION,
    ],
    later: &[
        "maxCachedFiles",
        "discardCachedInputRatio",
        "cleanSource",
        "sourceArchiveDir",
        "recursiveFileLookup",
        "modifiedBefore",
        "modifiedAfter",
        "ignoreCorruptFiles",
        "ignoreMissingFiles",
        "basePath",
        "compression",
    ],
};

const JSON_OPTIONS: Known = Known { built: &JsonOptions::KEYS, later: &["lineSep", "compression"] };
const CSV_OPTIONS: Known =
    Known { built: &CsvOptions::KEYS, later: &["lineSep", "compression", "singleVariantColumn"] };
const PARQUET_OPTIONS: Known =
    Known { built: &[], later: &["mergeSchema", "datetimeRebaseMode", "int96RebaseMode"] };
const TEXT_OPTIONS: Known = Known { built: &[], later: &["wholetext", "lineSep", "encoding"] };

/// Spark's default: a week.
const MAX_FILE_AGE_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The formats that files are read in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileFormat {
    Json,
    Csv,
    Parquet,
    Text,
}

enum Decoding {
    Json(JsonOptions),
    Csv(CsvOptions),
    Parquet,
    Text,
}

/// A file source that could be opened.
pub(crate) struct FilePlan {
    pub(crate) listing: Listing,
    pub(crate) schema: SchemaRef,
    pub(crate) memory: Memory,
    pub(crate) files_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) latest_first: bool,
    decoding: Decoding,
}

impl FilePlan {
    pub(crate) fn new(
        format: FileFormat,
        config: &SourceConfig,
        place: &str,
    ) -> Result<FilePlan, ConfigError> {
        let known = match format {
            FileFormat::Json => JSON_OPTIONS,
            FileFormat::Csv => CSV_OPTIONS,
            FileFormat::Parquet => PARQUET_OPTIONS,
            FileFormat::Text => TEXT_OPTIONS,
        };
        let options = Options::check(place, &config.options, &[FILE_OPTIONS, known])?;
        let path = options.path(config.path.as_deref())?;
        let listing = Listing::plan(&path, &options, format != FileFormat::Parquet)?;
        let schema = match &config.schema {
            Some(schema) => nullable(schema),
            None => inferred_schema(format, &listing, place)?,
        };
        let decoding = match format {
            FileFormat::Json => {
                let options = json::options(&config.options, config.time_zone, place)?;
                json::check_schema(&schema, &options, place)?;
                Decoding::Json(options)
            }
            FileFormat::Csv => {
                let options = csv::options(&config.options, config.time_zone, place)?;
                csv::check_schema(&schema, &options, place)?;
                Decoding::Csv(options)
            }
            FileFormat::Parquet => Decoding::Parquet,
            FileFormat::Text => {
                text::check_schema(&schema, place)?;
                Decoding::Text
            }
        };
        let latest_first = options.bool("latestFirst", false)?;
        let files_max = options.number("maxFilesPerTrigger", 1)?;
        let bytes_max = options.bytes("maxBytesPerTrigger")?;
        if files_max.is_some() && bytes_max.is_some() {
            return Err(
                options.bad("maxBytesPerTrigger", "it excludes maxFilesPerTrigger: keep one")
            );
        }
        let max_age_ms = options.millis("maxFileAge", "milliseconds")?.unwrap_or(MAX_FILE_AGE_MS);
        // Latest first with a limit reads old files late, so none may be too old (as in Spark).
        let forgets = !(latest_first && (files_max.is_some() || bytes_max.is_some()));
        let name_only = options.bool("fileNameOnly", false)?;
        let memory = Memory { max_age_ms: forgets.then_some(max_age_ms), name_only };
        Ok(FilePlan { listing, schema, memory, files_max, bytes_max, latest_first, decoding })
    }

    /// The rows of one slice of some files. What is malformed is counted in `tally`.
    pub(crate) fn read(
        &self,
        parts: Vec<FilePart>,
        slice: Slice,
        projection: &[usize],
        tally: Arc<Tally>,
    ) -> Result<RowStream, ConnectorError> {
        let parts = self.listing.admit(parts);
        let projected = self.projected(projection)?;
        Ok(match &self.decoding {
            Decoding::Json(options) => {
                let decoder = json::decoder(projected, options)?;
                Box::new(DecodedLines::new(text_spans(parts, slice), decoder, tally))
            }
            Decoding::Csv(options) => {
                let decoder = csv::decoder(&self.schema, projection, options)?;
                if options.multi_line {
                    Box::new(csv::CsvRecords::new(whole_files(parts, slice), decoder, tally))
                } else {
                    Box::new(DecodedLines::new(text_spans(parts, slice), decoder, tally))
                }
            }
            Decoding::Parquet => {
                Box::new(parquet::ParquetRows::new(spans(parts, slice), projected, tally))
            }
            Decoding::Text => {
                Box::new(text::TextRows::new(text_spans(parts, slice), projected, None, tally))
            }
        })
    }

    /// The lines of one slice of some text files, taken apart. `None`: it is no text.
    pub(crate) fn read_decoded(
        &self,
        parts: Vec<FilePart>,
        slice: Slice,
        projection: &[usize],
        decoder: Box<dyn PayloadDecoder>,
        tally: Arc<Tally>,
    ) -> Result<RowStream, ConnectorError> {
        if !matches!(self.decoding, Decoding::Text) {
            return Err(ConnectorError::fatal(
                "only lines of text files are decoded; the format has columns by itself",
            ));
        }
        let parts = self.listing.admit(parts);
        let (spans, columns) = (text_spans(parts, slice), self.projected(projection)?);
        Ok(Box::new(text::TextRows::new(spans, columns, Some(decoder), tally)))
    }

    /// Whether the rows are lines of text, which can be taken apart as they are read.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.decoding, Decoding::Text)
    }

    fn projected(&self, projection: &[usize]) -> Result<SchemaRef, ConnectorError> {
        let projected = self.schema.project(projection).map_err(|error| {
            ConnectorError::fatal("the columns asked for are not the source's").caused_by(error)
        })?;
        Ok(Arc::new(projected))
    }
}

fn inferred_schema(
    format: FileFormat,
    listing: &Listing,
    place: &str,
) -> Result<SchemaRef, ConfigError> {
    let missing = |hint: &str| ConfigError::Missing {
        place: place.to_owned(),
        what: "schema".to_owned(),
        hint: hint.to_owned(),
    };
    match format {
        FileFormat::Text => {
            Ok(Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)])))
        }
        FileFormat::Parquet => {
            let wrong = |error: ConnectorError| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                ConfigError::Schema {
                    place: place.to_owned(),
                    reason: format!("{error}{}", cause.unwrap_or_default()),
                }
            };
            let files = listing.files().map_err(wrong)?;
            let oldest = files
                .iter()
                .min_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)))
                .ok_or_else(|| {
                    missing("there is no file yet to take it from; write schema = \"name TYPE, …\"")
                })?;
            parquet::schema_of(oldest).map(|schema| nullable(&schema)).map_err(wrong)
        }
        FileFormat::Json | FileFormat::Csv => {
            Err(missing("write schema = \"name TYPE, …\" (columns are not inferred yet)"))
        }
    }
}

/// Any column of a file may be missing, whatever the schema says (as in Spark since 3.0).
fn nullable(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(nullable_field).collect::<Vec<_>>()))
}

fn nullable_field(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable_field).collect()),
        DataType::List(item) => DataType::List(nullable_field(item)),
        DataType::Map(entries, sorted) => DataType::Map(Arc::clone(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, true))
}
