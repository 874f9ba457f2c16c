//! What the host reads from a plugin: its module, what it says of its functions, the rows that it
//! gives, and what it asks of the state of keys. All by the doors that a query uses.
//!
//! Rows and questions come from a module that is made here. All that it says lies in its memory, as
//! bytes that the input edits: so lengths, places, texts, selections and columns are whatever a
//! fuzzer likes, and the module itself is compiled once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::DataType;
use tidemill_core::{
    Attempt, BatchContext, BatchId, Change, Given, KeyedState, PluginFailure, PluginModule,
    QueryId, RefusedRow, Selection,
};
use tidemill_plugin_host::{CacheLocation, HostOptions, Limits, Module, PluginConfig, PluginHost};
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// Any text of an error: no guest's texts are longer.
const TOLD_BYTES_MAX: usize = 64 << 10;

/// Bytes of a module. It has a component's first bytes or not.
pub(crate) fn module(bytes: &[u8]) {
    let Some(module) = loaded(bytes) else { return };
    for function in module.functions() {
        if let Some(input) = &function.input {
            let _ = module.shape(&function.name, Arc::clone(input));
        }
    }
}

/// Edits of what a sound module says of its functions and gives. The first byte is the function that is
/// called.
pub(crate) fn answers(bytes: &[u8]) {
    let Some((which, edits)) = bytes.split_first() else { return };
    let Some(module) = loaded(&Guest::answering().edited(edits)) else { return };
    let function = ["scalar", "transform"][usize::from(which % 2)];
    let rows = numbers();
    let Ok(shape) = module.shape(function, rows.schema()) else { return };
    let Ok(mut opened) = module.open(function, &context(), rows.schema(), &shape) else { return };
    let read = rows.project(&shape.reads).expect("it reads columns that there are");
    let Ok(answer) = opened.call(&read) else { return };
    let made = shape.output.fields().iter().zip(&shape.origins);
    let made = made.filter(|(_, origin)| **origin == tidemill_core::Origin::Made);
    let types: Vec<&DataType> = made.map(|(field, _)| field.data_type()).collect();
    answer.given.iter().for_each(|given| check(given, &types, rows.num_rows()));
    assert!(answer.refused.iter().all(|RefusedRow { row, .. }| (*row as usize) < rows.num_rows()));
}

/// Edits of what a module asks of the state of keys. The first byte is the call.
pub(crate) fn state(bytes: &[u8]) {
    let Some((call, edits)) = bytes.split_first() else { return };
    let mut guest = Guest::asking();
    guest.data[0] = call % 9;
    let Some(module) = loaded(&guest.edited_behind(1, edits)) else { return };
    let rows = numbers();
    let Ok(shape) = module.shape("keeps", rows.schema()) else { return };
    let opened = module.open_stateful("keeps", &context(), rows.schema(), &shape);
    let Ok(mut opened) = opened else { return };
    let keys: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1, 2]))];
    let held = Held { module: Arc::clone(&module) };
    // An error is an answer; what is asked of the state is looked at where it arrives.
    let _ = opened.rows(&keys, &[2, 1], &rows, Box::new(held));
}

fn numbers() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).expect("a column")
}

fn context() -> BatchContext {
    BatchContext {
        query: "q".to_owned(),
        query_id: QueryId("q".to_owned()),
        batch: BatchId(1),
        attempt: Attempt::FIRST,
        partition: 0,
        batch_time_ms: 0,
        watermark: None,
    }
}

/// The module, if it is one. An error is an answer.
fn loaded(bytes: &[u8]) -> Option<Arc<Module>> {
    static HOST: OnceLock<PluginHost> = OnceLock::new();
    let options = HostOptions { dev: true, cache: CacheLocation::None };
    let host = HOST.get_or_init(|| PluginHost::new(&options).expect("an engine"));
    let limits = Limits { memory: 16 << 20, deadline: Duration::from_millis(50) };
    match host.load("p", bytes, PluginConfig { limits, ..PluginConfig::default() }) {
        Ok(module) => Some(module),
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < TOLD_BYTES_MAX, "{} bytes of an error", told.len());
            None
        }
    }
}

/// What was let in is sound.
fn check(given: &Given, types: &[&DataType], input: usize) {
    if let Selection::Taken(rows) = &given.selection {
        assert!(rows.values().iter().all(|row| (*row as usize) < input), "rows of the input");
    }
    let rows = given.selection.rows(input);
    assert_eq!(given.made.len(), types.len());
    for (column, data_type) in given.made.iter().zip(types) {
        assert_eq!((column.len(), column.data_type()), (rows, *data_type));
        column.to_data().validate_full().expect("what is let in is sound");
    }
}

