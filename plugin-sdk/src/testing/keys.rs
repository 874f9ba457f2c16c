//! A stateful function for batches of rows.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::kinds::stateful::{Keyed, Stateful};
use crate::kinds::{Exported, Opened};
use crate::rows::Given;
use crate::testing::state::{self, KeptState, printed};
use crate::{BatchContext, Error, Result, Row, Timestamp};

/// The keys of a stateful function, and a host that keeps what it keeps.
///
/// Each call is a batch. Nothing is forgotten by itself: a time to live is the host's business.
///
/// ```
/// use tidemill_plugin::prelude::*;
/// use tidemill_plugin::testing::Keys;
///
/// #[derive(Row)]
/// struct Click {
///     user: String,
///     at: Timestamp,
/// }
///
/// #[derive(Row, PartialEq, Debug)]
/// struct Visit {
///     user: String,
///     clicks: i64,
/// }
///
/// #[derive(State)]
/// struct Visits {
///     clicks: ValueState<i64>,
/// }
///
/// /// Says of each user how many clicks there were, a minute after the last one.
/// #[stateful]
/// impl Visits {
///     fn rows(&mut self, _user: &str, clicks: Vec<Click>, timers: &mut Timers) -> Vec<Visit> {
///         self.clicks.set(self.clicks.get().unwrap_or(&0) + clicks.len() as i64);
///         timers.list().into_iter().for_each(|timer| timers.delete(timer));
///         if let Some(last) = clicks.iter().map(|click| click.at.0).max() {
///             timers.set(Timestamp(last + 60_000_000));
///         }
///         vec![]
///     }
///
///     fn timer(&mut self, user: &str, _due: Timestamp) -> Option<Visit> {
///         let clicks = *self.clicks.get()?;
///         self.clicks.clear();
///         Some(Visit { user: user.to_owned(), clicks })
///     }
/// }
///
/// let click = |user: &str, second: i64| Click { user: user.into(), at: Timestamp(second * 1_000_000) };
/// let mut users = Keys::<Visits>::by(&["user"])?;
/// assert_eq!(users.rows(&[click("ann", 1), click("bob", 2)])?, []);
/// assert_eq!(users.rows(&[click("ann", 50)])?, []);
/// assert_eq!(users.due(Timestamp(65_000_000))?, [Visit { user: "bob".into(), clicks: 1 }]);
/// assert_eq!(users.due(Timestamp(200_000_000))?, [Visit { user: "ann".into(), clicks: 2 }]);
/// # Ok::<(), Error>(())
/// ```
pub struct Keys<S> {
    function: Box<dyn Keyed>,
    /// The columns of the key, by name.
    key: Vec<String>,
    output: SchemaRef,
    context: BatchContext,
    state: KeptState,
    /// Of each key that there was, a row.
    known: HashMap<String, RecordBatch>,
    of: std::marker::PhantomData<S>,
}

impl<S: Stateful + Exported> Keys<S> {
    /// A function whose key are these columns.
    pub fn by(key: &[&str]) -> Result<Keys<S>> {
        let Opened { output, call, .. } = S::function().body.open(&S::Input::schema())?;
        let Ok(function) = call.downcast::<Box<dyn Keyed>>() else {
            return Err(Error::fatal(format!("{} is not stateful", <S as Exported>::NAME)));
        };
        let shapes = S::variables().into_iter().map(|variable| variable.shape);
        Ok(Keys {
            function: *function,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            output,
            context: BatchContext::default(),
            state: KeptState::of(shapes.collect()),
            known: HashMap::new(),
            of: std::marker::PhantomData,
        })
    }

    /// The next batches, as the function is told of them.
    pub fn set_context(&mut self, context: BatchContext) {
        self.context = context;
    }

    /// The initial state: rows that have the key's columns, one a key.
    pub fn start<T: Row>(&mut self, rows: &[T]) -> Result<()> {
        let sorted = self.sorted(&T::to_batch(rows)?, &self.function.seed())?;
        let Keys { function, context, state, .. } = self;
        state::during(state, || function.initial(&sorted.keys, &sorted.rows, context))
    }

    /// What an earlier form of the state held: rows that have the key's columns and those that a migration
    /// takes, one a key.
    pub fn migrate<T: Row>(&mut self, rows: &[T]) -> Result<()> {
        let rows = T::to_batch(rows)?;
        let schema = rows.schema();
        let is_taken = |form: &SchemaRef| {
            let names = schema.fields().iter().map(|column| column.name());
            let others = names.filter(|name| !self.key.contains(name));
            form.fields().iter().map(|field| field.name()).eq(others)
        };
        let forms = S::migrations();
        let Some(number) = forms.iter().position(is_taken) else {
            return Err(Error::fatal(format!(
                "no migration of {} takes such rows",
                <S as Stateful>::NAME
            )));
        };
        let sorted = self.sorted(&rows, &forms[number])?;
        let Keys { function, context, state, .. } = self;
        state::during(state, || {
            function.migrate(number as u32, &sorted.keys, &sorted.rows, context)
        })
    }

