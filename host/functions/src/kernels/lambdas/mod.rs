//! Functions that take a function: what they do for each value of an array or a map is an
//! expression of the query.
//!
//! A lambda is evaluated once for all values of a block of rows, not once a value: the values of
//! all arrays one after the other are its columns, and columns of the row that it reads are
//! repeated for each value. `aggregate` takes a step for each place instead, over all rows that
//! have a value there.

mod arrays;
mod folds;
mod maps;
mod values;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature,
    HigherOrderUDF, HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda,
    Volatility,
};
use tidemill_types::{format_type, wider};

use super::lists::aligned;
use super::lists::maps::{entry, map_of};

/// One of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `transform(array, x -> …)`, or with the index: `(x, i) -> …`.
    Transform,
    /// `filter(array, x -> …)`, or with the index.
    Filter,
    /// `exists(array, x -> …)`.
    Exists,
    /// `forall(array, x -> …)`.
    ForAll,
    /// `aggregate(array, start, (acc, x) -> …[, acc -> …])`.
    Aggregate,
    /// `zip_with(array, array, (x, y) -> …)`.
    ZipWith,
    /// `array_sort(array, (x, y) -> …)`.
    Sort,
    /// `map_filter(map, (k, v) -> …)`.
    MapFilter,
    /// `transform_keys(map, (k, v) -> …)`.
    TransformKeys,
    /// `transform_values(map, (k, v) -> …)`.
    TransformValues,
    /// `map_zip_with(map, map, (k, v1, v2) -> …)`.
    MapZipWith,
}

/// The function, as DataFusion calls it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct HigherOrder {
    kind: Kind,
    name: &'static str,
    aliases: Vec<String>,
    signature: HigherOrderSignature,
}

/// A function with its names.
pub(crate) fn higher_order(
    kind: Kind,
    name: &'static str,
    aliases: &[&'static str],
) -> Arc<HigherOrderUDF> {
    Arc::new(HigherOrderUDF::new_from_impl(HigherOrder {
        kind,
        name,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        signature: HigherOrderSignature::user_defined(Volatility::Immutable),
    }))
}

/// `array_sort(array, (x, y) -> …)`: without a comparison it is a function like any other.
pub(crate) fn sorted_by() -> Arc<HigherOrderUDF> {
    higher_order(Kind::Sort, "array_sort_by", &[])
}

/// An argument of a call that runs.
pub(super) type Argument = ValueOrLambda<ColumnarValue, LambdaArgument>;

impl HigherOrder {
    /// How many values, and how many lambdas there may be.
    fn counts(&self) -> (usize, std::ops::RangeInclusive<usize>) {
        match self.kind {
            Kind::Aggregate => (2, 1..=2),
            Kind::ZipWith | Kind::MapZipWith => (2, 1..=1),
            _ => (1, 1..=1),
        }
    }

    fn wrong<T>(&self, wanted: &str, found: &DataType) -> Result<T> {
        plan_err!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {}(): the first parameter requires the \"{wanted}\" type, and has the type \"{}\"; cast it",
            self.name,
            format_type(found).to_uppercase()
        )
    }

    /// The columns of each lambda.
    fn parameters(&self, values: &[&FieldRef]) -> Result<Vec<Vec<FieldRef>>> {
        let kinds: Vec<&DataType> = values.iter().map(|field| field.data_type()).collect();
        let named = |kind: &DataType| Arc::new(Field::new("x", kind.clone(), true));
        let index = || Arc::new(Field::new("i", DataType::Int32, false));
        Ok(match (self.kind, kinds.as_slice()) {
            (Kind::Transform | Kind::Filter, [DataType::List(item)]) => {
                vec![vec![Arc::clone(item), index()]]
            }
            (Kind::Exists | Kind::ForAll, [DataType::List(item)]) => vec![vec![Arc::clone(item)]],
            (Kind::Sort, [DataType::List(item)]) => {
                vec![vec![Arc::clone(item), Arc::clone(item)]]
            }
            (Kind::Aggregate, [DataType::List(item), start]) => {
                vec![vec![named(start), Arc::clone(item)], vec![named(start)]]
            }
            (Kind::ZipWith, [DataType::List(left), DataType::List(right)]) => {
                vec![vec![named(left.data_type()), named(right.data_type())]]
            }
            (
                Kind::MapFilter | Kind::TransformKeys | Kind::TransformValues,
                [map @ DataType::Map(..)],
            ) => {
                let (key, value) = entry(map)?;
                vec![vec![Arc::clone(key), Arc::clone(value)]]
            }
            (Kind::MapZipWith, [left @ DataType::Map(..), right @ DataType::Map(..)]) => {
                let ((key, left), (_, right)) = (entry(left)?, entry(right)?);
                vec![vec![Arc::clone(key), named(left.data_type()), named(right.data_type())]]
            }
            _ => return internal_err!("{}() of {kinds:?}", self.name),
        })
    }
}

