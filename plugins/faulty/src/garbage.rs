//! Answers that no plugin of the SDK would give: the exports by hand. Where the config names a kind of
//! `garbage`, a call gives back the columns that it got, spoilt so; else it is the SDK's.

use std::collections::HashMap;

use tidemill_plugin::__private::Exports;
use tidemill_plugin::__private::bindings::exports::tidemill::plugin::{
    aggregates, functions, handlers, scalars, stateful, transforms,
};
use tidemill_plugin::__private::bindings::tidemill::plugin::rows::{Selection, give};
use tidemill_plugin::__private::bindings::tidemill::plugin::state;
use tidemill_plugin::__private::bindings::tidemill::plugin::types::{
    BatchContext, BlockResult, ColumnParam, ColumnResult, Failure, Function, Node, Opened, RowError,
};
use tidemill_plugin::prelude::config;

use crate::Listed;

type Sound = Exports<Listed>;
type Rows = Result<Vec<RowError>, Failure>;

pub(crate) struct Faulty;

impl functions::Guest for Faulty {
    fn describe() -> Vec<Function> {
        <Sound as functions::Guest>::describe()
    }

    fn open(function: String, config: String, input: String) -> Result<Opened, Failure> {
        <Sound as functions::Guest>::open(function, config, input)
    }

    fn begin(context: BatchContext) {
        <Sound as functions::Guest>::begin(context);
    }
}

impl scalars::Guest for Faulty {
    fn call(opened: u32, arguments: BlockResult) -> Rows {
        match garbage() {
            Some(garbage) => Ok(give_spoilt(&garbage, Selection::All, arguments)),
            None => <Sound as scalars::Guest>::call(opened, arguments),
        }
    }
}

impl transforms::Guest for Faulty {
    fn call(opened: u32, input: BlockResult) -> Rows {
        match garbage() {
            Some(garbage) => Ok(give_spoilt(&garbage, Selection::Fresh(input.rows), input)),
            None => <Sound as transforms::Guest>::call(opened, input),
        }
    }
}

impl aggregates::Guest for Faulty {
    fn update(opened: u32, groups: Vec<u32>, total: u32, arguments: BlockResult) -> Rows {
        <Sound as aggregates::Guest>::update(opened, groups, total, arguments)
    }

    fn merge(
        opened: u32,
        groups: Vec<u32>,
        total: u32,
        states: BlockResult,
    ) -> Result<(), Failure> {
        <Sound as aggregates::Guest>::merge(opened, groups, total, states)
    }

    fn states(opened: u32, count: u32) -> Result<(), Failure> {
        match garbage() {
            Some(garbage) => give_zeros(&garbage, count, 2),
            None => <Sound as aggregates::Guest>::states(opened, count)?,
        }
        Ok(())
    }

    fn results(opened: u32, count: u32) -> Result<(), Failure> {
        match garbage() {
            Some(garbage) => give_zeros(&garbage, count, 1),
            None => <Sound as aggregates::Guest>::results(opened, count)?,
        }
        Ok(())
    }

    fn migrate(opened: u32, migration: u32, states: BlockResult) -> Result<(), Failure> {
        <Sound as aggregates::Guest>::migrate(opened, migration, states)
    }
}

impl stateful::Guest for Faulty {
    fn rows(opened: u32, keys: BlockResult, counts: Vec<u32>, input: BlockResult) -> Rows {
        match garbage() {
            Some(garbage) => {
                misuse_state(&garbage);
                Ok(give_spoilt(&garbage, Selection::Fresh(input.rows), input))
            }
            None => <Sound as stateful::Guest>::rows(opened, keys, counts, input),
        }
    }

    fn timers(
        opened: u32,
        keys: BlockResult,
        owners: Vec<u32>,
        times: Vec<i64>,
    ) -> Result<(), Failure> {
        <Sound as stateful::Guest>::timers(opened, keys, owners, times)
    }

    fn initial(opened: u32, keys: BlockResult, rows: BlockResult) -> Result<(), Failure> {
        <Sound as stateful::Guest>::initial(opened, keys, rows)
    }

    fn migrate(
        opened: u32,
        migration: u32,
        keys: BlockResult,
        kept: BlockResult,
    ) -> Result<(), Failure> {
        <Sound as stateful::Guest>::migrate(opened, migration, keys, kept)
    }
}

