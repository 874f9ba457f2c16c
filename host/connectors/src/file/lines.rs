//! Reads the lines of a slice in blocks.
//!
//! A span owns the lines that begin in it. One that does not begin its file therefore starts one
//! byte early and skips to the next line, and reads on past its end to finish its last line:
//!
//! ```text
//!   ....\n aaaaaaaaa \n bbbbbb|bbb \n cccc
//!                             ^ end of one span, start of the next: bbb belongs to the first
//! ```

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use tidemill_core::ConnectorError;

use super::parts::{FileSpan, open, read_failed};

/// Bytes asked of a file at once. More does not read faster, and each slice holds one block.
const BLOCK_BYTES: usize = 1 << 20;

/// The longest line that is read; a longer one is more likely a file of another format.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The lines of some spans, in order.
pub(crate) struct LineBlocks {
    spans: std::vec::IntoIter<FileSpan>,
    current: Option<SpanReader>,
    buffer: Vec<u8>,
    /// `buffer[taken..ready]` are whole lines not taken yet, `buffer[ready..filled]` the rest.
    taken: usize,
    ready: usize,
    filled: usize,
}

struct SpanReader {
    span: FileSpan,
    file: File,
    /// Place in the file of the buffer's first byte.
    offset: u64,
    /// The line at the front belongs to the span before.
    skips_first: bool,
    /// The last line of the span is ready or taken.
    done: bool,
}

impl LineBlocks {
    pub(crate) fn new(spans: Vec<FileSpan>) -> LineBlocks {
        LineBlocks {
            spans: spans.into_iter(),
            current: None,
            buffer: Vec::new(),
            taken: 0,
            ready: 0,
            filled: 0,
        }
    }

    /// Whole lines that were read and not taken; never of two files.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.buffer[self.taken..self.ready]
    }

    /// Takes lines from the front.
    pub(crate) fn take(&mut self, bytes: usize) {
        debug_assert!(self.taken + bytes <= self.ready);
        self.taken += bytes;
    }

    /// Reads until there are lines. `false` at the end of the last span.
    pub(crate) fn fill(&mut self) -> Result<bool, ConnectorError> {
        while self.taken == self.ready {
            if self.current.as_ref().is_none_or(|reader| reader.done) && !self.open_next()? {
                return Ok(false);
            }
            self.read_block()?;
        }
        Ok(true)
    }

    fn open_next(&mut self) -> Result<bool, ConnectorError> {
        let Some(span) = self.spans.next() else {
            return Ok(false);
        };
        let mut file = open(&span.part)?;
        let skips_first = span.start > 0;
        let offset = span.start - u64::from(skips_first);
        file.seek(SeekFrom::Start(offset)).map_err(|error| read_failed(&span.part, error))?;
        self.current = Some(SpanReader { span, file, offset, skips_first, done: false });
        (self.taken, self.ready, self.filled) = (0, 0, 0);
        Ok(true)
    }

    /// Moves what is left to the front, fills the buffer and finds the whole lines in it.
    fn read_block(&mut self) -> Result<(), ConnectorError> {
        let Some(reader) = &mut self.current else {
            return Ok(());
        };
        self.buffer.copy_within(self.ready..self.filled, 0);
        reader.offset += self.ready as u64;
        self.filled -= self.ready;
        (self.taken, self.ready) = (0, 0);
        self.make_room()?;
        let Some(reader) = &mut self.current else {
            return Ok(());
        };
        let left = reader.span.part.size - reader.offset - self.filled as u64;
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len() - self.filled);
        let wanted = &mut self.buffer[self.filled..self.filled + room];
        reader.file.read_exact(wanted).map_err(|error| read_failed(&reader.span.part, error))?;
        self.filled += room;
        let at_end_of_file = room as u64 == left;
        let (skipped, ready) = reader.whole_lines(&self.buffer[..self.filled], at_end_of_file);
        (self.taken, self.ready) = (skipped, ready);
        Ok(())
    }

    /// A buffer without a whole line doubles, up to the longest line that is read.
    fn make_room(&mut self) -> Result<(), ConnectorError> {
        if self.filled < self.buffer.len() {
            return Ok(());
        }
        let grown = (self.buffer.len() * 2).max(BLOCK_BYTES);
        if grown > LINE_BYTES_MAX {
            let reader = self.current.as_ref();
            let (path, offset) =
                reader.map_or(("", 0), |reader| (reader.span.part.path.as_str(), reader.offset));
            return Err(ConnectorError::fatal(format!(
                "the line at byte {offset} of the file {path} is longer than {LINE_BYTES_MAX} bytes, the most that is read; is the file of another format?"
            )));
        }
        self.buffer.resize(grown, 0);
        Ok(())
    }
}

