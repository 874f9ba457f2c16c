//! Takes one record apart into cells, as the parser does that Spark reads CSV with.
//!
//! That parser is univocity's, whose rules are not RFC 4180's: the escape is a character of its
//! own, a quote that is followed by other text turns the quoted cell into a plain one with its
//! quotes, and blanks after a closing quote are dropped only if a separator follows. None of that
//! is written down; it follows from how its states follow one another. So its states are kept
//! here, with two ways to read a quoted and a plain cell: at a glance, where nothing in it is
//! special, and character by character.
//!
//! No cell is copied that stands in the record as it is: a cell is a range of the record, or of
//! one text that all the others share.

use std::borrow::Cow;
use std::ops::Range;

use super::options::Rules;

/// The end of a record in what follows, where files write it in ways of their own.
const NEWLINE: u8 = b'\n';

/// How deep stray quotes and escapes may make one cell go into itself.
const NESTING_MAX: usize = 500;

/// What a cell is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cell {
    /// Nothing stands between two separators.
    Absent,
    /// Quotes with nothing in them.
    Empty,
    /// Bytes of the record.
    Raw(Range<usize>),
    /// Bytes of [`Cells::text`].
    Text(Range<usize>),
}

/// The cells of one record, and room for the next one's.
#[derive(Default)]
pub(super) struct Cells {
    pub(super) cells: Vec<Cell>,
    /// Cells that do not stand in the record as they are.
    pub(super) text: Vec<u8>,
    /// Blanks that were seen after a closing quote.
    blanks: Vec<u8>,
}

impl Cells {
    /// The text of a cell of this record.
    pub(super) fn value<'a>(&'a self, record: &'a str, cell: &Cell) -> Cow<'a, str> {
        match cell {
            Cell::Absent | Cell::Empty => Cow::Borrowed(""),
            Cell::Raw(range) => match record.get(range.clone()) {
                Some(text) => Cow::Borrowed(text),
                None => String::from_utf8_lossy(&record.as_bytes()[range.clone()]),
            },
            // A wide separator that was nearly there can leave a part of a character behind.
            Cell::Text(range) => String::from_utf8_lossy(&self.text[range.clone()]),
        }
    }
}

/// What ends lines in a file: what the options say, or the first end that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineEnd {
    /// `\r`, which is taken for a newline.
    Return,
    /// `\r\n`, which is taken for a newline.
    Both,
    /// One byte, and no other one: also not a newline.
    Byte(u8),
    /// `\r\n`, and no other one. It is taken for a byte that texts have not.
    Pair,
}

impl LineEnd {
    /// That of a file which begins like this; `None` where it shows no end of a line yet.
    pub(super) fn of(bytes: &[u8]) -> Option<LineEnd> {
        let first = memchr::memchr2(b'\n', b'\r', bytes)?;
        Some(match (bytes[first], bytes.get(first + 1)) {
            (NEWLINE, _) => LineEnd::NEWLINE,
            (_, Some(b'\n')) => LineEnd::Both,
            _ => LineEnd::Return,
        })
    }
}

impl LineEnd {
    pub(super) const NEWLINE: LineEnd = LineEnd::Byte(NEWLINE);

    /// What the ends of lines are taken for.
    fn byte(self) -> u8 {
        match self {
            LineEnd::Return | LineEnd::Both => NEWLINE,
            LineEnd::Byte(byte) => byte,
            // No byte of UTF-8.
            LineEnd::Pair => 0xff,
        }
    }

    /// Where the first line of these bytes ends, with what ends it.
    pub(super) fn find(self, bytes: &[u8]) -> Option<usize> {
        match self {
            LineEnd::Byte(byte) => memchr::memchr(byte, bytes).map(|at| at + 1),
            LineEnd::Return => memchr::memchr(b'\r', bytes).map(|at| at + 1),
            LineEnd::Both | LineEnd::Pair => memchr::memmem::find(bytes, b"\r\n").map(|at| at + 2),
        }
    }
}

