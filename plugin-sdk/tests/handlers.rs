//! Handlers in unit tests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::rc::Rc;

use serde::Deserialize;
use tidemill_plugin::prelude::*;
use tidemill_plugin::testing::Job;

#[derive(Row, Clone, PartialEq, Debug)]
struct Sale {
    item: String,
    amount: f64,
}

fn sales() -> [Sale; 2] {
    ["book", "toy"].map(|item| Sale { item: item.to_owned(), amount: 1.5 })
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    archive: bool,
}

#[foreach_batch]
fn deliver(batch: DataFrame, ctx: &BatchContext) -> Result<()> {
    if ctx.is_processed("delivered")? {
        return Ok(());
    }
    let written = batch.write("warehouse")?;
    log::info!(written; "batch {}", ctx.batch_id);
    if config::<Config>()?.archive {
        let large = batch.sql_with("SELECT * FROM batch WHERE amount > 1", &[("all", &batch)])?;
        let mut rows: Vec<Sale> = large.collect()?;
        rows.truncate(1);
        assert_eq!((large.count()?, large.schema()?), (2, Sale::schema()));
        DataFrame::from_rows(&rows)?.write("archive")?;
    }
    ctx.mark_processed("delivered")
}

#[foreach_batch]
fn tells(_batch: DataFrame, _ctx: &BatchContext) -> Result<()> {
    let place = target("place");
    assert_eq!(place.execute("DELETE FROM t")?, 3);
    assert_eq!(place.execute_with("INSERT INTO t VALUES (?, ?)", &sales())?, 2);
    assert_eq!(place.command(&["GET", "key"])?, "null");
    assert_eq!(place.request("PUT", "/t/1", &[("a", "b")], b"{}")?.status, 201);
    Ok(())
}

#[test]
fn a_handler_is_called_with_a_batch_and_its_deeds_are_kept() -> Result<()> {
    let job = Job::of(&sales())?.with_config(r#"{"archive": true}"#);
    let mut job = job.on_sql(|query, tables| {
        assert!(query.starts_with("SELECT * FROM batch"));
        assert_eq!(tables.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["batch", "all"]);
        Ok(tables[0].1.clone())
    });
    job.run::<deliver>()?;
    assert_eq!(job.written::<Sale>("warehouse")?, sales());
    assert_eq!(job.written::<Sale>("archive")?, sales()[..1]);
    assert_eq!(job.written_batches("elsewhere").len(), 0);
    assert!(job.is_marked("delivered") && !job.is_marked("else"));
    Ok(())
}

#[test]
fn a_handler_that_runs_again_writes_once() -> Result<()> {
    let job = Job::of(&sales())?.with_config(r#"{"archive": true}"#);
    let busy = Error::retryable("the archive is busy");
    let mut job = job.on_sql(|_, tables| Ok(tables[0].1.clone())).failing("archive", busy.clone());
    assert_eq!(job.run::<deliver>(), Err(busy));
    assert!(!job.is_marked("delivered"));
    assert_eq!(job.run::<deliver>().unwrap_err().to_string(), "the archive is busy");
    assert_eq!(job.written::<Sale>("warehouse")?, sales());

    let mut done = Job::of(&sales())?.marked("delivered");
    done.run::<deliver>()?;
    assert_eq!(done.written::<Sale>("warehouse")?, []);
    Ok(())
}

#[test]
fn the_test_says_what_targets_answer() -> Result<()> {
    let told: Rc<RefCell<Vec<String>>> = Rc::default();
    let of_statements = Rc::clone(&told);
    let of_requests = Rc::clone(&told);
    let job = Job::of(&sales())?.on_execute(move |target, statement, parameters| {
        of_statements.borrow_mut().push(format!("{target}: {statement}"));
        Ok(parameters.map_or(3, |rows| rows.num_rows() as u64))
    });
    let job = job.on_command(|_, _| Ok("null".to_owned()));
    let mut job = job.on_request(move |_, method, path, headers, body| {
        let length = body.len();
        of_requests.borrow_mut().push(format!("{method} {path} {headers:?} {length}"));
        Ok(Response { status: 201, headers: Vec::new(), body: Vec::new() })
    });
    job.run::<tells>()?;
    let expected = [
        "place: DELETE FROM t",
        "place: INSERT INTO t VALUES (?, ?)",
        "PUT /t/1 [(\"a\", \"b\")] 2",
    ];
    assert_eq!(*told.borrow(), expected);
    Ok(())
}

#[test]
fn what_the_test_does_not_say_is_told() -> Result<()> {
    let told = Job::of(&sales())?.run::<tells>().unwrap_err().to_string();
    let expected =
        "DELETE FROM t: the test does not say what comes of it; say it with Job::on_execute";
    assert_eq!(told, expected);
    let told = BatchContext::default().is_processed("a").unwrap_err().to_string();
    let expected = "a mark was asked for, and a unit test has no host; call the handler with \
                    tidemill_plugin::testing::Job";
    assert_eq!(told, expected);
    Ok(())
}
