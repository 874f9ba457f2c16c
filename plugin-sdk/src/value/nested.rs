//! Types whose values hold others: lists, maps, and the structs of `#[derive(Row)]`.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, NullBufferBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::Result;
use crate::value::{FromColumn, IntoColumn, ScalarResult};

/// The column in another one, whose type is known to be `T`'s.
fn inner<'a, T: FromColumn<'a>>(column: &'a dyn Array) -> &'a T::Column {
    column.as_any().downcast_ref().expect("the type of the whole column has been compared")
}

/// Whether there is a place for each null in these of the values, and in all that they hold.
fn takes_all<'a, T: FromColumn<'a>>(
    values: &'a dyn Array,
    mut used: impl Iterator<Item = usize>,
) -> bool {
    let has_nulls = !T::NULLABLE && values.null_count() > 0;
    if has_nulls && used.any(|value| values.is_null(value)) {
        return false;
    }
    T::takes(inner::<T>(values))
}

/// The values within the rows that are not null.
fn used<'a>(column: &'a dyn Array, offsets: &'a [i32]) -> impl Iterator<Item = usize> + 'a {
    let rows = (0..column.len()).filter(|row| column.is_valid(*row));
    rows.flat_map(|row| offsets[row] as usize..offsets[row + 1] as usize)
}

/// Rows of several values each, one after the other.
pub struct Several<B> {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    values: B,
}

impl<B> Several<B> {
    fn new(rows: usize, values: B) -> Several<B> {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Several { offsets, nulls: NullBufferBuilder::new(rows), values }
    }

    /// Appends a row that has `count` values.
    fn append(&mut self, count: Option<usize>) {
        let end = self.offsets[self.offsets.len() - 1] as usize + count.unwrap_or(0);
        // They are in memory, each with some bytes of its own.
        self.offsets.push(i32::try_from(end).expect("fewer than 2^31 values in a column"));
        self.nulls.append(count.is_some());
    }
}

impl<'a, T: FromColumn<'a>> FromColumn<'a> for Vec<T> {
    type Column = ListArray;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::List(item_of(T::data_type()))
    }

    fn get(column: &'a ListArray, row: usize) -> Vec<T> {
        let items = inner::<T>(column.values());
        let offsets = column.value_offsets();
        (offsets[row] as usize..offsets[row + 1] as usize).map(|item| T::get(items, item)).collect()
    }

    fn takes(column: &'a ListArray) -> bool {
        takes_all::<T>(column.values(), used(column, column.value_offsets()))
    }
}

impl<T: IntoColumn> IntoColumn for Vec<T> {
    type Builder = Several<T::Builder>;

    fn data_type() -> DataType {
        DataType::List(item_of(T::data_type()))
    }

    fn builder(rows: usize) -> Self::Builder {
        Several::new(rows, T::builder(rows))
    }

    fn append(builder: &mut Self::Builder, value: Option<&Self>) {
        for item in value.into_iter().flatten() {
            T::append(&mut builder.values, Some(item));
        }
        builder.append(value.map(Vec::len));
    }

    fn finish(mut builder: Self::Builder) -> ArrayRef {
        let offsets = OffsetBuffer::new(builder.offsets.into());
        let items = T::finish(builder.values);
        Arc::new(ListArray::new(item_of(T::data_type()), offsets, items, builder.nulls.finish()))
    }
}

/// Items where they are, for numbers, which lie one after the other.
macro_rules! slice_type {
    ($($item:ty),*) => { $(
        impl<'a> FromColumn<'a> for &'a [$item] {
            type Column = ListArray;
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                <Vec<$item> as FromColumn>::data_type()
            }

            fn get(column: &'a ListArray, row: usize) -> &'a [$item] {
                let offsets = column.value_offsets();
                let items = inner::<$item>(column.values()).values();
                &items[offsets[row] as usize..offsets[row + 1] as usize]
            }

            fn takes(column: &'a ListArray) -> bool {
                <Vec<$item> as FromColumn>::takes(column)
            }
        }
    )* };
}

slice_type!(f64, f32, i64, i32);

fn item_of(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("item", data_type, true))
}

impl<T: IntoColumn> ScalarResult for Vec<T> {
    type Value = Vec<T>;