/// Asks of the state what it has not: of `tally`, whose variables are a number, a list of texts and a map of
/// numbers by texts.
fn misuse_state(garbage: &str) {
    const NUMBER: u32 = 0;
    const LIST: u32 = 1;
    const MAP: u32 = 2;
    let (nodes, values) = ([Node { length: 1, nulls: 0 }], 7_i64.to_le_bytes());
    let buffers: [&[u8]; 2] = [&[], &values];
    let number = || ColumnParam { nodes: &nodes, buffers: &buffers };
    let offsets = [0_i32.to_le_bytes(), 1_i32.to_le_bytes()].concat();
    let buffers: [&[u8]; 3] = [&[], &offsets, b"x"];
    let text = || ColumnParam { nodes: &nodes, buffers: &buffers };
    let (null_nodes, bitmap) = ([Node { length: 1, nulls: 1 }], [0_u8]);
    let null_buffers: [&[u8]; 3] = [&bitmap, &offsets, b"x"];
    let null = || ColumnParam { nodes: &null_nodes, buffers: &null_buffers };
    match garbage {
        "variable" => drop(state::read(99, &[0])),
        "key" => drop(state::read(NUMBER, &[99])),
        "written key" => state::write(NUMBER, &[99], number()),
        "written type" => state::write(NUMBER, &[0], text()),
        "written rows" => state::write(NUMBER, &[0, 0], number()),
        "appended to a number" => state::append(NUMBER, &[0], number()),
        "appended type" => state::append(LIST, &[0], number()),
        "found in a list" => drop(state::find(LIST, &[0], text())),
        "put into a number" => state::put(NUMBER, &[0], text(), number()),
        "put without a key" => state::put(MAP, &[0], null(), number()),
        "removed rows" => state::remove(MAP, &[0, 0, 0], text()),
        "timer's key" => drop(state::timers(&[99])),
        "timers" => state::set_timers(&[0], &[1, 2]),
        "deleted timers" => state::delete_timers(&[0, 99], &[1, 2]),
        "read a lot" => drop(state::read(LIST, &vec![0; 10_000_000])),
        _ => {}
    }
}

impl handlers::Guest for Faulty {
    fn call(opened: u32, batch: u64) -> Result<(), Failure> {
        <Sound as handlers::Guest>::call(opened, batch)
    }
}

fn garbage() -> Option<String> {
    config::<HashMap<String, String>>().ok()?.remove("garbage")
}

/// Gives the columns that came, spoilt. What came is one column: texts to a transform, numbers to a
/// scalar.
fn give_spoilt(garbage: &str, sound: Selection<'_>, rows: BlockResult) -> Vec<RowError> {
    let BlockResult { rows, mut columns } = rows;
    let column = &mut columns[0];
    spoil_column(garbage, column);
    let mut selection = sound;
    match garbage {
        "columns" => columns.push(columns[0].clone()),
        "no columns" => columns.clear(),
        "rows" => selection = Selection::Fresh(rows + 1),
        "many" => selection = Selection::Fresh(u32::MAX),
        "fresh" => selection = Selection::Fresh(rows),
        "kept" => selection = Selection::Kept(&[]),
        "taken" => selection = Selection::Taken(&[0, 99]),
        _ => {}
    }
    let times = match garbage {
        "never" => 0,
        "twice" => 2,
        _ => 1,
    };
    let buffers: Vec<Vec<&[u8]>> =
        columns.iter().map(|column| column.buffers.iter().map(Vec::as_slice).collect()).collect();
    let columns: Vec<ColumnParam<'_>> = columns
        .iter()
        .zip(&buffers)
        .map(|(column, buffers)| ColumnParam { nodes: &column.nodes, buffers })
        .collect();
    for _ in 0..times {
        give(selection.clone(), &columns);
    }
    match garbage {
        "beyond" => vec![RowError { row: 99, reason: String::new() }],
        _ => Vec::new(),
    }
}

/// Gives columns of zeros for the groups of an aggregate: as many as the state of `mean_of` has, or its
/// result.
fn give_zeros(garbage: &str, count: u32, width: usize) {
    let (rows, width, times) = match garbage {
        "rows" => (count + 1, width, 1),
        "columns" => (count, width + 1, 1),
        "never" => (count, width, 0),
        "twice" => (count, width, 2),
        _ => (count, width, 1),
    };
    let nodes = [Node { length: rows, nulls: 0 }];
    let zeros = vec![0; 8 * rows as usize];
    let buffers: [&[u8]; 2] = [&[], &zeros];
    let columns = vec![ColumnParam { nodes: &nodes, buffers: &buffers }; width];
    let selection = match garbage {
        "all" => Selection::All,
        _ => Selection::Fresh(rows),
    };
    for _ in 0..times {
        give(selection.clone(), &columns);
    }
}

/// A column of texts has three buffers (nulls, offsets, bytes), one of numbers two (nulls, values).
fn spoil_column(garbage: &str, column: &mut ColumnResult) {
    let ColumnResult { nodes, buffers } = column;
    match garbage {
        "noise" => buffers.iter_mut().for_each(|buffer| buffer.fill(0x5a)),
        "nothing" => buffers.iter_mut().for_each(Vec::clear),
        "half" => buffers.iter_mut().for_each(|buffer| buffer.truncate(buffer.len() / 2)),
        // Invalid UTF-8, and an offset far outside.
        "text" => buffers[2].fill(0xff),
        "offsets" => buffers[1][4..8].copy_from_slice(&i32::MAX.to_le_bytes()),
        // A column of numbers where texts are declared.
        "schema" => {
            let values = vec![0; 8 * nodes[0].length as usize];
            *buffers = vec![Vec::new(), values];
        }
        "many" => nodes[0].length = u32::MAX,
        "node" => nodes[0].length += 1,
        "nodes" => nodes.push(Node { length: 0, nulls: 0 }),
        "no node" => nodes.clear(),
        "nulls" => nodes[0].nulls = nodes[0].length + 1,
        "bitmap" => {
            nodes[0].nulls = 1;
            buffers[0].clear();
        }
        "buffer" => drop(buffers.pop()),
        "buffers" => buffers.push(Vec::new()),
        _ => {}
    }
}

// As `plugin!` does it.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the exports of the canonical ABI")]
const _: () = {
    tidemill_plugin::__private::export_functions!(
        Faulty with_types_in tidemill_plugin::__private::bindings
    );
};
