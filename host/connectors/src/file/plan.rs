//! What a file source of a job means: checked options, and no open file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Fields, Schema, SchemaRef};
use tidemill_codec::{CsvOptions, JsonOptions};
use tidemill_core::{ConnectorError, PayloadDecoder, RowStream, Slice, SourceRange};
use tidemill_time::Zone;

use super::columns::Columns;
use super::committed::OUTSIDE_OPTION;
use super::content::text_spans;
use super::decoded::DecodedLines;
use super::form::TextForm;
use super::listing::{Found, Listing};
use super::partitions::{Partitions, is_name, with_partitions};
use super::parts::{FilePart, FileSpan, parts_of, spans, spans_where};
use super::position::Memory;
use super::{csv, json, parquet, text};
use crate::malformed::Tally;
use crate::options::{Known, Options};
use crate::{ConfigError, FoundColumns, SourceConfig, StrangeFile};

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
        "recursiveFileLookup",
        "basePath",
        "modifiedBefore",
        "modifiedAfter",
        OUTSIDE_OPTION,
    ],
    later: &[
        "maxCachedFiles",
        "discardCachedInputRatio",
        "cleanSource",
        "sourceArchiveDir",
        "ignoreCorruptFiles",
        "ignoreMissingFiles",
        "compression",
    ],
};

const JSON_OPTIONS: Known = Known { built: &JsonOptions::KEYS, later: &["compression"] };
const CSV_OPTIONS: Known =
    Known { built: &CsvOptions::KEYS, later: &["compression", "singleVariantColumn"] };
const PARQUET_OPTIONS: Known =
    Known { built: &["mergeSchema"], later: &["datetimeRebaseMode", "int96RebaseMode"] };
const TEXT_OPTIONS: Known = Known { built: &["wholetext", "lineSep"], later: &["encoding"] };

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

/// What becomes of the bytes of files.
pub(super) enum Decoding {
    Json(JsonOptions, TextForm),
    Csv(CsvOptions, TextForm),
    Parquet { merges: bool },
    Text(TextForm),
}

