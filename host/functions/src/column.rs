//! Values of any type as bytes that sort as the values do: numbers and times by a width of their own,
//! all others in Arrow's row format.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, make_array, new_empty_array, new_null_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, IntervalUnit};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

/// Turns the values of one column into bytes, and back. Nulls sort first, NaN last, as in Spark.
pub(crate) struct Column {
    data_type: DataType,
    coding: Coding,
}

enum Coding {
    Fixed(Native),
    Rows { converter: RowConverter, null: Box<[u8]> },
}

/// What numbers a column is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Native {
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
}

impl Native {
    fn of(data_type: &DataType) -> Option<Native> {
        Some(match data_type {
            DataType::Int8 => Native::I8,
            DataType::Int16 => Native::I16,
            DataType::Int32 | DataType::Date32 | DataType::Interval(IntervalUnit::YearMonth) => {
                Native::I32
            }
            DataType::Int64 | DataType::Timestamp(..) | DataType::Duration(_) => Native::I64,
            DataType::Decimal128(..) => Native::I128,
            DataType::Float32 => Native::F32,
            DataType::Float64 => Native::F64,
            _ => return None,
        })
    }

    /// Bytes of a value, after the one that says that there is one.
    fn width(self) -> usize {
        match self {
            Native::I8 => 1,
            Native::I16 => 2,
            Native::I32 | Native::F32 => 4,
            Native::I64 | Native::F64 => 8,
            Native::I128 => 16,
        }
    }
}

/// A number whose bytes sort as it does.
trait Ordered: ArrowNativeType {
    fn write(self, bytes: &mut [u8]);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! ordered_whole {
    ($($native:ty),*) => {$(
        impl Ordered for $native {
            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&(self ^ <$native>::MIN).to_be_bytes());
            }

            fn read(bytes: &[u8]) -> $native {
                let mut own = [0; size_of::<$native>()];
                own.copy_from_slice(bytes);
                <$native>::from_be_bytes(own) ^ <$native>::MIN
            }
        }
    )*};
}

ordered_whole!(i8, i16, i32, i64, i128);

macro_rules! ordered_float {
    ($($float:ty, $whole:ty);*) => {$(
        impl Ordered for $float {
            fn write(self, bytes: &mut [u8]) {
                // All NaNs are one, above all numbers. Of numbers below zero, the larger one has the
                // smaller bits.
                let number = if self.is_nan() { <$float>::NAN } else { self };
                let bits = number.to_bits().cast_signed();
                let flipped = if bits < 0 { bits ^ <$whole>::MAX } else { bits };
                flipped.write(bytes);
            }

            fn read(bytes: &[u8]) -> $float {
                let flipped = <$whole>::read(bytes);
                let bits = if flipped < 0 { flipped ^ <$whole>::MAX } else { flipped };
                <$float>::from_bits(bits.cast_unsigned())
            }
        }
    )*};
}

ordered_float!(f32, i32; f64, i64);

/// The bytes of a column's values.
pub(crate) enum Encoded {
    Fixed { bytes: Vec<u8>, width: usize },
    Rows(Rows),
}

impl Encoded {
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        match self {
            Encoded::Fixed { bytes, width } => &bytes[row * width..(row + 1) * width],
            Encoded::Rows(rows) => rows.row(row).data(),
        }
    }
}

impl Column {
    pub(crate) fn new(data_type: &DataType) -> Result<Column> {
        let coding = match Native::of(data_type) {
            Some(native) => Coding::Fixed(native),
            None => {
                let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
                let null = converter.convert_columns(&[new_null_array(data_type, 1)])?;
                Coding::Rows { null: null.row(0).as_ref().into(), converter }
            }
        };
        Ok(Column { data_type: data_type.clone(), coding })
    }

    pub(crate) fn bytes(&self, values: &ArrayRef) -> Result<Encoded> {
        Ok(match &self.coding {
            Coding::Rows { converter, .. } => {
                Encoded::Rows(converter.convert_columns(&[Arc::clone(values)])?)
            }
            Coding::Fixed(native) => {
                let data = values.to_data();
                let bytes = match native {
                    Native::I8 => encoded::<i8>(&data),
                    Native::I16 => encoded::<i16>(&data),
                    Native::I32 => encoded::<i32>(&data),
                    Native::I64 => encoded::<i64>(&data),
                    Native::I128 => encoded::<i128>(&data),
                    Native::F32 => encoded::<f32>(&data),
                    Native::F64 => encoded::<f64>(&data),
                };
                Encoded::Fixed { bytes, width: native.width() + 1 }
            }
        })
    }

