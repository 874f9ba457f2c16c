//! A plugin on the contract alone, without the SDK, which has a scalar and a transform and no other kind:
//! in Rust and in C, as a core module and as a component.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use tidemill_core::{FunctionKind, PluginModule};
use tidemill_plugin_host::{Limits, Module, PluginConfig};
use wit_component::ComponentEncoder;

use crate::support::{Opened, config, guest, host, load, one, table};

/// The plugin in C; none where the tests run without a compiler for it, as they were told.
fn in_c() -> Option<Vec<u8>> {
    let without = std::env::var("TIDEMILL_WITHOUT").unwrap_or_default();
    if without.split(',').any(|name| name == "clang") {
        eprintln!("left out: there is no clang");
        return None;
    }
    Some(guest("bare-c"))
}

/// The component that a toolchain makes of a core module.
fn component(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().validate(true).module(module).unwrap().encode().unwrap()
}

fn rows() -> RecordBatch {
    let names = vec![Some("a"), Some("somebody"), None, Some("a long name")];
    table([
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef),
        ("name", Arc::new(StringArray::from(names))),
    ])
}

/// Calls both functions, which do the same in every language.
fn check_calls(module: &Module) {
    let numbers = rows().project(&[0]).unwrap();
    let twice = one(module, "twice", &numbers);
    let twice: Vec<_> = twice.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(twice, [Some(2), None, Some(6), Some(8)]);
    let long = one(module, "long_names", &rows());
    assert_eq!(long.schema().fields().len(), 2);
    assert_eq!(
        long.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [None, Some(4)]
    );
    assert_eq!(long.column(1).as_string::<i32>().value(1), "a long name");
}

fn check_contents(module: &Module) {
    let kinds: Vec<FunctionKind> = module.functions().iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FunctionKind::Scalar, FunctionKind::Transform]);
    let imports: Vec<&str> = module.imports().iter().map(|i| i.interface.as_str()).collect();
    assert_eq!(imports, ["tidemill:plugin/rows@0.2.0"]);
}

#[test]
fn it_is_called_as_every_plugin() {
    check_calls(&load("bare", config()));
}

#[test]
fn it_exports_what_its_kinds_need_and_nothing_else() {
    check_contents(&load("bare", config()));
}

#[test]
fn a_plugin_in_c_is_called_as_every_plugin() {
    let Some(module) = in_c() else { return };
    let module = host().load("bare-c", &module, config()).unwrap();
    check_contents(&module);
    check_calls(&module);
}

#[test]
fn memory_of_a_plugin_in_c_is_used_again_for_each_call() {
    let Some(module) = in_c() else { return };
    let limits = Limits { memory: 4 << 20, ..Limits::default() };
    let module = host().load("bare-c", &module, PluginConfig { limits, ..config() }).unwrap();
    let numbers = Int64Array::from_iter_values(0..8_192);
    let numbers = table([("n", Arc::new(numbers) as ArrayRef)]);
    let mut twice = Opened::new(&module, "twice", 0, numbers.schema()).unwrap();
    // A block has 64 KiB of numbers, and a thousand of them 16 times the limit.
    for _ in 0..1_000 {
        let given = twice.call(&numbers).unwrap();
        assert_eq!(given.batches[0].column(0).as_primitive::<Int64Type>().value(8_191), 16_382);
    }
}

#[test]
fn a_ready_component_is_taken_as_its_core_module_is() {
    for module in [Some(guest("bare")), in_c()].into_iter().flatten() {
        let component = component(&module);
        assert_ne!(component[..8], module[..8]);
        let module = host().load("bare", &component, config()).unwrap();
        check_contents(&module);
        check_calls(&module);
    }
}
