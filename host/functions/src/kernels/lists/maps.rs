//! Maps: put together, and taken apart.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::ScalarUDF;
use hashbrown::HashSet;
use tidemill_codec::format_cell;
use tidemill_time::UTC;

use super::order::comparable;
use super::{Lists, Picked, Place, aligned, item, list_of, picked};
use crate::kernels::kernel::kernel;

/// The type of a map.
pub(crate) fn map_of(key: DataType, value: DataType) -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// The fields of a map's key and value.
pub(crate) fn entry(map: &DataType) -> Result<(&FieldRef, &FieldRef)> {
    match map {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Ok((&fields[0], &fields[1])),
            other => internal_err!("{other} is no entry of a map"),
        },
        other => internal_err!("{other} is no map"),
    }
}

/// Maps of keys and values. A key is there once, and not null.
pub(crate) fn checked(
    kind: &DataType,
    offsets: OffsetBuffer<i32>,
    (keys, values): (ArrayRef, ArrayRef),
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if keys.logical_null_count() > 0 {
        return exec_err!("[NULL_MAP_KEY] Cannot use null as map key");
    }
    let [rows] = comparable([&keys])?;
    let mut seen = HashSet::new();
    for range in offsets.windows(2) {
        seen.clear();
        for place in range[0] as usize..range[1] as usize {
            if !seen.insert(rows.row(place)) {
                return exec_err!(
                    "[DUPLICATED_MAP_KEY] Duplicate map key {} was found, please check the input data",
                    format_cell(&keys, place, UTC)
                );
            }
        }
    }
    of_columns(kind, offsets, (keys, values), nulls)
}

/// The same of keys that are known to be there once.
pub(crate) fn of_columns(
    kind: &DataType,
    offsets: OffsetBuffer<i32>,
    (keys, values): (ArrayRef, ArrayRef),
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Map(field, is_sorted) = kind else {
        return internal_err!("{kind} is no map");
    };
    let DataType::Struct(fields) = field.data_type() else {
        return internal_err!("a map without entries");
    };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *is_sorted)?))
}

/// A map without entries, of no type.
pub(crate) fn empty() -> Result<ArrayRef> {
    let nothing = || new_empty_array(&DataType::Null);
    let kind = map_of(DataType::Null, DataType::Null);
    checked(&kind, OffsetBuffer::from_lengths([0]), (nothing(), nothing()), None)
}

/// Maps of places of keys, and of values.
fn put_together(
    kind: &DataType,
    lists: Picked,
    sources: (&[&ArrayRef], &[&ArrayRef]),
    value_places: Option<&[Place]>,
) -> Result<ArrayRef> {
    let (key, value) = entry(kind)?;
    let (offsets, places, nulls) = lists.into_parts();
    let keys = picked(&places, key.data_type(), sources.0)?;
    let values = picked(value_places.unwrap_or(&places), value.data_type(), sources.1)?;
    checked(kind, offsets, (keys, values), nulls)
}

/// `map(key, value, …)`.
pub(crate) fn map() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| match kinds {
        [key, value, ..] => Ok(map_of(key.clone(), value.clone())),
        _ => Ok(map_of(DataType::Null, DataType::Null)),
    };
    kernel("map", gives, |columns, kind| {
        let (key, value) = entry(kind)?;
        let rows = columns.first().map_or(1, |column| column.len());
        let of = |first: usize, kind: &DataType| {
            let columns = columns.iter().skip(first).step_by(2);
            columns.map(|column| aligned(column, kind)).collect::<Result<Vec<_>>>()
        };
        let (keys, values) = (of(0, key.data_type())?, of(1, value.data_type())?);
        let mut lists = Picked::new(rows);
        for row in 0..rows {
            (0..keys.len()).for_each(|source| lists.push((source, row)));
            lists.close()?;
        }
        let (keys, values): (Vec<_>, Vec<_>) = (keys.iter().collect(), values.iter().collect());
        put_together(kind, lists, (&keys, &values), None)
    })
}

fn of_lists(kinds: &[DataType]) -> Result<DataType> {
    let kind = |place: usize| {
        Ok::<_, datafusion::error::DataFusionError>(item(&kinds[place])?.data_type().clone())
    };
    Ok(map_of(kind(0)?, kind(1)?))
}