/// Holds nothing, and looks at all that it is asked.
struct Held {
    module: Arc<Module>,
}

impl Held {
    fn variable(&self, number: usize) -> &tidemill_core::Variable {
        let function = self.module.functions().iter().find(|known| known.name == "keeps");
        &function.expect("it was opened").state[number]
    }

    fn look(&self, keys: &[u32], columns: &[(&ArrayRef, &DataType)]) {
        assert!(keys.iter().all(|key| *key < 2), "keys of the call");
        for (column, data_type) in columns {
            assert_eq!((column.len(), column.data_type()), (keys.len(), *data_type));
            column.to_data().validate_full().expect("what is let in is sound");
        }
    }
}

impl KeyedState for Held {
    fn read(&mut self, variable: usize, keys: &[u32]) -> Result<ArrayRef, PluginFailure> {
        self.look(keys, &[]);
        Ok(new_null_array(self.variable(variable).field.data_type(), keys.len()))
    }

    fn find(
        &mut self,
        variable: usize,
        keys: &[u32],
        entries: &ArrayRef,
    ) -> Result<ArrayRef, PluginFailure> {
        let (key, value) = self.variable(variable).entry().expect("it is a map");
        self.look(keys, &[(entries, key)]);
        Ok(new_null_array(value, keys.len()))
    }

    fn change(
        &mut self,
        variable: usize,
        keys: &[u32],
        change: Change<'_>,
    ) -> Result<(), PluginFailure> {
        let kept = self.variable(variable);
        match change {
            Change::Write(values) => self.look(keys, &[(values, kept.field.data_type())]),
            Change::Append(items) => self.look(keys, &[(items, kept.item().expect("a list"))]),
            Change::Put(entries, values) => {
                let (key, value) = kept.entry().expect("it is a map");
                assert_eq!(entries.null_count(), 0, "a key that is null");
                self.look(keys, &[(entries, key), (values, value)]);
            }
            Change::Remove(entries) => {
                self.look(keys, &[(entries, kept.entry().expect("it is a map").0)]);
            }
        }
        Ok(())
    }

    fn timers(&mut self, keys: &[u32]) -> Result<Vec<Vec<i64>>, PluginFailure> {
        self.look(keys, &[]);
        Ok(vec![Vec::new(); keys.len()])
    }

    fn set_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.look(keys, &[]);
        assert_eq!(keys.len(), times.len());
        Ok(())
    }

    fn delete_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.set_timers(keys, times)
    }
}

/// Where a guest's data begin.
const BASE: usize = 1024;
/// Where the results of a host call go.
const SCRATCH: usize = 512;

/// A module whose answers lie in its memory.
#[derive(Clone, Default)]
struct Guest {
    data: Vec<u8>,
    code: String,
}

/// Place and length.
type Span = [u32; 2];

