//! Aggregates: a function of the rows of a group gives a value. It is written for one row and one group,
//! and called for the rows of a batch with the groups that they belong to.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

use crate::bindings::exports::tidemill::plugin::aggregates::{BlockResult, Guest};
use crate::bindings::tidemill::plugin::types::{Failure, FunctionKind, RowError, Shape, Variable};
use crate::exports::{Exports, Functions, with};
use crate::kinds::scalar::{check_arguments, evaluate, result};
use crate::kinds::{
    Body, Called, Declared, Opened, all_of, earlier_form, migrations, no_migration, written,
};
use crate::rows::{self, Given, Selection};
use crate::value::ScalarResult;
use crate::{BatchContext, Error, Result, Row, crossing};

/// What `#[aggregate]` makes of a type, whose values are the states of groups.
pub trait Aggregate: Row + Default + 'static {
    /// What `finish` gives.
    type Result: ScalarResult;

    /// Name in SQL.
    const NAME: &'static str;

    /// The arguments of `update`.
    fn arguments() -> Vec<Field>;

    /// Adds each row to the state of its group.
    fn update_all(
        states: &mut [Self],
        groups: &[u32],
        arguments: &RecordBatch,
        context: &BatchContext,
    ) -> Result<Vec<RowError>>;

    /// Adds what another state of the group holds.
    fn merge_one(&mut self, other: Self) -> Result<()>;

    /// The value of the group.
    fn finish_one(&self) -> Self::Result;

    /// The columns of each earlier form of the state that is taken over.
    fn migrations() -> Vec<SchemaRef> {
        Vec::new()
    }

    /// States of an earlier form, as they are now.
    fn migrated(migration: u32, states: &RecordBatch) -> Result<Vec<Self>> {
        let _ = states;
        Err(no_migration(Self::NAME, migration))
    }
}

/// What a migration of an aggregate may give back.
#[diagnostic::on_unimplemented(
    message = "a migration of an aggregate cannot return `{Self}`",
    label = "not the present state",
    note = "return Self, or a Result<Self>"
)]
pub trait Migrated<S> {
    /// The state as it is now.
    fn into_result(self) -> Result<S>;
}

impl<S> Migrated<S> for S {
    fn into_result(self) -> Result<S> {
        Ok(self)
    }
}

impl<S> Migrated<S> for Result<S> {
    fn into_result(self) -> Result<S> {
        self
    }
}

/// What `update` and `merge` may give back.
#[diagnostic::on_unimplemented(
    message = "`update` and `merge` of an aggregate cannot return `{Self}`",
    label = "neither nothing nor a Result",
    note = "return nothing, or a Result<()> where a row may be refused"
)]
pub trait Updated {
    /// Whether it went well.
    fn into_result(self) -> Result<()>;
}

