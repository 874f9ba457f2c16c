//! What is in a text file: its bytes, or what they are compressed from, in UTF-8.
//!
//! As in Spark the ending of a file's name says how it is compressed. Such a file cannot be cut: the
//! slice in which it begins reads the whole of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use bzip2::read::MultiBzDecoder;
use flate2::bufread::ZlibDecoder;
use flate2::read::MultiGzDecoder;
use tidemill_codec::{Encoding, Recoder};
use tidemill_core::{ConnectorError, Slice};

use super::form::{FileEncoding, TextForm};
use super::parts::{FilePart, FileSpan, open, read_failed, spans_where};

/// Bytes of a compressed file that are read at once.
const PACKED_BYTES: usize = 256 << 10;

/// Bytes of a file in another encoding that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Of a frame of zstd at most 128 MiB are held while it is unpacked: what its library, and Spark, take
/// where nothing else is said. Usual levels need 8 MiB, `--ultra` up to this.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a file is compressed, by the ending of its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packing {
    /// `.gz`, of any number of members.
    Gzip,
    /// `.bz2`, of any number of streams.
    Bzip2,
    /// `.zst` or `.zstd`, of any number of frames.
    Zstandard,
    /// `.deflate`, in the form of zlib, as Hadoop writes it, of any number of streams.
    Deflate,
}

/// Endings of compressed files that are refused: `.lz4` and `.snappy` are in a form of Hadoop's own, and
/// Spark would read the bytes of the others as text.
const UNREAD: [&str; 4] = ["lz4", "snappy", "xz", "zip"];

impl Packing {
    fn of(path: &str) -> Option<Packing> {
        match ending(Path::new(path)).as_str() {
            "gz" => Some(Packing::Gzip),
            "bz2" => Some(Packing::Bzip2),
            "zst" | "zstd" => Some(Packing::Zstandard),
            "deflate" => Some(Packing::Deflate),
            _ => None,
        }
    }
}

/// Whether a file is compressed in a way that is not read.
pub(super) fn is_unread(path: &Path) -> bool {
    UNREAD.contains(&ending(path).as_str())
}

/// What a name ends in, in lower case.
fn ending(path: &Path) -> String {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.unwrap_or_default().to_ascii_lowercase()
}

/// What a slice has of each text file. One that is compressed, or that cannot be cut at any byte, is
/// of the slice in which it begins.
pub(super) fn text_spans(parts: Vec<FilePart>, slice: Slice, form: &TextForm) -> Vec<FileSpan> {
    spans_where(parts, slice, |part| form.may_be_cut() && Packing::of(&part.path).is_none())
}

/// The bytes of a file from a place on, in UTF-8.
pub(super) struct Content {
    part: FilePart,
    bytes: Bytes,
    /// What makes UTF-8 of them, if they are not.
    recoding: Option<Recoding>,
}

struct Recoding {
    recoder: Recoder,
    /// A piece of the file.
    piece: Vec<u8>,
    /// What was made of pieces, and how much of it was given out.
    text: Vec<u8>,
    given: usize,
    is_last: bool,
}

enum Bytes {
    /// Of a file, and how many are left of those that its range recorded.
    Plain(File, u64),
    Packed(Box<dyn Read + Send>),
}

impl Content {
    /// Opens a file of a range; one that is compressed, or in another encoding, at its front.
    pub(super) fn open(
        part: &FilePart,
        start: u64,
        encoding: FileEncoding,
    ) -> Result<Content, ConnectorError> {
        let mut file = open(part)?;
        let bytes = match Packing::of(&part.path) {
            None => {
                let seek = file.seek(SeekFrom::Start(start));
                seek.map_err(|error| read_failed(part, error))?;
                Bytes::Plain(file, part.size.saturating_sub(start))
            }
            Some(packing) => {
                let reader = unpacked(packing, file);
                Bytes::Packed(reader.map_err(|error| read_failed(part, error))?)
            }
        };
        let mut content = Content { part: part.clone(), bytes, recoding: None };
        content.recoding = match encoding {
            FileEncoding::Named(Encoding::Utf8) => None,
            FileEncoding::Named(encoding) => Some(Recoding::new(encoding)),
            FileEncoding::OfJson => content.recoding_of_json()?,
        };
        Ok(content)
    }

