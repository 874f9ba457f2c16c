//! Transforms: a function gives rows for rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use tidemill_types::sql_name;

use crate::bindings::exports::tidemill::plugin::transforms::{BlockResult, Guest};
use crate::bindings::tidemill::plugin::types::{Failure, FunctionKind, Origin, RowError};
use crate::exports::{Exports, Functions, with};
use crate::kinds::{Body, Called, Declared, Opened, all_of, columns_of};
use crate::output::{Output, Selected, check_nulls};
use crate::rows::{self, Given, Selection};
use crate::{BatchContext, Error, Result, crossing};

/// A function with `#[transform]` that makes all columns of its output.
pub struct Making {
    /// The columns that it wants; all where it does not say.
    pub input: Option<&'static str>,
    /// The columns that it gives, if it says so.
    pub output: Option<&'static str>,
    /// The function.
    pub call: fn(RecordBatch, &BatchContext, &mut Output<'_>) -> Result<()>,
}

/// A function with `#[transform(reads = …)]`, which lets the other columns of its input through.
pub struct Selecting {
    /// The columns that it wants.
    pub reads: &'static str,
    /// The columns that it replaces or adds.
    pub sets: &'static str,
    /// The function.
    pub call: fn(RecordBatch, &BatchContext) -> Result<Selected>,
}

/// A transform of these columns of its input.
pub(crate) struct OpenedTransform {
    pub(crate) crossing: SchemaRef,
    pub(crate) call: Box<Call>,
}

/// What is called with these columns.
type Call = dyn Fn(RecordBatch, &BatchContext, Give<'_>) -> Result<()>;

/// Where rows of the output go.
pub(crate) type Give<'a> = &'a mut dyn FnMut(Given) -> Result<()>;

impl Called for OpenedTransform {
    const KIND: &'static str = "a transform";
}

impl<P: Functions> Guest for Exports<P> {
    fn call(opened: u32, input: BlockResult) -> Result<Vec<RowError>, Failure> {
        with(opened, |transform: &mut OpenedTransform, context| {
            let input = crossing::arrived(&transform.crossing, input)?;
            (transform.call)(input, context, &mut rows::give)?;
            Ok(context.take_refused())
        })
    }
}

impl Body for Making {
    fn declared(&self) -> Declared {
        Declared {
            input: self.input.map(columns_of),
            output: self.output.map(columns_of),
            ..Declared::of(FunctionKind::Transform)
        }
    }

    fn open(self: Box<Making>, input: &SchemaRef) -> Result<Opened> {
        let (reads, crossing) = match self.input {
            Some(wanted) => find(&columns_of(wanted), input)?,
            None => (all_of(input), Arc::clone(input)),
        };
        let output = match self.output {
            Some(output) => columns_of(output),
            None => self.output_for(&crossing)?,
        };
        let declared = Arc::clone(&output);
        let call = move |input: RecordBatch, context: &BatchContext, give: Give<'_>| {
            let mut give = |rows: RecordBatch| give(fresh(rows, &declared)?);
            (self.call)(input, context, &mut Output::new(&mut give))
        };
        let transform = OpenedTransform { crossing, call: Box::new(call) };
        Ok(Opened::making(output, reads, transform))
    }
}

impl Making {
    /// The columns that it gives for no rows.
    fn output_for(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let empty = RecordBatch::new_empty(Arc::clone(input));
        let context = BatchContext::default();
        let given = Output::collected(|output| (self.call)(empty, &context, output))?;
        given.first().map(RecordBatch::schema).ok_or_else(|| {
            Error::fatal(
                "the transform gives nothing for no rows, so its columns are not known; declare \
                 them: #[transform(output = \"…\")]",
            )
        })
    }
}

impl Body for Selecting {
    fn declared(&self) -> Declared {
        Declared {
            input: Some(columns_of(self.reads)),
            output: Some(columns_of(self.sets)),
            passes_others: true,
            ..Declared::of(FunctionKind::Transform)
        }
    }

    fn open(self: Box<Selecting>, input: &SchemaRef) -> Result<Opened> {
        let sets = columns_of(self.sets);
        let (reads, crossing) = find(&columns_of(self.reads), input)?;
        let (output, origins, order) = set(&sets, input)?;
        let call = move |rows: RecordBatch, context: &BatchContext, give: Give<'_>| {
            let count = rows.num_rows();
            let mut given = (self.call)(rows, context)?.given(count, &sets)?;
            given.columns = order.iter().map(|set| Arc::clone(&given.columns[*set])).collect();
            give(given)
        };
        let call = Box::new(OpenedTransform { crossing, call: Box::new(call) });
        Ok(Opened { output, reads, origins, call })
    }
}

