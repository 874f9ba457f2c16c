//! Everything that a plugin can do wrong, one function each. For the host's tests.

#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a guest exports"))]
mod garbage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{Int64Array, UInt32Array};
use arrow::datatypes::Float64Type;
use serde::Deserialize;
use tidemill_plugin::__private::{Entry, Functions};
use tidemill_plugin::prelude::*;

/// All column types there and back, with the nulls that each passes on.
#[transform]
fn echo(rows: RecordBatch, _ctx: &BatchContext) -> Result<RecordBatch> {
    Ok(rows)
}

/// Each argument's type once.
#[scalar]
#[allow(clippy::too_many_arguments, reason = "one for each type")]
fn describe_all(
    double: f64,
    float: f32,
    long: i64,
    int: i32,
    short: i16,
    byte: i8,
    truth: bool,
    text: &str,
    binary: &[u8],
    at: Timestamp,
    on: Date,
) -> String {
    format!(
        "{double} {float} {long} {int} {short} {byte} {truth} {text} {binary:?} {} {}",
        at.0, on.0
    )
}

/// A row within a row.
#[derive(Row, Debug)]
struct Point {
    x: i64,
    name: Option<String>,
}

/// The types that `describe_all` has not, each once.
#[scalar]
fn describe_others(
    price: Decimal<10, 2>,
    local: LocalTimestamp,
    months: YearMonthInterval,
    time: DayTimeInterval,
    list: Vec<Option<i64>>,
    map: BTreeMap<String, Option<f64>>,
    point: Point,
) -> String {
    format!("{price} {} {} {} {list:?} {map:?} {point:?}", local.0, months.0, time.0)
}

/// Makes an array of structs; without a number, null.
#[scalar]
fn points(n: i64) -> Vec<Option<Point>> {
    (0..n).map(|x| (x % 2 == 0).then(|| Point { x, name: Some(x.to_string()) })).collect()
}

/// Nulls on both sides.
#[scalar]
fn first_of(left: Option<String>, right: Option<String>) -> Option<String> {
    left.or(right)
}

/// Fails a row.
#[scalar]
fn parsed(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::bad_row(format!("\"{text}\" is not a number")))
}

/// How many rows the instance has been called with, and the batch.
#[scalar(deterministic = false)]
fn seen(n: i64, ctx: &BatchContext) -> String {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
    assert!(n >= 0, "{n} is negative");
    format!("{seen} in {}", ctx.batch_id)
}

/// In place of each row how many blocks of them the instance has been called with.
#[transform(reads = "n BIGINT", sets = "n BIGINT")]
fn blocks_seen(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
    static SEEN: AtomicI64 = AtomicI64::new(0);
    let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Selected::all().set(Arc::new(Int64Array::from(vec![seen; rows.num_rows()]))))
}

/// Sends rows to the dead letters.
#[transform(input = "n BIGINT")]
fn only_even(rows: RecordBatch, ctx: &BatchContext) -> Result<RecordBatch> {
    let numbers: &Int64Array = rows["n"].as_primitive();
    let mut even = Vec::new();
    for (row, n) in numbers.values().iter().enumerate() {
        if n % 2 == 0 { even.push(*n) } else { ctx.refuse(row, format!("{n} is odd")) }
    }
    Ok(RecordBatch::try_new(rows.schema(), vec![Arc::new(Int64Array::from(even))])?)
}

/// The rows from the last to the first, with columns that are set in another order than they stand in:
/// the columns beside `n` go by it.
#[transform(reads = "n BIGINT", sets = "half DOUBLE, n BIGINT")]
fn turned(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
    let numbers: &Int64Array = rows["n"].as_primitive();
    let last_first = || (0..rows.num_rows() as u32).rev();
    let turned: Int64Array = last_first().map(|row| numbers.value(row as usize)).collect();
    let half = turned.unary::<_, Float64Type>(|n| n as f64 / 2.0);
    let taken = UInt32Array::from_iter_values(last_first());
    Ok(Selected::taken(taken).set(Arc::new(half)).set(Arc::new(turned)))
}

/// Reads nothing, and keeps every second row.
#[transform(reads = "")]
fn every_second(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
    Ok(Selected::kept((0..rows.num_rows()).map(|row| Some(row % 2 == 0)).collect()))
}

/// The numbers below each number, a batch of rows for each.
#[transform(input = "n BIGINT", output = "n BIGINT")]
fn counted(rows: RecordBatch, _ctx: &BatchContext, out: &mut Output<'_>) -> Result<()> {
    let numbers: &Int64Array = rows["n"].as_primitive();
    for n in numbers.values() {
        let below = Int64Array::from_iter_values(0..*n);
        out.give(RecordBatch::try_new(rows.schema(), vec![Arc::new(below)])?)?;
    }
    Ok(())
}