impl Updated for () {
    #[inline]
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl Updated for Result<()> {
    #[inline]
    fn into_result(self) -> Result<()> {
        self
    }
}

/// Calls `update` for every row but those with a null that it has no place for.
pub fn update_each<R: Updated>(
    rows: usize,
    skip: Option<&NullBuffer>,
    mut update: impl FnMut(usize) -> R,
) -> Result<Vec<RowError>> {
    let mut refused = Vec::new();
    for row in 0..rows {
        if skip.is_some_and(|nulls| nulls.is_null(row)) {
            continue;
        }
        match update(row).into_result() {
            Ok(()) => {}
            Err(Error::BadRow(reason)) => refused.push(RowError { row: row as u32, reason }),
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// A type with `#[aggregate]`.
pub struct Aggregation<A>(PhantomData<A>);

impl<A> Aggregation<A> {
    /// Of the type.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "the attribute's, not the author's")]
    pub fn new() -> Aggregation<A> {
        Aggregation(PhantomData)
    }
}

impl<A: Aggregate> Aggregation<A> {
    fn output() -> SchemaRef {
        Arc::new(Schema::new(vec![result::<A::Result>(A::NAME)]))
    }
}

impl<A: Aggregate> Body for Aggregation<A> {
    fn declared(&self) -> Declared {
        Declared {
            input: Some(Arc::new(Schema::new(A::arguments()))),
            output: Some(Self::output()),
            state: A::schema().fields().iter().map(variable).collect(),
            properties: migrations(A::migrations()).collect(),
            ..Declared::of(FunctionKind::Aggregate)
        }
    }

    fn open(self: Box<Aggregation<A>>, input: &SchemaRef) -> Result<Opened> {
        check_arguments(&A::arguments(), input)?;
        let state = A::schema();
        let groups = Groups::<A> { input: Arc::clone(input), state, held: VecDeque::new() };
        let groups: Box<dyn Grouped> = Box::new(groups);
        Ok(Opened::making(Self::output(), all_of(input), groups))
    }
}

fn variable(field: &FieldRef) -> Variable {
    Variable {
        name: field.name().clone(),
        shape: Shape::Value,
        schema: written(&Schema::new(vec![Arc::clone(field)])),
        ttl: None,
    }
}

/// The groups of a partition of a batch.
trait Grouped {
    /// Columns of the arguments.
    fn input(&self) -> &SchemaRef;

    /// Columns of the state.
    fn state(&self) -> &SchemaRef;

    fn update(
        &mut self,
        groups: &[u32],
        total: u32,
        arguments: &RecordBatch,
        context: &BatchContext,
    ) -> Result<Vec<RowError>>;

    fn merge(&mut self, groups: &[u32], total: u32, states: &RecordBatch) -> Result<()>;

    fn states(&mut self, count: u32) -> Result<Given>;

    fn results(&mut self, count: u32) -> Result<Given>;

    /// Columns of an earlier form of the state.
    fn earlier(&self, migration: u32) -> Result<SchemaRef>;

    /// Takes the states of an earlier form as those of the groups that there are.
    fn migrate(&mut self, migration: u32, states: &RecordBatch) -> Result<()>;
}

struct Groups<A> {
    input: SchemaRef,
    state: SchemaRef,
    /// By number. The first ones leave, and the others move up without being moved.
    held: VecDeque<A>,
}

impl<A: Aggregate> Groups<A> {
    /// The states, where there are `total` groups.
    fn of(&mut self, total: u32) -> &mut [A] {
        let total = self.held.len().max(total as usize);
        self.held.resize_with(total, A::default);
        self.held.make_contiguous()
    }

    fn leave(&mut self, count: u32) -> Result<Vec<A>> {
        let held = self.held.len();
        if count as usize > held {
            let told = format!("the host asked for {count} groups, and there are {held}");
            return Err(Error::fatal(told));
        }
        Ok(self.held.drain(..count as usize).collect())
    }
}

impl<A: Aggregate> Grouped for Groups<A> {
    fn input(&self) -> &SchemaRef {
        &self.input
    }

    fn state(&self) -> &SchemaRef {
        &self.state
    }

    fn update(
        &mut self,
        groups: &[u32],
        total: u32,
        arguments: &RecordBatch,
        context: &BatchContext,
    ) -> Result<Vec<RowError>> {
        A::update_all(self.of(total), groups, arguments, context)
    }

    fn merge(&mut self, groups: &[u32], total: u32, states: &RecordBatch) -> Result<()> {
        let others = A::from_batch(states)?;
        let held = self.of(total);
        for (group, other) in groups.iter().zip(others) {
            held[*group as usize].merge_one(other)?;
        }
        Ok(())
    }

    fn states(&mut self, count: u32) -> Result<Given> {
        let states = A::to_batch(&self.leave(count)?)?;
        Ok(Given { selection: Selection::Fresh(count), columns: states.columns().to_vec() })
    }

    fn results(&mut self, count: u32) -> Result<Given> {
        let states = self.leave(count)?;
        let (column, refused) = evaluate(states.len(), None, |group| states[group].finish_one())?;
        match refused.into_iter().next() {
            // No row is to blame for what a group comes to.
            Some(refused) => Err(Error::BadRow(refused.reason)),
            None => Ok(Given { selection: Selection::Fresh(count), columns: vec![column] }),
        }
    }

    fn earlier(&self, migration: u32) -> Result<SchemaRef> {
        earlier_form(A::NAME, A::migrations(), migration)
    }

    fn migrate(&mut self, migration: u32, states: &RecordBatch) -> Result<()> {
        self.held = A::migrated(migration, states)?.into();
        Ok(())
    }
}

impl Called for Box<dyn Grouped> {
    const KIND: &'static str = "an aggregate";
}

impl<P: Functions> Guest for Exports<P> {
    fn update(
        opened: u32,
        groups: Vec<u32>,
        total: u32,
        arguments: BlockResult,
    ) -> Result<Vec<RowError>, Failure> {
        with(opened, |held: &mut Box<dyn Grouped>, context| {
            let arguments = crossing::arrived(held.input(), arguments)?;
            held.update(&groups, total, &arguments, context)
        })
    }

    fn merge(
        opened: u32,
        groups: Vec<u32>,
        total: u32,
        states: BlockResult,
    ) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Grouped>, _| {
            let states = crossing::arrived(held.state(), states)?;
            held.merge(&groups, total, &states)
        })
    }

    fn states(opened: u32, count: u32) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Grouped>, _| rows::give(held.states(count)?))
    }

