//! Calls of a function that gives another value each time: two calls are two, and one is one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use futures::StreamExt;
use serde_json::Value;
use tidemill_checkpoint::MemoryStateStore;
use tidemill_core::{
    Attempt, BatchContext, BatchId, BatchSpec, ConnectorError, Digest, FunctionInstance,
    FunctionKind, FunctionSignature, Given, MemoryBudget, PluginError, PluginModule, PluginRows,
    QueryId, RangeReader, RowStream, Selection, Shape, Slice, SourceRange, Watermark,
};
use tidemill_plan::{BatchRun, PlannedQuery, QueryMemory, ReadAhead, SourceTable, Step, StepKind};

fn column(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]))
}

/// `ticket(n)`: a number that nobody had before.
struct Tickets {
    functions: Vec<FunctionSignature>,
    next: Arc<AtomicI64>,
}

impl Tickets {
    fn new(deterministic: bool) -> Tickets {
        let signature = FunctionSignature {
            input: Some(column("n")),
            output: Some(column("ticket")),
            deterministic,
            ..FunctionSignature::new("ticket", FunctionKind::Scalar)
        };
        Tickets { functions: vec![signature], next: Arc::default() }
    }
}

struct Ticket(Arc<AtomicI64>);

impl FunctionInstance for Ticket {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        let tickets: Int64Array =
            (0..rows.num_rows()).map(|_| Some(self.0.fetch_add(1, Ordering::Relaxed))).collect();
        let given = Given { selection: Selection::All, made: vec![Arc::new(tickets)] };
        Ok(PluginRows { given: vec![given], refused: Vec::new() })
    }
}

impl PluginModule for Tickets {
    fn name(&self) -> &str {
        "tickets"
    }

    fn digest(&self) -> Digest {
        Digest::of(b"tickets")
    }

    fn functions(&self) -> &[FunctionSignature] {
        &self.functions
    }

    fn shape(&self, _: &str, input: SchemaRef) -> Result<Shape, PluginError> {
        Ok(Shape::of_all(&input, column("ticket")))
    }

    fn open(
        &self,
        _: &str,
        _: &BatchContext,
        _: SchemaRef,
        _: &Shape,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        Ok(Box::new(Ticket(Arc::clone(&self.next))))
    }
}

struct OneRow;

impl RangeReader for OneRow {
    fn read(&self, _: &SourceRange, _: Slice, _: &[usize]) -> Result<RowStream, ConnectorError> {
        let rows = RecordBatch::try_new(column("n"), vec![Arc::new(Int64Array::from(vec![7]))]);
        Ok(Box::new(std::iter::once(Ok(rows.unwrap()))))
    }
}

fn definition(sql: &str, deterministic: bool) -> tidemill_plan::QueryDefinition {
    let table = SourceTable {
        name: "numbers".to_owned(),
        schema: column("n"),
        reader: Arc::new(OneRow),
        value: None,
        watermark: None,
    };
    let step =
        Step { name: "out".to_owned(), kind: StepKind::Sql(sql.to_owned()), watermark: None };
    let mut definition = crate::appending(table, vec![step]);
    definition.plugins = vec![Arc::new(Tickets::new(deterministic))];
    definition
}

/// The row that a query gives: BIGINT columns.
fn answer(sql: &str, deterministic: bool) -> Vec<i64> {
    let _held = crate::planning();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let plan = PlannedQuery::plan(&definition(sql, deterministic)).await.unwrap();
        let range = SourceRange { start: 0.into(), end: 1.into(), parts: Value::Null };
        let batch = plan.batch(BatchRun {
            query: "q".to_owned(),
            query_id: QueryId("5c5c3a1e-0d0b-4a5e-9d1b-1f1b0c5f3a11".to_owned()),
            spec: BatchSpec {
                batch: BatchId::FIRST,
                batch_time_ms: 0,
                watermark: Watermark::at_millis(0),
                late_watermark: Watermark::at_millis(0),
                ranges: BTreeMap::from([("numbers".to_owned(), range)]),
            },
            attempt: Attempt::FIRST,
            state: Arc::new(MemoryStateStore::new(1 << 20)),
            ahead: ReadAhead::default(),
            letters: None,
            migration: tidemill_plan::Migration::default(),
            memory: Arc::new(
                QueryMemory::new(MemoryBudget::unlimited(), Path::new("unused")).unwrap(),
            ),
        });
        let mut found = Vec::new();
        for mut rows in plan.run(&batch).unwrap() {
            while let Some(rows) = rows.next().await {
                let rows = rows.unwrap();
                for column in rows.columns() {
                    found.extend(column.as_primitive::<Int64Type>().iter().flatten());
                }
            }
        }
        found
    })
}

#[test]
fn two_calls_of_what_varies_are_two_and_of_what_does_not_are_one() {
    let twice = "SELECT ticket(n) AS a, ticket(n) AS b FROM numbers";
    let row = answer(twice, false);
    assert_eq!(row.len(), 2);
    assert_ne!(row[0], row[1]);
    let row = answer(twice, true);
    assert_eq!(row[0], row[1]);
    let nested =
        answer("SELECT ticket(ticket(n)) AS a, ticket(ticket(n)) AS b FROM numbers", false);
    assert_ne!(nested[0], nested[1]);
}

#[test]
fn an_alias_for_a_call_that_varies_stands_for_its_one_value() {
    let row = answer("SELECT ticket(n) AS a, a + 0 AS b, b AS c FROM numbers", false);
    assert_eq!(row, [row[0]; 3]);
    let row = answer("SELECT *, ticket(n) AS a, a + 0 AS b FROM numbers", false);
    assert_eq!(row, [7, row[1], row[1]]);
    let row = answer(
        "SELECT a AS x, a AS y FROM (SELECT ticket(n) AS a FROM numbers) WHERE a >= 0",
        false,
    );
    assert_eq!(row[0], row[1]);
}