impl HigherOrderUDFImpl for HigherOrder {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn coerce_value_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let (count, _) = self.counts();
        if kinds.len() != count {
            return plan_err!(
                "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] {}() takes {count} values before its lambda, and has {}",
                self.name,
                kinds.len()
            );
        }
        let list = |kind: &DataType| match kind {
            DataType::List(_) => Ok(kind.clone()),
            DataType::Null => Ok(DataType::new_list(DataType::Null, true)),
            other => self.wrong("ARRAY", other),
        };
        let map = |kind: &DataType| match kind {
            DataType::Map(..) => Ok(kind.clone()),
            other => self.wrong("MAP", other),
        };
        match self.kind {
            Kind::Aggregate => Ok(vec![list(&kinds[0])?, kinds[1].clone()]),
            Kind::MapFilter | Kind::TransformKeys | Kind::TransformValues => {
                Ok(vec![map(&kinds[0])?])
            }
            Kind::MapZipWith => {
                let (left, right) = (map(&kinds[0])?, map(&kinds[1])?);
                if entry(&left)?.0.data_type() != entry(&right)?.0.data_type() {
                    return plan_err!(
                        "[DATATYPE_MISMATCH.MAP_ZIP_WITH_DIFF_TYPES] map_zip_with(): the keys of both maps have to be of one type; cast them"
                    );
                }
                Ok(vec![left, right])
            }
            _ => kinds.iter().map(list).collect(),
        }
    }

    fn lambda_parameters(
        &self,
        _: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        let values: Vec<&FieldRef> = fields
            .iter()
            .filter_map(|field| match field {
                ValueOrLambda::Value(field) => Some(field),
                ValueOrLambda::Lambda(_) => None,
            })
            .collect();
        let lambdas = fields.len() - values.len();
        if !self.counts().1.contains(&lambdas) {
            return plan_err!(
                "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] {}() takes a lambda, such as x -> x + 1, and has {lambdas}",
                self.name
            );
        }
        let mut parameters = self.parameters(&values)?;
        parameters.truncate(lambdas);
        Ok(LambdaParametersProgress::Complete(parameters))
    }

    fn return_field_from_args(&self, arguments: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        let value = |place: usize| match arguments.arg_fields.get(place) {
            Some(ValueOrLambda::Value(field)) => Ok(field.data_type()),
            _ => internal_err!("{}() lacks a value", self.name),
        };
        let lambdas: Vec<&FieldRef> = arguments
            .arg_fields
            .iter()
            .filter_map(|argument| match argument {
                ValueOrLambda::Lambda(field) => Some(field),
                ValueOrLambda::Value(_) => None,
            })
            .collect();
        let Some(given) = lambdas.first() else {
            return internal_err!("{}() lacks a lambda", self.name);
        };
        let item =
            || Arc::new(Field::new_list_field(given.data_type().clone(), given.is_nullable()));
        let kind = match self.kind {
            Kind::Filter | Kind::Exists | Kind::ForAll | Kind::MapFilter
                if !matches!(given.data_type(), DataType::Boolean | DataType::Null) =>
            {
                return plan_err!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {}(): the lambda has to give a \"BOOLEAN\", and gives a \"{}\"; write a comparison",
                    self.name,
                    format_type(given.data_type()).to_uppercase()
                );
            }
            // A number that is written out is a BIGINT until all types are final.
            Kind::Sort
                if !matches!(
                    given.data_type(),
                    DataType::Int32 | DataType::Int64 | DataType::Null
                ) =>
            {
                return plan_err!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_RETURN_TYPE] array_sort(): the lambda has to give an \"INT\", and gives a \"{}\"; cast it",
                    format_type(given.data_type()).to_uppercase()
                );
            }
            Kind::Transform | Kind::ZipWith => DataType::List(item()),
            Kind::Filter | Kind::Sort | Kind::MapFilter => value(0)?.clone(),
            Kind::Exists | Kind::ForAll => DataType::Boolean,
            Kind::Aggregate => {
                let start = value(1)?;
                let is_same = given.data_type() == start || given.data_type().is_null();
                let fits = wider(start, given.data_type()).as_ref() == Some(start);
                if !is_same && !fits {
                    return plan_err!(
                        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {}(): the lambda has to give what the start is, a \"{}\", and gives a \"{}\"; cast the start",
                        self.name,
                        format_type(start).to_uppercase(),
                        format_type(given.data_type()).to_uppercase()
                    );
                }
                lambdas.get(1).map_or(start, |finish| finish.data_type()).clone()
            }
            Kind::TransformKeys => {
                map_of(given.data_type().clone(), entry(value(0)?)?.1.data_type().clone())
            }
            Kind::TransformValues | Kind::MapZipWith => {
                map_of(entry(value(0)?)?.0.data_type().clone(), given.data_type().clone())
            }
        };
        Ok(Arc::new(Field::new(self.name, kind, true)))
    }

    fn invoke_with_args(&self, arguments: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let (args, rows) = (&arguments.args, arguments.number_rows);
        let to = arguments.return_field.data_type();
        let values = match self.kind {
            Kind::Transform => arrays::transform(args, rows, to),
            Kind::Filter => arrays::filter(args, rows),
            Kind::Exists => arrays::any(args, rows, true),
            Kind::ForAll => arrays::any(args, rows, false),
            Kind::ZipWith => arrays::zip_with(args, rows, to),
            Kind::Sort => folds::sort(args, rows),
            Kind::Aggregate => folds::aggregate(args, rows),
            Kind::MapFilter => maps::filter(args, rows),
            Kind::TransformKeys => maps::transform(args, rows, to, true),
            Kind::TransformValues => maps::transform(args, rows, to, false),
            Kind::MapZipWith => maps::zip_with(args, rows, to),
        }?;
        Ok(ColumnarValue::Array(aligned(&values, to)?))
    }
}
