//! Answers that no plugin of the SDK would give: the exports by hand, which spoil what the sound
//! ones answer as the config's `garbage` says.

use std::collections::HashMap;

use arrow::ipc::writer::StreamWriter;
use tidemill_plugin::__private::Exports;
use tidemill_plugin::__private::bindings::exports::tidemill::plugin::functions::{
    BatchContext, Failure, Function, Guest, Opened, Rows, StatefulOutput,
};
use tidemill_plugin::__private::bindings::tidemill::plugin::types::RowError;
use tidemill_plugin::prelude::{Schema, arrow, config};

use crate::Listed;

type Sound = Exports<Listed>;
type Bytes = Vec<u8>;

pub(crate) struct Faulty;

impl Guest for Faulty {
    fn describe() -> Vec<Function> {
        Sound::describe()
    }

    fn open(function: String, config: String, input: Bytes) -> Result<Opened, Failure> {
        Sound::open(function, config, input)
    }

    fn scalar(instance: u32, context: BatchContext, input: Bytes) -> Result<Rows, Failure> {
        Sound::scalar(instance, context, input).map(spoil)
    }

    fn transform(instance: u32, context: BatchContext, input: Bytes) -> Result<Rows, Failure> {
        Sound::transform(instance, context, input).map(spoil)
    }

    fn aggregate_update(
        instance: u32,
        groups: Vec<u32>,
        state: Bytes,
        input: Bytes,
    ) -> Result<Bytes, Failure> {
        Sound::aggregate_update(instance, groups, state, input)
    }

    fn aggregate_merge(
        instance: u32,
        groups: Vec<u32>,
        state: Bytes,
        partial: Bytes,
    ) -> Result<Bytes, Failure> {
        Sound::aggregate_merge(instance, groups, state, partial)
    }

    fn aggregate_finish(instance: u32, state: Bytes) -> Result<Bytes, Failure> {
        Sound::aggregate_finish(instance, state)
    }

    fn stateful(
        instance: u32,
        context: BatchContext,
        keys: Bytes,
        offsets: Vec<u32>,
        input: Bytes,
        state: Bytes,
        due: Vec<Vec<i64>>,
    ) -> Result<StatefulOutput, Failure> {
        Sound::stateful(instance, context, keys, offsets, input, state, due)
    }

    fn foreach_batch(instance: u32, context: BatchContext, batch: u64) -> Result<(), Failure> {
        Sound::foreach_batch(instance, context, batch)
    }
}

fn spoil(mut rows: Rows) -> Rows {
    let garbage = config::<HashMap<String, String>>().ok();
    let garbage = garbage.and_then(|mut config| config.remove("garbage")).unwrap_or_default();
    let Some(message) = rows.batches.first_mut() else {
        return rows;
    };
    match garbage.as_str() {
        "noise" => message.fill(0x5a),
        "nothing" => message.clear(),
        "half" => message.truncate(message.len() / 2),
        // The texts "aaa" and "a": invalid UTF-8, and an offset far outside.
        "text" => replace(message, b"aaaa", b"\xff\xff\xff\xff"),
        "offsets" => replace(message, &[3, 0, 0, 0, 4, 0, 0, 0], &[255, 255, 255, 127, 4, 0, 0, 0]),
        // Two rows of which there are a million million.
        "many" => replace(message, &2_i64.to_le_bytes(), &(1_i64 << 40).to_le_bytes()),
        "schema" => {
            let writer = StreamWriter::try_new(Vec::new(), &Schema::empty());
            *message = writer.map(|writer| writer.get_ref().clone()).unwrap_or_default();
        }
        "beyond" => rows.refused.push(RowError { row: 99, reason: String::new() }),
        "twice" => rows.batches.push(rows.batches[0].clone()),
        _ => {}
    }
    rows
}

fn replace(message: &mut [u8], old: &[u8], new: &[u8]) {
    for at in 0..=message.len() - old.len() {
        if message[at..].starts_with(old) {
            message[at..at + new.len()].copy_from_slice(new);
        }
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
