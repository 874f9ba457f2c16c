//! Which columns a file source has: those that the job says, those that files show, and those of
//! partitions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use tidemill_core::ConnectorError;

use super::infer::{csv_columns, json_columns, name_twice};
use super::listing::{Found, Listing};
use super::parquet;
use super::partitions::{self, is_name};
use super::plan::Decoding;
use crate::{ConfigError, SourceConfig};

/// The columns of a source.
pub(super) struct Columns {
    /// All of them.
    pub(super) schema: SchemaRef,
    /// Those that the job does not say, if there are any.
    pub(super) found: Option<SchemaRef>,
    /// Names of those that come from directories.
    partitions: Fields,
}

/// Who says the columns that are not of partitions.
enum Origin {
    /// The job. Columns of partitions go behind the others, in the types that it gives them.
    Job,
    /// An earlier start of the query: they are as they were.
    EarlierStart,
    /// The files. A column that is one of partitions as well has the place that it has in files.
    Files,
}

impl Columns {
    pub(super) fn of(
        decoding: &Decoding,
        config: &SourceConfig,
        listing: &mut Listing,
        place: &str,
    ) -> Result<Columns, ConfigError> {
        let listed = listing.find();
        let (mut fields, origin) = match (&config.schema, &config.found) {
            (Some(said), found) => {
                let mut fields = nullable(said.fields());
                let found = found.iter().flat_map(|found| found.fields()).cloned();
                let missing = found.filter(|field| position(said.fields(), field.name()).is_none());
                fields.extend(missing.collect::<Vec<_>>());
                (fields, Origin::Job)
            }
            (None, Some(found)) => (nullable(found.fields()), Origin::EarlierStart),
            (None, None) => {
                let files = listed.as_ref().map_err(|error| unread(place, error))?;
                (inferred(decoding, config, files, place)?, Origin::Files)
            }
        };
        // What cannot be listed now is told when it is read.
        let listed = listed.unwrap_or_default();
        listing.settle(&listed);
        let partitions = partitions::columns(&listed.partitions, config.time_zone);
        for partition in &partitions {
            match (position(&fields, partition.name()), &origin) {
                (None, _) => fields.push(Arc::clone(partition)),
                (Some(at), Origin::Job) => {
                    let field = fields.remove(at);
                    fields.push(field);
                }
                (Some(at), Origin::Files) => fields[at] = Arc::clone(partition),
                (Some(_), Origin::EarlierStart) => {}
            }
        }
        if let (Origin::Files, Some(name)) = (&origin, name_twice(&fields)) {
            return Err(ConfigError::Schema {
                place: place.to_owned(),
                reason: format!(
                    "[COLUMN_ALREADY_EXISTS] the files have the column `{name}` twice, or in other cases; write the columns that you want as schema = \"name TYPE, …\""
                ),
            });
        }
        let is_said = |field: &&FieldRef| match &config.schema {
            Some(said) => position(said.fields(), field.name()).is_some(),
            None => false,
        };
        let found: Fields = fields.iter().filter(|field| !is_said(field)).cloned().collect();
        let found = (!found.is_empty()).then(|| Arc::new(Schema::new(found)));
        Ok(Columns { schema: Arc::new(Schema::new(fields)), found, partitions })
    }

    /// Those that are in the files themselves.
    pub(super) fn of_files(&self) -> SchemaRef {
        let is_of_file = |field: &&FieldRef| position(&self.partitions, field.name()).is_none();
        let fields = self.schema.fields().iter().filter(is_of_file).cloned();
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }
}

fn position(fields: &[FieldRef], name: &str) -> Option<usize> {
    fields.iter().position(|field| is_name(field.name(), name))
}

fn unread(place: &str, error: &ConnectorError) -> ConfigError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let reason = format!("{error}{}", cause.unwrap_or_default());
    ConfigError::Schema { place: place.to_owned(), reason }
}

