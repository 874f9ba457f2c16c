//! Calls that go well.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use tidemill_core::{FunctionKind, Origin, PluginModule, RefusedRow};
use tidemill_plugin_host::Module;

use crate::support::{Opened, call, config, configured, context, load, one, table};

fn strings(rows: &RecordBatch) -> Vec<Option<&str>> {
    rows.column(0).as_string::<i32>().iter().collect()
}

#[test]
fn a_scalar_gives_a_value_for_every_row() {
    let amounts = table([("x", Arc::new(Float64Array::from(vec![Some(10.0), None, Some(0.5)])))]);
    let taxed = one(&load("orders", config()), "with_tax", &amounts);
    assert_eq!(taxed.schema().field(0).name(), "with_tax");
    let taxed = taxed.column(0).as_primitive::<Float64Type>();
    assert_eq!(taxed.iter().collect::<Vec<_>>(), [Some(11.0), None, Some(0.55)]);
}

#[test]
fn a_function_sees_nulls_only_if_it_asks_for_them() {
    let delays = vec![None, Some(-1), Some(0), Some(30), Some(90)];
    let delays = table([("m", Arc::new(Int64Array::from(delays)) as ArrayRef)]);
    let classes = one(&load("flights", config()), "delay_class", &delays);
    let expected = ["cancelled", "early", "on time", "late", "very late"].map(Some);
    assert_eq!(strings(&classes), expected);

    let pairs = table([
        ("l", Arc::new(StringArray::from(vec![Some("a"), None, None])) as ArrayRef),
        ("r", Arc::new(StringArray::from(vec![Some("b"), Some("c"), None]))),
    ]);
    let first = one(&load("faulty", config()), "first_of", &pairs);
    assert_eq!(strings(&first), [Some("a"), Some("c"), None]);
}

/// A column of every type, a null in the last row of each.
fn every_type() -> [(&'static str, ArrayRef); 11] {
    let at = TimestampMicrosecondArray::from(vec![Some(3_000_001), None]).with_timezone("UTC");
    [
        ("double", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
        ("float", Arc::new(Float32Array::from(vec![Some(0.25), None]))),
        ("long", Arc::new(Int64Array::from(vec![Some(-5), None]))),
        ("int", Arc::new(Int32Array::from(vec![Some(4), None]))),
        ("short", Arc::new(Int16Array::from(vec![Some(3), None]))),
        ("byte", Arc::new(Int8Array::from(vec![Some(2), None]))),
        ("truth", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("ü"), None]))),
        ("binary", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"ab"), None]))),
        ("at", Arc::new(at)),
        ("on", Arc::new(Date32Array::from(vec![Some(9), None]))),
    ]
}

#[test]
fn every_type_reaches_a_scalar() {
    let described = one(&load("faulty", config()), "describe_all", &table(every_type()));
    assert_eq!(strings(&described), [Some("1.5 0.25 -5 4 3 2 true ü [97, 98] 3000001 9"), None]);
}

#[test]
fn every_type_comes_back_from_a_transform() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None]), None]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let inner = (Arc::new(Field::new("s", DataType::Utf8, true)), inner);
    let decimal = Decimal128Array::from(vec![Some(12_345), None]);
    let decimal = decimal.with_precision_and_scale(10, 2).unwrap();
    let nested: [(&str, ArrayRef); 4] = [
        ("list", Arc::new(list)),
        ("struct", Arc::new(StructArray::from(vec![inner]))),
        ("decimal", Arc::new(decimal)),
        ("ntz", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]))),
    ];
    let columns = every_type().into_iter().chain(nested);
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
    let module = load("faulty", config());
    assert_eq!(one(&module, "echo", &rows), rows);
    assert_eq!(one(&module, "echo", &rows.slice(1, 1)), rows.slice(1, 1));
    assert_eq!(one(&module, "echo", &rows.slice(0, 0)).num_rows(), 0);
}

#[test]
fn a_view_arrives_as_a_plain_string() {
    let view: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a long enough string"), None]));
    let echoed = one(&load("faulty", config()), "echo", &table([("s", view)]));
    assert_eq!(strings(&echoed), [Some("a long enough string"), None]);
}

fn orders() -> RecordBatch {
    let time = TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC");
    table([
        ("Category", Arc::new(StringArray::from(vec![" Books", "toys", "TOYS"])) as ArrayRef),
        ("extra", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("amount", Arc::new(Float64Array::from(vec![Some(-1.0), Some(1.0), None]))),
        ("order_time", Arc::new(time)),
    ])
}

#[test]
fn a_transform_reads_what_it_declares_and_lets_the_others_through() {
    let module = load("orders", config());
    let shape = module.shape("normalise", orders().schema()).unwrap();
    assert_eq!(shape.reads, [2, 0]);
    let passed = [Origin::Made, Origin::Passed(1), Origin::Passed(2), Origin::Passed(3)];
    assert_eq!(shape.origins, passed);
    let cleaned = one(&module, "normalise", &orders());
    let schema = cleaned.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names[1..], ["extra", "amount", "order_time"]);
    assert_eq!(cleaned.num_rows(), 1);
    assert_eq!(cleaned.column(0).as_string::<i32>().value(0), "toys");
    assert_eq!(cleaned.column(1).as_primitive::<Int64Type>().value(0), 2);
    let missing = module.shape("normalise", orders().project(&[0, 1]).unwrap().schema());
    let told = missing.unwrap_err().to_string();
    assert!(told.contains("wants a column \"amount\", and the rows have (Category"), "{told}");
}

