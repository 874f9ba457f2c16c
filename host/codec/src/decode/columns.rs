//! Columns that grow by a value a row and can take the last row back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array,
    ListArray, MapArray, NullBufferBuilder, PrimitiveArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, FieldRef, Fields, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit,
};

use super::slow::Value;

/// Why building an array cannot fail: types and lengths are the column's own.
const WELL_FORMED: &str = "a column's buffers have its type and length";

pub(crate) struct Column {
    data_type: DataType,
    pub(crate) values: Values,
    nulls: NullBufferBuilder,
    /// Rows, which the builder of the nulls knows too, but not as fast.
    len: usize,
}

pub(crate) enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Date(Vec<i32>),
    /// Microseconds.
    Timestamp(Vec<i64>),
    Text(Bytes),
    Binary(Bytes),
    List(Vec<i32>, Box<Column>),
    Struct(Vec<Column>),
    /// Keys and values.
    Map(Vec<i32>, Box<[Column; 2]>),
}

/// Values of any length, one after the other.
pub(crate) struct Bytes {
    /// Where each value ends, after a 0.
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Bytes {
    fn new() -> Bytes {
        Bytes { ends: vec![0], bytes: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        // The decoder takes far fewer bytes than an i32 counts before it is emptied.
        self.ends.push(self.bytes.len() as i32);
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.bytes.truncate(last(&self.ends) as usize);
    }

    /// Takes the values out, and keeps room for as many again.
    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let bytes = take(&mut self.bytes);
        (take_offsets(&mut self.ends), Buffer::from_vec(bytes))
    }
}

impl Column {
    /// A column of a type that [`check_type`] took.
    pub(crate) fn new(data_type: &DataType) -> Column {
        let boxed = |field: &FieldRef| Box::new(Column::new(field.data_type()));
        let values = match data_type {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(..) => Values::Decimal(Vec::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(..) => Values::Timestamp(Vec::new()),
            DataType::Binary => Values::Binary(Bytes::new()),
            DataType::List(item) => Values::List(vec![0], boxed(item)),
            DataType::Struct(fields) => {
                Values::Struct(fields.iter().map(|field| Column::new(field.data_type())).collect())
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) => {
                    let columns = [0, 1].map(|i| Column::new(pair[i].data_type()));
                    Values::Map(vec![0], Box::new(columns))
                }
                _ => Values::Text(Bytes::new()),
            },
            _ => Values::Text(Bytes::new()),
        };
        Column { data_type: data_type.clone(), values, nulls: NullBufferBuilder::new(0), len: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Says that the value which was just added to `values` is there.
    #[inline]
    pub(crate) fn set_valid(&mut self) {
        self.nulls.append_non_null();
        self.len += 1;
    }

    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(bits) => bits.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Text(bytes) | Values::Binary(bytes) => bytes.push(b""),
            Values::List(ends, _) | Values::Map(ends, _) => ends.push(last(ends)),
            Values::Struct(children) => children.iter_mut().for_each(Column::push_null),
        }
        self.nulls.append_null();
        self.len += 1;
    }

    /// Adds a value of the column's type. What is of another type is a null.
    pub(crate) fn push(&mut self, value: Value) {
        match (&mut self.values, value) {
            (Values::Boolean(bits), Value::Bool(value)) => bits.append(value),
            (Values::Int8(values), Value::Int(value)) => values.push(value as i8),
            (Values::Int16(values), Value::Int(value)) => values.push(value as i16),
            (Values::Int32(values) | Values::Date(values), Value::Int(value)) => {
                values.push(value as i32);
            }
            (Values::Int64(values) | Values::Timestamp(values), Value::Int(value)) => {
                values.push(value);
            }
            (Values::Float32(values), Value::Float(value)) => values.push(value as f32),
            (Values::Float64(values), Value::Float(value)) => values.push(value),
            (Values::Decimal(values), Value::Decimal(value)) => values.push(value),
            (Values::Text(bytes), Value::Text(value)) => bytes.push(value.as_bytes()),
            (Values::Binary(bytes), Value::Bytes(value)) => bytes.push(&value),
            (Values::List(ends, child), Value::List(items)) => {
                items.into_iter().for_each(|item| child.push(item));
                ends.push(child.len() as i32);
            }
            (Values::Struct(children), Value::Struct(row)) => {
                children.iter_mut().zip(row).for_each(|(child, value)| child.push(value));
            }
            (Values::Map(ends, pair), Value::Map(entries)) => {
                for (key, value) in entries {
                    pair[0].push(key);
                    pair[1].push(value);
                }
                ends.push(pair[0].len() as i32);
            }
            _ => return self.push_null(),
        }
        self.set_valid();
    }

