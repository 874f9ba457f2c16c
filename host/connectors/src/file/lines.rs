//! Reads the lines of a slice in blocks. What ends a line is the form's: where nothing does, a file
//! is one line.
//!
//! A span owns the lines that begin in it. One that does not begin its file therefore starts one
//! byte early and skips to the next line, and reads on past its end to finish its last line:
//!
//! ```text
//!   ....\n aaaaaaaaa \n bbbbbb|bbb \n cccc
//!                             ^ end of one span, start of the next: bbb belongs to the first
//! ```

use tidemill_core::ConnectorError;

use super::content::Content;
use super::form::{Separator, TextForm};
use super::parts::FileSpan;
use crate::malformed::Place;

/// Bytes asked of a file at once. More does not read faster, and each slice holds one block.
const BLOCK_BYTES: usize = 1 << 20;

/// The longest line that is read. Spark's JSON reader gives up at a text of 20 million characters,
/// so that whoever meets this bound meets that one first.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 20;

/// Before the first line of a file it says that the file is UTF-8, and belongs to no line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of some spans, in order.
pub(crate) struct LineBlocks {
    form: TextForm,
    spans: std::vec::IntoIter<FileSpan>,
    current: Option<SpanReader>,
    buffer: Vec<u8>,
    /// `buffer[taken..ready]` are whole lines not taken yet, `buffer[ready..filled]` the rest.
    taken: usize,
    ready: usize,
    filled: usize,
    /// The first line of a file is the next one.
    begins_file: bool,
}

/// What [`LineBlocks::fill`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filled {
    /// There are lines.
    Lines,
    /// The next line is longer than any that is read, and was passed over.
    TooLong(LongLine),
    /// The last span is at its end.
    End,
}

/// A line that is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LongLine {
    /// Where it begins in its file.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
}

impl std::fmt::Display for LongLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "(a line of {} bytes; at most {LINE_BYTES_MAX} are read)", self.len)
    }
}

struct SpanReader {
    span: FileSpan,
    content: Content,
    /// Place in the file of the buffer's first byte.
    offset: u64,
    /// The line at the front belongs to the span before.
    skips_first: bool,
    /// The last line of the span is ready or taken.
    done: bool,
}

impl LineBlocks {
    pub(crate) fn new(spans: Vec<FileSpan>, form: TextForm) -> LineBlocks {
        LineBlocks {
            form,
            spans: spans.into_iter(),
            current: None,
            buffer: Vec::new(),
            taken: 0,
            ready: 0,
            filled: 0,
            begins_file: false,
        }
    }