    fn results(opened: u32, count: u32) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Grouped>, _| rows::give(held.results(count)?))
    }

    fn migrate(opened: u32, migration: u32, states: BlockResult) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Grouped>, _| {
            let states = crossing::arrived(&held.earlier(migration)?, states)?;
            held.migrate(migration, &states)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatchOptions, StringArray};
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::kinds::Exported;

    /// Refuses what is no number.
    #[derive(crate::Row, Default)]
    struct Mean {
        sum: f64,
        count: i64,
    }

    /// The mean of a column.
    #[crate::aggregate]
    impl Mean {
        fn update(&mut self, x: f64) -> Result<()> {
            if x.is_nan() {
                return Err(Error::bad_row("not a number"));
            }
            self.sum += x;
            self.count += 1;
            Ok(())
        }

        fn merge(&mut self, other: Mean) {
            self.sum += other.sum;
            self.count += other.count;
        }

        fn finish(&self) -> Option<f64> {
            (self.count > 0).then(|| self.sum / self.count as f64)
        }
    }

    #[derive(crate::Row, Default)]
    struct LongestText {
        text: Option<String>,
    }

    #[crate::aggregate(name = "longest")]
    impl LongestText {
        fn update(&mut self, text: &str) {
            if self.text.as_ref().is_none_or(|longest| text.len() > longest.len()) {
                self.text = Some(text.to_owned());
            }
        }

        fn merge(&mut self, other: LongestText) {
            other.text.iter().for_each(|text| self.update(text));
        }

        fn finish(&self) -> Option<String> {
            self.text.clone()
        }
    }

    #[derive(crate::Row, Default)]
    struct Rows {
        rows: i64,
        nulls: i64,
    }

    #[crate::aggregate]
    impl Rows {
        fn update(&mut self, x: Option<f64>, ctx: &BatchContext) {
            self.rows += 1;
            self.nulls += i64::from(x.is_none()) + ctx.batch_id as i64;
        }

        fn merge(&mut self, other: Self) -> Result<()> {
            Err(Error::fatal(format!("{} rows too many", other.rows)))
        }

        fn finish(&self) -> Result<i64> {
            if self.rows == 0 { Err(Error::bad_row("no rows")) } else { Ok(self.nulls) }
        }
    }

    fn opened<A: Exported>(arguments: &RecordBatch) -> Box<dyn Grouped> {
        let opened = A::function().body.open(&arguments.schema()).unwrap();
        *opened.call.downcast::<Box<dyn Grouped>>().unwrap()
    }

    fn table(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap()
    }

    fn numbers(numbers: &[Option<f64>]) -> RecordBatch {
        table(Arc::new(Float64Array::from(numbers.to_vec())))
    }

    /// The states as they come back another time.
    fn crossed(groups: &dyn Grouped, given: Given) -> RecordBatch {
        let Selection::Fresh(rows) = given.selection else { panic!("not fresh") };
        let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
        let state = Arc::clone(groups.state());
        RecordBatch::try_new_with_options(state, given.columns, &options).unwrap()
    }

    fn doubles(given: Given) -> Vec<Option<f64>> {
        given.columns[0].as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn an_aggregate_is_told_with_its_arguments_and_its_state() {
        let told = Mean::function().describe(<Mean as Exported>::NAME);
        assert_eq!((told.name.as_str(), told.kind), ("mean", FunctionKind::Aggregate));
        assert_eq!(told.documentation, "The mean of a column.");
        assert_eq!(told.input.as_deref(), Some("x double"));
        assert_eq!(told.output.as_deref(), Some("mean double"));
        let state = told.state.iter().map(|v| (v.name.as_str(), v.shape, v.schema.as_str()));
        let expected = [
            ("sum", Shape::Value, "sum double NOT NULL"),
            ("count", Shape::Value, "count bigint NOT NULL"),
        ];
        assert_eq!(state.collect::<Vec<_>>(), expected);
        assert_eq!(<LongestText as Exported>::NAME, "longest");
    }

    #[test]
    fn groups_are_updated_merged_and_finished() {
        let context = BatchContext::default();
        let rows = numbers(&[Some(1.0), Some(2.0), None, Some(5.0), Some(f64::NAN)]);
        let mut partial = opened::<Mean>(&rows);
        let refused = partial.update(&[0, 1, 0, 0, 1], 3, &rows, &context).unwrap();
        assert_eq!((refused.len(), refused[0].row), (1, 4));
        assert_eq!(refused[0].reason, "not a number");
        let states = partial.states(2).unwrap();
        let states = crossed(&*partial, states);
        // The third group is the first one now, and was never added to.
        assert_eq!(doubles(partial.results(1).unwrap()), [None]);

        let mut whole = opened::<Mean>(&rows);
        whole.merge(&[1, 0], 2, &states).unwrap();
        whole.merge(&[1, 1], 2, &states).unwrap();
        assert_eq!(doubles(whole.results(2).unwrap()), [Some(2.0), Some(14.0 / 5.0)]);
        let told = whole.states(1).unwrap_err().to_string();
        assert_eq!(told, "the host asked for 1 groups, and there are 0");
    }

    #[test]
    fn a_state_may_be_a_text() {
        let words =
            table(Arc::new(StringArray::from(vec![Some("a"), Some("abc"), None, Some("ab")])));
        let mut groups = opened::<LongestText>(&words);
        groups.update(&[0, 0, 1, 2], 3, &words, &BatchContext::default()).unwrap();
        let states = groups.states(3).unwrap();
        let states = crossed(&*groups, states);
        groups.merge(&[0, 1, 0], 2, &states).unwrap();
        let results = groups.results(2).unwrap();
        let longest: Vec<_> = results.columns[0].as_string::<i32>().iter().collect();
        assert_eq!(longest, [Some("abc"), None]);
    }

    #[test]
    fn an_aggregate_sees_nulls_and_the_batch_if_it_asks_for_them() {
        let rows = numbers(&[None, Some(1.0)]);
        let mut groups = opened::<Rows>(&rows);
        let mut context = BatchContext::default();
        context.batch_id = 10;
        groups.update(&[0, 0], 2, &rows, &context).unwrap();
        let states = groups.states(1).unwrap();
        let states = crossed(&*groups, states);
        let told = groups.merge(&[0], 1, &states).unwrap_err();
        assert_eq!(told, Error::fatal("2 rows too many"));
        assert_eq!(groups.results(1).unwrap_err(), Error::bad_row("no rows"));
    }

    #[test]
    fn arguments_of_other_types_are_refused() {
        let words = table(Arc::new(StringArray::from(vec!["a"])));
        let told = Mean::function().body.open(&words.schema()).err().unwrap().to_string();
        let expected =
            "the arguments are (STRING), and the function takes (DOUBLE); cast them in SQL";
        assert_eq!(told, expected);
    }
}
