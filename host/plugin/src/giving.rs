//! What a running call gives, checked as it comes.

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::FieldRef;
use tidemill_block::{Bounds, put_together};
use tidemill_core::{Given, Selection};

use crate::abi;
use crate::limits::{ARRAYS_MAX, BLOCK_ROWS, OUTPUT_BYTES_MAX, VALUES_MAX};

/// What the rows of a call have to be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The columns that are made.
    pub(crate) made: Vec<FieldRef>,
    /// Whether the output has columns of the input.
    pub(crate) is_passing: bool,
}

/// The rows of one call so far.
pub(crate) struct Giving {
    expected: Expected,
    input_rows: usize,
    bounds: Bounds,
    bytes_max: usize,
    bytes_left: usize,
    given: Vec<Given>,
}

impl Giving {
    pub(crate) fn new(expected: Expected, input_rows: usize) -> Giving {
        Giving::within(OUTPUT_BYTES_MAX, expected, input_rows)
    }

    /// The same for a call that is one of several, which may give so many bytes together.
    pub(crate) fn within(bytes: usize, expected: Expected, input_rows: usize) -> Giving {
        let bounds = Bounds { values: VALUES_MAX, arrays: ARRAYS_MAX };
        let bytes_max = bytes.min(OUTPUT_BYTES_MAX);
        Giving { expected, input_rows, bounds, bytes_max, bytes_left: bytes_max, given: Vec::new() }
    }

    /// How many bytes were given.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_max - self.bytes_left
    }

    pub(crate) fn given(self) -> Vec<Given> {
        self.given
    }

    /// Takes rows over. An error says what is wrong with them.
    pub(crate) fn take(
        &mut self,
        selection: abi::Selection,
        columns: Vec<abi::Column<Vec<u8>>>,
    ) -> Result<(), String> {
        let bytes = columns.iter().map(abi::Column::bytes).fold(0, usize::saturating_add);
        let bytes = bytes.saturating_add(selected_bytes(&selection));
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            format!("rows of more than {} bytes; one call may give no more", self.bytes_max)
        })?;
        let selection = self.selection(selection)?;
        let rows = selection.rows(self.input_rows);
        // Rows without columns are cut into blocks, too, and each is an entry of its own.
        self.count(rows)?;
        if columns.len() != self.expected.made.len() {
            return Err(format!(
                "{} columns, where {} are made",
                columns.len(),
                self.expected.made.len()
            ));
        }
        let made = self.expected.made.iter().zip(columns).map(|(field, column)| {
            let named = |reason: String| format!("column \"{}\": {reason}", field.name());
            let array = put_together(field.data_type(), column.into(), &mut self.bounds);
            let array = array.map_err(|error| named(error.to_string()))?;
            if array.len() != rows {
                return Err(named(format!("{} values for {rows} rows", array.len())));
            }
            match field.is_nullable() || array.null_count() == 0 {
                true => Ok(array),
                false => Err(named("a null, and it is declared NOT NULL".to_owned())),
            }
        });
        let made = made.collect::<Result<Vec<ArrayRef>, String>>()?;
        self.add_blocks(selection, &made, rows);
        Ok(())
    }

    fn count(&mut self, rows: usize) -> Result<(), String> {
        let values = self.bounds.values.checked_sub(rows as u64);
        let arrays = self.bounds.arrays.checked_sub(1);
        let (Some(values), Some(arrays)) = (values, arrays) else {
            return Err("more rows than one call may give".to_owned());
        };
        self.bounds = Bounds { values, arrays };
        Ok(())
    }

    fn selection(&self, selection: abi::Selection) -> Result<Selection, String> {
        let rows = self.input_rows;
        Ok(match selection {
            abi::Selection::Fresh(_) if self.expected.is_passing => {
                return Err(
                    "new rows, where columns of the input are passed; select rows of it".to_owned()
                );
            }
            abi::Selection::Fresh(count) => Selection::Fresh(count as usize),
            abi::Selection::All => Selection::All,
            abi::Selection::Kept(bits) if bits.len() == rows.div_ceil(8) => {
                let bits = BooleanBuffer::new(Buffer::from_vec(bits), 0, rows);
                Selection::Kept(BooleanArray::new(bits, None))
            }
            abi::Selection::Kept(bits) => {
                return Err(format!("{} bytes of marks for {rows} rows", bits.len()));
            }
            abi::Selection::Taken(indices) => {
                if let Some(beyond) = indices.iter().find(|index| **index as usize >= rows) {
                    return Err(format!("row {beyond} of the input, which has {rows}"));
                }
                Selection::Taken(UInt32Array::from(indices))
            }
        })
    }

    /// Adds the rows in blocks of a size that the host reckons with: a guest's own may be as long as a
    /// call may give values. No row is copied.
    fn add_blocks(&mut self, selection: Selection, made: &[ArrayRef], rows: usize) {
        if rows <= BLOCK_ROWS || matches!(selection, Selection::All | Selection::Kept(_)) {
            self.given.push(Given { selection, made: made.to_vec() });
            return;
        }
        for from in (0..rows).step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(rows - from);
            let selection = match &selection {
                Selection::Taken(indices) => Selection::Taken(indices.slice(from, count)),
                _ => Selection::Fresh(count),
            };
            let made = made.iter().map(|column| column.slice(from, count)).collect();
            self.given.push(Given { selection, made });
        }
    }
}