impl Rules {
    /// Whether a line is cut at its separators, and nowhere is more to know: nothing is quoted,
    /// and escapes count in quotes only.
    pub(super) fn is_plain(&self, line: &[u8]) -> bool {
        self.delimiter.len() == 1
            && !self.trims_front
            && !self.trims_back
            && memchr::memchr(self.quote, line).is_none()
    }
}

/// The cells of a line that is plain.
pub(super) fn split(
    delimiter: u8,
    line: &[u8],
    columns_max: usize,
    cells: &mut Cells,
) -> Result<(), Stop> {
    cells.cells.clear();
    let mut from = 0;
    loop {
        let end = memchr::memchr(delimiter, &line[from..]).map(|len| from + len);
        let to = end.unwrap_or(line.len());
        if cells.cells.len() == columns_max {
            return Err(Stop::Columns);
        }
        cells.cells.push(if to == from { Cell::Absent } else { Cell::Raw(from..to) });
        match end {
            Some(end) => from = end + 1,
            None => return Ok(()),
        }
    }
}

/// Why there is no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The bytes end. More of them are needed, unless they are the file's last ones.
    End,
    /// More cells than `maxColumns`.
    Columns,
    /// Quotes and escapes go too deep into one another, or what follows a quoted cell cannot.
    Quotes,
}

/// What was read of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// Bytes of the record, with what ends it.
    pub(super) len: usize,
    /// A quote was opened and never closed.
    pub(super) is_open: bool,
}

type Step = Result<(), Stop>;

/// Reads the record at the front of `input`. Where `is_last` is not set, bytes follow that are not
/// there yet.
pub(super) fn read(
    rules: &Rules,
    input: &[u8],
    is_last: bool,
    line_end: LineEnd,
    columns_max: usize,
    cells: &mut Cells,
) -> Result<Taken, Stop> {
    cells.cells.clear();
    cells.text.clear();
    let mut reader = Reader {
        rules,
        input,
        is_last,
        line_end,
        line: line_end.byte(),
        columns_max,
        cells,
        start: 0,
        at: 0,
        ch: 0,
        prev: 0,
        is_unescaped: false,
        in_quotes: false,
        trims: false,
        matched: 0,
        depth: 0,
    };
    let done = reader.next().and_then(|first| {
        reader.ch = first;
        if rules.delimiter.len() == 1 { reader.record() } else { reader.wide_record() }
    });
    match done {
        Ok(()) => Ok(Taken { len: reader.at, is_open: false }),
        Err(Stop::End) if is_last => {
            let is_closed = reader.ch == rules.quote && reader.prev == rules.quote;
            let is_open = reader.in_quotes && !is_closed;
            reader.finish()?;
            Ok(Taken { len: input.len(), is_open })
        }
        Err(stop) => Err(stop),
    }
}

