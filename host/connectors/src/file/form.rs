//! How a file is taken apart into texts: by Spark's options `lineSep`, `multiLine`, `wholetext` and
//! `encoding`.

use std::sync::Arc;

use memchr::memmem;
use tidemill_codec::{EMPTY_SEPARATOR, Encoding};

use crate::ConfigError;
use crate::options::Options;

const LINE_SEPARATOR: &str = "lineSep";
const MULTI_LINE: &str = "multiLine";
const WHOLE_TEXT: &str = "wholetext";
/// Two names of one option.
const ENCODING: [&str; 2] = ["encoding", "charset"];

/// How the texts of a file lie in its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TextForm {
    pub(super) encoding: FileEncoding,
    pub(super) separator: Separator,
}

/// The encoding of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileEncoding {
    Named(Encoding),
    /// Whatever the first bytes of a file in JSON show.
    OfJson,
}

impl Default for FileEncoding {
    fn default() -> FileEncoding {
        FileEncoding::Named(Encoding::Utf8)
    }
}

/// What ends a line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Separator {
    /// `\n`, `\r\n` or `\r`.
    #[default]
    Newlines,
    /// This text, in UTF-8; not empty.
    Text(Arc<[u8]>),
    /// Nothing but the end of the file.
    None,
}

impl TextForm {
    /// Whether an option is about bytes, and not about what the characters mean.
    pub(super) fn has_encoding_key(key: &str) -> bool {
        ENCODING.iter().any(|known| known.eq_ignore_ascii_case(key))
    }

    /// Of text files. Spark reads these as UTF-8, whatever `encoding` says.
    pub(super) fn of_text(options: &Options) -> Result<TextForm, ConfigError> {
        let separator = match options.bool(WHOLE_TEXT, false)? {
            true => Separator::None,
            false => Separator::of(options)?,
        };
        Ok(TextForm { separator, ..TextForm::default() })
    }

    /// Of JSON files. With `multiLine` the encoding shows by itself.
    pub(super) fn of_json(options: &Options) -> Result<TextForm, ConfigError> {
        let named = named_encoding(options)?;
        if options.bool(MULTI_LINE, false)? {
            let encoding =
                named.map_or(FileEncoding::OfJson, |(_, named)| FileEncoding::Named(named));
            return Ok(TextForm { encoding, separator: Separator::None });
        }
        TextForm::of_lines(options, named, |encoding| encoding != Encoding::Utf8)
    }

    /// Of CSV files.
    pub(super) fn of_csv(options: &Options) -> Result<TextForm, ConfigError> {
        let named = named_encoding(options)?;
        if options.bool(MULTI_LINE, false)? {
            let encoding = named.map(|(_, named)| FileEncoding::Named(named)).unwrap_or_default();
            return Ok(TextForm { encoding, ..TextForm::default() });
        }
        TextForm::of_lines(options, named, Encoding::is_wide)
    }

    /// Of files of lines. As in Spark, which looks for the ends of lines in the bytes, some
    /// encodings need `lineSep`, and those that a byte order mark tells apart need `multiLine`.
    fn of_lines(
        options: &Options,
        named: Option<(&str, Encoding)>,
        needs_separator: impl Fn(Encoding) -> bool,
    ) -> Result<TextForm, ConfigError> {
        let separator = Separator::of(options)?;
        let Some((key, encoding)) = named else {
            return Ok(TextForm { separator, ..TextForm::default() });
        };
        if encoding.needs_mark() {
            return Err(options.bad(key, "lines are not read in this encoding, as in Spark: set multiLine = true, or name the order of bytes (UTF-16LE, UTF-16BE)"));
        }
        if needs_separator(encoding) && separator == Separator::Newlines {
            return Err(options.bad(key, "lines in this encoding are read where lineSep says what ends them, as in Spark: set lineSep = \"\\n\", or multiLine = true"));
        }
        Ok(TextForm { encoding: FileEncoding::Named(encoding), separator })
    }

    /// Whether a file may be cut into slices: where a line begins has to be seen at any byte.
    pub(super) fn may_be_cut(&self) -> bool {
        let is_utf8 = self.encoding == FileEncoding::default();
        is_utf8 && self.separator.len() == 1 && self.separator != Separator::None
    }
}

impl Separator {
    /// That of the option `lineSep`.
    ///
    /// # Errors
    /// It is empty.
    pub(super) fn of(options: &Options) -> Result<Separator, ConfigError> {
        match options.text(LINE_SEPARATOR) {
            None => Ok(Separator::Newlines),
            Some("") => Err(options.bad(LINE_SEPARATOR, EMPTY_SEPARATOR)),
            Some(text) => Ok(Separator::Text(text.as_bytes().into())),
        }
    }

    /// How many bytes it has, at most, by which blocks are told apart.
    pub(super) fn len(&self) -> usize {
        match self {
            Separator::Newlines | Separator::None => 1,
            Separator::Text(text) => text.len(),
        }
    }

    /// Where the first line ends, and with what ends it.
    pub(super) fn first_end(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        match self {
            Separator::Newlines => {
                let end = memchr::memchr2(b'\n', b'\r', bytes)?;
                let is_pair = matches!(bytes[end..], [b'\r', b'\n', ..]);
                Some((end, end + 1 + usize::from(is_pair)))
            }
            Separator::Text(text) => memmem::find(bytes, text).map(|end| (end, end + text.len())),
            Separator::None => None,
        }
    }

    /// Where the first line ends for sure, whatever follows: a `\r` may be half of an end.
    pub(super) fn first_boundary(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Separator::Newlines => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Separator::Text(text) => memmem::find(bytes, text).map(|at| at + text.len()),
            Separator::None => None,
        }
    }

    /// Where the last whole line ends for sure.
    pub(super) fn last_boundary(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Separator::Newlines => memchr::memrchr(b'\n', bytes).map(|at| at + 1),
            Separator::Text(text) if text.len() == 1 => {
                memchr::memrchr(text[0], bytes).map(|at| at + 1)
            }
            // From the front, as it may overlap with itself.
            Separator::Text(text) => {
                memmem::find_iter(bytes, text).last().map(|at| at + text.len())
            }
            Separator::None => None,
        }
    }
}

/// The encoding that the options name, and by which name.
fn named_encoding(options: &Options) -> Result<Option<(&'static str, Encoding)>, ConfigError> {
    let mut given = ENCODING.iter().filter_map(|key| options.text(key).map(|name| (*key, name)));
    let (first, second) = (given.next(), given.next());
    if let (Some(_), Some((key, _))) = (first, second) {
        return Err(options.bad(key, "encoding sets the same option: keep one"));
    }
    let named = |(key, name)| match Encoding::named(name) {
        Ok(encoding) => Ok((key, encoding)),
        Err(wanted) => Err(options.bad(key, &wanted)),
    };
    first.map(named).transpose()
}