/// Where the columns are that a function names, and how they cross: by the function's names.
fn find(wanted: &Schema, input: &Schema) -> Result<(Vec<u32>, SchemaRef)> {
    let found = wanted.fields().iter().map(|wanted| {
        let name = wanted.name();
        let Some(place) = position(name, input)? else {
            return Err(Error::bad_input(format!(
                "the function reads a column \"{name}\", and its input has the columns ({}); give \
                 one of them the name in a step before",
                listed(input)
            )));
        };
        let field = input.field(place);
        if !tidemill_block::fits(wanted.data_type(), field.data_type()) {
            let (found, wanted) = (sql_name(field.data_type()), sql_name(wanted.data_type()));
            return Err(Error::bad_input(format!(
                "the function reads the column \"{name}\" as {wanted}, and it is {found}; cast it \
                 in a step before"
            )));
        }
        let crossing = Field::new(name, field.data_type().clone(), field.is_nullable());
        Ok((place as u32, crossing.with_metadata(field.metadata().clone())))
    });
    let (places, fields): (Vec<u32>, Vec<Field>) =
        found.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok((places, Arc::new(Schema::new(fields))))
}

/// The columns of an input with others set, where each comes from, and which of the set ones they are in
/// the order of these columns.
fn set(sets: &Schema, input: &Schema) -> Result<(SchemaRef, Vec<Origin>, Vec<usize>)> {
    let mut fields: Vec<FieldRef> = input.fields().to_vec();
    let mut origins: Vec<Origin> = all_of(input).into_iter().map(Origin::Passed).collect();
    let mut places = Vec::new();
    for field in sets.fields() {
        match position(field.name(), input)? {
            Some(place) => {
                fields[place] = Arc::clone(field);
                origins[place] = Origin::Made;
                places.push(place);
            }
            None => {
                places.push(fields.len());
                fields.push(Arc::clone(field));
                origins.push(Origin::Made);
            }
        }
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|set| places[*set]);
    Ok((Arc::new(Schema::new(fields)), origins, order))
}

/// The place of a column: the one of the very name, or of it in other letters of ASCII.
fn position(name: &str, among: &Schema) -> Result<Option<usize>> {
    let places = |is: &dyn Fn(&str) -> bool| {
        let fields = among.fields().iter().enumerate();
        fields.filter(|(_, field)| is(field.name())).map(|(place, _)| place).collect::<Vec<_>>()
    };
    let mut found = places(&|other| other == name);
    if found.is_empty() {
        found = places(&|other| other.eq_ignore_ascii_case(name));
    }
    match found[..] {
        [] => Ok(None),
        [place] => Ok(Some(place)),
        _ => Err(Error::bad_input(format!(
            "there are {} columns \"{name}\" in ({}); rename them in a step before",
            found.len(),
            listed(among)
        ))),
    }
}

/// All columns of rows that are none of the input's, under the declared names and of the declared types.
fn fresh(rows: RecordBatch, declared: &SchemaRef) -> Result<Given> {
    let found = rows.schema();
    let same = found.fields().len() == declared.fields().len()
        && found.fields().iter().zip(declared.fields()).all(|(found, declared)| {
            found.name() == declared.name()
                && tidemill_block::fits(declared.data_type(), found.data_type())
        });
    if !same {
        return Err(Error::fatal(format!(
            "the result has the columns ({}), and not the declared ({})",
            listed(&found),
            listed(declared)
        )));
    }
    let count = u32::try_from(rows.num_rows())
        .map_err(|_| Error::fatal("a record batch has more than 4294967295 rows; give several"))?;
    for (column, declared) in rows.columns().iter().zip(declared.fields()) {
        check_nulls(column, declared)?;
    }
    Ok(Given { selection: Selection::Fresh(count), columns: rows.columns().to_vec() })
}

