//! Nanoseconds a row of calls of functions, ours and DataFusion's own, on one core.
//!
//! Usage: `function_speed CASES ROWS`, where CASES is a JSON file:
//! `{"columns": [[name, sql], …], "cases": [{"name", "sql", "datafusion": sql or null}, …]}`.
//! Prints an object: for each case `{"ours", "datafusion"}`, the best of three runs after a first one, less
//! that of a column alone.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};
use tidemill_core::MemoryBudget;
use tidemill_plan::{FrameRows, FrameTable, Frames, QueryMemory};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BLOCK_ROWS: usize = 8_192;
const RUNS: usize = 3;

struct Blocks(Vec<RecordBatch>);

impl FrameRows for Blocks {
    fn read(
        &self,
    ) -> Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send> {
        Box::new(self.0.clone().into_iter().map(Ok))
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(cases), Some(rows)) = (arguments.next(), arguments.next()) else {
        return Err("usage: function_speed CASES ROWS".into());
    };
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(cases)?)?;
    let rows: usize = rows.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(measure(&cases, rows))?;
    println!("{}", Value::Object(found));
    Ok(())
}

async fn measure(cases: &Value, rows: usize) -> Result<Map<String, Value>> {
    let memory = QueryMemory::new(MemoryBudget::unlimited(), Path::new("unused"))?;
    let ours = Ours { frames: Frames::in_zone("UTC"), memory };
    let columns = array(&cases["columns"])?.iter().map(|column| {
        let (name, sql) = (text(&column[0])?, text(&column[1])?);
        Ok(format!("{sql} AS {name}"))
    });
    let columns = columns.collect::<Result<Vec<String>>>()?.join(", ");
    let made = ours.run(&format!("SELECT id, {columns} FROM t"), &table(ids(rows)?)).await?;
    let theirs = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let schema = made.first().ok_or("there are no rows")?.schema();
    theirs.register_table("t", Arc::new(MemTable::try_new(schema, vec![made.clone()])?))?;
    let made = table(made);
    let alone = best(async || ours.run("SELECT id AS c FROM t", &made).await.map(drop)).await?;
    let mut found = Map::new();
    for case in array(&cases["cases"])? {
        let name = text(&case["name"])?;
        let sql = format!("SELECT {} AS c FROM t", text(&case["sql"])?);
        let our_seconds = best(async || ours.run(&sql, &made).await.map(drop)).await;
        let our_seconds = our_seconds.map_err(|error| format!("{name}: {error}"))?;
        let their_seconds = match case["datafusion"].as_str() {
            None => None,
            Some(sql) => {
                let sql = format!("SELECT {sql} AS c FROM t");
                let plan = theirs.sql(&sql).await?.create_physical_plan().await?;
                let run = async || {
                    let plan = datafusion::physical_plan::execution_plan::reset_plan_states(
                        Arc::clone(&plan),
                    )?;
                    let mut rows =
                        datafusion::physical_plan::execute_stream(plan, theirs.task_ctx())?;
                    while rows.try_next().await?.is_some() {}
                    Ok(())
                };
                Some(best(run).await.map_err(|error| format!("DataFusion's {name}: {error}"))?)
            }
        };
        let nanos = |seconds: f64| (seconds - alone).max(0.0) / rows as f64 * 1e9;
        found.insert(
            name.to_owned(),
            json!({ "ours": nanos(our_seconds), "datafusion": their_seconds.map(nanos) }),
        );
    }
    Ok(found)
}

struct Ours {
    frames: Frames,
    memory: QueryMemory,
}

impl Ours {
    async fn run(&self, sql: &str, table: &[FrameTable]) -> Result<Vec<RecordBatch>> {
        let mut found = self.frames.sql(sql, table, &self.memory.call()).await?;
        let mut rows = Vec::new();
        while let Some(block) = found.rows.next().await {
            rows.push(block?);
        }
        Ok(rows)
    }
}

/// Seconds of the best run.
async fn best(run: impl AsyncFn() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    run().await?;
    for _ in 0..RUNS {
        let begin = Instant::now();
        run().await?;
        least = least.min(begin.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn ids(rows: usize) -> Result<Vec<RecordBatch>> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let blocks = (0..rows).step_by(BLOCK_ROWS).map(|first| {
        let last = (first + BLOCK_ROWS).min(rows);
        let ids = Int64Array::from_iter_values(first as i64..last as i64);
        Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids)])?)
    });
    blocks.collect()
}

fn table(blocks: Vec<RecordBatch>) -> Vec<FrameTable> {
    let schema = blocks.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    vec![FrameTable { name: "t".to_owned(), schema, rows: Arc::new(Blocks(blocks)) }]
}

fn array(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().ok_or_else(|| "the cases are no such file".into())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| "the cases are no such file".into())
}
