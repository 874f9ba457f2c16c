//! Instances that are kept for the next batch: whose they are, and how many.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use tidemill_core::{BatchContext, PluginModule};
use tidemill_plugin_host::{Module, PluginConfig};

use crate::support::{config, context, load, table};

fn numbers(numbers: &[i64]) -> RecordBatch {
    table([("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef)])
}

fn reused() -> Arc<Module> {
    load("faulty", PluginConfig { reuse: true, ..config() })
}

/// What `seen` says in a partition of a batch: how many rows the instance was called with, and the batch.
fn seen(module: &Module, batch: u64, partition: u32) -> String {
    let rows = numbers(&[5]);
    let shape = module.shape("seen", rows.schema()).unwrap();
    let context = BatchContext { partition, ..context(batch) };
    let mut opened = module.open("seen", &context, rows.schema(), &shape).unwrap();
    let answer = opened.call(&rows).unwrap();
    answer.given[0].made[0].as_string::<i32>().value(0).to_owned()
}

#[test]
fn an_instance_is_kept_for_its_partition_and_its_generation() {
    let module = reused();
    assert_eq!(seen(&module, 0, 0), "1 in 0");
    assert_eq!(seen(&module, 1, 1), "1 in 1");
    assert_eq!(seen(&module, 1, 0), "2 in 1");
    assert_eq!(seen(&reused(), 2, 0), "1 in 2");
}

#[test]
fn two_of_a_batch_do_not_share_an_instance() {
    let (module, rows) = (reused(), numbers(&[5]));
    let shape = module.shape("seen", rows.schema()).unwrap();
    let open = || module.open("seen", &context(0), rows.schema(), &shape).unwrap();
    let (mut first, mut second) = (open(), open());
    for opened in [&mut first, &mut second] {
        let answer = opened.call(&rows).unwrap();
        assert_eq!(answer.given[0].made[0].as_string::<i32>().value(0), "1 in 0");
    }
}

#[test]
fn an_instance_that_failed_is_thrown_away() {
    let (module, bad) = (reused(), numbers(&[-1]));
    assert_eq!(seen(&module, 0, 0), "1 in 0");
    let shape = module.shape("seen", bad.schema()).unwrap();
    let mut opened = module.open("seen", &context(1), bad.schema(), &shape).unwrap();
    opened.call(&bad).unwrap_err();
    drop(opened);
    assert_eq!(seen(&module, 2, 0), "1 in 2");
}

#[test]
fn so_many_are_kept_and_the_one_that_waited_the_longest_goes() {
    let module = reused();
    for partition in 0..65 {
        assert_eq!(seen(&module, 0, partition), "1 in 0");
    }
    assert_eq!(seen(&module, 1, 64), "2 in 1");
    assert_eq!(seen(&module, 1, 1), "2 in 1");
    assert_eq!(seen(&module, 1, 0), "1 in 1");
}
