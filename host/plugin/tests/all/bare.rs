//! A plugin on the contract alone, without the SDK, which has a scalar and a transform and no other kind.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use tidemill_core::{FunctionKind, PluginModule};

use crate::support::{config, load, one, table};

fn rows() -> RecordBatch {
    let names = vec![Some("a"), Some("somebody"), None, Some("a long name")];
    table([
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef),
        ("name", Arc::new(StringArray::from(names))),
    ])
}

#[test]
fn it_is_called_as_every_plugin() {
    let module = load("bare", config());
    let numbers = rows().project(&[0]).unwrap();
    let twice = one(&module, "twice", &numbers);
    let twice: Vec<_> = twice.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(twice, [Some(2), None, Some(6), Some(8)]);
    let long = one(&module, "long_names", &rows());
    assert_eq!(long.schema().fields().len(), 2);
    assert_eq!(
        long.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [None, Some(4)]
    );
    assert_eq!(long.column(1).as_string::<i32>().value(1), "a long name");
}

#[test]
fn it_exports_what_its_kinds_need_and_nothing_else() {
    let module = load("bare", config());
    let kinds: Vec<FunctionKind> = module.functions().iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FunctionKind::Scalar, FunctionKind::Transform]);
    let imports: Vec<&str> = module.imports().iter().map(|i| i.interface.as_str()).collect();
    assert_eq!(imports, ["tidemill:plugin/rows@0.2.0"]);
}
