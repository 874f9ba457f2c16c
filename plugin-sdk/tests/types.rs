//! Each type of SQL that a plugin can hold, there and back.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Int64Array, ListArray, StructArray};
use tidemill_block::{Bounds, put_together, read_schema, take_apart, write_schema};
use tidemill_plugin::prelude::*;

/// The rows as they are on the other side of the boundary.
fn crossed(rows: &RecordBatch) -> RecordBatch {
    let schema = read_schema(&write_schema(&rows.schema()).unwrap()).unwrap();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let parts = take_apart(column).unwrap();
        put_together(field.data_type(), parts, &mut Bounds::default()).unwrap()
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

/// The types as the contract writes them.
fn types<T: Row>() -> Vec<String> {
    let schema = T::schema();
    let fields = schema.fields().iter();
    fields.map(|field| write_schema(&Schema::new(vec![Arc::clone(field)])).unwrap()).collect()
}

#[derive(Row, Clone, PartialEq, Debug)]
struct Plain {
    double: f64,
    float: f32,
    long: i64,
    int: i32,
    short: i16,
    byte: i8,
    truth: bool,
    text: String,
    binary: Vec<u8>,
    day: Date,
    at: Timestamp,
    local: LocalTimestamp,
    price: Decimal<10, 2>,
    large: Decimal<38, 0>,
    months: YearMonthInterval,
    time: DayTimeInterval,
    perhaps: Option<Decimal<3, 1>>,
}

fn plain() -> Plain {
    Plain {
        double: -1.5,
        float: 0.25,
        long: i64::MIN,
        int: 4,
        short: -3,
        byte: 2,
        truth: true,
        text: "ü".to_owned(),
        binary: vec![0, 255],
        day: Date(-1),
        at: Timestamp(3_000_001),
        local: LocalTimestamp(-7),
        price: Decimal::new(-12_345).unwrap(),
        large: Decimal::new(10_i128.pow(38) - 1).unwrap(),
        months: YearMonthInterval(-14),
        time: DayTimeInterval(86_400_000_000),
        perhaps: None,
    }
}

#[test]
fn plain_types_come_back() {
    let rows = [plain(), Plain { perhaps: Some(Decimal::new(5).unwrap()), ..plain() }];
    let batch = Plain::to_batch(&rows).unwrap();
    assert_eq!(Plain::from_batch(&crossed(&batch)).unwrap(), rows);
    let told = types::<Plain>();
    let expected = [
        "local timestamp_ntz NOT NULL",
        "price decimal(10,2) NOT NULL",
        "large decimal(38,0) NOT NULL",
        "months interval year to month NOT NULL",
        "time interval day to second NOT NULL",
        "perhaps decimal(3,1)",
    ];
    assert_eq!(told[11..], expected);
}

#[derive(Row, Clone, PartialEq, Debug)]
struct Point {
    x: i64,
    name: Option<String>,
}

#[derive(Row, Clone, PartialEq, Debug, Default)]
struct Nested {
    list: Vec<i64>,
    texts: Vec<Option<String>>,
    lists: Option<Vec<Vec<i32>>>,
    map: BTreeMap<String, Option<Date>>,
    hashed: HashMap<i64, Vec<bool>>,
    point: Option<Point>,
    points: Vec<Option<Point>>,
    by_name: BTreeMap<String, Point>,
    blobs: Vec<Vec<u8>>,
}

fn point(x: i64, name: Option<&str>) -> Point {
    Point { x, name: name.map(str::to_owned) }
}

fn nested() -> Nested {
    Nested {
        list: vec![1, 2, 3],
        texts: vec![Some("a".to_owned()), None],
        lists: Some(vec![vec![], vec![1, 2]]),
        map: [("a".to_owned(), None), ("b".to_owned(), Some(Date(3)))].into(),
        hashed: [(1, vec![true]), (2, vec![])].into(),
        point: Some(point(1, None)),
        points: vec![None, Some(point(2, Some("two")))],
        by_name: [("p".to_owned(), point(3, None))].into(),
        blobs: vec![vec![1, 2], vec![]],
    }
}

#[test]
fn lists_maps_and_structs_come_back() {
    let rows = [Nested::default(), nested(), Nested { lists: None, point: None, ..nested() }];
    let batch = Nested::to_batch(&rows).unwrap();
    assert_eq!(Nested::from_batch(&crossed(&batch)).unwrap(), rows);
    assert_eq!(Nested::from_batch(&batch.slice(1, 1)).unwrap(), rows[1..2]);
    assert_eq!(Nested::from_batch(&batch.slice(0, 0)).unwrap(), []);
    let expected = [
        "list array<bigint> NOT NULL",
        "texts array<string> NOT NULL",
        "lists array<array<int>>",
        "map map<string,date> NOT NULL",
        "hashed map<bigint,array<boolean>> NOT NULL",
        "point struct<x:bigint,name:string>",
        "points array<struct<x:bigint,name:string>> NOT NULL",
        "by_name map<string,struct<x:bigint,name:string>> NOT NULL",
        "blobs array<binary> NOT NULL",
    ];
    assert_eq!(types::<Nested>(), expected);
}

/// A scalar of nested values is called natively as any function; what the host calls is made of the same
/// conversions.
#[scalar]
fn around(p: Point, by: Vec<i64>) -> Vec<Point> {
    by.into_iter().map(|by| Point { x: p.x + by, ..p.clone() }).collect()
}

#[test]
fn a_scalar_takes_and_gives_structs() {
    let [first, second] = <[Point; 2]>::try_from(around(point(1, None), vec![-1, 1])).unwrap();
    assert_eq!((first, second), (point(0, None), point(2, None)));
}

#[derive(Row, Debug, PartialEq)]
struct Lists {
    items: Vec<i64>,
}

fn lists(items: ListArray) -> Result<Vec<Lists>> {
    let column: ArrayRef = Arc::new(items);
    Lists::from_batch(&RecordBatch::try_from_iter_with_nullable([("items", column, true)])?)
}

#[test]
fn a_null_without_a_place_is_told() {
    use arrow::datatypes::Int64Type;

    let with_null = [Some(vec![Some(1)]), Some(vec![Some(2), None])];
    let told = lists(ListArray::from_iter_primitive::<Int64Type, _, _>(with_null)).unwrap_err();
    let expected = "there are nulls within values of the column \"items\" and the field has no place for \
                    them; write an Option there, such as Vec<Option<i64>>";
    assert_eq!(told.to_string(), expected);

    #[derive(Row, Debug)]
    struct Outer {
        point: Option<Point>,
    }
    let x: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    let name: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![None, Some("a")]));
    let fields = || {
        arrow::datatypes::Fields::from(vec![
            Field::new("x", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
        ])
    };
    let read = |nulls: Option<Vec<bool>>| {
        let members = vec![Arc::clone(&x), Arc::clone(&name)];
        let points: ArrayRef = Arc::new(StructArray::new(fields(), members, nulls.map(Into::into)));
        Outer::from_batch(&RecordBatch::try_from_iter_with_nullable([("point", points, true)])?)
    };
    assert!(read(None).unwrap_err().to_string().contains("within values of the column \"point\""));
    // Where the struct is null, so are its members.
    assert_eq!(read(Some(vec![false, true])).unwrap().len(), 2);
}

