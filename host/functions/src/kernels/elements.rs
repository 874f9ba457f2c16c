//! Elements of arrays and maps: `array[index]`, `map[key]`, `element_at`, `get` and
//! `try_element_at`.
//!
//! As Spark's GetArrayItem and ElementAt in ANSI mode: an index beyond an array is an error, a key
//! that a map does not have is null.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::cast::{Casting, converted, zone_for};
use super::lists::aligned;
use super::lists::order::comparable;
use crate::parameters::tightest;

/// How an element is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `container[key]`: from 0.
    Subscript,
    /// `get(array, index)`: from 0, and null beyond.
    Get,
    /// `element_at(container, key)`: from 1, or from the end by negative indexes.
    ElementAt,
    /// `try_element_at(container, key)`: as that, and null beyond.
    TryElementAt,
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Element {
    access: Access,
    signature: Signature,
}

impl Element {
    fn new(access: Access) -> Element {
        Element { access, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// An element of an array or a map.
#[must_use]
pub fn element(access: Access, of: Expr, key: Expr) -> Expr {
    ScalarUDF::new_from_impl(Element::new(access)).call(vec![of, key])
}

/// Key and value types of a map.
fn entry_types(entries: &DataType) -> Option<(&DataType, &DataType)> {
    match entries {
        DataType::Struct(fields) if fields.len() == 2 => {
            Some((fields[0].data_type(), fields[1].data_type()))
        }
        _ => None,
    }
}

impl ScalarUDFImpl for Element {
    fn name(&self) -> &str {
        match self.access {
            Access::Subscript => "element",
            Access::Get => "get",
            Access::ElementAt => "element_at",
            Access::TryElementAt => "try_element_at",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [DataType::List(_), index] if index.is_integer() || index.is_null() => {
                Ok(vec![arguments[0].clone(), DataType::Int64])
            }
            [DataType::Map(entries, _), of] if self.access != Access::Get => {
                match entry_types(entries.data_type()) {
                    Some(_) => Ok(vec![arguments[0].clone(), of.clone()]),
                    None => internal_err!("a map without keys"),
                }
            }
            _ => {
                plan_err!("{}() takes an array and a whole number, or a map and a key", self.name())
            }
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &arguments[0] {
            DataType::List(item) => Ok(item.data_type().clone()),
            DataType::Map(entries, _) => match entry_types(entries.data_type()) {
                Some((_, value)) => Ok(value.clone()),
                None => internal_err!("a map without values"),
            },
            other => plan_err!("{}(): {other} has no elements", self.name()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [container, key] = arguments.args.as_slice() else {
            return internal_err!("{}() takes two arguments", self.name());
        };
        let are_scalars =
            matches!((container, key), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if are_scalars { 1 } else { arguments.number_rows };
        let (container, key) = (container.to_array(rows)?, key.to_array(rows)?);
        let elements = match container.data_type() {
            DataType::Map(..) => of_maps(&container, &key, &arguments.config_options)?,
            _ => self.of_arrays(&container, &key)?,
        };
        if are_scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&elements, 0)?));
        }
        Ok(ColumnarValue::Array(elements))
    }
}

impl Element {
    fn of_arrays(&self, arrays: &ArrayRef, indexes: &ArrayRef) -> Result<ArrayRef> {
        let arrays = arrays.as_list::<i32>();
        let indexes = cast(indexes, &DataType::Int64)?;
        let indexes = indexes.as_primitive::<Int64Type>();
        let offsets = arrays.value_offsets();
        let mut places = Vec::with_capacity(arrays.len());
        for row in 0..arrays.len() {
            if arrays.is_null(row) || indexes.is_null(row) {
                places.push(None);
                continue;
            }
            let len = i64::from(offsets[row + 1] - offsets[row]);
            let place = self.place(indexes.value(row), len)?;
            places.push(place.map(|place| i64::from(offsets[row]) + place));
        }
        Ok(take(arrays.values(), &Int64Array::from(places), None)?)
    }

    /// Where an index of an array of this length is, from 0; none if beyond.
    fn place(&self, index: i64, len: i64) -> Result<Option<i64>> {
        let place = match self.access {
            Access::Subscript | Access::Get => index,
            _ if index == 0 => {
                return exec_err!(
                    "[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1)"
                );
            }
            _ if index < 0 => index + len,
            _ => index - 1,
        };
        if (0..len).contains(&place) {
            return Ok(Some(place));
        }
        match self.access {
            Access::Get | Access::TryElementAt => Ok(None),
            Access::Subscript => exec_err!(
                "[INVALID_ARRAY_INDEX] The index {index} is out of bounds. The array has {len} elements. Use the SQL function `get()` to tolerate accessing element at invalid index and return NULL instead"
            ),
            Access::ElementAt => exec_err!(
                "[INVALID_ARRAY_INDEX_IN_ELEMENT_AT] The index {index} is out of bounds. The array has {len} elements. Use `try_element_at` to tolerate accessing element at invalid index and return NULL instead"
            ),
        }
    }
}

/// Keys are compared in the type that has room for both.
fn of_maps(maps: &ArrayRef, keys: &ArrayRef, session: &ConfigOptions) -> Result<ArrayRef> {
    let maps = maps.as_map();
    let (known, wanted) = (maps.keys().data_type(), keys.data_type());
    let common = tightest(known, wanted, true).unwrap_or_else(|| known.clone());
    let zone = zone_for([known, wanted, &common], session)?;
    let of_map = converted(maps.keys(), &common, Casting::strict(zone))?;
    let keys = converted(keys, &common, Casting::strict(zone))?;
    let [known, wanted] = comparable([&aligned(&of_map, &common)?, &keys])?;
    let offsets = maps.value_offsets();
    let place = |row: usize| {
        if maps.is_null(row) || keys.is_null(row) {
            return None;
        }
        let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
        entries.find(|entry| known.row(*entry) == wanted.row(row)).map(|entry| entry as u64)
    };
    let places: UInt64Array = (0..maps.len()).map(place).collect();
    Ok(take(maps.values(), &places, None)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    #[test]
    fn indexes_are_those_of_spark() {
        let place = |access, index| Element::new(access).place(index, 2);
        assert_eq!(place(Access::Subscript, 0).unwrap(), Some(0));
        assert_eq!(place(Access::ElementAt, 1).unwrap(), Some(0));
        assert_eq!(place(Access::ElementAt, -1).unwrap(), Some(1));
        assert_eq!(place(Access::Get, 5).unwrap(), None);
        assert_eq!(place(Access::TryElementAt, 3).unwrap(), None);
        let error = place(Access::Subscript, 3).unwrap_err().to_string();
        assert!(
            error.contains("The index 3 is out of bounds. The array has 2 elements"),
            "{error}"
        );
        assert!(place(Access::Subscript, -1).is_err());
        assert!(place(Access::TryElementAt, 0).is_err());
    }
}