/// `map_from_arrays(keys, values)`.
pub(crate) fn map_from_arrays() -> Arc<ScalarUDF> {
    kernel("map_from_arrays", of_lists, |columns, kind| {
        let (key, value) = entry(kind)?;
        let keys = Lists::of(&columns[0], key.data_type())?;
        let values = Lists::of(&columns[1], value.data_type())?;
        let (mut lists, mut places) = (Picked::new(keys.len()), Vec::new());
        for row in 0..keys.len() {
            if keys.is_null(row) || values.is_null(row) {
                lists.close_null()?;
                continue;
            }
            if keys.range(row).len() != values.range(row).len() {
                return exec_err!(
                    "[_LEGACY_ERROR_TEMP_2128] The key array and value array of MapData must have the same length"
                );
            }
            lists.extend(0, keys.range(row));
            places.extend(values.range(row).map(|place| (0, place)));
            lists.close()?;
        }
        put_together(kind, lists, (&[&keys.values], &[&values.values]), Some(&places))
    })
}

/// `map_from_entries(array of structs)`: null where one of them is.
pub(crate) fn map_from_entries() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| match item(&kinds[0])?.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => {
            Ok(map_of(fields[0].data_type().clone(), fields[1].data_type().clone()))
        }
        other => internal_err!("{other} is no entry"),
    };
    kernel("map_from_entries", gives, |columns, kind| {
        let (key, value) = entry(kind)?;
        let entries = Lists::as_they_are(&columns[0])?;
        let structs = entries.values.as_struct();
        let mut lists = Picked::new(entries.len());
        for row in 0..entries.len() {
            let places = entries.range(row);
            if entries.is_null(row) || places.clone().any(|place| structs.is_null(place)) {
                lists.close_null()?;
                continue;
            }
            lists.extend(0, places);
            lists.close()?;
        }
        let keys = aligned(structs.column(0), key.data_type())?;
        let values = aligned(structs.column(1), value.data_type())?;
        put_together(kind, lists, (&[&keys], &[&values]), None)
    })
}

/// `map_concat(map, …)`.
pub(crate) fn map_concat() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| {
        let (key, value) = entry(&kinds[0])?;
        Ok(map_of(key.data_type().clone(), value.data_type().clone()))
    };
    kernel("map_concat", gives, |columns, kind| {
        let (key, value) = entry(kind)?;
        let maps: Vec<&MapArray> = columns.iter().map(AsArray::as_map).collect();
        let keys = maps.iter().map(|map| aligned(map.keys(), key.data_type()));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let values = maps.iter().map(|map| aligned(map.values(), value.data_type()));
        let values = values.collect::<Result<Vec<_>>>()?;
        let rows = columns[0].len();
        let mut lists = Picked::new(rows);
        for row in 0..rows {
            if maps.iter().any(|map| map.is_null(row)) {
                lists.close_null()?;
                continue;
            }
            for (source, map) in maps.iter().enumerate() {
                let offsets = map.value_offsets();
                lists.extend(source, offsets[row] as usize..offsets[row + 1] as usize);
            }
            lists.close()?;
        }
        let (keys, values): (Vec<_>, Vec<_>) = (keys.iter().collect(), values.iter().collect());
        put_together(kind, lists, (&keys, &values), None)
    })
}

/// What becomes of the entries of maps, in lists as long as those.
fn unfolded(
    columns: &[ArrayRef],
    kind: &DataType,
    values: impl Fn(&MapArray) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let map = columns[0].as_map();
    let values = aligned(&values(map)?, item(kind)?.data_type())?;
    let field = Arc::clone(item(kind)?);
    let lists = ListArray::try_new(field, map.offsets().clone(), values, map.nulls().cloned())?;
    Ok(Arc::new(lists))
}

/// `map_keys(map)`.
pub(crate) fn map_keys() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| Ok(list_of(entry(&kinds[0])?.0.data_type().clone()));
    kernel("map_keys", gives, |columns, kind| {
        unfolded(columns, kind, |map| Ok(Arc::clone(map.keys())))
    })
}

/// `map_values(map)`.
pub(crate) fn map_values() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| Ok(list_of(entry(&kinds[0])?.1.data_type().clone()));
    kernel("map_values", gives, |columns, kind| {
        unfolded(columns, kind, |map| Ok(Arc::clone(map.values())))
    })
}

/// `map_entries(map)`.
pub(crate) fn map_entries() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| {
        let (key, value) = entry(&kinds[0])?;
        let fields = vec![
            Field::new("key", key.data_type().clone(), false),
            Field::new("value", value.data_type().clone(), true),
        ];
        let pair = DataType::Struct(Fields::from(fields));
        Ok(DataType::List(Arc::new(Field::new("item", pair, false))))
    };
    kernel("map_entries", gives, |columns, kind| {
        let DataType::Struct(fields) = item(kind)?.data_type() else {
            return internal_err!("map_entries() gives structs");
        };
        unfolded(columns, kind, |map| {
            let columns = vec![Arc::clone(map.keys()), Arc::clone(map.values())];
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
        })
    })
}