    fn into_value(self) -> Result<Option<Vec<T>>> {
        Ok(Some(self))
    }
}

/// A map in Rust is a MAP in SQL.
macro_rules! map_type {
    ($map:ident, $($key:tt)+) => {
        impl<'a, K: FromColumn<'a> + $($key)+, V: FromColumn<'a>> FromColumn<'a> for $map<K, V> {
            type Column = MapArray;
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                map_of(K::data_type(), V::data_type())
            }

            fn get(column: &'a MapArray, row: usize) -> $map<K, V> {
                let (keys, values) = (inner::<K>(column.keys()), inner::<V>(column.values()));
                let offsets = column.value_offsets();
                let entries = offsets[row] as usize..offsets[row + 1] as usize;
                entries.map(|entry| (K::get(keys, entry), V::get(values, entry))).collect()
            }

            fn takes(column: &'a MapArray) -> bool {
                let used = || used(column, column.value_offsets());
                takes_all::<K>(column.keys(), used()) && takes_all::<V>(column.values(), used())
            }
        }

        impl<K: IntoColumn + $($key)+, V: IntoColumn> IntoColumn for $map<K, V> {
            type Builder = Several<(K::Builder, V::Builder)>;

            fn data_type() -> DataType {
                map_of(K::data_type(), V::data_type())
            }

            fn builder(rows: usize) -> Self::Builder {
                Several::new(rows, (K::builder(rows), V::builder(rows)))
            }

            fn append(builder: &mut Self::Builder, value: Option<&Self>) {
                for (key, value) in value.into_iter().flatten() {
                    K::append(&mut builder.values.0, Some(key));
                    V::append(&mut builder.values.1, Some(value));
                }
                builder.append(value.map($map::len));
            }

            fn finish(builder: Self::Builder) -> ArrayRef {
                let (keys, values) = builder.values;
                let entries = [K::finish(keys), V::finish(values)];
                finish_map(entries, builder.offsets, builder.nulls)
            }
        }

        impl<K: IntoColumn + $($key)+, V: IntoColumn> ScalarResult for $map<K, V> {
            type Value = $map<K, V>;

            fn into_value(self) -> Result<Option<$map<K, V>>> {
                Ok(Some(self))
            }
        }
    };
}

map_type!(BTreeMap, Ord);
map_type!(HashMap, Eq + Hash);

fn entries_of(key: DataType, value: DataType) -> Fields {
    Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)])
}

fn map_of(key: DataType, value: DataType) -> DataType {
    let entries = DataType::Struct(entries_of(key, value));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

fn finish_map(entries: [ArrayRef; 2], offsets: Vec<i32>, mut nulls: NullBufferBuilder) -> ArrayRef {
    let fields = entries_of(entries[0].data_type().clone(), entries[1].data_type().clone());
    let entries = StructArray::new(fields, entries.to_vec(), None);
    let field = Field::new("entries", entries.data_type().clone(), false);
    let offsets = OffsetBuffer::new(offsets.into());
    Arc::new(MapArray::new(Arc::new(field), offsets, entries, nulls.finish(), false))
}

/// The column of a struct's member. What `#[derive(Row)]` calls, as the functions below.
#[doc(hidden)]
pub fn member<'a, T: FromColumn<'a>>(column: &'a StructArray, index: usize) -> &'a T::Column {
    inner::<T>(column.column(index))
}

/// Whether there is a place for each null of a struct's member.
#[doc(hidden)]
pub fn takes_member<'a, T: FromColumn<'a>>(column: &'a StructArray, index: usize) -> bool {
    let used = (0..column.len()).filter(|row| column.is_valid(*row));
    takes_all::<T>(column.column(index), used)
}

/// The type of a struct.
#[doc(hidden)]
#[must_use]
pub fn struct_of(members: &[(&str, DataType)]) -> DataType {
    let member = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    DataType::Struct(members.iter().map(member).collect())
}

/// A column of structs.
#[doc(hidden)]
pub fn finish_struct(
    data_type: &DataType,
    members: Vec<ArrayRef>,
    mut nulls: NullBufferBuilder,
) -> ArrayRef {
    let DataType::Struct(fields) = data_type else { unreachable!("{data_type} is of a struct") };
    Arc::new(StructArray::new(fields.clone(), members, nulls.finish()))
}
