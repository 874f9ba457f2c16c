//! Functions that take a function.

use super::required;
use crate::function::Function;
use crate::kernels::lambdas::{Kind, higher_order};
use crate::parameters::Takes::{Any, Array, Map};

macro_rules! higher_order {
    ($name:literal, $kind:expr, $usage:literal, [$($parameter:expr),*], $query:literal, $cell:literal) => {
        Function::higher_order($name, $usage, &[$($parameter),*], || higher_order($kind, $name, &[]))
            .example($query, $cell)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::higher_order(
        "aggregate",
        "What comes of a start and all values of an array, one after the other: `(acc, x) -> …`; and then of that, `acc -> …`.",
        &[required("expr", Array), required("start", Any), required("merge", Any), super::optional("finish", Any)],
        || higher_order(Kind::Aggregate, "aggregate", &["reduce"]),
    )
    .called(&["reduce"])
    .spelled(|name, mut arguments| {
        if arguments.len() == 3 {
            let variable = "namedlambdavariable()";
            arguments.push(format!("lambdafunction({variable}, {variable})"));
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT aggregate(array(1, 2, 3), 0, (acc, x) -> acc + x)", "6"),
    higher_order!(
        "exists",
        Kind::Exists,
        "Whether a condition is true for any value of an array.",
        [required("expr", Array), required("pred", Any)],
        "SELECT exists(array(1, 2, 3), x -> x % 2 == 0)",
        "true"
    ),
    higher_order!(
        "filter",
        Kind::Filter,
        "The values of an array for which a condition is true: `x -> …`, or with the index `(x, i) -> …`.",
        [required("expr", Array), required("func", Any)],
        "SELECT filter(array(1, 2, 3), x -> x % 2 == 1)",
        "[1, 3]"
    ),
    higher_order!(
        "forall",
        Kind::ForAll,
        "Whether a condition is true for all values of an array.",
        [required("expr", Array), required("pred", Any)],
        "SELECT forall(array(1, 2, 3), x -> x % 2 == 0)",
        "false"
    ),
    higher_order!(
        "map_filter",
        Kind::MapFilter,
        "The entries of a map for which a condition is true: `(k, v) -> …`.",
        [required("expr", Map), required("func", Any)],
        "SELECT map_filter(map(1, 0, 2, 2, 3, -1), (k, v) -> k > v)",
        "{1 -> 0, 3 -> -1}"
    ),
    higher_order!(
        "map_zip_with",
        Kind::MapZipWith,
        "A map of the keys of two maps, and of what comes of their values: `(k, v1, v2) -> …`.",
        [required("map1", Map), required("map2", Map), required("function", Any)],
        "SELECT map_zip_with(map(1, 'a'), map(1, 'x'), (k, v1, v2) -> concat(v1, v2))",
        "{1 -> ax}"
    ),
    higher_order!(
        "transform",
        Kind::Transform,
        "What comes of each value of an array: `x -> …`, or with the index `(x, i) -> …`.",
        [required("expr", Array), required("func", Any)],
        "SELECT transform(array(1, 2, 3), x -> x + 1)",
        "[2, 3, 4]"
    ),
    higher_order!(
        "transform_keys",
        Kind::TransformKeys,
        "A map with other keys: `(k, v) -> …`.",
        [required("expr", Map), required("func", Any)],
        "SELECT transform_keys(map(1, 1, 2, 2), (k, v) -> k + 1)",
        "{2 -> 1, 3 -> 2}"
    ),
    higher_order!(
        "transform_values",
        Kind::TransformValues,
        "A map with other values: `(k, v) -> …`.",
        [required("expr", Map), required("func", Any)],
        "SELECT transform_values(map(1, 1, 2, 2), (k, v) -> v + 1)",
        "{1 -> 2, 2 -> 3}"
    ),
    higher_order!(
        "zip_with",
        Kind::ZipWith,
        "What comes of the values of two arrays, place by place: `(x, y) -> …`. The shorter one has nulls at its end.",
        [required("left", Array), required("right", Array), required("func", Any)],
        "SELECT zip_with(array(1, 2), array(3, 4), (x, y) -> x + y)",
        "[4, 6]"
    ),
];