impl Guest {
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let place = BASE + self.data.len();
        self.data.extend(bytes);
        u32::try_from(place).expect("a few bytes")
    }

    fn span(&mut self, bytes: &[u8]) -> Span {
        [self.put(bytes), u32::try_from(bytes.len()).expect("a few bytes")]
    }

    fn words(&mut self, words: &[u32]) -> u32 {
        self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// The words of a list of records, whose number it is.
    fn list(&mut self, records: &[Vec<u32>]) -> Span {
        [self.words(&records.concat()), u32::try_from(records.len()).expect("a few")]
    }

    /// A column of numbers.
    fn column(&mut self, numbers: &[i64]) -> Vec<u32> {
        let rows = u32::try_from(numbers.len()).expect("a few");
        let values = numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let nodes = self.list(&[vec![rows, 0]]);
        let values = self.span(&values).to_vec();
        let buffers = self.list(&[vec![0, 0], values]);
        [nodes, buffers].concat()
    }

    /// A function of this kind, from and to `n bigint`.
    fn function(&mut self, name: &str, kind: u32, state: Span, properties: Span) -> Vec<u32> {
        let [name, schema] = [name, "n bigint"].map(|text| self.span(text.as_bytes()));
        let some = [1, schema[0], schema[1]];
        let mut words = vec![name[0], name[1], kind];
        words.extend(some.iter().chain(&some));
        words.extend([0, state[0], state[1], 1, 0, 0, properties[0], properties[1]]);
        words
    }

    /// What `open` answers: reads the first column, and makes one.
    fn opened(&mut self) -> u32 {
        let schema = self.span(b"n bigint");
        let (reads, origins) = (self.words(&[0]), self.words(&[0, 0]));
        self.words(&[0, 0, schema[0], schema[1], reads, 1, origins, 1])
    }

    /// A call of an import, whose parameters are read from the memory.
    fn call(&mut self, import: &str, parameters: &[u32], result: bool) {
        let place = self.words(parameters);
        let read = (0..parameters.len())
            .map(|n| format!("(i32.load (i32.const {}))", place as usize + 4 * n));
        let result = if result { format!("(i32.const {SCRATCH})") } else { String::new() };
        self.code += &format!("(call ${import} {} {result})", read.collect::<String>());
    }

    /// A scalar and a transform that give the numbers 0, 1 and 2.
    fn answering() -> Guest {
        static MADE: OnceLock<Guest> = OnceLock::new();
        let make = || {
            let mut guest = Guest::default();
            let functions = [("scalar", 0), ("transform", 1)]
                .map(|(name, kind)| guest.function(name, kind, [0, 0], [0, 0]));
            let described = guest.list(&functions);
            let described = guest.words(&described);
            let opened = guest.opened();
            let column = guest.column(&[0, 1, 2]);
            let columns = guest.list(&[column]);
            guest.call("give", &[1, 0, 0, columns[0], columns[1]], false);
            let answer = guest.words(&[0, 0, 0]);
            guest.finish(described, opened, answer)
        };
        MADE.get_or_init(make).clone()
    }

    /// A stateful function that makes the call of which the first byte is the number.
    fn asking() -> Guest {
        static MADE: OnceLock<Guest> = OnceLock::new();
        let make = || {
            let mut guest = Guest::default();
            let which = guest.words(&[0]);
            let named = |guest: &mut Guest, name: &str, shape: u32, schema: &str| {
                let [name, schema] = [name, schema].map(|text| guest.span(text.as_bytes()));
                // A record of 64 bits ends with a time to live that is not there.
                vec![name[0], name[1], shape, schema[0], schema[1], 0, 0, 0, 0, 0]
            };
            let state = [
                named(&mut guest, "value", 0, "v bigint"),
                named(&mut guest, "items", 1, "v array<bigint>"),
                named(&mut guest, "entries", 2, "v map<bigint,bigint>"),
            ];
            let state = guest.list(&state);
            let [key, schema] = ["key", "k bigint"].map(|text| guest.span(text.as_bytes()));
            let properties = guest.list(&[[key, schema].concat()]);
            let function = guest.function("keeps", 3, state, properties);
            let described = guest.list(&[function]);
            let described = guest.words(&described);
            let opened = guest.opened();
            let keys = guest.words(&[0, 1]);
            let keys = [keys, 2];
            let times = guest.span(&[1_i64, 2].map(i64::to_le_bytes).concat());
            let times = [times[0], 2];
            let (column, other) = (guest.column(&[4, 5]), guest.column(&[6, 7]));
            let of = |variable: u32, columns: &[&[u32]]| {
                [&[variable], &keys[..], &columns.concat()].concat()
            };
            let calls: [(&str, Vec<u32>, bool); 9] = [
                ("read", of(0, &[]), true),
                ("find", of(2, &[&column]), true),
                ("write", of(0, &[&column]), false),
                ("append", of(1, &[&column]), false),
                ("put", of(2, &[&column, &other]), false),
                ("remove", of(2, &[&column]), false),
                ("timers", keys.to_vec(), true),
                ("set_timers", [keys, times].concat(), false),
                ("delete_timers", [keys, times].concat(), false),
            ];
            for (number, (import, parameters, result)) in calls.into_iter().enumerate() {
                guest.code += &format!(
                    "(if (i32.eq (i32.load8_u (i32.const {which})) (i32.const {number})) (then "
                );
                guest.call(import, &parameters, result);
                guest.code += "))";
            }
            let answer = guest.words(&[0, 0, 0]);
            guest.finish(described, opened, answer)
        };
        MADE.get_or_init(make).clone()
    }

    /// The code around what has been written.
    fn finish(mut self, described: u32, opened: u32, answer: u32) -> Guest {
        let give = std::mem::take(&mut self.code);
        self.code = exports(&give, described, opened, answer);
        self
    }

    fn edited(self, edits: &[u8]) -> Vec<u8> {
        self.edited_behind(0, edits)
    }

    /// The module, with edits of its data of four bytes each: what, where (two bytes), and a byte.
    fn edited_behind(mut self, kept: usize, edits: &[u8]) -> Vec<u8> {
        let count = self.data.len() - kept;
        for edit in edits.chunks_exact(4) {
            let place = usize::from(u16::from_le_bytes([edit[1], edit[2]])) % count;
            let byte = &mut self.data[kept + place];
            match edit[0] % 3 {
                0 => *byte = edit[3],
                1 => *byte = byte.wrapping_add(edit[3]),
                _ => *byte ^= edit[3],
            }
        }
        let data = self.data.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let text = format!("(module {} (data (i32.const {BASE}) \"{data}\"))", self.code);
        let mut module = wat::parse_str(text).expect("it is sound");
        let (resolve, world) = contract();
        wit_component::embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8)
            .expect("it is the contract's");
        module
    }
}