struct Reader<'a> {
    rules: &'a Rules,
    input: &'a [u8],
    is_last: bool,
    line_end: LineEnd,
    /// What an end of a line is taken for.
    line: u8,
    columns_max: usize,
    cells: &'a mut Cells,
    /// Where the cell that is being read begins in the text.
    start: usize,
    /// The next byte.
    at: usize,
    /// The byte that is looked at. At the end of the bytes it keeps what it was, which decides
    /// what becomes of the last cell.
    ch: u8,
    /// The byte before it inside of a cell, or 0.
    prev: u8,
    /// A quote was found that nothing escapes.
    is_unescaped: bool,
    in_quotes: bool,
    /// Whether blanks at the end of the cell go.
    trims: bool,
    /// Bytes of a wide separator that were seen.
    matched: usize,
    depth: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<u8, Stop> {
        let byte = *self.input.get(self.at).ok_or(Stop::End)?;
        match (byte, self.line_end) {
            (b'\r', LineEnd::Return) => self.at += 1,
            (b'\r', LineEnd::Both | LineEnd::Pair) => match self.input.get(self.at + 1) {
                Some(b'\n') => self.at += 2,
                None if !self.is_last => return Err(Stop::End),
                _ => {
                    self.at += 1;
                    return Ok(byte);
                }
            },
            _ => {
                self.at += 1;
                return Ok(byte);
            }
        }
        Ok(self.line)
    }

    fn advance(&mut self) -> Step {
        self.ch = self.next()?;
        Ok(())
    }

    fn delimiter(&self) -> u8 {
        // A wide one is found by other means.
        if self.rules.delimiter.len() == 1 { self.rules.delimiter[0] } else { 0 }
    }

    fn is_wide(&self) -> bool {
        self.rules.delimiter.len() > 1
    }

    fn ends_cell(&self) -> bool {
        self.ch == self.line || (!self.is_wide() && self.ch == self.delimiter())
    }

    fn push(&mut self, cell: Cell) -> Step {
        if self.cells.cells.len() == self.columns_max {
            return Err(Stop::Columns);
        }
        self.cells.cells.push(cell);
        Ok(())
    }

    /// The cell is what was gathered.
    fn cell_done(&mut self) -> Step {
        self.in_quotes = false;
        if self.trims {
            self.trim();
        }
        let range = self.start..self.cells.text.len();
        self.start = range.end;
        self.push(if range.is_empty() { Cell::Empty } else { Cell::Text(range) })
    }

    fn trim(&mut self) {
        let text = &mut self.cells.text;
        while text.len() > self.start && text.last().is_some_and(|byte| *byte <= b' ') {
            text.pop();
        }
    }

    fn gathered(&self) -> usize {
        self.cells.text.len() - self.start
    }

    fn gather(&mut self, byte: u8) {
        if self.line_end == LineEnd::Pair && byte == self.line {
            self.cells.text.extend_from_slice(b"\r\n");
            return;
        }
        self.cells.text.push(byte);
    }

    /// Gathers from the byte at hand on, up to one that `stops` is true of, which is at hand then.
    fn gather_until(&mut self, stops: impl Fn(u8) -> bool) -> Step {
        let mut byte = self.ch;
        while !stops(byte) {
            self.gather(byte);
            let rest = &self.input[self.at..];
            let special = |byte: &u8| stops(*byte) || *byte == b'\r';
            let plain = rest.iter().position(special).unwrap_or(rest.len());
            self.cells.text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            byte = self.next()?;
        }
        self.ch = byte;
        Ok(())
    }

    // Separators of one byte.

    fn record(&mut self) -> Step {
        let delimiter = self.delimiter();
        if self.ch <= b' ' && self.rules.trims_front {
            self.skip_blanks(delimiter)?;
        }
        while self.ch != self.line {
            if self.ch <= b' ' && self.rules.trims_front {
                self.skip_blanks(delimiter)?;
            }
            if self.ch == delimiter || self.ch == self.line {
                self.push(Cell::Absent)?;
            } else {
                self.is_unescaped = false;
                self.prev = 0;
                if self.ch == self.rules.quote {
                    if self.gathered() == 0
                        && let Some(cell) = self.clean_quoted(delimiter)?
                    {
                        self.push(cell)?;
                        if self.after_clean_quoted(delimiter)? {
                            return Ok(());
                        }
                        continue;
                    }
                    self.trims = false;
                    self.quoted()?;
                    self.cell_done()?;
                } else if self.gathered() == 0
                    && let Some(cell) = self.clean_plain(delimiter)?
                {
                    self.push(cell)?;
                    self.advance()?;
                } else {
                    self.trims = self.rules.trims_back;
                    let line = self.line;
                    self.gather_until(|byte| byte == delimiter || byte == line)?;
                    self.cell_done()?;
                }
            }
            if self.ch != self.line {
                self.advance()?;
                if self.ch == self.line {
                    self.push(Cell::Absent)?;
                }
            }
        }
        Ok(())
    }

    fn skip_blanks(&mut self, delimiter: u8) -> Step {
        let stops = [delimiter, self.line, self.rules.quote];
        while self.ch <= b' ' && !stops.contains(&self.ch) {
            self.advance()?;
        }
        Ok(())
    }

    /// No cell is seen up to the end of the bytes: none is there, or more bytes have to be seen.
    fn unseen(&self) -> Result<Option<Cell>, Stop> {
        if self.is_last { Ok(None) } else { Err(Stop::End) }
    }

    /// A quoted cell in which nothing is special, with the separator behind its closing quote next.
    fn clean_quoted(&mut self, delimiter: u8) -> Result<Option<Cell>, Stop> {
        let Rules { quote, escape, escape_escape, .. } = *self.rules;
        let from = self.at;
        let mut at = from;
        loop {
            let Some(&byte) = self.input.get(at) else { return self.unseen() };
            if byte == quote {
                if self.input[at - 1] == escape {
                    return Ok(None);
                }
                let Some(&next) = self.input.get(at + 1) else { return self.unseen() };
                if next != delimiter && next != self.line {
                    return Ok(None);
                }
                break;
            }
            if byte == escape {
                let next = self.input.get(at + 1);
                if next.is_some_and(|next| *next == quote || *next == escape_escape) {
                    return Ok(None);
                }
            } else if self.ends_line(at) {
                return Ok(None);
            }
            at += 1;
        }
        self.at = at + 1;
        Ok(Some(if at == from { Cell::Empty } else { Cell::Raw(from..at) }))
    }

    /// Whether the record has ended.
    fn after_clean_quoted(&mut self, delimiter: u8) -> Result<bool, Stop> {
        let is_last = self.is_last;
        let at_end = |stop: Stop| stop == Stop::End && is_last;
        match self.advance() {
            Err(stop) if at_end(stop) => return Ok(true),
            stepped => stepped?,
        }
        if self.ch == delimiter {
            match self.advance() {
                Err(stop) if at_end(stop) => {
                    self.push(Cell::Absent)?;
                    return Ok(true);
                }
                stepped => stepped?,
            }
            if self.ch == self.line {
                self.push(Cell::Absent)?;
            }
        }
        Ok(false)
    }

    /// Whether the line ends with the byte at this place.
    fn ends_line(&self, at: usize) -> bool {
        let next = || self.input.get(at + 1) == Some(&b'\n');
        match self.line_end {
            LineEnd::Byte(byte) => self.input[at] == byte,
            LineEnd::Return => self.input[at] == b'\r',
            LineEnd::Both | LineEnd::Pair => self.input[at] == b'\r' && next(),
        }
    }

    /// A plain cell whose end is in sight; the byte after it is next.
    fn clean_plain(&mut self, delimiter: u8) -> Result<Option<Cell>, Stop> {
        let from = self.at - 1;
        let mut end = from;
        loop {
            let rest = self.input.get(end..).unwrap_or_default();
            let found = match self.line_end {
                LineEnd::Byte(byte) => memchr::memchr2(delimiter, byte, rest),
                LineEnd::Return | LineEnd::Both | LineEnd::Pair => {
                    memchr::memchr2(delimiter, b'\r', rest)
                }
            };
            let Some(found) = found else { return self.unseen() };
            end += found;
            if self.input[end] == delimiter || self.ends_line(end) {
                break;
            }
            end += 1;
        }
        // The last byte of a file is not in sight, says the parser, where it ends a line.
        if self.is_last && end + 1 == self.input.len() && self.input[end] != delimiter {
            return Ok(None);
        }
        self.at = end;
        Ok(Some(self.trimmed(from, end)))
    }

    fn trimmed(&self, from: usize, end: usize) -> Cell {
        let mut to = end;
        if self.rules.trims_back {
            while to > from && self.input[to - 1] <= b' ' {
                to -= 1;
            }
        }
        if to == from { Cell::Absent } else { Cell::Raw(from..to) }
    }

    // Quotes.

    fn quoted(&mut self) -> Step {
        self.deeper(Reader::quoted_cell)
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Step) -> Step {
        if self.depth == NESTING_MAX {
            return Err(Stop::Quotes);
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn quoted_cell(&mut self) -> Step {
        if self.prev != 0 {
            self.plain_after_all(self.is_wide())?;
            return if self.is_wide() { self.after_quoted() } else { Ok(()) };
        }
        self.in_quotes = true;
        self.advance()?;
        let Rules { quote, escape, escape_escape, .. } = *self.rules;
        loop {
            if self.prev == quote {
                if self.ch <= b' ' || self.ends_cell() {
                    break;
                }
                if self.is_wide() && self.match_delimiter()? {
                    return Ok(());
                }
            }
            if self.ch != quote && self.ch != escape {
                if self.prev == quote {
                    return self.stray_quote();
                }
                if self.prev == escape && escape != 0 {
                    self.gather(escape);
                }
                self.gather_until(|byte| [quote, escape, escape_escape].contains(&byte))?;
                self.prev = self.ch;
                self.advance()?;
            } else {
                self.escaped()?;
                self.prev = self.ch;
                self.advance()?;
                if self.is_unescaped && (self.ends_cell() || self.wide_match()?) {
                    return Ok(());
                }
            }
        }
        self.in_quotes = false;
        self.after_quoted()
    }

    fn wide_match(&mut self) -> Result<bool, Stop> {
        Ok(self.is_wide() && self.match_delimiter()?)
    }

    /// The quotes belong to the cell's text, and it goes up to the next separator.
    fn plain_after_all(&mut self, is_wide: bool) -> Step {
        self.in_quotes = false;
        let quote = self.rules.quote;
        self.cells.text.insert(self.start, quote);
        self.advance()?;
        self.trims = self.rules.trims_back;
        if is_wide {
            return self.gather_wide();
        }
        let delimiter = self.delimiter();
        let line = self.line;
        self.gather_until(|byte| byte == delimiter || byte == line)
    }

    /// The quote before the byte at hand closes nothing.
    fn stray_quote(&mut self) -> Step {
        self.is_unescaped = true;
        self.gather(self.rules.quote);
        self.gather(self.ch);
        self.prev = self.ch;
        self.quoted()
    }

    /// A quote or an escape is at hand.
    fn escaped(&mut self) -> Step {
        let Rules { quote, escape, escape_escape, .. } = *self.rules;
        if self.ch == escape && self.prev == escape_escape && escape_escape != 0 {
            self.gather(escape);
            self.ch = 0;
        } else if self.prev == escape {
            if self.ch == quote {
                self.gather(quote);
                self.ch = 0;
            } else {
                self.gather(self.prev);
            }
        } else if self.ch == quote && self.prev == quote {
            self.gather(quote);
        } else if self.prev == quote {
            self.stray_quote_in_value()?;
        }
        Ok(())
    }

    fn stray_quote_in_value(&mut self) -> Step {
        self.gather(self.rules.quote);
        self.prev = self.ch;
        self.deeper(Reader::value_with_escapes)
    }

    fn value_with_escapes(&mut self) -> Step {
        // A wide separator is not seen here.
        while self.ch != self.line && self.ch != self.delimiter() {
            if self.ch != self.rules.quote && self.ch != self.rules.escape {
                if self.prev == self.rules.quote {
                    return self.stray_quote_in_value();
                }
                self.gather(self.ch);
            } else {
                self.escaped()?;
            }
            self.prev = self.ch;
            self.advance()?;
        }
        Ok(())
    }

    /// Blanks after a closing quote are dropped, unless other text follows them.
    fn after_quoted(&mut self) -> Step {
        if self.is_wide() {
            return self.after_wide_quoted();
        }
        if !self.ends_cell() && self.ch <= b' ' {
            self.cells.blanks.clear();
            loop {
                self.cells.blanks.push(self.ch);
                self.advance()?;
                if self.ch == self.line {
                    return Ok(());
                }
                if self.ch > b' ' || self.ends_cell() {
                    break;
                }
            }
            if !self.ends_cell() {
                self.text_after_blanks()?;
            }
        }
        if self.ends_cell() { Ok(()) } else { Err(Stop::Quotes) }
    }

    fn text_after_blanks(&mut self) -> Step {
        self.gather(self.rules.quote);
        self.cells.text.extend_from_slice(&self.cells.blanks);
        self.gather(self.ch);
        self.prev = self.ch;
        // Nor here.
        if self.is_wide() { self.plain_after_all(false) } else { self.quoted() }
    }

    // Separators of several bytes.

    fn wide_record(&mut self) -> Step {
        if self.ch <= b' ' && self.rules.trims_front {
            self.skip_blanks_wide()?;
        }
        while self.ch != self.line {
            if self.ch <= b' ' && self.rules.trims_front {
                self.skip_blanks_wide()?;
            }
            if self.ch == self.line || self.match_delimiter()? {
                self.push(Cell::Absent)?;
            } else {
                self.is_unescaped = false;
                self.prev = 0;
                if self.ch == self.rules.quote && self.gathered() == 0 {
                    self.trims = false;
                    self.quoted()?;
                    self.cell_done()?;
                } else {
                    self.gather_wide()?;
                    if self.rules.trims_back {
                        self.trim();
                    }
                    self.cell_done()?;
                }
            }
            if self.ch != self.line {
                self.advance()?;
                if self.ch == self.line {
                    self.push(Cell::Absent)?;
                }
            }
        }
        Ok(())
    }

    fn skip_blanks_wide(&mut self) -> Step {
        while self.ch <= b' '
            && self.matched < self.rules.delimiter.len()
            && self.ch != self.line
            && self.ch != self.rules.quote
        {
            self.advance()?;
            if self.rules.delimiter[self.matched] == self.ch && self.match_delimiter()? {
                self.push(Cell::Absent)?;
                self.advance()?;
            }
        }
        self.give_back();
        Ok(())
    }

    /// What looked like the beginning of a separator belongs to the cell.
    fn give_back(&mut self) {
        if self.matched > 0 && self.matched < self.rules.delimiter.len() {
            self.cells.text.extend_from_slice(&self.rules.delimiter[..self.matched]);
        }
        self.matched = 0;
    }

    fn match_delimiter(&mut self) -> Result<bool, Stop> {
        let found = self.match_delimiter_or_not()?;
        if !found {
            self.give_back();
        }
        Ok(found)
    }

    fn match_delimiter_or_not(&mut self) -> Result<bool, Stop> {
        let len = self.rules.delimiter.len();
        while self.ch == self.rules.delimiter[self.matched] {
            self.matched += 1;
            if self.matched == len {
                break;
            }
            self.advance()?;
        }
        if self.matched == len {
            self.matched = 0;
            return Ok(true);
        }
        Ok(false)
    }

    fn gather_wide(&mut self) -> Step {
        let len = self.rules.delimiter.len();
        while self.matched < len && self.ch != self.line {
            if self.rules.delimiter[self.matched] == self.ch {
                self.matched += 1;
                if self.matched == len {
                    break;
                }
            } else {
                if self.matched > 0 {
                    self.give_back();
                    continue;
                }
                self.gather(self.ch);
            }
            self.advance()?;
        }
        self.give_back();
        Ok(())
    }

    fn after_wide_quoted(&mut self) -> Step {
        if self.ch == self.line || self.ch > b' ' || self.match_delimiter_or_not()? {
            return Ok(());
        }
        self.cells.blanks.clear();
        loop {
            self.cells.blanks.push(self.ch);
            self.advance()?;
            if self.ch == self.line || self.match_delimiter_or_not()? {
                return Ok(());
            }
            if self.ch > b' ' {
                break;
            }
        }
        if self.match_delimiter_or_not()? { Ok(()) } else { self.text_after_blanks() }
    }

    // The end of the bytes.

    /// What becomes of a cell that is being read where the bytes end.
    fn finish(&mut self) -> Step {
        let goes_on = self.is_value_at_end();
        if !self.cells.cells.is_empty() || goes_on {
            if self.gathered() > 0 || goes_on {
                return self.cell_done();
            }
            return self.push(Cell::Absent);
        }
        if self.gathered() > 0 {
            return self.cell_done();
        }
        if self.input.is_empty() { Ok(()) } else { self.push(Cell::Absent) }
    }

    fn is_value_at_end(&mut self) -> bool {
        if self.ch == self.rules.quote {
            if self.prev == self.rules.quote {
                return true;
            }
            if !self.is_unescaped {
                self.gather(self.rules.quote);
            }
        }
        let comment = self.rules.comment.unwrap_or(b'#');
        let is_value = self.prev != 0 && ![self.delimiter(), self.line, comment].contains(&self.ch);
        (self.ch, self.prev) = (0, 0);
        if self.matched > 0 {
            self.give_back();
            return true;
        }
        is_value
    }
}
