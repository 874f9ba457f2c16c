//! Arrays and maps: columns of lists of values, taken apart and put together by places.

pub(crate) mod edit;
pub(crate) mod find;
pub(crate) mod join;
pub(crate) mod maps;
pub(crate) mod order;
pub(crate) mod sequence;
pub(crate) mod sets;
pub(crate) mod shape;
pub(crate) mod shuffle;
pub(crate) mod sort;
pub(crate) mod text_maps;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, NullBufferBuilder, UInt32Array, new_empty_array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err, internal_err};

/// The type of an array's values.
pub(crate) fn item(list: &DataType) -> Result<&FieldRef> {
    match list {
        DataType::List(item) => Ok(item),
        other => internal_err!("{other} is no array"),
    }
}

/// An array of values that may be null.
pub(crate) fn list_of(kind: DataType) -> DataType {
    DataType::new_list(kind, true)
}

/// What an array of the first argument's values is, whose values may be null.
pub(crate) fn as_first_list(arguments: &[DataType]) -> Result<DataType> {
    match arguments.first() {
        Some(DataType::List(item)) => Ok(list_of(item.data_type().clone())),
        _ => internal_err!("there is no array"),
    }
}

/// A column as one of a type, of which it differs in what may be null at most.
pub(crate) fn aligned(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    if column.data_type().is_null() {
        return Ok(new_null_array(to, column.len()));
    }
    Ok(cast(column, to)?)
}

/// A column of lists.
pub(crate) struct Lists {
    offsets: OffsetBuffer<i32>,
    pub(crate) values: ArrayRef,
    nulls: Option<NullBuffer>,
}

impl Lists {
    /// Those of a column, whose values are of a type.
    pub(crate) fn of(column: &ArrayRef, item: &DataType) -> Result<Lists> {
        let lists = Lists::as_they_are(column)?;
        Ok(Lists { values: aligned(&lists.values, item)?, ..lists })
    }

    /// Those of a column.
    pub(crate) fn as_they_are(column: &ArrayRef) -> Result<Lists> {
        let Some(lists) = column.as_list_opt::<i32>() else {
            return internal_err!("{} is no array", column.data_type());
        };
        let (_, offsets, values, nulls) = lists.clone().into_parts();
        Ok(Lists { offsets, values, nulls })
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The places of a row's values.
    pub(crate) fn range(&self, row: usize) -> Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }
}

/// Where a value is: in which column, and at which place of it.
pub(crate) type Place = (usize, usize);

/// The place of a null.
pub(crate) const NULL: Place = (usize::MAX, 0);

/// Lists that are put together of values of other columns.
pub(crate) struct Picked {
    offsets: Vec<i32>,
    places: Vec<Place>,
    nulls: NullBufferBuilder,
}

impl Picked {
    pub(crate) fn new(rows: usize) -> Picked {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Picked { offsets, places: Vec::new(), nulls: NullBufferBuilder::new(rows) }
    }

    /// Adds a value to the list.
    pub(crate) fn push(&mut self, place: Place) {
        self.places.push(place);
    }

    /// Adds the values at places of one column.
    pub(crate) fn extend(&mut self, source: usize, places: impl IntoIterator<Item = usize>) {
        self.places.extend(places.into_iter().map(|place| (source, place)));
    }

    /// Ends a list.
    ///
    /// # Errors
    /// There are more values than a column has room for.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.nulls.append_non_null();
        self.end()
    }

    /// Ends a list that is null.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn close_null(&mut self) -> Result<()> {
        self.nulls.append_null();
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        match i32::try_from(self.places.len()) {
            Ok(end) => self.offsets.push(end),
            Err(_) => return exec_err!("the arrays of a block of rows have too many values"),
        }
        Ok(())
    }

    /// The lists, of a type.
    pub(crate) fn finish(mut self, kind: &DataType, sources: &[&ArrayRef]) -> Result<ArrayRef> {
        let field = Arc::clone(item(kind)?);
        let values = picked(&self.places, field.data_type(), sources)?;
        let offsets = OffsetBuffer::new(self.offsets.into());
        Ok(Arc::new(ListArray::try_new(field, offsets, values, self.nulls.finish())?))
    }

    /// The offsets, the places and what is null.
    pub(crate) fn into_parts(mut self) -> (OffsetBuffer<i32>, Vec<Place>, Option<NullBuffer>) {
        (OffsetBuffer::new(self.offsets.into()), self.places, self.nulls.finish())
    }
}

/// The values at places of columns, which are of one type.
pub(crate) fn picked(places: &[Place], kind: &DataType, sources: &[&ArrayRef]) -> Result<ArrayRef> {
    if places.is_empty() {
        return Ok(new_empty_array(kind));
    }
    if kind.is_null() {
        return Ok(new_null_array(kind, places.len()));
    }
    let has_nulls = places.iter().any(|(source, _)| *source == NULL.0);
    if !has_nulls && let [source] = sources {
        let places = places.iter().map(|(_, place)| *place as u32);
        return Ok(arrow::compute::take(source, &UInt32Array::from_iter_values(places), None)?);
    }
    let null = new_null_array(kind, 1);
    let mut columns: Vec<&dyn Array> = sources.iter().map(|source| source.as_ref()).collect();
    columns.push(null.as_ref());
    let last = columns.len() - 1;
    let places: Vec<Place> =
        places.iter().map(|(source, place)| ((*source).min(last), *place)).collect();
    Ok(interleave(&columns, &places)?)
}
