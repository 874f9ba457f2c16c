//! Aggregates over bitmaps of 4,096 bytes: `bitmap_construct_agg`, `bitmap_or_agg` and
//! `bitmap_and_agg`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::lists::binaries;
use super::types::{count_of, unexpected};

/// Bytes of a bitmap. Shorter ones are filled up with zeros, longer ones are cut.
const BYTES: usize = 4096;
const BITS: i64 = 8 * BYTES as i64;

/// What is made of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bitmap {
    /// Sets the bits at the places that rows have.
    Construct,
    /// Bits that are set in any bitmap.
    Or,
    /// Bits that are set in all of them.
    And,
}

impl Aggregate for Bitmap {
    fn name(&self) -> &'static str {
        match self {
            Bitmap::Construct => "bitmap_construct_agg",
            Bitmap::Or => "bitmap_or_agg",
            Bitmap::And => "bitmap_and_agg",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=1)?;
        match (self, &arguments[0]) {
            (Bitmap::Construct, _) => Ok(vec![DataType::Int64]),
            (_, bytes) if bytes.is_binary() => Ok(vec![DataType::Binary]),
            (_, other) => Err(unexpected(self.name(), "BINARY", other)),
        }
    }

    fn result(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![("bitmap", DataType::Binary)]
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn fold(&self, _: &Call) -> Result<Box<dyn Accumulators>> {
        Ok(Box::new(Setting(*self)))
    }
}

struct Setting(Bitmap);

impl Setting {
    /// The bitmap of a group without rows.
    fn filling(&self) -> u8 {
        if self.0 == Bitmap::And { 0xFF } else { 0 }
    }

    fn add(&self, kept: &mut Vec<u8>, other: &[u8]) {
        kept.resize(BYTES, self.filling());
        let others = other.iter().copied().chain(std::iter::repeat(0));
        match self.0 {
            Bitmap::And => kept.iter_mut().zip(others).for_each(|(mine, other)| *mine &= other),
            _ => kept.iter_mut().zip(others).for_each(|(mine, other)| *mine |= other),
        }
    }
}

impl Fold for Setting {
    /// The bitmap; empty before the first row.
    type Kept = Vec<u8>;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Vec<u8>]) -> Result<()> {
        let rows = rows.iter().filter(|(row, _)| arguments[0].is_valid(*row));
        if self.0 != Bitmap::Construct {
            let bitmaps = arguments[0].as_binary::<i32>();
            rows.for_each(|(row, group)| self.add(&mut kept[group], bitmaps.value(row)));
            return Ok(());
        }
        let places = arguments[0].as_primitive::<Int64Type>();
        for (row, group) in rows {
            let place = places.value(row);
            if !(0..BITS).contains(&place) {
                return exec_err!(
                    "[INVALID_BITMAP_POSITION] The 0-indexed bitmap position {place} is out of bounds. The bitmap has {BITS} bits ({BYTES} bytes); take bitmap_bit_position()"
                );
            }
            kept[group].resize(BYTES, 0);
            kept[group][place as usize / 8] |= 1 << (place % 8);
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Vec<u8>]) -> Result<()> {
        let bitmaps = states[0].as_binary::<i32>();
        for (row, group) in rows.iter().filter(|(row, _)| !bitmaps.value(*row).is_empty()) {
            self.add(&mut kept[group], bitmaps.value(row));
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Vec<u8>>) -> Result<Vec<ArrayRef>> {
        Ok(vec![binaries(&kept)?])
    }

    fn evaluate(&self, mut kept: Vec<Vec<u8>>) -> Result<ArrayRef> {
        kept.iter_mut().for_each(|bitmap| bitmap.resize(BYTES, self.filling()));
        binaries(&kept)
    }

    fn bytes(&self, kept: &Vec<u8>) -> usize {
        kept.capacity()
    }
}
