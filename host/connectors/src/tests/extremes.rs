//! What any sink makes of extreme values, one column after the other: it may refuse them, and must not
//! panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array,
    ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type};
use tidemill_core::{ConnectorError, OutputMode};

use super::{context, sink_config, temp};
use crate::contract::delivery;
use crate::{SinkConfig, plan_sink};

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let times =
        vec![i64::MIN, i64::MIN + 1, -62_135_596_800_000_001, 253_402_300_800_000_000, i64::MAX];
    let days = Date32Array::from(vec![i32::MIN, -719_163, 2_932_897, i32::MAX]);
    let largest = 10_i128.pow(38) - 1;
    let decimals = |scale| {
        let values = Decimal128Array::from(vec![-largest, largest, 0]);
        Arc::new(values.with_precision_and_scale(38, scale).unwrap()) as ArrayRef
    };
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
        None,
        Some(vec![]),
        Some(vec![Some(i64::MIN), None]),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("\u{0}");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let field = Arc::new(Field::new("f", DataType::Date32, true));
    let days: ArrayRef = Arc::new(days);
    vec![
        ("l", Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]))),
        ("f", Arc::new(Float32Array::from(vec![f32::MIN, f32::NAN, -0.0, f32::INFINITY]))),
        ("d", Arc::new(Float64Array::from(vec![f64::MAX, f64::NAN, -0.0, f64::MIN_POSITIVE]))),
        ("t", Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC"))),
        ("u", Arc::new(TimestampMicrosecondArray::from(times))),
        ("day", Arc::clone(&days)),
        ("m0", decimals(0)),
        ("m38", decimals(38)),
        ("s", Arc::new(StringArray::from(vec!["", "\u{0}\u{1b}[2J", "\u{10ffff}\u{301}"]))),
        ("bin", Arc::new(BinaryArray::from(vec![b"".as_slice(), b"\xff\x00"]))),
        ("a", Arc::new(list)),
        ("map", Arc::new(map.finish())),
        ("o", Arc::new(StructArray::from(vec![(field, days)]))),
        ("n", Arc::new(NullArray::new(3))),
    ]
}

fn deliver(config: SinkConfig, rows: &RecordBatch) -> Result<(), ConnectorError> {
    let Ok(plan) = plan_sink(config) else { return Ok(()) };
    let mut sink = plan.open(&context())?;
    sink.begin(delivery(0, 0, 1))?;
    sink.write(rows)?;
    sink.prepare()?;
    sink.commit()
}

#[test]
fn no_sink_panics_on_extreme_values() {
    let mut taken = 0;
    for (name, values) in columns() {
        let rows = RecordBatch::try_from_iter_with_nullable([(name, values, true)]).unwrap();
        for (format, options) in [
            ("console", vec![]),
            ("console", vec![("format", "json")]),
            ("json", vec![]),
            ("parquet", vec![]),
            ("memory", vec![]),
            ("sqlite", vec![("dbtable", "t")]),
        ] {
            let dir = temp();
            let place = matches!(format, "json" | "parquet" | "sqlite");
            let config = SinkConfig {
                path: place.then(|| dir.path().join("out")),
                output_mode: OutputMode::Append,
                schema: Some(rows.schema()),
                ..sink_config(format, &options)
            };
            let ended = catch_unwind(AssertUnwindSafe(|| deliver(config, &rows)));
            assert!(ended.is_ok(), "{format} of {name}");
            taken += usize::from(matches!(ended, Ok(Ok(()))));
        }
    }
    assert!(taken > 60, "{taken}");
}