/// Bytes of what says which rows they are.
fn selected_bytes(selection: &abi::Selection) -> usize {
    match selection {
        abi::Selection::Fresh(_) | abi::Selection::All => 0,
        abi::Selection::Kept(bits) => bits.len(),
        abi::Selection::Taken(rows) => size_of_val(rows.as_slice()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field};
    use tidemill_block::take_apart;

    use super::*;

    fn giving(made: &[DataType], is_passing: bool, input_rows: usize) -> Giving {
        let made = made.iter().map(|ty| Arc::new(Field::new("n", ty.clone(), true))).collect();
        Giving::new(Expected { made, is_passing }, input_rows)
    }

    fn numbers(values: std::ops::Range<i64>) -> Vec<abi::Column<Vec<u8>>> {
        let column = take_apart(&Int64Array::from_iter_values(values)).unwrap();
        vec![abi::Column::owned(&column)]
    }

    #[test]
    fn rows_come_in_blocks_whatever_the_guest_made_of_them() {
        let mut giving = giving(&[DataType::Int64], false, 0);
        for range in [0..3, 3..3, 3..16_387, 16_387..20_000] {
            let rows = u32::try_from(range.end - range.start).unwrap();
            giving.take(abi::Selection::Fresh(rows), numbers(range)).unwrap();
        }
        let given = giving.given();
        let counts: Vec<usize> = given.iter().map(|given| given.selection.rows(0)).collect();
        assert_eq!(counts, [3, 0, 8_192, 8_192, 3_613]);
        let columns: Vec<&dyn arrow::array::Array> =
            given.iter().map(|given| given.made[0].as_ref()).collect();
        let all: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
        assert_eq!(&arrow::compute::concat(&columns).unwrap(), &all);
    }

    #[test]
    fn a_selection_is_of_the_rows_that_were_given() {
        let told = |selection| giving(&[], true, 9).take(selection, vec![]).unwrap_err();
        assert!(told(abi::Selection::Fresh(9)).contains("select rows of it"));
        assert_eq!(told(abi::Selection::Kept(vec![1])), "1 bytes of marks for 9 rows");
        assert_eq!(told(abi::Selection::Taken(vec![0, 9])), "row 9 of the input, which has 9");
        let mut giving = giving(&[], true, 9);
        giving.take(abi::Selection::Kept(vec![0b1000_0001, 0xff]), vec![]).unwrap();
        giving.take(abi::Selection::Taken(vec![8; 10_000]), vec![]).unwrap();
        let rows: Vec<usize> = giving.given().iter().map(|g| g.selection.rows(9)).collect();
        assert_eq!(rows, [3, 8_192, 1_808]);
    }

    #[test]
    fn columns_are_as_many_and_as_long_as_they_should_be() {
        let give =
            |columns| giving(&[DataType::Int64], false, 0).take(abi::Selection::Fresh(3), columns);
        give(numbers(0..3)).unwrap();
        assert_eq!(give(vec![]).unwrap_err(), "0 columns, where 1 are made");
        assert_eq!(give(numbers(0..2)).unwrap_err(), "column \"n\": 2 values for 3 rows");
        let mut strict = giving(&[DataType::Int64], false, 0);
        strict.expected.made = vec![Arc::new(Field::new("n", DataType::Int64, false))];
        let nulls = take_apart(&Int64Array::from(vec![Some(1), None])).unwrap();
        let told = strict.take(abi::Selection::Fresh(2), vec![abi::Column::owned(&nulls)]);
        assert_eq!(told.unwrap_err(), "column \"n\": a null, and it is declared NOT NULL");
    }

    #[test]
    fn what_a_call_gives_is_bounded_over_all_that_it_gives() {
        let fresh = || abi::Selection::Fresh(1 << 24);
        let mut bare = giving(&[], false, 0);
        (0..4).for_each(|_| bare.take(fresh(), vec![]).unwrap());
        assert_eq!(bare.take(fresh(), vec![]).unwrap_err(), "more rows than one call may give");
        let mut empty = giving(&[], false, 0);
        empty.bounds.arrays = 2;
        empty.take(abi::Selection::All, vec![]).unwrap();
        empty.take(abi::Selection::All, vec![]).unwrap();
        empty.take(abi::Selection::All, vec![]).unwrap_err();
        let mut full = giving(&[DataType::Int64], false, 0);
        (full.bytes_max, full.bytes_left) = (40, 40);
        full.take(abi::Selection::Fresh(3), numbers(0..3)).unwrap();
        let told = full.take(abi::Selection::Fresh(3), numbers(0..3)).unwrap_err();
        assert!(told.contains("more than 40 bytes"), "{told}");
        let expected = Expected { made: full.expected.made.clone(), is_passing: false };
        let mut rest = Giving::within(40, expected, 0);
        rest.take(abi::Selection::Fresh(3), numbers(0..3)).unwrap();
        assert_eq!(rest.bytes(), 24);
        rest.take(abi::Selection::Fresh(3), numbers(0..3)).unwrap_err();
        let mut chosen = giving(&[], true, 80);
        chosen.bytes_left = 25;
        chosen.take(abi::Selection::Kept(vec![0; 10]), vec![]).unwrap();
        chosen.take(abi::Selection::Taken(vec![0; 3]), vec![]).unwrap();
        chosen.take(abi::Selection::Taken(vec![0; 1]), vec![]).unwrap_err();
    }
}
