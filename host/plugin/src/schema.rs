//! Which columns a function gets, of those that the plan has.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use tidemill_block::{fits, plain_type, same_layout};
use tidemill_core::{FunctionSignature, Origin};
use tidemill_types::{IntervalFields, sql_name};

/// How the columns that a function declares are found among the plan's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arguments {
    /// The first is the first.
    ByPosition,
    /// By their names, whatever their order.
    ByName,
}

/// The way from the plan's columns to a function's.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// What the function is opened with.
    pub(crate) schema: SchemaRef,
    /// For each of its columns, the plan's.
    pub(crate) columns: Vec<usize>,
}

impl Input {
    /// Finds the columns that `signature` wants in `given`; all of them where it takes any, or lets
    /// those that it does not need through.
    pub(crate) fn new(
        arguments: Arguments,
        signature: &FunctionSignature,
        given: &Schema,
    ) -> Result<Input, String> {
        let wanted = match (&signature.input, arguments) {
            (None, _) => return Input::any(given),
            (Some(wanted), Arguments::ByPosition) => (by_position(wanted, given)?, wanted),
            (Some(wanted), Arguments::ByName) => (by_name(wanted, given)?, wanted),
        };
        if signature.passes_others {
            return Input::any(given);
        }
        let (columns, schema) = wanted;
        Ok(Input { schema: Arc::clone(schema), columns })
    }

    /// All columns.
    pub(crate) fn any(given: &Schema) -> Result<Input, String> {
        let fields = given.fields().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
        let columns = (0..fields.len()).collect();
        Ok(Input { schema: Arc::new(Schema::new(fields)), columns })
    }

    /// What the function gives, where columns that are passed are the plan's own.
    pub(crate) fn output(
        &self,
        told: &Schema,
        origins: &[Origin],
        given: &Schema,
    ) -> Result<SchemaRef, String> {
        let columns = told.fields().iter().zip(origins).map(|(told, origin)| {
            let Origin::Passed(place) = origin else { return Ok(Arc::clone(told)) };
            let passed = given.field(*place);
            let found = plain_type(passed.data_type()).map_err(|error| error.to_string())?;
            if !same_layout(&found, told.data_type()) {
                return Err(format!(
                    "it gives column \"{}\" as {}, and what it lets through there is {}",
                    told.name(),
                    sql_name(told.data_type()),
                    sql_name(&found)
                ));
            }
            Ok(Arc::new(IntervalFields::alone(passed).with_name(told.name())))
        });
        let columns = columns.collect::<Result<Vec<FieldRef>, String>>()?;
        Ok(Arc::new(Schema::new(columns)))
    }
}

/// The column in the layout in which it crosses.
pub(crate) fn as_plain(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if same_layout(column.data_type(), wanted) {
        return Ok(Arc::clone(column));
    }
    cast(column, wanted).map_err(|error| error.to_string())
}

/// Spark's DDL of a schema.
pub(crate) fn ddl(schema: &Schema) -> String {
    let column = |field: &FieldRef| format!("{} {}", field.name(), sql_name(field.data_type()));
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Whether two schemas have the same columns. Notes on them and nullability are left out.
pub(crate) fn same_columns(left: &Schema, right: &Schema) -> bool {
    left.fields().len() == right.fields().len()
        && left.fields().iter().zip(right.fields()).all(|(left, right)| {
            left.name() == right.name() && left.data_type() == right.data_type()
        })
}

fn by_position(wanted: &Schema, given: &Schema) -> Result<Vec<usize>, String> {
    let (asked, found) = (wanted.fields().len(), given.fields().len());
    if asked != found {
        return Err(format!("takes {asked} arguments ({}), and got {found}", ddl(wanted)));
    }
    for (position, (wanted, given)) in wanted.fields().iter().zip(given.fields()).enumerate() {
        if !is_fit(wanted.data_type(), given.data_type()) {
            return Err(format!(
                "argument {} (\"{}\") is {}, and got {}; cast it in SQL",
                position + 1,
                wanted.name(),
                sql_name(wanted.data_type()),
                sql_name(given.data_type())
            ));
        }
    }
    Ok((0..asked).collect())
}

fn by_name(wanted: &Schema, given: &Schema) -> Result<Vec<usize>, String> {
    let column = |wanted: &FieldRef| {
        let (index, found) = column_named(given, wanted.name()).ok_or_else(|| {
            let (name, given) = (wanted.name(), ddl(given));
            format!("wants a column \"{name}\", and the rows have ({given})")
        })?;
        if is_fit(wanted.data_type(), found.data_type()) {
            return Ok(index);
        }
        Err(format!(
            "wants column \"{}\" as {}, and it is {}; cast it in a step before",
            wanted.name(),
            sql_name(wanted.data_type()),
            sql_name(found.data_type())
        ))
    };
    wanted.fields().iter().map(column).collect()
}

/// The column of this name, as it is written or in another case.
fn column_named<'a>(given: &'a Schema, name: &str) -> Option<(usize, &'a Field)> {
    given.column_with_name(name).or_else(|| {
        let fields = given.fields().iter().map(|field| field.as_ref()).enumerate();
        let mut named = fields.filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
        named.next().filter(|_| named.next().is_none())
    })
}

/// Whether a column can be handed over as `wanted` without changing a value.
fn is_fit(wanted: &DataType, given: &DataType) -> bool {
    plain_type(given).is_ok_and(|given| fits(wanted, &given))
}

/// The column as it crosses.
fn plain(field: &FieldRef) -> Result<FieldRef, String> {
    let crosses = plain_type(field.data_type());
    let crosses = crosses.map_err(|_| {
        format!(
            "column \"{}\" is {}, which does not cross; cast it before the plugin",
            field.name(),
            field.data_type()
        )
    })?;
    Ok(Arc::new(IntervalFields::alone(field).with_data_type(crosses)))
}
