//! A job of one handler.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::kinds::Exported;
use crate::kinds::handler::Handler;
use crate::testing::host::{self, BATCH, State};
use crate::{BatchContext, DataFrame, Error, Response, Result, Row, config};

/// A batch, and a host that keeps what a handler does with it.
///
/// Every target is granted. A write is kept, and made once for a batch: to run the handler again is what
/// happens after a crash. What a query gives and what a target answers, the test says:
///
/// ```
/// use tidemill_plugin::prelude::*;
/// use tidemill_plugin::testing::Job;
///
/// #[derive(Row, PartialEq, Debug)]
/// struct Total {
///     total: i64,
/// }
///
/// #[foreach_batch]
/// fn announce(batch: DataFrame, _ctx: &BatchContext) -> Result<()> {
///     let totals: Vec<Total> = batch.sql("SELECT sum(n) AS total FROM batch")?.collect()?;
///     target("redis").command(&["SET", "total", &totals[0].total.to_string()])?;
///     Ok(())
/// }
///
/// #[derive(Row)]
/// struct Number {
///     n: i64,
/// }
///
/// let job = Job::of(&[Number { n: 1 }])?;
/// let job = job.on_sql(|_query, _tables| Total::to_batch(&[Total { total: 7 }]));
/// let mut job = job.on_command(|_target, arguments| {
///     assert_eq!(arguments, [&b"SET"[..], b"total", b"7"]);
///     Ok("\"OK\"".to_owned())
/// });
/// job.run::<announce>()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Job {
    context: BatchContext,
    config: String,
    state: State,
}

impl Job {
    /// A job with a batch of these rows.
    pub fn of<T: Row>(rows: &[T]) -> Result<Job> {
        Ok(Job::of_batches(&T::schema(), &[T::to_batch(rows)?]))
    }

    /// A job with a batch of these record batches.
    #[must_use]
    pub fn of_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Job {
        let state = State::of(schema, batches);
        Job { context: BatchContext::default(), config: String::new(), state }
    }

    /// The batch as the handler is told of it.
    #[must_use]
    pub fn in_batch(mut self, context: BatchContext) -> Job {
        self.context = context;
        self
    }

    /// The plugin's `config` table, as JSON.
    #[must_use]
    pub fn with_config(mut self, json: &str) -> Job {
        json.clone_into(&mut self.config);
        self
    }

    /// The batch is marked under `name` before the handler runs.
    #[must_use]
    pub fn marked(mut self, name: &str) -> Job {
        self.state.marks.insert(name.to_owned());
        self
    }

    /// Writing to `target` fails so.
    #[must_use]
    pub fn failing(mut self, target: &str, error: Error) -> Job {
        self.state.failing.insert(target.to_owned(), error);
        self
    }

    /// What a query gives, with the tables that it sees by name.
    #[must_use]
    pub fn on_sql(
        mut self,
        answer: impl FnMut(&str, &[(&str, RecordBatch)]) -> Result<RecordBatch> + 'static,
    ) -> Job {
        self.state.on_sql = Some(Box::new(answer));
        self
    }

    /// What a statement on a SQL target gives; it may have parameters.
    #[must_use]
    pub fn on_execute(
        mut self,
        answer: impl FnMut(&str, &str, Option<&RecordBatch>) -> Result<u64> + 'static,
    ) -> Job {
        self.state.on_execute = Some(Box::new(answer));
        self
    }

    /// What a Redis target replies to a command.
    #[must_use]
    pub fn on_command(
        mut self,
        answer: impl FnMut(&str, &[&[u8]]) -> Result<String> + 'static,
    ) -> Job {
        self.state.on_command = Some(Box::new(answer));
        self
    }

    /// What an HTTP target answers to a method, a path, headers and a body.
    #[must_use]
    pub fn on_request(
        mut self,
        answer: impl FnMut(&str, &str, &str, &[(&str, &str)], &[u8]) -> Result<Response> + 'static,
    ) -> Job {
        self.state.on_request = Some(Box::new(answer));
        self
    }

    /// Calls the handler.
    pub fn run<F: Exported>(&mut self) -> Result<()> {
        let opened = F::function().body.open(&self.state.schema())?;
        let Ok(handler) = opened.call.downcast::<Handler>() else {
            return Err(Error::fatal(format!("{} is not a foreach_batch handler", F::NAME)));
        };
        config::set(self.config.clone());
        host::during(&mut self.state, || (handler.0)(DataFrame::of_batch(BATCH), &self.context))
    }

    /// The rows that are in a target.
    pub fn written<T: Row>(&self, target: &str) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        for written in self.state.written.iter().filter(|written| written.target == target) {
            rows.extend(T::from_batch(&written.rows)?);
        }
        Ok(rows)
    }

    /// The same as record batches, one for each write.
    #[must_use]
    pub fn written_batches(&self, target: &str) -> Vec<RecordBatch> {
        let written = self.state.written.iter().filter(|written| written.target == target);
        written.map(|written| written.rows.clone()).collect()
    }

    /// Whether the batch is marked under `name`.
    #[must_use]
    pub fn is_marked(&self, name: &str) -> bool {
        self.state.marks.contains(name)
    }
}
