//! Everything that a plugin can do wrong. After each the host goes on: these tests share one.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tidemill_core::PluginFailure;

use crate::support::{Opened, call, config, configured, failure, limited, load, one, table};

fn number(n: i64) -> RecordBatch {
    table([("n", Arc::new(Int64Array::from(vec![n])) as ArrayRef)])
}

#[test]
fn a_panic_is_told_with_its_message_and_place() {
    let module = load("faulty", config());
    match failure(&module, "panics", &number(-3)) {
        PluginFailure::Panic { message, place } => {
            assert_eq!(message, "-3 is negative");
            assert!(place.contains("faulty/src/lib.rs:"), "{place}");
        }
        other => panic!("{other:?}"),
    }
    // A new instance knows nothing of it.
    assert_eq!(one(&module, "panics", &number(3)).num_rows(), 1);
}

#[test]
fn an_instance_that_failed_is_not_called_again() {
    let module = load("faulty", config());
    let mut instance = Opened::new(&module, "panics", 0, number(0).schema()).unwrap();
    assert!(instance.call(&number(-1)).is_err());
    let error = instance.call(&number(1)).err().unwrap();
    assert!(matches!(error.failure, PluginFailure::Host(_)), "{error}");
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let module = load("faulty", limited(64 << 20, Duration::from_millis(50)));
    let failure = failure(&module, "spins", &number(0));
    assert_eq!(failure, PluginFailure::Deadline { limit_ms: 50 });
}

#[test]
fn memory_beyond_the_limit_is_refused() {
    let module = load("faulty", limited(16 << 20, Duration::from_secs(30)));
    let failure = failure(&module, "hoards", &number(0));
    assert_eq!(failure, PluginFailure::Memory { limit: 16 << 20 });
}

#[test]
fn endless_recursion_is_a_trap() {
    let module = load("faulty", config());
    let failure = failure(&module, "recurses", &number(0));
    assert!(matches!(&failure, PluginFailure::Trap(_)), "{failure:?}");
}

#[test]
fn other_columns_than_declared_are_told_by_name() {
    let module = load("faulty", config());
    let rows = table([("m", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
    let failure = failure(&module, "breaks_its_word", &rows);
    let told = "the result has the columns (m STRING), and not the declared (n BIGINT)";
    assert_eq!(failure, PluginFailure::Fatal(told.to_owned()));
}

#[test]
fn garbage_is_never_taken_for_rows() {
    let rows = table([("s", Arc::new(StringArray::from(vec!["aaa", "a"])) as ArrayRef)]);
    let kinds = [
        "noise",
        "nothing",
        "half",
        "text",
        "offsets",
        "schema",
        "many",
        "beyond",
        "columns",
        "no columns",
        "rows",
        "kept",
        "taken",
        "node",
        "nodes",
        "no node",
        "bitmap",
        "buffer",
        "buffers",
    ];
    for garbage in kinds {
        let module = load("faulty", configured(&format!(r#"{{"garbage": "{garbage}"}}"#)));
        let failure = failure(&module, "spoilt", &rows);
        assert!(matches!(failure, PluginFailure::BadOutput(_)), "{garbage}: {failure:?}");
    }
}

#[test]
fn a_scalar_gives_one_column_for_all_rows() {
    for (garbage, found) in [("twice", "[1, 1]"), ("never", "[]"), ("fresh", "[1]")] {
        let module = load("faulty", configured(&format!(r#"{{"garbage": "{garbage}"}}"#)));
        let failure = failure(&module, "spoilt_scalar", &number(1));
        let told = format!(
            "it gave {found} rows of its own for 1 rows; a scalar gives one column for all"
        );
        assert_eq!(failure, PluginFailure::BadOutput(told));
    }
}

#[test]
fn a_chatterbox_does_not_stop_the_call() {
    let module = load("faulty", config());
    assert_eq!(call(&module, "chatters", &number(5_000)).unwrap().batches[0].num_rows(), 1);
}

#[test]
fn a_handlers_calls_are_not_for_scalars() {
    let module = load("faulty", config());
    let error = Opened::new(&module, "handles", 0, number(0).schema()).err().unwrap();
    let told = "it is a foreach_batch and is used as a scalar or transform";
    assert_eq!(error.failure, PluginFailure::Signature(told.to_owned()));
}