    /// That of a file whose first bytes say in which encoding it is.
    fn recoding_of_json(&mut self) -> Result<Option<Recoding>, ConnectorError> {
        let mut piece = vec![0; PIECE_BYTES];
        let (len, is_last) = self.bytes.fill(&mut piece, &self.part)?;
        let mut recoding = Recoding::new(Encoding::of_json(&piece[..len]));
        recoding.recoder.push(&piece[..len], is_last, &mut recoding.text);
        recoding.is_last = is_last;
        Ok(Some(recoding))
    }

    /// Fills a buffer. Gives how many bytes came, and whether they are the last.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<(usize, bool), ConnectorError> {
        let Some(recoding) = &mut self.recoding else {
            return self.bytes.fill(buffer, &self.part);
        };
        let mut filled = 0;
        loop {
            let ready = &recoding.text[recoding.given..];
            let len = ready.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&ready[..len]);
            filled += len;
            recoding.given += len;
            let is_empty = recoding.given == recoding.text.len();
            if (is_empty && recoding.is_last) || filled == buffer.len() {
                return Ok((filled, is_empty && recoding.is_last));
            }
            recoding.text.clear();
            recoding.given = 0;
            let (len, is_last) = self.bytes.fill(&mut recoding.piece, &self.part)?;
            recoding.is_last = is_last;
            recoding.recoder.push(&recoding.piece[..len], is_last, &mut recoding.text);
        }
    }
}

impl Recoding {
    fn new(encoding: Encoding) -> Recoding {
        Recoding {
            recoder: Recoder::new(encoding),
            piece: vec![0; PIECE_BYTES],
            text: Vec::new(),
            given: 0,
            is_last: false,
        }
    }
}

impl Bytes {
    /// Fills a buffer. Gives how many bytes came, and whether they are the last.
    fn fill(
        &mut self,
        buffer: &mut [u8],
        part: &FilePart,
    ) -> Result<(usize, bool), ConnectorError> {
        match self {
            Bytes::Plain(file, left) => {
                let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read_exact(&mut buffer[..room]);
                read.map_err(|error| read_failed(part, error))?;
                *left -= room as u64;
                Ok((room, *left == 0))
            }
            Bytes::Packed(reader) => {
                let mut filled = 0;
                while filled < buffer.len() {
                    match reader.read(&mut buffer[filled..]) {
                        Ok(0) => return Ok((filled, true)),
                        Ok(more) => filled += more,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(damaged(part, error)),
                    }
                }
                Ok((filled, false))
            }
        }
    }
}

fn unpacked(packing: Packing, file: File) -> io::Result<Box<dyn Read + Send>> {
    let file = BufReader::with_capacity(PACKED_BYTES, file);
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
        Packing::Bzip2 => Box::new(MultiBzDecoder::new(file)),
        Packing::Zstandard => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Packing::Deflate => Box::new(Deflated(Some(ZlibDecoder::new(file)))),
    })
}

/// Streams of zlib, one behind the other.
struct Deflated(Option<ZlibDecoder<BufReader<File>>>);

impl Read for Deflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let mut rest = self.0.take().map(ZlibDecoder::into_inner);
            if let Some(rest) = rest.take_if(|rest| !matches!(rest.fill_buf(), Ok([]))) {
                self.0 = Some(ZlibDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// A compressed file that cannot be read on. It will not be otherwise at another try.
fn damaged(part: &FilePart, error: io::Error) -> ConnectorError {
    // Of the disk, and not of what is in the file.
    if error.raw_os_error().is_some() {
        return read_failed(part, error);
    }
    ConnectorError::fatal(format!(
        "the compressed file {} is damaged, or not what the ending of its name says; put a whole one in its place",
        part.path
    ))
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_compressed_file_is_of_one_slice_and_plain_ones_are_cut() {
        let part = |name: &str| FilePart {
            path: name.to_owned(),
            size: 1 << 20,
            modified_ms: 0,
            takes_outside: false,
        };
        let parts = vec![part("a.json"), part("b.json.gz"), part("c.json"), part("d.zst")];
        for count in 1..6 {
            let mut found = vec![0_u64; parts.len()];
            for index in 0..count {
                for span in text_spans(parts.clone(), Slice { index, count }, &TextForm::default())
                {
                    let place = parts.iter().position(|part| *part == span.part).unwrap();
                    let is_packed = Packing::of(&span.part.path).is_some();
                    assert_eq!(is_packed, span.end == u64::MAX);
                    found[place] += if is_packed { 1 << 20 } else { span.end - span.start };
                }
            }
            assert_eq!(found, [1 << 20; 4], "{count} slices");
        }
    }
}
