//! `hash` and `xxhash64` of all types, as Spark's Murmur3Hash and XxHash64 take them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use tidemill_types::format_type;

use super::kernel::kernel;
use super::rows::rows_of;

/// What both have as seed.
const SEED: u64 = 42;

/// A hash function of the few things that all others are made of.
trait Hashing {
    fn int(value: i32, seed: u64) -> u64;
    fn long(value: i64, seed: u64) -> u64;
    fn bytes(value: &[u8], seed: u64) -> u64;
}

struct Murmur3;
struct XxHash64;

fn mixed(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

fn finished(hash: u32, length: usize) -> u64 {
    let mut hash = hash ^ length as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    u64::from(hash ^ (hash >> 16))
}

impl Hashing for Murmur3 {
    fn int(value: i32, seed: u64) -> u64 {
        finished(mixed(seed as u32, value as u32), 4)
    }

    fn long(value: i64, seed: u64) -> u64 {
        let hash = mixed(seed as u32, value as u32);
        finished(mixed(hash, (value >> 32) as u32), 8)
    }

    fn bytes(value: &[u8], seed: u64) -> u64 {
        let mut words = value.chunks_exact(4);
        let mut hash = seed as u32;
        for word in words.by_ref() {
            hash = mixed(hash, u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        // Spark takes each byte of the rest for a word of its own, with its sign.
        for byte in words.remainder() {
            hash = mixed(hash, i32::from(*byte as i8) as u32);
        }
        finished(hash, value.len())
    }
}

/// The hash of bytes that Spark's sketches take.
pub(crate) fn murmur3_of_bytes(value: &[u8], seed: i32) -> i32 {
    Murmur3::bytes(value, u64::from(seed as u32)) as i32
}

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

fn round(accumulator: u64, word: u64) -> u64 {
    accumulator.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

fn with_word(hash: u64, word: u64) -> u64 {
    (hash ^ round(0, word)).rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
}

fn with_half(hash: u64, word: u32) -> u64 {
    (hash ^ u64::from(word).wrapping_mul(PRIMES[0]))
        .rotate_left(23)
        .wrapping_mul(PRIMES[1])
        .wrapping_add(PRIMES[2])
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

impl Hashing for XxHash64 {
    fn int(value: i32, seed: u64) -> u64 {
        let hash = seed.wrapping_add(PRIMES[4]).wrapping_add(4);
        avalanche(with_half(hash, value as u32))
    }

    fn long(value: i64, seed: u64) -> u64 {
        let hash = seed.wrapping_add(PRIMES[4]).wrapping_add(8);
        avalanche(with_word(hash, value as u64))
    }

    fn bytes(value: &[u8], seed: u64) -> u64 {
        let mut blocks = value.chunks_exact(32);
        let mut hash = if value.len() >= 32 {
            let mut sums = [
                seed.wrapping_add(PRIMES[0]).wrapping_add(PRIMES[1]),
                seed.wrapping_add(PRIMES[1]),
                seed,
                seed.wrapping_sub(PRIMES[0]),
            ];
            for block in blocks.by_ref() {
                for (sum, word) in sums.iter_mut().zip(block.chunks_exact(8)) {
                    *sum = round(*sum, word_of(word));
                }
            }
            let [a, b, c, d] = sums;
            let hash = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            sums.iter().fold(hash, |hash, sum| {
                (hash ^ round(0, *sum)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
            })
        } else {
            seed.wrapping_add(PRIMES[4])
        };
        hash = hash.wrapping_add(value.len() as u64);
        let mut words = blocks.remainder().chunks_exact(8);
        for word in words.by_ref() {
            hash = with_word(hash, word_of(word));
        }
        let mut rest = words.remainder();
        if rest.len() >= 4 {
            hash = with_half(hash, word_of(&rest[..4]) as u32);
            rest = &rest[4..];
        }
        for byte in rest {
            hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4]))
                .rotate_left(11)
                .wrapping_mul(PRIMES[0]);
        }
        avalanche(hash)
    }
}

/// The hash of a value; null changes nothing.
fn hashed<H: Hashing>(values: &dyn Array, row: usize, seed: u64) -> u64 {
    if values.is_null(row) {
        return seed;
    }
    match values.data_type() {
        DataType::Boolean => H::int(i32::from(values.as_boolean().value(row)), seed),
        DataType::Int8 => H::int(values.as_primitive::<Int8Type>().value(row).into(), seed),
        DataType::Int16 => H::int(values.as_primitive::<Int16Type>().value(row).into(), seed),
        DataType::Int32 => H::int(values.as_primitive::<Int32Type>().value(row), seed),
        DataType::Date32 => H::int(values.as_primitive::<Date32Type>().value(row), seed),
        DataType::Int64 => H::long(values.as_primitive::<Int64Type>().value(row), seed),
        DataType::Timestamp(..) => {
            H::long(values.as_primitive::<TimestampMicrosecondType>().value(row), seed)
        }
        DataType::Interval(_) => {
            H::int(values.as_primitive::<IntervalYearMonthType>().value(row), seed)
        }
        DataType::Duration(_) => {
            H::long(values.as_primitive::<DurationMicrosecondType>().value(row), seed)
        }
        DataType::Float32 => {
            let value = values.as_primitive::<Float32Type>().value(row);
            H::int(
                if value == 0.0 {
                    0
                } else if value.is_nan() {
                    0x7fc0_0000
                } else {
                    value.to_bits() as i32
                },
                seed,
            )
        }
        DataType::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(row);
            let bits = if value == 0.0 {
                0
            } else if value.is_nan() {
                0x7ff8 << 48
            } else {
                value.to_bits() as i64
            };
            H::long(bits, seed)
        }
        DataType::Decimal128(precision, _) => {
            let value = values.as_primitive::<Decimal128Type>().value(row);
            if *precision <= 18 {
                return H::long(value as i64, seed);
            }
            // The fewest bytes that have the number with its sign: Java's toByteArray.
            let bytes = value.to_be_bytes();
            let spare = |at: usize| {
                let sign = if value < 0 { 0xFF } else { 0 };
                bytes[at] == sign && (bytes[at + 1] & 0x80) == (sign & 0x80)
            };
            let from = (0..15).take_while(|at| spare(*at)).count();
            H::bytes(&bytes[from..], seed)
        }
        DataType::Utf8 => H::bytes(values.as_string::<i32>().value(row).as_bytes(), seed),
        DataType::Binary => H::bytes(values.as_binary::<i32>().value(row), seed),
        DataType::List(_) => {
            let items = values.as_list::<i32>().value(row);
            (0..items.len()).fold(seed, |seed, item| hashed::<H>(&items, item, seed))
        }
        DataType::Struct(_) => {
            let fields = values.as_struct().columns();
            fields.iter().fold(seed, |seed, field| hashed::<H>(field, row, seed))
        }
        _ => seed,
    }
}

fn hash_of<H: Hashing>(columns: &[ArrayRef], row: usize) -> u64 {
    columns.iter().fold(SEED, |seed, column| hashed::<H>(column, row, seed))
}

/// Checks that values of the types have hashes.
fn check(name: &str, kinds: &[DataType]) -> Result<()> {
    use DataType as T;
    for kind in kinds {
        match kind {
            T::Null | T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Date32 => {}
            T::Float32 | T::Float64 | T::Decimal128(..) | T::Utf8 | T::Binary => {}
            T::Timestamp(TimeUnit::Microsecond, _) | T::Duration(TimeUnit::Microsecond) => {}
            T::Interval(IntervalUnit::YearMonth) => {}
            T::List(item) => check(name, std::slice::from_ref(item.data_type()))?,
            T::Struct(fields) => {
                fields.iter().try_for_each(|f| check(name, std::slice::from_ref(f.data_type())))?;
            }
            T::Map(..) => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.HASH_MAP_TYPE] Input to the function `{name}` cannot contain elements of the \"MAP\" type. In Spark, same maps may have different hashcode, thus hash expressions are prohibited on \"MAP\" elements"
                );
            }
            other => {
                return plan_err!(
                    "[UNSUPPORTED_FEATURE] {name}(): the type {} has no hash here",
                    format_type(other)
                );
            }
        }
    }
    Ok(())
}

/// `hash(…)`, an INT.
pub(crate) fn murmur3() -> Arc<ScalarUDF> {
    kernel(
        "hash",
        |kinds| check("hash", kinds).map(|()| DataType::Int32),
        |columns, _| {
            let rows = 0..rows_of(columns);
            let hashes = rows.map(|row| hash_of::<Murmur3>(columns, row) as u32 as i32);
            Ok(Arc::new(Int32Array::from_iter_values(hashes)))
        },
    )
}

/// `xxhash64(…)`, a BIGINT.
pub(crate) fn xxhash64() -> Arc<ScalarUDF> {
    kernel(
        "xxhash64",
        |kinds| check("xxhash64", kinds).map(|()| DataType::Int64),
        |columns, _| {
            let rows = 0..rows_of(columns);
            let hashes = rows.map(|row| hash_of::<XxHash64>(columns, row) as i64);
            Ok(Arc::new(Int64Array::from_iter_values(hashes)))
        },
    )
}
