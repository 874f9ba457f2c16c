//! Writes one data file of the sink: hidden, then durable.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidemill_codec::{EncodeOptions, JsonEncoder, WrittenTimes};
use tidemill_core::ConnectorError;
use tidemill_time::Zone;

use crate::ConfigError;
use crate::options::{Known, Options};

/// A Parquet row group is held in memory until it is this large, Spark's `parquet.block.size`.
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;

pub(crate) const JSON_OPTIONS: Known = Known {
    built: &["ignoreNullFields", "dateFormat", "timestampFormat", "timestampNTZFormat", "timeZone"],
    later: &["compression", "encoding", "lineSep"],
};
pub(crate) const PARQUET_OPTIONS: Known =
    Known { built: &["compression"], later: &["mergeSchema"] };

/// How the sink's files are written.
#[derive(Clone, Debug)]
pub(crate) enum Encoding {
    Json(EncodeOptions),
    Parquet(Compression),
}

impl Encoding {
    /// Times are what the clocks of a session's zone show, unless an option names another one.
    pub(crate) fn json(options: &Options, session: Zone) -> Result<Encoding, ConfigError> {
        let ignore_null_fields = options.bool("ignoreNullFields", true)?;
        let mut times = WrittenTimes::in_zone(session);
        for key in ["timeZone", "dateFormat", "timestampFormat", "timestampNTZFormat"] {
            let set = options.text(key).and_then(|value| times.set(key, value));
            if let Some(Err(reason)) = set {
                return Err(options.bad(key, &reason));
            }
        }
        Ok(Encoding::Json(EncodeOptions { ignore_null_fields, times, ..EncodeOptions::default() }))
    }

    pub(crate) fn parquet(options: &Options) -> Result<Encoding, ConfigError> {
        let compression = match options.text("compression").map(str::to_lowercase).as_deref() {
            None | Some("snappy") => Compression::SNAPPY,
            Some("none" | "uncompressed") => Compression::UNCOMPRESSED,
            Some("gzip") => Compression::GZIP(GzipLevel::default()),
            Some("zstd") => Compression::ZSTD(ZstdLevel::default()),
            Some(_) => {
                return Err(options.bad("compression", "it has to be snappy, zstd, gzip or none"));
            }
        };
        Ok(Encoding::Parquet(compression))
    }

    /// What the names of the files end in, as Spark's do.
    pub(crate) fn extension(&self) -> &'static str {
        match self {
            Encoding::Json(_) => "json",
            Encoding::Parquet(Compression::SNAPPY) => "snappy.parquet",
            Encoding::Parquet(Compression::GZIP(_)) => "gz.parquet",
            Encoding::Parquet(Compression::ZSTD(_)) => "zstd.parquet",
            Encoding::Parquet(_) => "parquet",
        }
    }
}

/// A data file in the making.
pub(crate) struct PartWriter {
    path: PathBuf,
    rows: u64,
    format: Format,
}

enum Format {
    Json { encoder: JsonEncoder, text: Vec<u8>, file: BufWriter<File> },
    Parquet(Box<ArrowWriter<File>>),
}

impl PartWriter {
    /// Creates the file. One that is there is of an attempt that came to nothing.
    pub(crate) fn create(
        path: PathBuf,
        encoding: &Encoding,
        schema: &SchemaRef,
    ) -> Result<PartWriter, ConnectorError> {
        let file = File::create(&path).map_err(|error| failed(&path, error))?;
        let format = match encoding {
            Encoding::Json(options) => Format::Json {
                encoder: JsonEncoder::new(schema, options.clone())
                    .map_err(|error| failed(&path, error))?,
                text: Vec::new(),
                file: BufWriter::new(file),
            },
            Encoding::Parquet(compression) => {
                let properties = WriterProperties::builder()
                    .set_compression(*compression)
                    .set_created_by("tidemill".to_owned())
                    .build();
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
                    .map_err(|error| failed(&path, error))?;
                Format::Parquet(Box::new(writer))
            }
        };
        Ok(PartWriter { path, rows: 0, format })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.rows += rows.num_rows() as u64;
        match &mut self.format {
            Format::Json { encoder, text, file } => {
                text.clear();
                encoder.encode_rows(rows, text).map_err(|error| failed(&self.path, error))?;
                file.write_all(text).map_err(|error| failed(&self.path, error))
            }
            Format::Parquet(writer) => {
                writer.write(rows).map_err(|error| failed(&self.path, error))?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES_MAX {
                    writer.flush().map_err(|error| failed(&self.path, error))?;
                }
                Ok(())
            }
        }
    }

    /// Finishes the file and makes it durable. Gives its size.
    pub(crate) fn finish(self) -> Result<u64, ConnectorError> {
        let path = self.path;
        let file = match self.format {
            Format::Json { file, .. } => {
                file.into_inner().map_err(|error| failed(&path, error.into_error()))?
            }
            Format::Parquet(writer) => writer.into_inner().map_err(|error| failed(&path, error))?,
        };
        let size = || -> io::Result<u64> {
            file.sync_all()?;
            Ok(file.metadata()?.len())
        };
        size().map_err(|error| failed(&path, error))
    }
}

fn failed(
    path: &std::path::Path,
    error: impl std::error::Error + Send + Sync + 'static,
) -> ConnectorError {
    ConnectorError::retryable(format!("could not write the file {}", path.display()))
        .caused_by(error)
}
