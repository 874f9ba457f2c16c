//! How deep the schema of a file nests, before the file is read.
//!
//! The library follows a schema by calling itself, so that a schema that is deep enough would end
//! the process. The footer has the schema as a list of elements, each with the number of its
//! children, in Thrift's compact protocol; the depth follows without going into anything.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use tidemill_core::ConnectorError;

use super::super::parts::{FilePart, read_failed};

/// Groups of a Parquet schema inside of one another. A list or map takes two of them and a struct
/// one; a schema in SQL has as many levels at most.
const NESTING_MAX: usize = 100;

/// Structs of Thrift inside of one another. A footer has less than ten.
const THRIFT_NESTING_MAX: usize = 32;

/// Fields that the footer has: the schema, and an element's number of children.
const SCHEMA: i32 = 2;
const CHILDREN: i32 = 5;

/// # Errors
/// The schema is too deep. A footer that cannot be read is left to who reads it.
pub(super) fn check(part: &FilePart, file: &File) -> Result<(), ConnectorError> {
    let footer = footer(part, file).map_err(|error| read_failed(part, error))?;
    let deepest = footer.and_then(|footer| Thrift { bytes: &footer, at: 0 }.deepest());
    match deepest {
        Some(deepest) if deepest > NESTING_MAX => Err(ConnectorError::fatal(format!(
            "the schema of the Parquet file {} has {deepest} levels, and at most {NESTING_MAX} are read",
            part.path
        ))),
        _ => Ok(()),
    }
}

/// The bytes of the footer; `None` where there is none.
fn footer(part: &FilePart, mut file: &File) -> std::io::Result<Option<Vec<u8>>> {
    const TAIL_BYTES: u64 = 8;
    let Some(tail_at) = part.size.checked_sub(TAIL_BYTES) else {
        return Ok(None);
    };
    let mut tail = [0; TAIL_BYTES as usize];
    file.seek(SeekFrom::Start(tail_at))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let len = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = tail_at.checked_sub(len).filter(|_| magic == *b"PAR1") else {
        return Ok(None);
    };
    // It is in the file, so that it is no longer than what the reader takes into memory anyway.
    let mut footer = vec![0; (tail_at - start) as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut footer)?;
    Ok(Some(footer))
}

/// Reads Thrift's compact protocol. `None`: it is not like that.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn deepest(&mut self) -> Option<usize> {
        let mut id = 0;
        loop {
            let kind = self.field(&mut id)?;
            if id == SCHEMA && kind == 9 {
                return self.deepest_of_list();
            }
            self.skip(kind, 0)?;
        }
    }

    fn deepest_of_list(&mut self) -> Option<usize> {
        let (len, _) = self.list()?;
        // For each group that is open: how many of its children are to come.
        let mut open: Vec<u64> = Vec::new();
        let mut deepest = 0;
        for _ in 0..len {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            let children = self.children()?;
            open.push(children);
            deepest = deepest.max(open.len());
        }
        Some(deepest)
    }

    /// The number of children of a schema's element.
    fn children(&mut self) -> Option<u64> {
        let (mut id, mut children) = (0, 0);
        loop {
            let kind = self.field(&mut id)?;
            if kind == 0 {
                return Some(children);
            }
            if id == CHILDREN && kind == 5 {
                children = u64::try_from(self.signed()?).ok()?;
            } else {
                self.skip(kind, 0)?;
            }
        }
    }

    /// The kind of the next field, which is 0 at the end of a struct.
    fn field(&mut self, id: &mut i32) -> Option<u8> {
        let head = self.byte()?;
        let kind = head & 0x0f;
        if kind == 0 {
            return Some(0);
        }
        *id = match head >> 4 {
            0 => i32::try_from(self.signed()?).ok()?,
            more => id.checked_add(i32::from(more))?,
        };
        Some(kind)
    }

    /// Length and kind of a list.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let len = match head >> 4 {
            15 => self.unsigned()?,
            len => u64::from(len),
        };
        Some((len, head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > THRIFT_NESTING_MAX {
            return None;
        }
        match kind {
            // Booleans are in the head of their field.
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => {
                let len = self.unsigned()?;
                self.pass(len)
            }
            9 | 10 => {
                let (len, kind) = self.list()?;
                // In a list a boolean is a byte.
                let kind = if kind <= 2 { 3 } else { kind };
                (0..len).try_for_each(|_| self.skip(kind, depth + 1))
            }
            12 => {
                let mut id = 0;
                loop {
                    match self.field(&mut id)? {
                        0 => return Some(()),
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        self.at = Some(end).filter(|end| *end <= self.bytes.len())?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let zigzag = self.unsigned()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }
}
