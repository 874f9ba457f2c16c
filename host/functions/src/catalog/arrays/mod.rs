//! Arrays, and what arrays and maps have in common.

mod build;

use datafusion_spark::function::array as spark;

use super::{of, optional, repeated, required};
use crate::function::{Determinism, Function};
use crate::kernels::elements::{Access, element};
use crate::kernels::lambdas::sorted_by;
use crate::kernels::lists::{edit, find, join, sets, sort};
use crate::parameters::Takes::{Any, Array, Int};

/// What `range(…)` in FROM counts with.
pub const SEQUENCE: Function = Function::scalar(
    "sequence",
    "The numbers or times from one to another, a step apart.",
    &[required("start", Any), required("stop", Any), optional("step", Any)],
    build::sequence,
)
.example("SELECT array_join(sequence(1, 5, 2), ',')", "1,3,5");

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "array",
        "An array of values.",
        &[repeated("exprs", Any)],
        |call| {
            call.unite(0)?;
            Ok(call.of(&spark::array()))
        },
    )
    .example("SELECT array(1, 2, 3)[1]", "2"),
    Function::scalar(
        "array_append",
        "An array with a value at its end.",
        &[required("array", Array), required("element", Any)],
        |call| build::with_value(call, edit::array_append),
    )
    .example("SELECT array_join(array_append(array(1, 2), 3), ',')", "1,2,3"),
    Function::scalar(
        "array_compact",
        "An array without its nulls.",
        &[required("array", Array)],
        of!(edit::array_compact),
    )
    .null_intolerant()
    .example("SELECT array_join(array_compact(array(1, NULL, 2)), ',')", "1,2"),
    Function::scalar(
        "array_contains",
        "Whether a value is in an array; null where it is not and a null is.",
        &[required("array", Array), required("value", Any)],
        |call| build::array_contains(call, find::array_contains),
    )
    .null_intolerant()
    .example("SELECT array_contains(array(1, 2, 3), 2)", "true"),
    Function::scalar(
        "array_distinct",
        "An array with each value once.",
        &[required("array", Array)],
        |call| build::of_ordered(call, sets::array_distinct),
    )
    .null_intolerant()
    .example("SELECT array_join(array_distinct(array(1, 2, 1)), ',')", "1,2"),
    Function::scalar(
        "array_except",
        "The values of an array that are not in another, each once.",
        &[required("array1", Array), required("array2", Array)],
        |call| build::both(call, sets::array_except),
    )
    .null_intolerant()
    .example("SELECT array_join(array_except(array(1, 2, 3), array(1, 3)), ',')", "2"),
    Function::scalar(
        "array_insert",
        "An array with a value at a place, counted from 1, or from the end by negative ones.",
        &[required("x", Array), required("pos", Any), required("val", Any)],
        build::array_insert,
    )
    .example("SELECT array_join(array_insert(array(1, 2), 2, 5), ',')", "1,5,2"),
    Function::scalar(
        "array_intersect",
        "The values that are in both arrays, each once.",
        &[required("array1", Array), required("array2", Array)],
        |call| build::both(call, sets::array_intersect),
    )
    .null_intolerant()
    .example("SELECT array_join(array_intersect(array(1, 2, 3), array(1, 3)), ',')", "1,3"),
    Function::scalar(
        "array_join",
        "The texts of an array with a text between them; nulls are left out, or replaced.",
        &[required("array", Array), required("delimiter", Any), optional("nullReplacement", Any)],
        |call| build::array_join(call, join::array_join),
    )
    .null_intolerant()
    .example("SELECT array_join(array('hello', 'world'), ' ')", "hello world"),
    Function::scalar(
        "array_max",
        "The largest value of an array; nulls do not count.",
        &[required("array", Array)],
        |call| build::of_ordered(call, sort::array_max),
    )
    .null_intolerant()
    .example("SELECT array_max(array(1, 20, NULL, 3))", "20"),
    Function::scalar(
        "array_min",
        "The smallest value of an array; nulls do not count.",
        &[required("array", Array)],
        |call| build::of_ordered(call, sort::array_min),
    )
    .null_intolerant()
    .example("SELECT array_min(array(1, 20, NULL, 3))", "1"),
    Function::scalar(
        "array_position",
        "The place of a value in an array, counted from 1; 0 where it is not there.",
        &[required("array", Array), required("element", Any)],
        |call| build::searched(call, find::array_position),
    )
    .null_intolerant()
    .example("SELECT array_position(array(1, 2, 3), 2)", "2"),
    Function::scalar(
        "array_prepend",
        "An array with a value before its beginning.",
        &[required("array", Array), required("element", Any)],
        |call| build::with_value(call, edit::array_prepend),
    )
    .example("SELECT array_join(array_prepend(array(1, 2), 3), ',')", "3,1,2"),
    Function::scalar(
        "array_remove",
        "An array without a value.",
        &[required("array", Array), required("element", Any)],
        |call| build::searched(call, find::array_remove),
    )
    .null_intolerant()
    .example("SELECT array_join(array_remove(array(1, 2, 1), 1), ',')", "2"),
    Function::scalar(
        "array_repeat",
        "An array of a value so many times.",
        &[required("element", Any), required("count", Any)],
        build::array_repeat,
    )
    .example("SELECT array_join(array_repeat('a', 2), ',')", "a,a"),
    Function::scalar(
        "array_size",
        "How many values an array has.",
        &[required("array", Array)],
        build::size,
    )
    .null_intolerant()
    .example("SELECT array_size(array(1, 2))", "2"),
    Function::scalar(
        "array_sort",
        "An array in order: nulls are last.",
        &[required("array", Array)],
        |call| build::array_sort(call, sort::array_sort),
    )
    .with_lambda(sorted_by)
    .null_intolerant()
    .example("SELECT array_join(array_sort(array(3, 1, 2)), ',')", "1,2,3"),
    Function::scalar(
        "array_union",
        "The values of both arrays, each once.",
        &[required("array1", Array), required("array2", Array)],
        |call| build::both(call, sets::array_union),
    )
    .null_intolerant()
    .example("SELECT array_join(array_union(array(1, 2), array(1, 3)), ',')", "1,2,3"),
    Function::scalar(
        "arrays_overlap",
        "Whether two arrays have a value in common; null where they have not and a null is in one.",
        &[required("a1", Array), required("a2", Array)],
        |call| build::both(call, sets::arrays_overlap),
    )
    .null_intolerant()
    .example("SELECT arrays_overlap(array(1, 2), array(2, 3))", "true"),
    Function::scalar(
        "arrays_zip",
        "Arrays as one of structs: the first of each, the second of each, and so on.",
        &[repeated("a", Array)],
        build::arrays_zip,
    )
    .null_intolerant()
    .example("SELECT size(arrays_zip(array(1, 2), array(3)))", "2"),
    Function::scalar(
        "cardinality",
        "How many values an array has, or a map entries.",
        &[required("expr", Any)],
        build::size,
    )
    .called(&["size"])
    .example("SELECT size(array('b', 'd', 'c', 'a'))", "4"),
    Function::scalar(
        "element_at",
        "The value of an array at a place, counted from 1, or from the end by negative ones, or of a map by its key.",
        &[required("array, map", Any), required("index, key", Any)],
        |call| build::element_at(call, Access::ElementAt),
    )
    .example("SELECT element_at(array(1, 2, 3), 2)", "2"),
    Function::scalar(
        "flatten",
        "An array of arrays as one.",
        &[required("arrayOfArrays", Array)],
        build::flatten,
    )
    .null_intolerant()
    .example("SELECT array_join(flatten(array(array(1), array(2, 3))), ',')", "1,2,3"),
    Function::scalar(
        "get",
        "The value of an array at a place, counted from 0; null where there is none.",
        &[required("array", Array), required("index", Int)],
        |call| Ok(element(Access::Get, call.argument(0), call.argument(1))),
    )
    .example("SELECT get(array(1, 2, 3), 0)", "1"),
    SEQUENCE,
    Function::scalar(
        "shuffle",
        "An array in an order by chance.",
        &[required("array", Array)],
        build::shuffle,
    )
    .determined(Determinism::Volatile),
    Function::scalar(
        "slice",
        "So many values of an array from a place on, counted from 1, or from the end by negative ones.",
        &[required("x", Array), required("start", Int), required("length", Int)],
        of!(edit::slice),
    )
    .null_intolerant()
    .example("SELECT array_join(slice(array(1, 2, 3), 2, 2), ',')", "2,3"),
    Function::scalar(
        "sort_array",
        "An array in order: nulls are first where it ascends, else last.",
        &[required("array", Array), optional("ascendingOrder", Any)],
        |call| build::sort_array(call, sort::sort_array),
    )
    .spelled(|name, mut arguments| {
        if arguments.len() == 1 {
            arguments.push("true".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT array_join(sort_array(array(3, 1, 2), false), ',')", "3,2,1"),
    Function::scalar(
        "try_element_at",
        "As `element_at`; null beyond an array's end.",
        &[required("array, map", Any), required("index, key", Any)],
        |call| build::element_at(call, Access::TryElementAt),
    )
    .example("SELECT try_element_at(array(1, 2, 3), 5)", "NULL"),
];