/// The columns that files show.
fn inferred(
    decoding: &Decoding,
    config: &SourceConfig,
    Found { files, .. }: &Found,
    place: &str,
) -> Result<Vec<FieldRef>, ConfigError> {
    let missing = |hint: &str| ConfigError::Missing {
        place: place.to_owned(),
        what: "schema".to_owned(),
        hint: hint.to_owned(),
    };
    if let Decoding::Text(_) = decoding {
        return Ok(vec![Arc::new(Field::new("value", DataType::Utf8, true))]);
    }
    if !config.infers && !matches!(decoding, Decoding::Parquet { .. }) {
        return Err(missing(
            "write schema = \"name TYPE, …\"; or schema = \"infer\", and the columns are those that the files have at the first start",
        ));
    }
    let schema = match decoding {
        Decoding::Text(_) => Ok(Schema::empty()),
        Decoding::Json(options, form) => json_columns(files.clone(), form, options),
        Decoding::Csv(options, form) => csv_columns(files.clone(), form, options),
        Decoding::Parquet { merges } => parquet_columns(files, *merges),
    };
    let schema = schema.map_err(|error| unread(place, &error))?;
    if schema.fields().is_empty() {
        return Err(missing(
            "[UNABLE_TO_INFER_SCHEMA] there is no file with columns yet to take it from; write schema = \"name TYPE, …\"",
        ));
    }
    Ok(nullable(schema.fields()))
}

/// The columns of Parquet files: of the oldest one, or of all of them.
fn parquet_columns(
    files: &[super::parts::FilePart],
    merges: bool,
) -> Result<Schema, ConnectorError> {
    let oldest = files.iter().min_by_key(|file| (file.modified_ms, &file.path));
    let Some(oldest) = oldest else { return Ok(Schema::empty()) };
    let mut merged = parquet::schema_of(oldest)?;
    if !merges {
        return Ok(merged);
    }
    let mut others: Vec<_> = files.iter().filter(|file| *file != oldest).collect();
    others.sort_by_key(|file| (file.modified_ms, &file.path));
    for file in others {
        let fields = merge(merged.fields(), parquet::schema_of(file)?.fields());
        let fields = fields.map_err(|column| {
            ConnectorError::fatal(format!(
                "[CANNOT_MERGE_SCHEMAS] the column {column} of the file {} has another type than in {} or others; write the columns that you want as schema = \"name TYPE, …\"",
                file.path, oldest.path
            ))
        })?;
        merged = Schema::new(fields);
    }
    Ok(merged)
}

/// The fields of both, or the name of one whose types are not of one kind.
fn merge(one: &Fields, other: &Fields) -> Result<Fields, String> {
    let mut fields: Vec<FieldRef> = one.to_vec();
    for field in other {
        match position(&fields, field.name()) {
            None => fields.push(Arc::clone(field)),
            Some(at) => {
                let kind = merged(fields[at].data_type(), field.data_type());
                let kind = kind.ok_or_else(|| field.name().clone())?;
                fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(kind));
            }
        }
    }
    Ok(fields.into())
}

fn merged(one: &DataType, other: &DataType) -> Option<DataType> {
    let item = |one: &FieldRef, other: &FieldRef| {
        let kind = merged(one.data_type(), other.data_type())?;
        Some(Arc::new(one.as_ref().clone().with_data_type(kind)))
    };
    match (one, other) {
        (one, other) if one == other => Some(one.clone()),
        (DataType::Decimal128(one, scale), DataType::Decimal128(other, its_scale))
            if scale == its_scale =>
        {
            Some(DataType::Decimal128(*one.max(other), *scale))
        }
        (DataType::Struct(one), DataType::Struct(other)) => {
            merge(one, other).ok().map(DataType::Struct)
        }
        (DataType::List(one), DataType::List(other)) => item(one, other).map(DataType::List),
        (DataType::Map(one, sorted), DataType::Map(other, _)) => {
            item(one, other).map(|entries| DataType::Map(entries, *sorted))
        }
        _ => None,
    }
}

/// Any column of a file may be missing, whatever the schema says (as in Spark since 3.0).
fn nullable(fields: &Fields) -> Vec<FieldRef> {
    fields.iter().map(nullable_field).collect()
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
