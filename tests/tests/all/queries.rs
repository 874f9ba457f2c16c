//! Queries of all forms over small tables, and what Spark answers to them, recorded in
//! `goldens/queries.jsonl`: names of columns, types and rows, or the class of the error. A line is
//! `{"sql", "columns": [[name, type], …], "rows", "ordered"}` or `{"sql", "error"}`, with the session's
//! `"time_zone"` where that is not UTC. A cell is a text, as Spark's `show()` prints it; rows that have
//! no order are sorted.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int32Builder, Int64Array, ListArray,
    MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use arrow::error::ArrowError;
use futures::StreamExt;
use serde_json::{Value, json};
use tidemill_codec::{Shown, format_cell};
use tidemill_core::MemoryBudget;
use tidemill_plan::{FrameRows, FrameTable, Frames, QueryMemory};
use tidemill_tests::repository;
use tidemill_time::{Zone, parse_timestamp_ntz};
use tidemill_types::format_column_type;

struct OneBlock(RecordBatch);

impl FrameRows for OneBlock {
    fn read(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> {
        Box::new(std::iter::once(Ok(self.0.clone())))
    }
}

fn table(name: &str, columns: Vec<(&str, ArrayRef)>) -> FrameTable {
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let block = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    FrameTable { name: name.to_owned(), schema, rows: Arc::new(OneBlock(block)) }
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn whole(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

/// Times about the days on which clocks are set, and of long ago and far ahead.
fn clock_changes() -> FrameTable {
    let micros = |texts: [Option<&str>; 10]| -> TimestampMicrosecondArray {
        texts.iter().map(|text| text.and_then(parse_timestamp_ntz)).collect()
    };
    let moments = micros([
        Some("2019-03-10 09:59:59.5"),
        Some("2019-03-10 10:00:00"),
        Some("2019-11-03 08:30:00"),
        Some("2019-11-03 09:30:00"),
        Some("2019-03-31 01:00:00"),
        Some("2019-10-27 00:30:00"),
        Some("1880-01-01 00:00:00"),
        Some("1969-12-31 23:59:59.999999"),
        Some("9998-07-01 12:00:00"),
        None,
    ]);
    let local = micros([
        Some("2019-03-10 02:30:00"),
        Some("2019-11-03 01:30:00"),
        Some("2019-03-31 02:30:00"),
        Some("2019-10-27 02:30:00"),
        Some("1880-01-01 00:00:00"),
        Some("1969-12-31 23:59:59.999999"),
        Some("9999-12-31 23:00:00"),
        Some("2024-02-29 12:00:00"),
        None,
        Some("2024-01-31 00:00:00"),
    ]);
    let days: Date32Array =
        local.iter().map(|time| time.map(|time| time.div_euclid(86_400_000_000) as i32)).collect();
    let numbers: Vec<Option<i32>> = (1..=10).map(Some).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i", whole(&numbers)),
        ("ts", Arc::new(moments.with_timezone("UTC"))),
        ("n", Arc::new(local)),
        ("dt", Arc::new(days)),
    ];
    table("z", columns)
}

/// `t`, whose columns have all kinds of types, `u` to join with, `e` without rows, and `z` of times.
fn tables() -> Vec<FrameTable> {
    const DAY: i64 = 1_767_225_600_000_000; // 2026-01-01
    const HOUR: i64 = 3_600_000_000;
    let times = [Some(0), Some(1), Some(25), None, Some(2), Some(3)];
    let times: Vec<Option<i64>> =
        times.iter().map(|hours| hours.map(|hours: i64| DAY + hours * HOUR)).collect();
    let fields = [Field::new("a", DataType::Int32, true), Field::new("B", DataType::Utf8, true)];
    let structs = StructArray::new(
        Fields::from(fields.to_vec()),
        vec![
            whole(&[Some(1), Some(2), None, None, Some(5), Some(1)]),
            texts(&[Some("x"), None, Some("y"), None, Some("z"), Some("x")]),
        ],
        Some(vec![true, true, true, false, true, true].into()),
    );
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), Some(2), Some(3)]),
        Some(vec![Some(4), None]),
        Some(vec![]),
        None,
        Some(vec![Some(5)]),
        Some(vec![Some(6), Some(6)]),
    ]);
    let name = |name: &str| name.to_owned();
    let names = MapFieldNames { entry: name("entries"), key: name("key"), value: name("value") };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), Int32Builder::new());
    for pairs in [
        Some(vec![("p", Some(1)), ("q", Some(2))]),
        Some(vec![("p", None)]),
        Some(vec![]),
        None,
        Some(vec![("r", Some(3))]),
        Some(vec![("p", Some(6))]),
    ] {
        for (key, value) in pairs.iter().flatten() {
            maps.keys().append_value(key);
            maps.values().append_option(*value);
        }
        maps.append(pairs.is_some()).unwrap();
    }
    let longs = [Some(10), Some(20), Some(30), Some(40), None, Some(60)];
    let doubles = [Some(1.5), Some(-0.5), None, Some(2.25), Some(1.5), Some(0.0)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", texts(&[Some("a"), Some("a"), Some("b"), Some("b"), Some("c"), None])),
        ("v", whole(&[Some(1), Some(2), Some(3), None, Some(3), Some(6)])),
        ("w", Arc::new(Int64Array::from(longs.to_vec()))),
        ("d", Arc::new(Float64Array::from(doubles.to_vec()))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        ("s", Arc::new(structs)),
        ("l", Arc::new(lists)),
        ("m", Arc::new(maps.finish())),
    ];
    let others: Vec<(&str, ArrayRef)> = vec![
        ("K", texts(&[Some("a"), Some("b"), Some("b"), Some("z"), None])),
        ("x", whole(&[Some(100), Some(200), Some(201), None, Some(400)])),
        ("v", whole(&[Some(1), Some(3), None, Some(9), Some(6)])),
    ];
    vec![
        table("t", columns),
        table("u", others),
        table("e", vec![("v", whole(&[]))]),
        clock_changes(),
    ]
}