/// A file source that could be opened.
pub(crate) struct FilePlan {
    listing: Listing,
    pub(crate) schema: SchemaRef,
    pub(crate) found: FoundColumns,
    pub(crate) memory: Memory,
    pub(crate) files_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) latest_first: bool,
    decoding: Decoding,
    zone: Zone,
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
        let zone = config.time_zone;
        let mut listing = Listing::plan(&path, &options, format != FileFormat::Parquet, zone)?;
        let decoding = Decoding::of(format, config, &options, place)?;
        let columns = Columns::of(&decoding, config, &mut listing, place)?;
        decoding.check(&columns.of_files(), place)?;
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
        let Columns { schema, found } = columns;
        Ok(FilePlan {
            listing,
            schema,
            found,
            memory,
            files_max,
            bytes_max,
            latest_first,
            decoding,
            zone,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.listing.path()
    }

    /// A file of a range that lies elsewhere than those of this source, if there is one.
    pub(crate) fn strange_to(
        &self,
        range: &SourceRange,
    ) -> Result<Option<StrangeFile>, ConnectorError> {
        let parts = parts_of(range)?;
        let strange = parts.iter().find(|part| !self.listing.may_have(Path::new(&part.path)));
        Ok(strange.map(|part| StrangeFile {
            read: PathBuf::from(&part.path),
            reads: self.path().to_owned(),
        }))
    }

    /// All files that are there, in no order.
    ///
    /// # Errors
    /// They cannot be listed, or lie in partitions that are no columns.
    pub(crate) fn files(&self) -> Result<Vec<FilePart>, ConnectorError> {
        let Found { files, partitions } = self.listing.find()?;
        let known = &self.found.partitions;
        if let (Some(file), Some(first)) = (files.first(), partitions.first())
            && !known.is_empty()
            && known.iter().any(|name| first.find(name).is_none())
        {
            return Err(ConnectorError::fatal(format!(
                "[CONFLICTING_PARTITION_COLUMN_NAMES] the file {} lies in no partition of {}, as the files did when the query started first",
                file.path,
                known.join(", ")
            )));
        }
        let unknown = partitions.first().into_iter().flat_map(|first| &first.values);
        for partition in unknown {
            let is_it = |field: &FieldRef| is_name(field.name(), &partition.name);
            if !self.schema.fields().iter().any(is_it) {
                let (name, file) = (&partition.name, &files[0].path);
                return Err(ConnectorError::fatal(format!(
                    "the file {file} lies in a partition of {name}, which is no column: there was none when the query started first; add it to the schema, as in \"…, {name} STRING\""
                )));
            }
        }
        Ok(files)
    }

    /// The rows of one slice of some files. What is malformed is counted in `tally`.
    pub(crate) fn read(
        self: &Arc<FilePlan>,
        parts: Vec<FilePart>,
        slice: Slice,
        projection: &[usize],
        tally: Arc<Tally>,
    ) -> Result<RowStream, ConnectorError> {
        let spans = self.decoding.spans(self.listing.admit(parts), slice);
        let groups = self.groups(spans)?;
        if groups.iter().all(|(partitions, _)| partitions.values.is_empty()) {
            let spans = groups.into_iter().flat_map(|(_, spans)| spans).collect();
            return self.decoding.rows(&self.schema, spans, projection, tally);
        }
        let (plan, wanted) = (Arc::clone(self), self.projected(projection)?);
        // One after the other, as each has a decoder of its own.
        Ok(Box::new(groups.into_iter().flat_map(move |(partitions, spans)| {
            plan.rows_of(&partitions, spans, &wanted, &tally)
                .unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        })))
    }

    /// The rows of files in some partitions.
    fn rows_of(
        &self,
        partitions: &Partitions,
        spans: Vec<FileSpan>,
        wanted: &SchemaRef,
        tally: &Arc<Tally>,
    ) -> Result<RowStream, ConnectorError> {
        // What the names of directories say is no column of the files.
        let of_files = |field: &&FieldRef| partitions.find(field.name()).is_none();
        let fields = self.schema.fields().iter().filter(of_files).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Fields>()));
        let asked = wanted.fields().iter().filter(of_files);
        let asked = asked.filter_map(|field| schema.index_of(field.name()).ok());
        let asked: Vec<usize> = asked.collect();
        let path = spans.first().map(|span| span.part.path.clone()).unwrap_or_default();
        let rows = self.decoding.rows(&schema, spans, &asked, Arc::clone(tally))?;
        with_partitions(rows, partitions, wanted, self.zone, &path)
    }

    /// Spans behind one another that lie in the same partitions.
    fn groups(
        &self,
        spans: Vec<FileSpan>,
    ) -> Result<Vec<(Partitions, Vec<FileSpan>)>, ConnectorError> {
        let mut groups: Vec<(Partitions, Vec<FileSpan>)> = Vec::new();
        for span in spans {
            let partitions = self.listing.partitions_of(&span.part.path)?;
            match groups.last_mut() {
                Some((last, spans)) if last.values == partitions.values => spans.push(span),
                _ => groups.push((partitions, vec![span])),
            }
        }
        Ok(groups)
    }

    /// The lines of one slice of some text files, taken apart.
    pub(crate) fn read_decoded(
        &self,
        parts: Vec<FilePart>,
        slice: Slice,
        projection: &[usize],
        decoder: Box<dyn PayloadDecoder>,
        tally: Arc<Tally>,
    ) -> Result<RowStream, ConnectorError> {
        let Decoding::Text(form) = &self.decoding else {
            return Err(ConnectorError::fatal(
                "only lines of text files are decoded; the format has columns by itself",
            ));
        };
        let spans = text_spans(self.listing.admit(parts), slice, form);
        let columns = self.projected(projection)?;
        Ok(Box::new(text::TextRows::new(spans, form.clone(), columns, Some(decoder), tally)))
    }

    /// Whether the rows of some files are lines of text and nothing else, which can be taken apart as
    /// they are read.
    pub(crate) fn are_lines(&self, parts: &[FilePart]) -> bool {
        let in_partition = |part: &FilePart| {
            self.listing.partitions_of(&part.path).is_ok_and(|found| !found.values.is_empty())
        };
        matches!(self.decoding, Decoding::Text(_)) && !parts.iter().any(in_partition)
    }

    fn projected(&self, projection: &[usize]) -> Result<SchemaRef, ConnectorError> {
        projected(&self.schema, projection)
    }
}