    /// Whole lines that were read and not taken; never of two files.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.buffer[self.taken..self.ready]
    }

    /// Whether the lines at hand are the first of their file.
    pub(crate) fn begins_file(&self) -> bool {
        self.begins_file
    }

    /// What ends them.
    pub(crate) fn separator(&self) -> &Separator {
        &self.form.separator
    }

    /// The first of the lines at hand, and how many bytes it takes with what ends it.
    pub(crate) fn first_line(&self) -> (&[u8], usize) {
        let lines = self.lines();
        let (end, taken) =
            self.form.separator.first_end(lines).unwrap_or((lines.len(), lines.len()));
        (&lines[..end], taken)
    }

    /// The place of a byte of [`LineBlocks::lines`], counted from their front.
    pub(crate) fn place(&self, at: usize) -> Place {
        let reader = self.current.as_ref();
        Place::Line {
            path: reader.map(|reader| reader.span.part.path.clone()).unwrap_or_default(),
            offset: reader.map_or(0, |reader| reader.offset) + (self.taken + at) as u64,
        }
    }

    /// The place of a line that was passed over just now.
    pub(crate) fn place_of(&self, line: LongLine) -> Place {
        let path = self.current.as_ref().map(|reader| reader.span.part.path.clone());
        Place::Line { path: path.unwrap_or_default(), offset: line.offset }
    }

    /// Takes lines from the front.
    pub(crate) fn take(&mut self, bytes: usize) {
        debug_assert!(self.taken + bytes <= self.ready);
        self.taken += bytes;
        self.begins_file &= bytes == 0;
    }

    /// Reads until there are lines, or one that is too long.
    pub(crate) fn fill(&mut self) -> Result<Filled, ConnectorError> {
        while self.taken == self.ready {
            if self.current.as_ref().is_none_or(|reader| reader.done) && !self.open_next()? {
                return Ok(Filled::End);
            }
            if let Some(line) = self.read_block()? {
                self.begins_file = false;
                return Ok(Filled::TooLong(line));
            }
        }
        Ok(Filled::Lines)
    }

    fn open_next(&mut self) -> Result<bool, ConnectorError> {
        let Some(span) = self.spans.next() else {
            return Ok(false);
        };
        let skips_first = span.start > 0;
        let offset = span.start - u64::from(skips_first);
        let content = Content::open(&span.part, offset, self.form.encoding)?;
        self.current = Some(SpanReader { span, content, offset, skips_first, done: false });
        (self.taken, self.ready, self.filled) = (0, 0, 0);
        self.begins_file = !skips_first;
        Ok(true)
    }

    /// Moves what is left to the front, fills the buffer and finds the whole lines in it. Gives a
    /// line that is too long, of which nothing is left then.
    fn read_block(&mut self) -> Result<Option<LongLine>, ConnectorError> {
        let Some(reader) = &mut self.current else {
            return Ok(None);
        };
        self.buffer.copy_within(self.ready..self.filled, 0);
        reader.offset += self.ready as u64;
        self.filled -= self.ready;
        (self.taken, self.ready) = (0, 0);
        if self.filled == self.buffer.len() && !self.make_room() {
            return self.cut_long_line();
        }
        let at_end_of_file = self.read_on()?;
        let Some(reader) = &mut self.current else {
            return Ok(None);
        };
        let bytes = &self.buffer[..self.filled];
        let separator = &self.form.separator;
        let (mut skipped, ready) = reader.whole_lines(bytes, at_end_of_file, separator);
        let is_marked = reader.offset == 0 && bytes[skipped..ready].starts_with(BYTE_ORDER_MARK);
        if is_marked && *separator != Separator::None {
            skipped += BYTE_ORDER_MARK.len();
        }
        (self.taken, self.ready) = (skipped, ready);
        Ok(None)
    }

    /// Fills the buffer from the file. Gives whether the file is at its end.
    fn read_on(&mut self) -> Result<bool, ConnectorError> {
        let Some(reader) = &mut self.current else {
            return Ok(true);
        };
        let (filled, at_end) = reader.content.fill(&mut self.buffer[self.filled..])?;
        self.filled += filled;
        Ok(at_end)
    }

    /// A buffer without a whole line doubles, up to the longest line that is read.
    fn make_room(&mut self) -> bool {
        let grown = (self.buffer.len() * 2).max(BLOCK_BYTES);
        if grown > LINE_BYTES_MAX {
            return false;
        }
        self.buffer.resize(grown, 0);
        true
    }

    /// The buffer is full of one line. It may be many that end with `\r` alone; else it is passed
    /// over.
    fn cut_long_line(&mut self) -> Result<Option<LongLine>, ConnectorError> {
        let separator = self.form.separator.clone();
        // What follows the last byte decides whether a `\r` there is half of an end.
        let seen = &self.buffer[..self.filled - 1];
        if separator == Separator::Newlines
            && let Some(end) = memchr::memrchr(b'\r', seen)
        {
            (self.taken, self.ready) = (0, end + 1);
            return Ok(None);
        }
        if separator == Separator::None {
            let path = self.current.as_ref().map(|reader| reader.span.part.path.clone());
            return Err(ConnectorError::fatal(format!(
                "the file {} is read as one text, and is longer than the {LINE_BYTES_MAX} bytes that one may have; write its rows as lines, or as several files",
                path.unwrap_or_default()
            )));
        }
        let offset = self.current.as_ref().map_or(0, |reader| reader.offset);
        let mut len = 0;
        loop {
            // What may be the front of a separator is looked at again.
            let kept = (separator.len() - 1).min(self.filled);
            let passed = self.filled - kept;
            self.buffer.copy_within(passed..self.filled, 0);
            len += passed as u64;
            let Some(reader) = &mut self.current else {
                return Ok(None);
            };
            reader.offset += passed as u64;
            self.filled = kept;
            self.buffer.truncate(BLOCK_BYTES);
            let at_end_of_file = self.read_on()?;
            let end = separator.first_boundary(&self.buffer[..self.filled]);
            if end.is_none() && !at_end_of_file {
                continue;
            }
            let line = end.map_or(self.filled, |end| end - separator.len());
            let taken = end.unwrap_or(self.filled);
            (self.taken, self.ready) = (taken, taken);
            self.buffer.shrink_to_fit();
            return Ok(Some(LongLine { offset, len: len + line as u64 }));
        }
    }
}

