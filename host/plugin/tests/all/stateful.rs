//! Stateful functions, called as a plan calls them, and by a guest that misuses the state.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::DataType;
use tidemill_core::{
    Change, FunctionKind, KeyedState, PluginFailure, PluginModule, StatefulInstance, VariableShape,
};

use crate::support::{config, configured, context, load, table};

/// A state that has nothing, and notes what is asked of it.
#[derive(Clone, Default)]
struct Empty {
    types: Arc<[DataType]>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Empty {
    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
    }
}

impl KeyedState for Empty {
    fn read(&mut self, variable: usize, keys: &[u32]) -> Result<ArrayRef, PluginFailure> {
        self.note(format!("read {variable} of {keys:?}"));
        Ok(new_null_array(&self.types[variable], keys.len()))
    }

    fn find(
        &mut self,
        variable: usize,
        keys: &[u32],
        entries: &ArrayRef,
    ) -> Result<ArrayRef, PluginFailure> {
        self.note(format!("find {:?} of {variable}", entries.as_string::<i32>()));
        Ok(new_null_array(&DataType::Int64, keys.len()))
    }

    fn change(
        &mut self,
        variable: usize,
        keys: &[u32],
        change: Change<'_>,
    ) -> Result<(), PluginFailure> {
        let what = match change {
            Change::Write(_) => "write",
            Change::Append(_) => "append",
            Change::Put(..) => "put",
            Change::Remove(_) => "remove",
        };
        self.note(format!("{what} {variable} of {keys:?}"));
        Ok(())
    }

    fn timers(&mut self, keys: &[u32]) -> Result<Vec<Vec<i64>>, PluginFailure> {
        Ok(vec![vec![7]; keys.len()])
    }

    fn set_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.note(format!("set {times:?} of {keys:?}"));
        Ok(())
    }

    fn delete_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.note(format!("delete {times:?} of {keys:?}"));
        Err(PluginFailure::Host(format!("no timers of {keys:?} today")))
    }
}

fn orders(orders: &[(&str, &str, i64)]) -> RecordBatch {
    let what: StringArray = orders.iter().map(|(what, ..)| Some(*what)).collect();
    let text: StringArray = orders.iter().map(|(_, text, _)| Some(*text)).collect();
    let n: Int64Array = orders.iter().map(|(.., n)| Some(*n)).collect();
    table([("what", Arc::new(what) as ArrayRef), ("text", Arc::new(text)), ("n", Arc::new(n))])
}

fn keys(keys: &[&str]) -> Vec<ArrayRef> {
    vec![Arc::new(StringArray::from(keys.to_vec()))]
}

fn open(json: Option<&str>) -> (Box<dyn StatefulInstance>, Empty) {
    let module = load("faulty", json.map_or_else(config, configured));
    let input = orders(&[]).schema();
    let shape = module.shape("tally", Arc::clone(&input)).unwrap();
    assert_eq!(shape.reads, [0, 1, 2]);
    let tally = module.functions().iter().find(|function| function.name == "tally").unwrap();
    let types = tally.state.iter().map(|variable| variable.field.data_type().clone()).collect();
    let opened = module.open_stateful("tally", &context(3), input, &shape).unwrap();
    (opened, Empty { types, ..Empty::default() })
}

#[test]
fn a_stateful_function_declares_its_key_and_what_is_kept() {
    let module = load("faulty", config());
    let tally = module.functions().iter().find(|function| function.name == "tally").unwrap();
    assert_eq!(tally.kind, FunctionKind::Stateful);
    let kept: Vec<(&str, VariableShape)> =
        tally.state.iter().map(|kept| (kept.field.name().as_str(), kept.shape)).collect();
    let shapes = [VariableShape::Value, VariableShape::Items, VariableShape::Entries];
    assert_eq!(kept, [("number", shapes[0]), ("texts", shapes[1]), ("by_text", shapes[2])]);
    assert_eq!(tally.key.as_ref().unwrap().field(0).name(), "k");
    assert!(tally.initial.is_some());
    let brief = module.functions().iter().find(|function| function.name == "brief").unwrap();
    assert_eq!(brief.state[0].ttl, Some(1_000_000));
    assert_eq!(brief.initial, None);
}

#[test]
fn what_is_changed_goes_to_the_host_together() {
    let (mut tally, state) = open(None);
    let rows = orders(&[
        ("add", "", 1),
        ("append", "x", 0),
        ("add", "", 2),
        ("put", "y", 3),
        ("timer", "", 9),
        ("add", "", 5),
        ("tell", "z", 0),
    ]);
    let given = tally.rows(&keys(&["a", "b"]), &[2, 5], &rows, Box::new(state.clone())).unwrap();
    assert_eq!(given.refused, []);
    let told = &given.given[0].made;
    assert_eq!(told[0].as_string::<i32>().value(0), "b");
    assert_eq!(told[1].as_primitive::<arrow::datatypes::Int64Type>().value(0), 7);
    let asked = state.asked.lock().unwrap().clone();
    // The values of all keys at once, a list and a map of the one key that asks, and at the end the changes.
    let expected = [
        "read 0 of [0, 1]",
        "read 1 of [1]",
        "read 2 of [1]",
        "find StringArray\n[\n  \"z\",\n] of 2",
        "write 0 of [0, 1]",
        "append 1 of [0]",
        "put 2 of [1]",
        "set [9] of [1]",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn an_error_of_the_host_ends_the_call_and_is_the_host_s() {
    let (mut tally, state) = open(None);
    let rows = orders(&[("no timer", "", 9)]);
    let failed = tally.rows(&keys(&["a"]), &[1], &rows, Box::new(state)).unwrap_err();
    assert_eq!(failed.failure, PluginFailure::Host("no timers of [0] today".to_owned()));
}

#[test]
fn a_guest_that_misuses_the_state_is_told_what_it_did() {
    let told = |garbage: &str| {
        let (mut tally, state) = open(Some(&format!(r#"{{"garbage": "{garbage}"}}"#)));
        let rows = orders(&[("add", "", 1)]);
        let failed = tally.rows(&keys(&["a"]), &[1], &rows, Box::new(state.clone())).unwrap_err();
        // A call that failed leaves nothing to go on with.
        let again = tally.rows(&keys(&["a"]), &[1], &rows, Box::new(state)).unwrap_err();
        assert!(again.failure.to_string().contains("open a new one"), "{garbage}");
        match failed.failure {
            PluginFailure::BadOutput(reason) => reason,
            other => panic!("{garbage}: {other:?}"),
        }
    };
    for (garbage, words) in [
        ("variable", "variable 99 of its state, and it has 3"),
        ("key", "key 99, and the call has 1 of them"),
        ("written key", "key 99"),
        ("written type", "\"number\": "),
        ("written rows", "\"number\": 1 rows for 2 keys"),
        ("appended to a number", "\"number\" is a value, and was used as a list"),
        ("appended type", "\"texts\": "),
        ("found in a list", "\"texts\" is a list, and was used as a map"),
        ("put into a number", "\"number\" is a value, and was used as a map"),
        ("put without a key", "an entry whose key is null"),
        ("removed rows", "\"by_text\": 1 rows for 3 keys"),
        ("timer's key", "key 99"),
        ("timers", "2 timers for 1 keys"),
        ("deleted timers", "key 99"),
    ] {
        let reason = told(garbage);
        assert!(reason.contains(words), "{garbage}: {reason}");
    }
    assert!(told("read a lot").contains("10000000 keys in one read; the limit is 1048576"));
}