fn projected(schema: &Schema, projection: &[usize]) -> Result<SchemaRef, ConnectorError> {
    let projected = schema.project(projection).map_err(|error| {
        ConnectorError::fatal("the columns asked for are not the source's").caused_by(error)
    })?;
    Ok(Arc::new(projected))
}

impl Decoding {
    fn of(
        format: FileFormat,
        config: &SourceConfig,
        options: &Options,
        place: &str,
    ) -> Result<Decoding, ConfigError> {
        let (given, zone) = (&config.options, config.time_zone);
        Ok(match format {
            FileFormat::Json => {
                Decoding::Json(json::options(given, zone, place)?, TextForm::of_json(options)?)
            }
            FileFormat::Csv => {
                Decoding::Csv(csv::options(given, zone, place)?, TextForm::of_csv(options)?)
            }
            FileFormat::Parquet => {
                Decoding::Parquet { merges: options.bool("mergeSchema", false)? }
            }
            FileFormat::Text => Decoding::Text(TextForm::of_text(options)?),
        })
    }

    /// Refuses columns that files of the format do not have.
    fn check(&self, of_files: &SchemaRef, place: &str) -> Result<(), ConfigError> {
        match self {
            Decoding::Json(options, _) => json::check_schema(of_files, options, place),
            Decoding::Csv(options, _) => csv::check_schema(of_files, options, place),
            Decoding::Parquet { .. } => Ok(()),
            Decoding::Text(_) => text::check_schema(of_files, place),
        }
    }

    /// What a slice has of each file.
    fn spans(&self, parts: Vec<FilePart>, slice: Slice) -> Vec<FileSpan> {
        match self {
            Decoding::Csv(options, _) if options.multi_line => spans_where(parts, slice, |_| false),
            Decoding::Json(_, form) | Decoding::Csv(_, form) | Decoding::Text(form) => {
                text_spans(parts, slice, form)
            }
            Decoding::Parquet { .. } => spans(parts, slice),
        }
    }

    /// The rows of some spans: of files with the columns of `schema`, those that are asked for.
    fn rows(
        &self,
        schema: &SchemaRef,
        spans: Vec<FileSpan>,
        projection: &[usize],
        tally: Arc<Tally>,
    ) -> Result<RowStream, ConnectorError> {
        let columns = projected(schema, projection)?;
        Ok(match self {
            Decoding::Json(options, form) => {
                let decoder = json::decoder(columns, options)?;
                Box::new(DecodedLines::new(spans, form.clone(), decoder, tally))
            }
            Decoding::Csv(options, form) => {
                let decoder = csv::decoder(schema, projection, options)?;
                if options.multi_line {
                    let files = spans.into_iter().map(|span| span.part).collect();
                    Box::new(csv::CsvRecords::new(files, form, decoder, tally))
                } else {
                    Box::new(DecodedLines::new(spans, form.clone(), decoder, tally))
                }
            }
            Decoding::Parquet { .. } => Box::new(parquet::ParquetRows::new(spans, columns, tally)),
            Decoding::Text(form) => {
                Box::new(text::TextRows::new(spans, form.clone(), columns, None, tally))
            }
        })
    }
}