    /// A batch of rows, which have the key's columns and those of the input. Gives what the function gives for
    /// them; an error if it refuses one, after which the other keys have changed.
    pub fn rows<T: Row>(&mut self, rows: &[T]) -> Result<Vec<S::Output>> {
        let input = S::Input::schema();
        let Sorted { keys, counts, rows } = self.sorted(&T::to_batch(rows)?, &input)?;
        let Keys { function, context, state, output, .. } = self;
        let mut given = Vec::new();
        let refused = state::during(state, || {
            function.rows(&keys, &counts, &rows, context, &mut collect(&mut given))
        })?;
        match refused.into_iter().next() {
            Some(refused) => Err(Error::BadRow(refused.reason)),
            None => all_of::<S::Output>(output, &given),
        }
    }

    /// A batch without rows, by which it is this time: the timers are due that are before it.
    pub fn due(&mut self, now: Timestamp) -> Result<Vec<S::Output>> {
        let Keys { function, context, state, output, known, .. } = self;
        let mut due = Vec::new();
        while let Some((time, key)) =
            state.timers.first().filter(|(time, _)| *time < now.0).cloned()
        {
            state.timers.remove(&(time, key.clone()));
            due.push((time, key));
        }
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        let (mut owners, mut times) = (Vec::new(), Vec::new());
        for (time, key) in due {
            let number = names.iter().position(|known| *known == key).unwrap_or(names.len());
            if number == names.len() {
                rows.extend(known.get(&key).cloned());
                names.push(key);
            }
            owners.push(u32::try_from(number)?);
            times.push(time);
        }
        let keys = concat_batches(function.key(), &rows)?;
        state.keys = names;
        let mut given = Vec::new();
        state::during(state, || {
            function.timers(&keys, &owners, &times, context, &mut collect(&mut given))
        })?;
        all_of::<S::Output>(output, &given)
    }

    /// All timers, the first one first.
    #[must_use]
    pub fn timers(&self) -> Vec<Timestamp> {
        self.state.timers.iter().map(|(time, _)| Timestamp(*time)).collect()
    }

    /// The rows of one key after those of another, of the columns that are wanted.
    fn sorted(&mut self, rows: &RecordBatch, wanted: &SchemaRef) -> Result<Sorted> {
        let column = |name: &String| {
            let column = rows.column_by_name(name).cloned();
            column.ok_or_else(|| Error::fatal(format!("the rows have no column \"{name}\"")))
        };
        let key_columns = self.key.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        let keys = RecordBatch::try_new(self.function.key().clone(), key_columns.clone())?;
        let (mut names, mut places): (Vec<String>, Vec<Vec<u32>>) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            let parts = key_columns.iter().map(|column| printed(column, row));
            let name = parts.collect::<Result<Vec<_>>>()?.join("\u{1f}");
            let number = names.iter().position(|known| *known == name).unwrap_or(names.len());
            if number == names.len() {
                self.known.entry(name.clone()).or_insert_with(|| keys.slice(row, 1));
                names.push(name);
                places.push(Vec::new());
            }
            places[number].push(u32::try_from(row)?);
        }
        let firsts = places.iter().filter_map(|of_key| of_key.first().copied());
        let keys = take_record_batch(&keys, &UInt32Array::from_iter_values(firsts))?;
        let counts = places.iter().map(|of_key| of_key.len() as u32).collect();
        let order = UInt32Array::from_iter_values(places.into_iter().flatten());
        let columns = wanted.fields().iter().map(|field| column(field.name()));
        let rows = RecordBatch::try_new(wanted.clone(), columns.collect::<Result<_>>()?)?;
        self.state.keys = names;
        Ok(Sorted { keys, counts, rows: take_record_batch(&rows, &order)? })
    }
}

struct Sorted {
    keys: RecordBatch,
    counts: Vec<u32>,
    rows: RecordBatch,
}

fn collect(given: &mut Vec<Given>) -> impl FnMut(Given) -> Result<()> + '_ {
    |part| {
        given.push(part);
        Ok(())
    }
}

fn all_of<T: Row>(output: &SchemaRef, given: &[Given]) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    for part in given {
        rows.extend(T::from_batch(&RecordBatch::try_new(output.clone(), part.columns.clone())?)?);
    }
    Ok(rows)
}