/// The state of `mean_of`.
#[derive(Row, Default)]
struct Mean {
    sum: f64,
    count: i64,
}

/// An aggregate whose state is numbers.
#[aggregate(name = "mean_of")]
impl Mean {
    fn update(&mut self, x: f64) {
        self.sum += x;
        self.count += 1;
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn finish(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// The state of `longest`.
#[derive(Row, Default)]
struct Longest {
    text: Option<String>,
}

/// An aggregate whose state is a text, the first in the alphabet of those that are the longest. It
/// refuses one that does not end.
#[aggregate]
impl Longest {
    fn update(&mut self, text: &str) -> Result<()> {
        if text.ends_with('…') {
            return Err(Error::bad_row(format!("\"{text}\" does not end")));
        }
        let is_longer = |held: &String| (text.len(), held.as_str()) > (held.len(), text);
        if self.text.as_ref().is_none_or(is_longer) {
            self.text = Some(text.to_owned());
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        other.text.iter().try_for_each(|text| self.update(text))
    }

    fn finish(&self) -> Option<String> {
        self.text.clone()
    }
}

/// What a row asks of the state of its key.
#[derive(Row)]
struct Order {
    what: String,
    text: String,
    n: i64,
}

/// The state of a key, told when a row asks for it or a timer is due.
#[derive(Row)]
struct Told {
    k: Option<String>,
    number: Option<i64>,
    texts: Vec<String>,
    by_text: BTreeMap<String, i64>,
    one: Option<i64>,
    timers: Vec<i64>,
    due: Option<i64>,
}

/// What `tally` keeps.
#[derive(State)]
struct Tally {
    number: ValueState<i64>,
    texts: ListState<String>,
    by_text: MapState<String, i64>,
}

impl Tally {
    fn told(&self, k: Option<String>, text: &str, timers: &Timers, due: Option<i64>) -> Told {
        Told {
            k,
            number: self.number.get().copied(),
            texts: self.texts.get(),
            by_text: self.by_text.entries(),
            one: self.by_text.get(&text.to_owned()),
            timers: timers.list().into_iter().map(|timer| timer.0).collect(),
            due,
        }
    }
}

/// Does with the state of a key what the rows say, in their order.
#[stateful]
impl Tally {
    fn rows(
        &mut self,
        k: Option<String>,
        orders: Vec<Order>,
        timers: &mut Timers,
        ctx: &BatchContext,
    ) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        for Order { what, text, n } in orders {
            match what.as_str() {
                "add" => self.number.set(self.number.get().unwrap_or(&0) + n),
                "batch" => self.number.set(i64::try_from(ctx.batch_id)?),
                "forget" => self.number.clear(),
                "append" => self.texts.append(text),
                "replace" => self.texts.set(text.split(',').map(str::to_owned).collect()),
                "empty" => self.texts.clear(),
                "put" => self.by_text.insert(text, n),
                "drop" => self.by_text.remove(&text),
                "drop all" => self.by_text.clear(),
                "timer" => timers.set(Timestamp(n)),
                "no timer" => timers.delete(Timestamp(n)),
                "tell" => told.push(self.told(k.clone(), &text, timers, None)),
                "refuse" => return Err(Error::bad_row(text)),
                "panic" => panic!("{text}"),
                other => return Err(Error::fatal(format!("there is no order \"{other}\""))),
            }
        }
        Ok(told)
    }

    fn timer(&mut self, k: Option<String>, due: Timestamp, timers: &mut Timers) -> Option<Told> {
        self.number.set(self.number.get().unwrap_or(&0) + 1000);
        Some(self.told(k, "", timers, Some(due.0)))
    }

    fn initial(&mut self, _k: Option<String>, order: Order) -> Result<()> {
        if order.text == "refuse" {
            return Err(Error::bad_row("no such beginning"));
        }
        self.number.set(order.n);
        self.texts.append(order.text);
        Ok(())
    }
}

/// As `tally`, of which nothing is there for longer than a second.
#[derive(State)]
struct Brief {
    #[state(ttl = "1 second")]
    number: ValueState<i64>,
    #[state(ttl = "1 second")]
    texts: ListState<String>,
    #[state(ttl = "1 second")]
    by_text: MapState<String, i64>,
}

/// Adds to all that it keeps, and tells it.
#[stateful]
impl Brief {
    fn rows(&mut self, k: String, orders: Vec<Order>) -> Vec<Told> {
        for Order { text, n, .. } in orders {
            self.number.set(self.number.get().unwrap_or(&0) + n);
            self.texts.append(text.clone());
            self.by_text.insert(text, n);
        }
        vec![Told {
            k: Some(k),
            number: self.number.get().copied(),
            texts: self.texts.get(),
            by_text: self.by_text.entries(),
            one: None,
            timers: Vec::new(),
            due: None,
        }]
    }
}

/// Panics on a negative number.
#[scalar]
fn panics(n: i64) -> i64 {
    assert!(n >= 0, "{n} is negative");
    n
}

/// Lets rows through, and panics on a negative number.
#[transform(reads = "n BIGINT")]
fn panics_on_rows(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
    let numbers: &Int64Array = rows["n"].as_primitive();
    numbers.values().iter().for_each(|n| assert!(*n >= 0, "{n} is negative"));
    Ok(Selected::kept((0..rows.num_rows()).map(|_| Some(true)).collect()))
}

/// Never comes back.
#[scalar]
fn spins(n: i64) -> i64 {
    let mut n = n;
    while std::hint::black_box(n) != i64::MIN {
        n = n.wrapping_add(2) | 1;
    }
    n
}

/// Keeps everything.
#[scalar]
fn hoards(n: i64) -> i64 {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![n; 1 << 16]);
        std::hint::black_box(&kept);
    }
}

/// Calls itself until the stack ends.
#[scalar]
fn recurses(n: i64) -> i64 {
    fn deeper(n: i64) -> i64 {
        if std::hint::black_box(n) == i64::MIN { 0 } else { deeper(n.wrapping_add(1) | 1) + 1 }
    }
    deeper(n)
}

/// Gives other columns than it declares.
#[transform(output = "n BIGINT")]
fn breaks_its_word(rows: RecordBatch, _ctx: &BatchContext) -> Result<RecordBatch> {
    Ok(rows)
}

/// Talks too much.
#[scalar]
fn chatters(n: i64) -> i64 {
    for line in 0..n {
        log::info!(line, of = n; "line {line}");
    }
    n
}

/// Divides; 0 by 0 is a NaN, whose bits differ from machine to machine.
#[scalar]
fn divided(x: f64, y: f64) -> f64 {
    x / y
}

/// Depends on the order of a hash map: the same in every instance.
#[scalar]
fn map_order(n: i64) -> String {
    let map: HashMap<i64, i64> = (0..n).map(|i| (i, i)).collect();
    map.into_keys().map(|key| key.to_string()).collect::<Vec<_>>().join(" ")
}

/// Reads the job's settings.
#[scalar]
fn configured(key: &str) -> Result<Option<String>> {
    Ok(config::<HashMap<String, String>>()?.remove(key))
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
}

#[derive(Row)]
struct Count {
    n: i64,
}

/// Does what the config's `mode` says.
#[foreach_batch]
fn handles(batch: DataFrame, ctx: &BatchContext) -> Result<()> {
    match config::<Mode>()?.mode.as_str() {
        "spin" => {
            spins(0);
        }
        "panic" => panic!("in batch {}", ctx.batch_id),
        "retry" => return Err(Error::retryable("the place is busy")),
        "ungranted" => {
            batch.write("elsewhere")?;
        }
        "frames" => {
            let mut frames = Vec::new();
            loop {
                frames.push(batch.sql("SELECT 1")?);
            }
        }
        "query" => {
            let top = batch.sql("SELECT n FROM batch")?;
            let sum: i64 = top.collect::<Count>()?.iter().map(|row| row.n).sum();
            let made = DataFrame::from_rows(&[Count { n: sum }, Count { n: top.count()? as i64 }])?;
            made.write("place")?;
            ctx.mark_processed("handles")?;
        }
        "execute" => {
            let rows = [Count { n: 1 }, Count { n: 2 }];
            target("place").execute_with("INSERT INTO t VALUES (?)", &rows)?;
        }
        "command" => {
            target("place").command(&["GET", "key"])?;
        }
        "stall" => {
            batch.write("stalled")?;
        }
        other => return Err(Error::fatal(format!("there is no mode \"{other}\""))),
    }
    Ok(())
}

/// Rows that are spoilt on their way out; see the module `garbage`.
#[transform]
fn spoilt(rows: RecordBatch, _ctx: &BatchContext) -> Result<RecordBatch> {
    Ok(rows)
}

/// As `spoilt`, for a scalar.
#[scalar]
fn spoilt_scalar(n: i64) -> i64 {
    n
}

struct Listed;

macro_rules! list {
    ($($function:ident),* $(,)?) => {
        impl Functions for Listed {
            const FUNCTIONS: &'static [Entry] = &[$(Entry::of::<$function>()),*];
        }
    };
}

// Not `plugin!`: the exports are made by hand.
list! {
    echo, describe_all, describe_others, points, first_of, parsed, only_even, panics, panics_on_rows, spins, hoards, recurses,
    turned, every_second, counted, Mean, Longest, Tally, Brief, breaks_its_word, chatters, divided, map_order, configured, handles, spoilt,
    spoilt_scalar, seen, blocks_seen,
}
