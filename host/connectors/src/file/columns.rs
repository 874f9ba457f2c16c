//! Which columns a file source has: those that the job says, those that files show, and those of
//! partitions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use tidemill_core::ConnectorError;
use tidemill_types::{format_schema, parse_schema};

use super::infer::{csv_columns, json_columns, name_twice};
use super::listing::{Found, Listing};
use super::parquet;
use super::partitions::{self, is_name};
use super::plan::Decoding;
use crate::{ConfigError, FoundColumns, SourceConfig};

/// The columns of a source.
pub(super) struct Columns {
    /// All of them.
    pub(super) schema: SchemaRef,
    /// What files show of them.
    pub(super) found: FoundColumns,
}

impl Columns {
    pub(super) fn of(
        decoding: &Decoding,
        config: &SourceConfig,
        listing: &mut Listing,
        place: &str,
    ) -> Result<Columns, ConfigError> {
        let listed = listing.find();
        let of_directories = match &listed {
            Ok(found) => partitions::columns(&found.partitions, config.time_zone),
            // What cannot be listed now is told when it is read.
            Err(_) => Fields::empty(),
        };
        let (fields, partitions) = match &config.found {
            // As it was at the first start, whatever there is by now.
            Some(found) => {
                let is_new = |field: &&FieldRef| match &config.schema {
                    None => true,
                    Some(said) => {
                        position(said.fields(), field.name()).is_none()
                            && found.partitions.iter().any(|name| is_name(name, field.name()))
                    }
                };
                let said = config.schema.iter().flat_map(|said| nullable(said.fields()));
                let kept = nullable(found.columns.fields());
                let kept = kept.iter().filter(is_new).cloned();
                let mut fields: Vec<FieldRef> = said.chain(kept).collect();
                if config.schema.is_some() {
                    for name in &found.partitions {
                        move_last(&mut fields, name);
                    }
                }
                (fields, found.partitions.clone())
            }
            None => {
                let mut fields = match &config.schema {
                    Some(said) => nullable(said.fields()),
                    None => {
                        let listed = listed.as_ref().map_err(|error| unread(place, error))?;
                        inferred(decoding, config, listed, place)?
                    }
                };
                for partition in &of_directories {
                    match (position(&fields, partition.name()), &config.schema) {
                        (None, _) => fields.push(Arc::clone(partition)),
                        // In the type that the job gives it, and behind the others.
                        (Some(_), Some(_)) => move_last(&mut fields, partition.name()),
                        // The cells of CSV go by their places.
                        (Some(_), None) if matches!(decoding, Decoding::Csv(..)) => {
                            return Err(ConfigError::Schema {
                                place: place.to_owned(),
                                reason: format!(
                                    "[COLUMN_ALREADY_EXISTS] the column `{}` is in the files, and in the names of their directories; write the columns of the files as schema = \"name TYPE, …\", with another name for it",
                                    partition.name()
                                ),
                            });
                        }
                        // In the place that it has in files, which have such a column, too.
                        (Some(at), None) => fields[at] = Arc::clone(partition),
                    }
                }
                let names = of_directories.iter().map(|field| field.name().clone());
                (fields, names.collect::<Vec<_>>())
            }
        };
        if let Ok(listed) = &listed
            && !listed.files.is_empty()
        {
            listing.settle(listed);
        }
        if let (None, Some(name)) = (&config.schema, name_twice(&fields)) {
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
        let columns: Fields = fields.iter().filter(|field| !is_said(field)).cloned().collect();
        let found = FoundColumns { columns: Arc::new(Schema::new(columns)), partitions };
        Ok(Columns { schema: Arc::new(Schema::new(fields)), found })
    }

    /// Those that are in the files themselves.
    pub(super) fn of_files(&self) -> SchemaRef {
        let partitions = &self.found.partitions;
        let is_of_file =
            |field: &&FieldRef| !partitions.iter().any(|name| is_name(name, field.name()));
        let fields = self.schema.fields().iter().filter(is_of_file).cloned();
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }
}

fn move_last(fields: &mut Vec<FieldRef>, name: &str) {
    if let Some(at) = position(fields, name) {
        let field = fields.remove(at);
        fields.push(field);
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
    // The checkpoint keeps it as text.
    match parse_schema(&format_schema(&schema)) {
        Ok(_) => Ok(nullable(schema.fields())),
        Err(error) => Err(ConfigError::Schema {
            place: place.to_owned(),
            reason: format!(
                "the files have columns that no schema can name ({}); write those that you want as schema = \"name TYPE, …\"",
                error.expected
            ),
        }),
    }
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