#[test]
fn an_instance_is_of_the_shape_that_the_query_was_planned_with() {
    let module = load("orders", config());
    let mut shape = module.shape("normalise", orders().schema()).unwrap();
    shape.reads.reverse();
    let told = module.open("normalise", &context(0), orders().schema(), &shape).err().unwrap();
    assert!(told.to_string().contains("when the query was planned"), "{told}");
}

#[test]
fn a_refused_row_is_named_with_its_reason() {
    let texts = table([("t", Arc::new(StringArray::from(vec!["1", "one", "3"])) as ArrayRef)]);
    let module = load("faulty", config());
    let parsed = call(&module, "parsed", &texts).unwrap();
    assert_eq!(parsed.batches[0].column(0).as_primitive::<Int64Type>().value(2), 3);
    assert!(parsed.batches[0].column(0).is_null(1));
    assert_eq!(parsed.refused, [RefusedRow { row: 1, reason: "\"one\" is not a number".into() }]);

    let numbers = table([("n", Arc::new(Int64Array::from(vec![2, 3])) as ArrayRef)]);
    let even = call(&module, "only_even", &numbers).unwrap();
    assert_eq!(even.batches[0].num_rows(), 1);
    assert_eq!(even.refused, [RefusedRow { row: 1, reason: "3 is odd".into() }]);
}

#[test]
fn one_instance_takes_many_record_batches() {
    let module = load("orders", config());
    let amounts = table([("x", Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef)]);
    let mut instance = Opened::new(&module, "with_tax", 0, amounts.schema()).unwrap();
    for rows in [0, 1, 2] {
        assert_eq!(instance.call(&amounts.slice(0, rows)).unwrap().batches[0].num_rows(), rows);
    }
    let usage = module.usage();
    assert_eq!((usage.calls, usage.rows), (3, 3));
    assert!(usage.nanos > 0);
}

#[test]
fn two_runs_give_the_same_bytes() {
    fn bytes(module: &Module, function: &str, rows: &RecordBatch) -> Vec<Vec<u8>> {
        let data = one(module, function, rows).column(0).to_data();
        data.buffers().iter().map(|buffer| buffer.to_vec()).collect()
    }
    let module = load("faulty", config());
    let numbers = table([("n", Arc::new(Int64Array::from(vec![50])) as ArrayRef)]);
    assert_eq!(bytes(&module, "map_order", &numbers), bytes(&module, "map_order", &numbers));
    // What x86 gives has the sign bit set, what ARM gives has not.
    let zero: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
    let zeros = table([("x", Arc::clone(&zero)), ("y", zero)]);
    let canonical = 0x7ff8_0000_0000_0000_u64.to_le_bytes().to_vec();
    assert_eq!(bytes(&module, "divided", &zeros), [canonical]);
}

#[test]
fn the_jobs_settings_reach_the_plugin() {
    let module = load("faulty", configured(r#"{"colour": "green"}"#));
    let keys = table([("k", Arc::new(StringArray::from(vec!["colour", "size"])) as ArrayRef)]);
    assert_eq!(strings(&one(&module, "configured", &keys)), [Some("green"), None]);
}

#[test]
fn a_module_tells_its_functions() {
    let module = load("orders", config());
    let functions = module.functions();
    let kinds: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.kind)).collect();
    let expected = [
        ("with_tax", FunctionKind::Scalar),
        ("normalise", FunctionKind::Transform),
        ("deliver", FunctionKind::ForeachBatch),
    ];
    assert_eq!(kinds, expected);
    assert!(functions[0].documentation.starts_with("Callable in SQL as `with_tax(amount)`."));
    assert_eq!(functions[0].input.as_ref().unwrap().field(0).name(), "amount");
    let [reads, sets] = [&functions[1].input, &functions[1].output].map(|s| s.as_ref().unwrap());
    assert!(functions[1].passes_others && reads.fields().len() == 2);
    assert_eq!(sets.field(0).data_type(), &DataType::Utf8);
}

#[test]
fn an_output_that_is_not_declared_is_asked_for() {
    let module = load("faulty", config());
    let rows = table([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    assert_eq!(module.shape("echo", rows.schema()).unwrap().output, rows.schema());
}
