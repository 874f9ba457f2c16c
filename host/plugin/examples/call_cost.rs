//! What a call of a plugin costs, beside the same function compiled in.
//!
//! ```text
//! cargo xtask plugins
//! TIDEMILL_PLUGIN_DIR=target/plugins cargo run --release -p tidemill-plugin-host --example call_cost
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Float64Type;
use tidemill_core::{
    Assembly, Attempt, BatchContext, BatchId, FunctionInstance, PluginModule, QueryId,
};
use tidemill_plugin_host::{CacheLocation, HostOptions, Module, PluginConfig, PluginHost};

/// Rows of a usual record batch.
const ROWS: usize = 8_192;

/// Calls of which the median is shown.
const CALLS: usize = 400;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let directory = std::env::var("TIDEMILL_PLUGIN_DIR").unwrap_or("target/plugins".to_owned());
    let read = |name: &str| std::fs::read(format!("{directory}/{name}.wasm"));
    for dev in [true, false] {
        let host = PluginHost::new(&HostOptions { dev, cache: CacheLocation::None })?;
        println!("\n{}", if dev { "compiled fast (dev)" } else { "compiled to be fast" });
        measure(&host, &read("orders")?, &read("faulty")?)?;
    }
    Ok(())
}

fn measure(host: &PluginHost, orders_wasm: &[u8], faulty_wasm: &[u8]) -> Result<()> {
    let granted =
        || PluginConfig { targets: ["place".to_owned()].into(), ..PluginConfig::default() };
    let started = Instant::now();
    let orders = host.load("orders", orders_wasm, granted())?;
    println!("load, compiling {} KiB  {:>9.1?}", orders_wasm.len() >> 10, started.elapsed());
    // The same functions under another digest, as after an edit of none of them.
    let mut noted = orders_wasm.to_vec();
    noted.extend([0, 5, 4, b'n', b'o', b't', b'e']);
    let started = Instant::now();
    host.load("orders", &noted, granted())?;
    println!("load, functions known    {:>9.1?}", started.elapsed());
    let faulty = host.load("faulty", faulty_wasm, granted())?;

    let rows = rows()?;
    let opening = median(|| Opened::new(&orders, "normalise", &rows).map(drop))?;
    println!("open an instance         {opening:>9.1?}");
    first_call(&orders, &rows)?;
    let reused = PluginConfig { reuse: true, ..granted() };
    let reused = host.load("orders", orders_wasm, reused)?;
    let going_on = median(|| Opened::new(&reused, "normalise", &rows)?.call(&rows))?;
    println!("the same with `reuse`    {going_on:>9.1?}");
    let empty = rows.slice(0, 0);
    calls("echo, no rows", 1, || Ok(()), &faulty, "echo", &empty)?;
    calls("echo, 5 columns", ROWS, || Ok(()), &faulty, "echo", &rows)?;
    let native = || normalise(&rows).map(drop);
    calls("normalise, 2 of 5 columns", ROWS, native, &orders, "normalise", &rows)?;
    let amounts = rows.project(&[2])?;
    let native = || {
        let amounts = amounts.column(0).as_primitive::<Float64Type>();
        std::hint::black_box(amounts.unary::<_, Float64Type>(|amount| amount * 1.1));
        Ok(())
    };
    calls("with_tax, 1 column", ROWS, native, &orders, "with_tax", &amounts)
}

/// A batch's first call, whose memory is new.
fn first_call(module: &Module, rows: &RecordBatch) -> Result<()> {
    let time = median(|| Opened::new(module, "normalise", rows)?.call(rows))?;
    println!("open and call once       {time:>9.1?}");
    Ok(())
}

/// A function that is called as a plan calls it.
struct Opened {
    instance: Box<dyn FunctionInstance>,
    reads: Vec<usize>,
    assembly: Assembly,
}

impl Opened {
    fn new(module: &Module, function: &str, rows: &RecordBatch) -> Result<Opened> {
        let shape = module.shape(function, rows.schema())?;
        let instance = module.open(function, &context(), rows.schema(), &shape)?;
        Ok(Opened { instance, assembly: shape.assembly(), reads: shape.reads })
    }

    fn call(&mut self, rows: &RecordBatch) -> Result<()> {
        let answer = self.instance.call(&rows.project(&self.reads)?)?;
        for given in &answer.given {
            std::hint::black_box(self.assembly.rows(given, rows)?);
        }
        Ok(())
    }
}

fn calls(
    name: &str,
    rows_of_call: usize,
    native: impl FnMut() -> Result<()>,
    module: &Module,
    function: &str,
    rows: &RecordBatch,
) -> Result<()> {
    let mut opened = Opened::new(module, function, rows)?;
    let guest = median(|| opened.call(rows))?;
    let native = median(native)?;
    let per_row = |time: Duration| time.as_nanos() as f64 / rows_of_call as f64;
    println!(
        "{name:<24} {guest:>9.1?}  {:>7.1} ns/row   native {native:>9.1?}  {:>7.1} ns/row",
        per_row(guest),
        per_row(native),
    );
    Ok(())
}

fn median<E>(
    mut call: impl FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Duration, E> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        call()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[CALLS / 2])
}

/// What `normalise` of the plugin "orders" does, with what the host does for it.
fn normalise(orders: &RecordBatch) -> Result<RecordBatch> {
    let amounts: &Float64Array = orders["amount"].as_primitive();
    let usable = amounts.iter().map(|amount| Some(amount.is_some_and(|amount| amount >= 0.0)));
    let usable: BooleanArray = usable.collect();
    let categories = orders["category"].as_string::<i32>();
    let mut written =
        StringBuilder::with_capacity(orders.num_rows(), categories.value_data().len());
    let mut text = String::new();
    for row in usable.values().set_indices() {
        if categories.is_null(row) {
            written.append_null();
            continue;
        }
        text.clear();
        text.push_str(categories.value(row).trim());
        if text.is_ascii() {
            text.make_ascii_lowercase()
        } else {
            text = text.to_lowercase()
        }
        written.append_value(&text);
    }
    let place = orders.schema().index_of("category")?;
    let others: Vec<usize> = (0..orders.num_columns()).filter(|column| *column != place).collect();
    let mut columns = filter_record_batch(&orders.project(&others)?, &usable)?.columns().to_vec();
    columns.insert(place, Arc::new(written.finish()));
    Ok(RecordBatch::try_new(orders.schema(), columns)?)
}

fn rows() -> Result<RecordBatch> {
    let text = |prefix: &str, distinct: usize| -> ArrayRef {
        let texts = (0..ROWS).map(|row| Some(format!("{prefix}{}", row * 7_919 % distinct)));
        Arc::new(texts.collect::<StringArray>())
    };
    let amounts = (0..ROWS).map(|row| (row % 50 != 0).then_some(row as f64 / 4.0));
    let time = TimestampMicrosecondArray::from_iter_values((0..ROWS as i64).map(|n| n * 1_000));
    let columns: [(&str, ArrayRef); 5] = [
        ("order_id", text("order-", 1_000_000)),
        ("user_id", text("user-", 10_000)),
        ("amount", Arc::new(amounts.collect::<Float64Array>())),
        ("category", text(" Category-", 40)),
        ("order_time", Arc::new(time.with_timezone("UTC"))),
    ];
    let columns = columns.map(|(name, column)| (name, column, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn context() -> BatchContext {
    BatchContext {
        query: "call-cost".to_owned(),
        query_id: QueryId("0".to_owned()),
        batch: BatchId::FIRST,
        attempt: Attempt::FIRST,
        partition: 0,
        batch_time_ms: 0,
        watermark: None,
    }
}
