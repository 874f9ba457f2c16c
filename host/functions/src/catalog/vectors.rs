//! Arrays of FLOAT as vectors.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::Expr;

use super::{optional, required};
use crate::call::Call;
use crate::function::Function;
use crate::kernels::vectors::{self, Norm, Pair};
use crate::parameters::Parameter;
use crate::parameters::Takes::Any;

const PAIR: &[Parameter] = &[required("array1", Any), required("array2", Any)];
const OF_DEGREE: &[Parameter] = &[required("vector", Any), optional("degree", Any)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "vector_cosine_similarity",
        "The cosine of the angle between two arrays of FLOAT; null where one has no length.",
        PAIR,
        |call| paired(call, Pair::Cosine),
    )
    .null_intolerant()
    .example(
        "SELECT vector_cosine_similarity(array(1.0F, 2.0F, 3.0F), array(4.0F, 5.0F, 6.0F))",
        "0.97463185",
    ),
    Function::scalar(
        "vector_inner_product",
        "The sum of the products of two arrays of FLOAT, place by place.",
        PAIR,
        |call| paired(call, Pair::Product),
    )
    .null_intolerant()
    .example(
        "SELECT vector_inner_product(array(1.0F, 2.0F, 3.0F), array(4.0F, 5.0F, 6.0F))",
        "32.0",
    ),
    Function::scalar(
        "vector_l2_distance",
        "The Euclidean distance of two arrays of FLOAT.",
        PAIR,
        |call| paired(call, Pair::Distance),
    )
    .null_intolerant()
    .example(
        "SELECT vector_l2_distance(array(1.0F, 2.0F, 3.0F), array(4.0F, 5.0F, 6.0F))",
        "5.196152",
    ),
    Function::scalar(
        "vector_norm",
        "The length of an array of FLOAT, by a norm of the degree 1.0F, 2.0F (where none is said) or infinity.",
        OF_DEGREE,
        |call| of_degree(call, Norm::Length),
    )
    .null_intolerant()
    .spelled(with_degree)
    .example("SELECT vector_norm(array(3.0F, 4.0F), 2.0F)", "5.0"),
    Function::scalar(
        "vector_normalize",
        "An array of FLOAT divided by its length, as `vector_norm` gives it; null where that is 0.",
        OF_DEGREE,
        |call| of_degree(call, Norm::Normalized),
    )
    .null_intolerant()
    .spelled(with_degree)
    .example("SELECT vector_normalize(array(3.0F, 4.0F), 2.0F)", "[0.6, 0.8]"),
];

fn check_vector(call: &Call, place: usize) -> Result<()> {
    match call.kind(place) {
        DataType::List(item) if *item.data_type() == DataType::Float32 => Ok(()),
        _ => Err(call.wrong(place, "ARRAY<FLOAT>")),
    }
}

fn paired(call: &mut Call, pair: Pair) -> Result<Expr> {
    check_vector(call, 0)?;
    check_vector(call, 1)?;
    Ok(call.of(&vectors::paired(pair)))
}

fn of_degree(call: &mut Call, norm: Norm) -> Result<Expr> {
    check_vector(call, 0)?;
    if call.count() == 2 && *call.kind(1) != DataType::Float32 {
        return Err(call.wrong(1, "FLOAT"));
    }
    let degree = call.argument_or(1, 2.0_f32);
    Ok(vectors::normed(norm).call(vec![call.argument(0), degree]))
}

fn with_degree(name: &str, mut arguments: Vec<String>) -> String {
    if arguments.len() == 1 {
        arguments.push("2.0".to_owned());
    }
    format!("{name}({})", arguments.join(", "))
}