    /// The values of these bytes, which [`Column::bytes`] gave; `None` is null.
    pub(crate) fn values<'a>(
        &self,
        bytes: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<ArrayRef> {
        match &self.coding {
            Coding::Rows { converter, null } => {
                let parser = converter.parser();
                let rows: Vec<_> = bytes.map(|bytes| parser.parse(bytes.unwrap_or(null))).collect();
                if rows.is_empty() {
                    return Ok(new_empty_array(&self.data_type));
                }
                Ok(converter.convert_rows(rows)?.swap_remove(0))
            }
            Coding::Fixed(native) => match native {
                Native::I8 => self.decoded::<i8>(bytes),
                Native::I16 => self.decoded::<i16>(bytes),
                Native::I32 => self.decoded::<i32>(bytes),
                Native::I64 => self.decoded::<i64>(bytes),
                Native::I128 => self.decoded::<i128>(bytes),
                Native::F32 => self.decoded::<f32>(bytes),
                Native::F64 => self.decoded::<f64>(bytes),
            },
        }
    }

    fn decoded<'a, N: Ordered>(
        &self,
        bytes: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<ArrayRef> {
        let (mut values, mut present) = (Vec::new(), Vec::new());
        for bytes in bytes {
            let value = bytes.and_then(<[u8]>::split_first).filter(|(is_there, _)| **is_there == 1);
            present.push(value.is_some());
            values.push(value.map_or_else(N::default, |(_, value)| N::read(value)));
        }
        let data = ArrayData::builder(self.data_type.clone())
            .len(values.len())
            .nulls(Some(NullBuffer::from(present)))
            .add_buffer(Buffer::from_vec(values));
        Ok(make_array(data.build()?))
    }
}

/// Values of a fixed width, each behind a byte that says whether there is one.
fn encoded<N: Ordered>(data: &ArrayData) -> Vec<u8> {
    let width = size_of::<N>() + 1;
    let mut bytes = vec![0; data.len() * width];
    let values = &data.buffer::<N>(0)[..data.len()];
    for (row, (own, value)) in bytes.chunks_exact_mut(width).zip(values).enumerate() {
        if data.is_valid(row) {
            own[0] = 1;
            value.write(&mut own[1..]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, Int32Array, StringArray};
    use arrow::datatypes::Float64Type;

    use super::*;

    fn check(values: &ArrayRef) -> Result<()> {
        let column = Column::new(values.data_type())?;
        let bytes = column.bytes(values)?;
        let rows = (0..values.len()).map(|row| bytes.row(row));
        assert!(rows.clone().is_sorted(), "{values:?}");
        assert_eq!(&column.values(rows.map(Some))?, values);
        Ok(())
    }

    #[test]
    fn bytes_sort_as_values_do_and_read_back() -> Result<()> {
        check(
            &(Arc::new(Int32Array::from(vec![None, Some(i32::MIN), Some(-1), Some(0), Some(7)]))
                as ArrayRef),
        )?;
        check(
            &(Arc::new(StringArray::from(vec![None, Some(""), Some("a"), Some("ab")])) as ArrayRef),
        )?;
        let doubles: ArrayRef = Arc::new(Float64Array::from(vec![
            None,
            Some(f64::NEG_INFINITY),
            Some(-2.5),
            Some(-0.0),
            Some(0.0),
            Some(1e-300),
            Some(f64::INFINITY),
        ]));
        check(&doubles)?;
        let negative = f64::NAN.copysign(-1.0);
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NAN, negative]));
        let column = Column::new(&DataType::Float64)?;
        let bytes = column.bytes(&nan)?;
        assert!(bytes.row(0) < bytes.row(1));
        assert_eq!(bytes.row(1), bytes.row(2));
        let read = column.values([Some(bytes.row(1)), None].into_iter())?;
        assert!(read.as_primitive::<Float64Type>().value(0).is_nan() && read.is_null(1));
        check(&(Arc::new(Int32Array::from(vec![5, 1, 2]).slice(1, 2)) as ArrayRef))
    }
}