impl SpanReader {
    /// Of the bytes read so far: how many to skip, and where the last whole line of the span
    /// ends. Both the same where there is none.
    fn whole_lines(&mut self, bytes: &[u8], at_end_of_file: bool) -> (usize, usize) {
        let mut skipped = 0;
        if self.skips_first {
            match memchr::memchr(b'\n', bytes) {
                Some(newline) => {
                    skipped = newline + 1;
                    self.skips_first = false;
                }
                None => {
                    self.done = at_end_of_file;
                    return (bytes.len(), bytes.len());
                }
            }
        }
        // Bytes of the buffer that lie before the end of the span.
        let owned = usize::try_from(self.span.end - self.offset.min(self.span.end))
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if owned <= skipped && self.offset + skipped as u64 >= self.span.end {
            self.done = true;
            return (skipped, skipped);
        }
        let reaches_end = self.offset + bytes.len() as u64 >= self.span.end;
        if reaches_end {
            // The line that has the last owned byte is the last one.
            let last = owned.max(1) - 1;
            if let Some(newline) = memchr::memchr(b'\n', &bytes[last..]) {
                self.done = true;
                return (skipped, last + newline + 1);
            }
            if at_end_of_file {
                self.done = true;
                return (skipped, bytes.len());
            }
        }
        let ready =
            memchr::memrchr(b'\n', &bytes[skipped..]).map_or(skipped, |at| skipped + at + 1);
        (skipped, ready)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::parts::{FilePart, spans};
    use super::*;
    use tidemill_core::Slice;

    fn part(dir: &tempfile::TempDir, text: &[u8]) -> FilePart {
        let path = dir.path().join("lines");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        FilePart { path, size: text.len() as u64, modified_ms: 0 }
    }

    fn read(spans: Vec<FileSpan>) -> Vec<u8> {
        let mut blocks = LineBlocks::new(spans);
        let mut bytes = Vec::new();
        while blocks.fill().unwrap() {
            bytes.extend_from_slice(blocks.lines());
            blocks.take(blocks.lines().len());
        }
        bytes
    }

    #[test]
    fn every_cut_of_a_file_gives_each_line_to_the_span_it_begins_in() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["a\nbb\n\nccc\n", "a\nbb\nccc", "\n\n", "one", "\r\nx\r\n"] {
            let part = part(&dir, text.as_bytes());
            for cut in 0..=part.size {
                let span = |start, end| FileSpan { part: part.clone(), start, end };
                let (first, second) = (read(vec![span(0, cut)]), read(vec![span(cut, part.size)]));
                let both = [first.clone(), second].concat();
                assert_eq!(String::from_utf8(both).unwrap(), text, "cut at {cut}");
                let begins = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
                let first_of_second = (cut as usize..text.len()).find(|&at| begins(at));
                assert_eq!(first.len(), first_of_second.unwrap_or(text.len()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn lines_longer_than_a_block_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(3 * BLOCK_BYTES + 17);
        let text = format!("first\n{long}\nlast\n{long}");
        let part = part(&dir, text.as_bytes());
        for count in [1, 2, 5] {
            let all: Vec<u8> = (0..count)
                .flat_map(|index| read(spans(vec![part.clone()], Slice { index, count })))
                .collect();
            assert!(all == text.as_bytes(), "{count} slices");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let part = part(&dir, &vec![b'x'; LINE_BYTES_MAX + 1]);
        let mut blocks = LineBlocks::new(spans(vec![part], Slice { index: 0, count: 1 }));
        let message = blocks.fill().unwrap_err().to_string();
        assert!(message.starts_with("the line at byte 0 of the file "), "{message}");
    }
}