#[test]
fn another_type_is_told() {
    #[derive(Row, Debug)]
    struct Local {
        at: LocalTimestamp,
    }
    #[derive(Row)]
    struct Instant {
        at: Timestamp,
    }
    let told = Local::from_batch(&Instant::to_batch(&[Instant { at: Timestamp(1) }]).unwrap());
    let expected = "column \"at\" is TIMESTAMP and the field wants TIMESTAMP_NTZ; cast it in SQL";
    assert_eq!(told.unwrap_err().to_string(), expected);

    #[derive(Row)]
    struct Turned {
        point: Named,
    }
    #[derive(Row)]
    struct Named {
        name: Option<String>,
        x: i64,
    }
    let turned = Turned { point: Named { name: None, x: 1 } };
    let told = Nested::from_batch(&Turned::to_batch(&[turned]).unwrap()).unwrap_err().to_string();
    assert!(told.starts_with("there is no column \"list\""), "{told}");
    #[derive(Row, Debug)]
    struct Straight {
        point: Point,
    }
    let turned = Turned { point: Named { name: None, x: 1 } };
    let told = Straight::from_batch(&Turned::to_batch(&[turned]).unwrap()).unwrap_err().to_string();
    let expected = "column \"point\" is STRUCT<name: STRING, x: BIGINT> and the field wants STRUCT<x: \
                    BIGINT, name: STRING>; cast it in SQL";
    assert_eq!(told, expected);
}

#[test]
fn a_decimal_has_no_more_digits_than_it_may() {
    let told = Decimal::<3, 2>::new(-1000).unwrap_err();
    assert_eq!(told, Error::bad_row("-10.00 has more than the 3 digits of DECIMAL(3,2)"));
    assert_eq!(Decimal::<3, 2>::new(-999).unwrap().to_string(), "-9.99");
    assert_eq!(Decimal::<2, 2>::new(7).unwrap().to_string(), "0.07");
    assert_eq!(Decimal::<5, 0>::new(-70).unwrap().to_string(), "-70");
}