fn listed(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    let columns = columns.map(|field| format!("{} {}", field.name(), sql_name(field.data_type())));
    columns.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{
        ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, UInt32Array,
    };

    use super::*;
    use crate::kinds::Exported;
    use crate::testing;

    #[crate::transform(reads = "n BIGINT", sets = "more BIGINT, n DOUBLE")]
    fn selecting(rows: RecordBatch, ctx: &BatchContext) -> Result<Selected> {
        let numbers: &Int64Array = rows["n"].as_primitive();
        let more = |rows: i64| Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
        let halves = |rows| Arc::new(Float64Array::from(vec![0.5; rows])) as ArrayRef;
        Ok(match ctx.batch_id {
            0 => Selected::all().set(more(3)).set(halves(3)),
            1 => {
                let mask: BooleanArray = numbers.iter().map(|n| Some(n? > 1)).collect();
                Selected::kept(mask).set(more(2)).set(halves(2))
            }
            2 => Selected::taken(vec![2, 2, 0, 1].into()).set(more(4)).set(halves(4)),
            3 => Selected::all().set(more(3)),
            4 => Selected::all().set(halves(3)).set(more(3)),
            5 => Selected::kept(vec![true; 2].into()).set(more(2)).set(halves(2)),
            6 => Selected::taken(UInt32Array::from(vec![3])).set(more(1)).set(halves(1)),
            7 => Selected::taken(UInt32Array::from(vec![None])).set(more(1)).set(halves(1)),
            _ => Selected::all().set(more(3)).set(halves(2)),
        })
    }

    #[crate::transform(reads = "")]
    fn every_second(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
        Ok(Selected::kept((0..rows.num_rows()).map(|row| Some(row % 2 == 0)).collect()))
    }

    #[crate::transform(output = "rows BIGINT")]
    fn twice(rows: RecordBatch, _ctx: &BatchContext, out: &mut Output<'_>) -> Result<()> {
        let count: ArrayRef = Arc::new(Int64Array::from(vec![rows.num_rows() as i64]));
        let counted = RecordBatch::try_from_iter([("rows", count)])?;
        out.give(counted.clone())?;
        out.give(counted)
    }

    fn in_batch(batch_id: u64) -> BatchContext {
        let mut context = BatchContext::default();
        context.batch_id = batch_id;
        context
    }

    fn rows() -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), None, Some(3)]));
        RecordBatch::try_from_iter_with_nullable([("N", numbers, true), ("s", texts, true)])
            .unwrap()
    }

    fn texts(rows: &RecordBatch) -> Vec<&str> {
        rows["s"].as_string::<i32>().iter().flatten().collect()
    }

    #[test]
    fn what_is_set_keeps_its_place_and_the_other_columns_go_by() {
        for (batch, expected) in
            [(0, vec!["a", "b", "c"]), (1, vec!["a", "c"]), (2, vec!["c", "c", "a", "b"])]
        {
            let given = testing::transform::<selecting>(&rows(), &in_batch(batch)).unwrap();
            assert_eq!(listed(&given.schema()), "n DOUBLE, s STRING, more BIGINT");
            assert_eq!(texts(&given), expected);
            let more: &Int64Array = given["more"].as_primitive();
            assert_eq!(more.value(more.len() - 1), expected.len() as i64 - 1);
        }
        let opened = selecting::function().body.open(&rows().schema()).unwrap();
        assert_eq!(opened.reads, [0]);
        let origins = format!("{:?}", opened.origins);
        assert_eq!(origins, "[Origin::Made, Origin::Passed(1), Origin::Made]");
    }

    #[test]
    fn a_transform_need_not_read_anything() {
        let given = testing::transform::<every_second>(&rows(), &in_batch(0)).unwrap();
        assert_eq!(texts(&given), ["a", "c"]);
        assert_eq!(given.schema(), rows().schema());
    }

    #[test]
    fn a_transform_may_give_several_batches() {
        let given = testing::transform::<twice>(&rows(), &in_batch(0)).unwrap();
        assert_eq!(given["rows"].as_primitive::<arrow::datatypes::Int64Type>().values(), &[3, 3]);
    }

    #[test]
    fn what_is_set_wrongly_is_told() {
        let told = |batch| {
            let given = testing::transform::<selecting>(&rows(), &in_batch(batch));
            given.unwrap_err().to_string()
        };
        let expected = [
            "1 columns are set, and the attribute's `sets` names 2 (more, n); call `set` once for each",
            "the column \"more\" is set to values of DOUBLE, and declared as BIGINT",
            "the mask of the kept rows has 2 values for 3 rows; give one for each row of the input",
            "row 3 is taken and the input has 3 rows, numbered from 0 on",
            "among the numbers of the taken rows are nulls; leave these out",
            "the column \"n\" is set to 2 values, and 3 rows are selected; give one for each of these",
        ];
        for (batch, expected) in (3..).zip(expected) {
            assert_eq!(told(batch), expected);
        }
    }

    #[test]
    fn a_column_that_is_not_there_or_of_another_type_is_told() {
        let told = |name: &str, column: ArrayRef| {
            let rows = RecordBatch::try_from_iter([(name, column)]).unwrap();
            testing::transform::<selecting>(&rows, &in_batch(0)).unwrap_err()
        };
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let expected = "the function reads a column \"n\", and its input has the columns (m BIGINT); \
                        give one of them the name in a step before";
        assert_eq!(told("m", Arc::clone(&numbers)), Error::bad_input(expected));
        let expected = "the function reads the column \"n\" as BIGINT, and it is STRING; cast it in a \
                        step before";
        assert_eq!(told("n", Arc::new(StringArray::from(vec!["1"]))), Error::bad_input(expected));
        let schema = Arc::new(Schema::new(vec![
            Field::new("N", numbers.data_type().clone(), true),
            Field::new("n", numbers.data_type().clone(), true),
            Field::new("n", numbers.data_type().clone(), true),
        ]));
        let expected = "there are 2 columns \"n\" in (N BIGINT, n BIGINT, n BIGINT); rename them in a \
                        step before";
        let told = selecting::function().body.open(&schema).err();
        assert_eq!(told, Some(Error::bad_input(expected)));
    }
}