    /// Takes back all but the first `len` rows; there are at least so many.
    pub(crate) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Boolean(bits) => bits.truncate(len),
            Values::Int8(values) => values.truncate(len),
            Values::Int16(values) => values.truncate(len),
            Values::Int32(values) | Values::Date(values) => values.truncate(len),
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal(values) => values.truncate(len),
            Values::Text(bytes) | Values::Binary(bytes) => bytes.truncate(len),
            Values::List(ends, child) => {
                ends.truncate(len + 1);
                child.truncate(last(ends) as usize);
            }
            Values::Struct(children) => children.iter_mut().for_each(|child| child.truncate(len)),
            Values::Map(ends, pair) => {
                ends.truncate(len + 1);
                pair.iter_mut().for_each(|child| child.truncate(last(ends) as usize));
            }
        }
        self.nulls.truncate(len);
        self.len = len;
    }

    /// Gives the rows and leaves the column empty, with room for as many again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let len = std::mem::take(&mut self.len);
        let nulls = self.nulls.finish();
        match &mut self.values {
            Values::Boolean(bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls),
            Values::Decimal(values) => {
                let array = Decimal128Array::new(ScalarBuffer::from(take(values)), nulls);
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            Values::Date(values) => {
                Arc::new(Date32Array::new(ScalarBuffer::from(take(values)), nulls))
            }
            Values::Timestamp(values) => {
                let array = TimestampMicrosecondArray::new(ScalarBuffer::from(take(values)), nulls);
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            Values::Text(bytes) => {
                let (offsets, bytes) = bytes.take();
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Values::Binary(bytes) => {
                let (offsets, bytes) = bytes.take();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Values::List(ends, child) => {
                let DataType::List(item) = &self.data_type else { unreachable!("{WELL_FORMED}") };
                let offsets = take_offsets(ends);
                Arc::new(ListArray::new(item.clone(), offsets, child.finish(), nulls))
            }
            Values::Struct(children) => {
                let DataType::Struct(fields) = &self.data_type else {
                    unreachable!("{WELL_FORMED}")
                };
                let arrays = children.iter_mut().map(Column::finish).collect();
                Arc::new(struct_array(fields, arrays, len, nulls))
            }
            Values::Map(ends, pair) => {
                let DataType::Map(entries, ordered) = &self.data_type else {
                    unreachable!("{WELL_FORMED}")
                };
                let DataType::Struct(fields) = entries.data_type() else {
                    unreachable!("{WELL_FORMED}")
                };
                let len = pair[0].len();
                let arrays = pair.iter_mut().map(Column::finish).collect();
                let inner = struct_array(fields, arrays, len, None);
                let offsets = take_offsets(ends);
                Arc::new(MapArray::new(entries.clone(), offsets, inner, nulls, *ordered))
            }
        }
    }
}

/// A struct array, of no fields too.
pub(crate) fn struct_array(
    fields: &Fields,
    arrays: Vec<ArrayRef>,
    len: usize,
    nulls: Option<NullBuffer>,
) -> StructArray {
    if fields.is_empty() {
        return StructArray::new_empty_fields(len, nulls);
    }
    StructArray::new(fields.clone(), arrays, nulls)
}

/// Whether JSON can be read as this type; if not, which part of it is the trouble.
pub(crate) fn check_type(data_type: &DataType) -> Result<(), DataType> {
    use DataType as T;
    match data_type {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 => Ok(()),
        T::Utf8 | T::Binary | T::Date32 | T::Decimal128(..) => Ok(()),
        T::Timestamp(TimeUnit::Microsecond, _) => Ok(()),
        T::List(item) => check_type(item.data_type()),
        T::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) if pair.len() == 2 && pair[0].data_type() == &T::Utf8 => {
                check_type(pair[1].data_type())
            }
            _ => Err(data_type.clone()),
        },
        _ => Err(data_type.clone()),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(take(values)), nulls))
}

/// The values, and room for as many again in their place.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    std::mem::replace(values, Vec::with_capacity(capacity))
}

fn take_offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let offsets = take(ends);
    ends.push(0);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

/// The offset where the last value ends.
fn last(ends: &[i32]) -> i32 {
    ends.last().copied().unwrap_or(0)
}
