//! Aggregates, called as a plan calls them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use tidemill_core::{AggregateInstance, FunctionKind, PluginFailure, PluginModule, RefusedRow};

use crate::support::{config, configured, context, load, table};

fn numbers(numbers: &[Option<f64>]) -> RecordBatch {
    table([("x", Arc::new(Float64Array::from(numbers.to_vec())) as ArrayRef)])
}

fn texts(texts: &[&str]) -> RecordBatch {
    table([("text", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef)])
}

fn open(name: &str) -> Box<dyn AggregateInstance> {
    load("faulty", config()).open_aggregate(name, &context(3)).unwrap()
}

fn floats(column: &ArrayRef) -> Vec<Option<f64>> {
    column.as_primitive::<Float64Type>().iter().collect()
}

#[test]
fn groups_are_updated_merged_and_taken_from_the_first_on() {
    let mut mean = open("mean_of");
    let rows = numbers(&[Some(1.0), Some(10.0), None, Some(3.0)]);
    assert_eq!(mean.update(&[0, 1, 1, 0], 2, &rows).unwrap(), []);
    // A third group without a row, and a fourth by the state of others.
    mean.update(&[], 3, &numbers(&[])).unwrap();
    let states: [ArrayRef; 2] =
        [Arc::new(Float64Array::from(vec![6.0, 1.0])), Arc::new(Int64Array::from(vec![2, 1]))];
    mean.merge(&[3, 0], 4, &states).unwrap();
    // The first one leaves, and the second is number 0 from here on.
    let first = mean.states(1).unwrap();
    assert_eq!(floats(&first[0]), [Some(5.0)]);
    assert_eq!(first[1].as_primitive::<Int64Type>().values(), &[3]);
    mean.update(&[0], 3, &numbers(&[Some(20.0)])).unwrap();
    assert_eq!(floats(&mean.results(3).unwrap()), [Some(15.0), None, Some(3.0)]);
    assert!(mean.memory() > 0);
    assert_eq!(mean.states(0).unwrap()[0].len(), 0);
}

#[test]
fn many_groups_come_back_as_one_column() {
    let mut longest = open("longest");
    let groups: Vec<u32> = (0..20_000).collect();
    let names: Vec<String> = groups.iter().map(|group| format!("group {group}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    longest.update(&groups, 20_000, &texts(&names)).unwrap();
    let results = longest.results(20_000).unwrap();
    assert_eq!(results.as_string::<i32>().value(19_999), "group 19999");
}

#[test]
fn a_refused_row_is_named_and_the_others_are_folded() {
    let mut longest = open("longest");
    let refused = longest.update(&[0, 0, 0], 1, &texts(&["a", "and so on…", "bb"])).unwrap();
    let reason = "\"and so on…\" does not end".to_owned();
    assert_eq!(refused, [RefusedRow { row: 1, reason }]);
    assert_eq!(longest.results(1).unwrap().as_string::<i32>().value(0), "bb");
}

#[test]
fn what_an_aggregate_gives_is_checked() {
    let failure = |garbage: &str| {
        let json = format!(r#"{{"garbage": "{garbage}"}}"#);
        let module = load("faulty", configured(&json));
        let mut mean = module.open_aggregate("mean_of", &context(3)).unwrap();
        mean.update(&[0, 1], 2, &numbers(&[Some(1.0), Some(2.0)])).unwrap();
        mean.states(2).err().map(|error| error.failure)
    };
    for garbage in ["rows", "columns", "never", "twice", "all"] {
        let failure = failure(garbage);
        assert!(matches!(failure, Some(PluginFailure::BadOutput(_))), "{garbage}: {failure:?}");
    }
}

#[test]
fn an_aggregate_declares_what_the_host_keeps() {
    let module = load("faulty", config());
    let mean = module.functions().iter().find(|function| function.name == "mean_of").unwrap();
    assert_eq!(mean.kind, FunctionKind::Aggregate);
    let names: Vec<&str> = mean.state.iter().map(|kept| kept.field.name().as_str()).collect();
    assert_eq!(names, ["sum", "count"]);
    let told = module.open_aggregate("with_tax", &context(0)).err().unwrap().to_string();
    assert!(told.contains("there is no such function"), "{told}");
    let told = module.open_aggregate("echo", &context(0)).err().unwrap().to_string();
    assert!(told.contains("it is a transform and is used as a aggregate"), "{told}");
}
