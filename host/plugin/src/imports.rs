//! What a plugin can call in the host.
//!
//! Two sets of the same functions. A scalar or transform runs on a plan's thread by plain calls:
//! there the tables, targets and marks are stubs that fail, which is also what keeps such a
//! function a function of its rows. A foreach_batch handler runs on a fibre and reaches its batch.

use std::sync::Arc;

use tidemill_block::write_schema;
use tidemill_core::{BatchHost, FrameHandle};
use wasmtime::component::{Linker, LinkerInstance};
use wasmtime::{Engine, StoreContextMut};

use crate::abi::{
    Block, Column, DATAFRAME, Failure, LEDGER, LOG, Level, Parameters, ROWS, Response, STATE,
    Selection, TARGET,
};
use crate::frames::{blocks, parameters, rows_of};
use crate::keyed;
use crate::limits::{COLLECT_BYTES_MAX, FRAMES_MAX};
use crate::schema::Input;
use crate::state::{Bridge, CallState, check_sql};

type Store<'a> = StoreContextMut<'a, CallState>;
type Answer<T> = Result<T, Failure>;
type Headers = Vec<(String, String)>;
/// Rows that the host owns, or has just taken over.
type Rows = Block<Vec<u8>>;

/// The imports of a scalar or a transform.
pub(crate) fn for_rows(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    macro_rules! stub {
        ($instance:ident, $name:literal, ($($parameter:ty),*) -> $result:ty) => {
            $instance.func_wrap($name, |_: Store<'_>, _: ($($parameter,)*)| {
                Ok((Err::<$result, _>(not_here()),))
            })?;
        };
    }
    let mut linker = Linker::new(engine);
    log(linker.instance(LOG)?)?;
    rows(linker.instance(ROWS)?)?;
    keyed::link(linker.instance(STATE)?)?;

    let mut dataframe = linker.instance(DATAFRAME)?;
    stub!(dataframe, "schema-of", (u64) -> String);
    stub!(dataframe, "count", (u64) -> u64);
    stub!(dataframe, "sql", (String, Vec<(String, u64)>) -> u64);
    stub!(dataframe, "from-rows", (String, Vec<Rows>) -> u64);
    stub!(dataframe, "collect", (u64, u32, u64) -> Vec<Rows>);
    stub!(dataframe, "write", (u64, String) -> u64);
    dataframe.func_wrap("release", |_: Store<'_>, _: (u64,)| Ok(()))?;

    let mut target = linker.instance(TARGET)?;
    stub!(target, "execute", (String, String, Option<Parameters>) -> u64);
    stub!(target, "command", (String, Vec<Vec<u8>>) -> String);
    stub!(target, "request", (String, String, String, Headers, Vec<u8>) -> Response);

    let mut ledger = linker.instance(LEDGER)?;
    stub!(ledger, "is-processed", (String) -> bool);
    stub!(ledger, "mark-processed", (String) -> ());
    Ok(linker)
}

/// The imports of a foreach_batch handler.
pub(crate) fn for_handlers(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    macro_rules! bridge {
        ($instance:ident, $name:literal, $function:ident) => {
            $instance.func_wrap_async($name, |store: Store<'_>, parameters| {
                Box::new(async move { Ok(($function(store, parameters).await,)) })
            })?;
        };
    }
    let mut linker = Linker::new(engine);
    log(linker.instance(LOG)?)?;
    rows(linker.instance(ROWS)?)?;
    keyed::link(linker.instance(STATE)?)?;

    let mut dataframe = linker.instance(DATAFRAME)?;
    dataframe
        .func_wrap("schema-of", |store: Store<'_>, parameters| Ok((schema(&store, parameters),)))?;
    bridge!(dataframe, "count", count);
    bridge!(dataframe, "sql", sql);
    dataframe.func_wrap("from-rows", |mut store: Store<'_>, parameters| {
        Ok((from_rows(&mut store, parameters),))
    })?;
    bridge!(dataframe, "collect", collect);
    bridge!(dataframe, "write", write);
    dataframe.func_wrap("release", |mut store: Store<'_>, (of,): (u64,)| {
        if let Some(bridge) = &mut store.data_mut().bridge {
            bridge.release(of);
        }
        Ok(())
    })?;

    let mut target = linker.instance(TARGET)?;
    bridge!(target, "execute", execute);
    target.func_wrap("command", |store: Store<'_>, (name, _): (String, Vec<Vec<u8>>)| {
        Ok((no_direct_use::<String>(&store, "command", "Redis", &name),))
    })?;
    target.func_wrap(
        "request",
        |store: Store<'_>, (name, _, _, _, _): (String, String, String, Headers, Vec<u8>)| {
            Ok((no_direct_use::<Response>(&store, "request", "HTTP", &name),))
        },
    )?;

    let mut ledger = linker.instance(LEDGER)?;
    ledger.func_wrap("is-processed", |store: Store<'_>, (name,): (String,)| {
        let marked = |bridge: &Bridge| {
            bridge.check_mark(&name)?;
            Ok(bridge.host.is_processed(&name)?)
        };
        Ok((bridge(&store).and_then(marked),))
    })?;
    bridge!(ledger, "mark-processed", mark_processed);
    Ok(linker)
}