/// The columns and rows of a query, or what is wrong with it.
async fn answer(
    (sql, time_zone): (&str, &str),
    tables: &[FrameTable],
    memory: &QueryMemory,
) -> Result<(Value, Vec<Vec<String>>), String> {
    let frames = Frames::in_zone(time_zone);
    let zone = Zone::find(time_zone).unwrap();
    let said = |error: tidemill_plan::PlanError| error.to_string();
    let mut found = frames.sql(sql, tables, &memory.call()).await.map_err(said)?;
    let column = |field: &Arc<Field>| json!([field.name(), format_column_type(field)]);
    let columns = found.schema.fields().iter().map(column).collect();
    let mut rows = Vec::new();
    while let Some(block) = found.rows.next().await {
        let block = block.map_err(said)?;
        for row in 0..block.num_rows() {
            let cells = block.columns().iter().zip(block.schema_ref().fields());
            let cells = cells
                .map(|(column, field)| format_cell(column, row, Shown::of_column(field, zone)));
            rows.push(cells.collect());
        }
    }
    Ok((columns, rows))
}

/// What differs from the record, if anything does.
fn difference(record: &Value, answer: Result<(Value, Vec<Vec<String>>), String>) -> Option<String> {
    match (record["error"].as_str(), answer) {
        (Some(class), Err(error)) => {
            (!error.contains(&format!("[{class}]"))).then(|| format!("{class}, not {error}"))
        }
        (Some(class), Ok((_, rows))) => Some(format!("{class}, not {} rows", rows.len())),
        (None, Err(error)) => Some(error),
        (None, Ok((columns, mut rows))) => {
            if record["ordered"] != json!(true) {
                rows.sort();
            }
            let found = json!({ "columns": columns, "rows": rows });
            let wanted = json!({ "columns": record["columns"], "rows": record["rows"] });
            (found != wanted).then(|| format!("\n  found  {found}\n  wanted {wanted}"))
        }
    }
}

#[test]
fn queries_give_what_spark_gives() {
    let _held = crate::planning();
    let text = std::fs::read_to_string(repository().join("tests/goldens/queries.jsonl")).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() > 800, "{}", records.len());
    let tables = tables();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let memory = QueryMemory::new(MemoryBudget::unlimited(), Path::new("unused")).unwrap();
    let mut differ = Vec::new();
    for record in &records {
        let sql = record["sql"].as_str().unwrap();
        let zone = record["time_zone"].as_str().unwrap_or("UTC");
        let answer = runtime.block_on(answer((sql, zone), &tables, &memory));
        if let Some(difference) = difference(record, answer) {
            differ.push(format!("{zone}: {sql}: {difference}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