impl SpanReader {
    /// Of the bytes read so far: how many to skip, and where the last whole line of the span
    /// ends. Both the same where there is none.
    fn whole_lines(
        &mut self,
        bytes: &[u8],
        at_end_of_file: bool,
        separator: &Separator,
    ) -> (usize, usize) {
        let mut skipped = 0;
        if self.skips_first {
            match separator.first_boundary(bytes) {
                Some(end) => {
                    skipped = end;
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
        let reaches_end = at_end_of_file || self.offset + bytes.len() as u64 >= self.span.end;
        if reaches_end {
            // The line that has the last owned byte is the last one.
            let last = owned.max(1) - 1;
            if let Some(end) = separator.first_boundary(&bytes[last..]) {
                self.done = true;
                return (skipped, last + end);
            }
            if at_end_of_file {
                self.done = true;
                return (skipped, bytes.len());
            }
        }
        let ready = separator.last_boundary(&bytes[skipped..]).map_or(skipped, |end| skipped + end);
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
        FilePart { path, size: text.len() as u64, modified_ms: 0, takes_outside: false }
    }

    fn read(spans: Vec<FileSpan>) -> Vec<u8> {
        let mut blocks = LineBlocks::new(spans, TextForm::default());
        let mut bytes = Vec::new();
        while blocks.fill().unwrap() == Filled::Lines {
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
    fn a_line_that_is_too_long_is_passed_over_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let text = [b"first\n".as_slice(), &long, b"\nlast\n"].concat();
        let part = part(&dir, &text);
        for count in [1, 3] {
            let (mut lines, mut passed) = (Vec::new(), Vec::new());
            for index in 0..count {
                let mut blocks = LineBlocks::new(
                    spans(vec![part.clone()], Slice { index, count }),
                    TextForm::default(),
                );
                loop {
                    match blocks.fill().unwrap() {
                        Filled::Lines => {
                            lines.extend_from_slice(blocks.lines());
                            blocks.take(blocks.lines().len());
                        }
                        Filled::TooLong(line) => passed.push(line),
                        Filled::End => break,
                    }
                }
            }
            assert_eq!(String::from_utf8(lines).unwrap(), "first\nlast\n", "{count} slices");
            assert_eq!(passed, [LongLine { offset: 6, len: long.len() as u64 }]);
        }
    }

    #[test]
    fn lines_that_end_with_returns_alone_are_not_one_long_line() {
        let dir = tempfile::tempdir().unwrap();
        let text = "some words\r".repeat(LINE_BYTES_MAX / 11 + 10);
        let part = part(&dir, text.as_bytes());
        let all = read(spans(vec![part], Slice { index: 0, count: 1 }));
        assert!(all == text.as_bytes());
    }

    #[test]
    fn a_separator_may_be_any_text_and_lie_over_the_end_of_a_block() {
        let dir = tempfile::tempdir().unwrap();
        let separator = Separator::Text(b"<->".as_slice().into());
        let form = TextForm { separator, ..TextForm::default() };
        for filler in [BLOCK_BYTES - 2, BLOCK_BYTES - 1, BLOCK_BYTES, LINE_BYTES_MAX + 1] {
            let text = format!("a\n<->{}<->b<<->-><->", "x".repeat(filler));
            let part = part(&dir, text.as_bytes());
            let mut blocks =
                LineBlocks::new(spans(vec![part], Slice { index: 0, count: 1 }), form.clone());
            let mut lines = Vec::new();
            loop {
                match blocks.fill().unwrap() {
                    Filled::Lines => {
                        let (line, taken) = blocks.first_line();
                        lines.push(line.len());
                        blocks.take(taken);
                    }
                    Filled::TooLong(line) => lines.push(line.len as usize),
                    Filled::End => break,
                }
            }
            assert_eq!(lines, [2, filler, 2, 2]);
        }
    }

    #[test]
    fn a_byte_order_mark_belongs_to_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let part = part(&dir, b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n");
        let mut blocks =
            LineBlocks::new(spans(vec![part], Slice { index: 0, count: 1 }), TextForm::default());
        assert_eq!(blocks.fill().unwrap(), Filled::Lines);
        assert!(blocks.begins_file());
        assert_eq!(blocks.lines(), b"a\n\xef\xbb\xbfb\n");
        blocks.take(2);
        assert!(!blocks.begins_file());
    }
}