fn log(mut log: LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    type Line = (Level, String, String, Vec<(String, String)>);
    log.func_wrap("write", |mut store: Store<'_>, (level, target, message, fields): Line| {
        store.data_mut().log.write(level, &target, &message, &fields);
        Ok(())
    })?;
    log.func_wrap("panicked", |mut store: Store<'_>, (place, message): (String, String)| {
        store.data_mut().log.panicked(&place, &message);
        Ok(())
    })
}

fn rows(mut rows: LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    type Given = (Selection, Vec<Column<Vec<u8>>>);
    rows.func_wrap("give", |mut store: Store<'_>, (selection, columns): Given| {
        let giving = store.data_mut().giving.as_mut();
        let giving = giving.ok_or_else(|| Unusable("it gave rows where none are taken".into()))?;
        Ok(giving.take(selection, columns).map_err(Unusable)?)
    })
}

/// The guest gave something that the host cannot take: the call ends here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unusable(String);

fn not_here() -> Failure {
    Failure::Fatal(
        "only a foreach_batch handler has tables, targets and marks, and while it is called"
            .to_owned(),
    )
}

fn bridge<'a>(store: &'a Store<'_>) -> Answer<&'a Bridge> {
    store.data().bridge.as_ref().ok_or_else(not_here)
}

fn bridge_mut<'a>(store: &'a mut Store<'_>) -> Answer<&'a mut Bridge> {
    store.data_mut().bridge.as_mut().ok_or_else(not_here)
}

/// The host of a table that the call was given.
fn host_of(store: &Store<'_>, frame: FrameHandle) -> Answer<Arc<dyn BatchHost>> {
    let bridge = bridge(store)?;
    bridge.check_frame(frame)?;
    Ok(Arc::clone(&bridge.host))
}

fn schema(store: &Store<'_>, (of,): (u64,)) -> Answer<String> {
    let input = shown(&*host_of(store, of)?, of)?;
    write_schema(&input.schema).map_err(|error| Failure::Fatal(error.to_string()))
}

/// The table as the handler is shown it.
fn shown(host: &dyn BatchHost, of: FrameHandle) -> Answer<Input> {
    Input::any(&*host.schema(of)?).map_err(Failure::BadInput)
}

async fn count(store: Store<'_>, (of,): (u64,)) -> Answer<u64> {
    Ok(host_of(&store, of)?.count(of).await?)
}

async fn sql(
    mut store: Store<'_>,
    (query, tables): (String, Vec<(String, u64)>),
) -> Answer<FrameHandle> {
    check_sql(&query)?;
    if tables.len() > FRAMES_MAX {
        return Err(Failure::BadInput(format!(
            "a query over {} tables, and the limit is {FRAMES_MAX}",
            tables.len()
        )));
    }
    let host = {
        let bridge = bridge(&store)?;
        bridge.check_room()?;
        tables.iter().try_for_each(|(_, frame)| bridge.check_frame(*frame))?;
        Arc::clone(&bridge.host)
    };
    let frame = host.sql(query, tables).await?;
    Ok(bridge_mut(&mut store)?.made(frame))
}

fn from_rows(store: &mut Store<'_>, (schema, blocks): (String, Vec<Rows>)) -> Answer<FrameHandle> {
    let bridge = bridge_mut(store)?;
    bridge.check_room()?;
    let (schema, batches) = rows_of(&schema, blocks).map_err(Failure::BadInput)?;
    let frame = bridge.host.add_frame(schema, batches)?;
    Ok(bridge.made(frame))
}

async fn collect(store: Store<'_>, (of, first, max_bytes): (u64, u32, u64)) -> Answer<Vec<Rows>> {
    let host = host_of(&store, of)?;
    let input = shown(&*host, of)?;
    let batches = host.collect(of, first, max_bytes.min(COLLECT_BYTES_MAX)).await?;
    blocks(&input.schema, &batches).map_err(Failure::Fatal)
}

async fn write(store: Store<'_>, (of, target): (u64, String)) -> Answer<u64> {
    let host = host_of(&store, of)?;
    bridge(&store)?.check_target(&target)?;
    Ok(host.write(of, target).await?)
}

async fn execute(
    store: Store<'_>,
    (target, statement, given): (String, String, Option<Parameters>),
) -> Answer<u64> {
    let bridge = bridge(&store)?;
    bridge.check_target(&target)?;
    check_sql(&statement)?;
    let host = Arc::clone(&bridge.host);
    let parameters = given.map(parameters).transpose().map_err(Failure::BadInput)?;
    Ok(host.execute(target, statement, parameters).await?)
}

async fn mark_processed(mut store: Store<'_>, (name,): (String,)) -> Answer<()> {
    let bridge = bridge_mut(&mut store)?;
    bridge.check_mark(&name)?;
    bridge.count_mark()?;
    let host = Arc::clone(&bridge.host);
    Ok(host.mark_processed(name).await?)
}

/// No target of this host takes commands or requests; those that are not granted say so first.
fn no_direct_use<T>(store: &Store<'_>, call: &str, kind: &str, target: &str) -> Answer<T> {
    bridge(store)?.check_target(target)?;
    Err(Failure::BadInput(format!(
        "`{call}` is for {kind} targets, and target \"{target}\" is none; use `write`, or `execute` \
         on a SQL target"
    )))
}