fn contract() -> &'static (Resolve, wit_parser::WorldId) {
    static CONTRACT: OnceLock<(Resolve, wit_parser::WorldId)> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let mut resolve = Resolve::default();
        let text = include_str!("../../../schemas/wit/plugin.wit");
        let package = resolve.push_source("plugin.wit", text).expect("the contract is sound");
        let world = resolve.select_world(&[package], Some("plugin")).expect("it has a world");
        (resolve, world)
    })
}

/// All that a plugin exports: answers are places in the memory, and `call` is what a call does first.
fn exports(call: &str, described: u32, opened: u32, answer: u32) -> String {
    let import = |interface: &str, name: &str, own: &str, parameters: usize| {
        format!(
            "(import \"tidemill:plugin/{interface}@0.2.0\" \"{name}\" (func ${own} (param {})))",
            "i32 ".repeat(parameters)
        )
    };
    let imports = [
        import("rows", "give", "give", 5),
        import("state", "read", "read", 4),
        import("state", "find", "find", 8),
        import("state", "write", "write", 7),
        import("state", "append", "append", 7),
        import("state", "put", "put", 11),
        import("state", "remove", "remove", 7),
        import("state", "timers", "timers", 3),
        import("state", "set-timers", "set_timers", 4),
        import("state", "delete-timers", "delete_timers", 4),
    ];
    let answers = |place: u32| format!("(i32.const {place})");
    let called = format!("{call} (i32.const {answer})");
    let i32s = |count: usize| format!("(param {}) (result i32)", "i32 ".repeat(count));
    let context = "(param i32 i32 i32 i32 i64 i32 i32 i64 i32 i64)".to_owned();
    let all: [(&str, &str, String, String); 15] = [
        ("functions", "describe", "(result i32)".to_owned(), answers(described)),
        ("functions", "open", i32s(6), answers(opened)),
        ("functions", "begin", context, String::new()),
        ("scalars", "call", i32s(4), called.clone()),
        ("transforms", "call", i32s(4), called.clone()),
        ("aggregates", "update", i32s(7), answers(answer)),
        ("aggregates", "merge", i32s(7), answers(answer)),
        ("aggregates", "states", i32s(2), answers(answer)),
        ("aggregates", "results", i32s(2), answers(answer)),
        ("aggregates", "migrate", i32s(5), answers(answer)),
        ("stateful", "rows", i32s(9), called),
        ("stateful", "timers", i32s(8), answers(answer)),
        ("stateful", "initial", i32s(7), answers(answer)),
        ("stateful", "migrate", i32s(8), answers(answer)),
        ("handlers", "call", "(param i32 i64) (result i32)".to_owned(), answers(answer)),
    ];
    let exports = all.iter().map(|(interface, name, parameters, body)| {
        format!("(func (export \"tidemill:plugin/{interface}@0.2.0#{name}\") {parameters} {body})")
    });
    // It never gives back: an instance is called once.
    let allocator = "(global $heap (mut i32) (i32.const 65536))
        (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
          (local $at i32)
          (local.set $at (global.get $heap))
          (global.set $heap (i32.and (i32.const -16)
            (i32.add (i32.const 15) (i32.add (local.get $at) (local.get 3)))))
          (local.get $at))";
    format!(
        "{} (memory (export \"memory\") 4) {allocator} {}",
        imports.concat(),
        exports.collect::<String>()
    )
}
