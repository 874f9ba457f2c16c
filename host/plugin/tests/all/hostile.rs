//! Modules that are made to do harm: each fails as a value, within its limits, and the host goes
//! on. All of these tests share one host.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tidemill_core::{PluginFailure, PluginModule};
use tidemill_plugin_host::{LoadProblem, PluginConfig};
use wit_component::ComponentEncoder;

use crate::handmade::{Handmade, Kind, component_type, custom, leb};
use crate::support::{call, context, host, limited, refused, table};

const LOOP: &str = "(loop $l (br $l))";
const GROW: &str = "(loop $l (drop (memory.grow (i32.const 16))) (br $l))";
const RECURSE: &str =
    "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";

/// 64 MiB and half a second.
fn tight() -> PluginConfig {
    limited(64 << 20, Duration::from_millis(500))
}

fn problem(module: &[u8]) -> LoadProblem {
    refused("p", module, tight()).problem
}

fn described(module: &[u8]) -> PluginFailure {
    match problem(module) {
        LoadProblem::Describe(failure) => failure,
        other => panic!("{other}"),
    }
}

fn too_large(module: &[u8]) -> String {
    match problem(module) {
        LoadProblem::TooLarge(told) => told,
        other => panic!("{other}"),
    }
}

fn three_rows() -> RecordBatch {
    table([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)])
}

fn called(made: &Handmade) -> PluginFailure {
    let module = host().load("p", &made.build(), tight()).unwrap();
    call(&module, "f", &three_rows()).err().unwrap().failure
}

const OUT_OF_MEMORY: PluginFailure = PluginFailure::Memory { limit: 64 << 20 };
const OUT_OF_TIME: PluginFailure = PluginFailure::Deadline { limit_ms: 500 };

fn component(made: &Handmade) -> Vec<u8> {
    ComponentEncoder::default().module(&made.build()).unwrap().encode().unwrap()
}

/// A section of a component.
fn section(id: u8, body: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    section.extend(leb(body.len()));
    section.extend(body);
    section
}

/// A sound plugin with so many more instances of a core module.
pub(crate) fn with_instances(module: &str, count: u8) -> Vec<u8> {
    let mut bytes = component(&Handmade::new(Kind::Scalar));
    let mut depth = 0;
    let mut modules = 0_u8;
    for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            wasmparser::Payload::ModuleSection { .. } => {
                modules += u8::from(depth == 0);
                depth += 1;
            }
            wasmparser::Payload::ComponentSection { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    bytes.extend(section(1, &wat::parse_str(module).unwrap()));
    let mut instances = vec![count];
    (0..count).for_each(|_| instances.extend([0, modules, 0]));
    bytes.extend(section(2, &instances));
    bytes
}

#[test]
fn a_handmade_module_that_is_sound_runs() {
    let module = host().load("p", &Handmade::new(Kind::Scalar).build(), tight()).unwrap();
    assert_eq!(call(&module, "f", &three_rows()).unwrap().batches[0].num_rows(), 3);
    let component = with_instances("(module (memory 1))", 5);
    let module = host().load("p", &component, tight()).unwrap();
    assert_eq!(call(&module, "f", &three_rows()).unwrap().batches[0].num_rows(), 3);
}

#[test]
fn the_memory_limit_is_for_the_sum() {
    let filled = "(module (memory 160)
        (func $f (memory.fill (i32.const 0) (i32.const 1) (i32.const 10000000))) (start $f))";
    // Five times ten megabytes are within the limit, and seven are not.
    host().load("p", &with_instances(filled, 5), tight()).unwrap();
    assert_eq!(described(&with_instances(filled, 7)), OUT_OF_MEMORY);
    // Memories that were never touched count, too.
    assert_eq!(described(&with_instances("(module (memory 1000))", 3)), OUT_OF_MEMORY);

    let tables = |count: usize| {
        let tables = (0..count).map(|n| format!("(table $t{n} 1000000 funcref)"));
        Handmade::new(Kind::Scalar).with_fields(&tables.collect::<String>()).build()
    };
    host().load("p", &tables(7), tight()).unwrap();
    assert_eq!(described(&tables(9)), OUT_OF_MEMORY);
    let grows = "(table $t 1 funcref)
        (func $grow (loop $l (drop (table.grow $t (ref.null func) (i32.const 10000))) (br $l)))
        (start $grow)";
    assert_eq!(described(&Handmade::new(Kind::Scalar).with_fields(grows).build()), OUT_OF_MEMORY);
    assert_eq!(described(&Handmade::new(Kind::Scalar).start(GROW).build()), OUT_OF_MEMORY);
    let mut large = Handmade::new(Kind::Scalar);
    large.pages = 60_000;
    assert_eq!(described(&large.build()), OUT_OF_MEMORY);
}

#[test]
fn a_memory_that_may_not_grow_further_does_not_use_up_the_limit() {
    // It asks a hundred thousand times for more than its own maximum, and is told no each time.
    let asks = "(local $i i32)
        (loop $l (drop (memory.grow (i32.const 1000)))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
            (i32.const 100000))))";
    let other = format!("(module (memory 1 2) (func $f {asks}) (start $f))");
    host().load("p", &with_instances(&other, 1), tight()).unwrap();
}

#[test]
fn memories_tables_and_instances_are_few() {
    let memories: String = (0..60).map(|n| format!("(memory $m{n} 1010)")).collect();
    match problem(&Handmade::new(Kind::Scalar).with_fields(&memories).build()) {
        LoadProblem::Compile(told) => assert!(told.contains("multiple memories"), "{told}"),
        other => panic!("{other}"),
    }
    let tables: String = (0..99).map(|n| format!("(table $t{n} 1 funcref)")).collect();
    let many = [
        ("memory", with_instances("(module (memory 1))", 9)),
        // With the plugin itself and the two that link it: one more than may be.
        ("instance", with_instances("(module)", 126)),
        ("table", Handmade::new(Kind::Scalar).with_fields(&tables).build()),
    ];
    for (what, module) in many {
        match described(&module) {
            PluginFailure::Host(told) => {
                assert!(told.contains(&format!("{what} count too high")), "{told}");
            }
            other => panic!("{what}: {other}"),
        }
    }
}

#[test]
fn what_never_ends_ends_at_the_deadline() {
    let spins = |made: Handmade| described(&made.build());
    assert_eq!(spins(Handmade::new(Kind::Scalar).start(LOOP)), OUT_OF_TIME);
    let endless = format!("{LOOP} (unreachable)");
    assert_eq!(
        spins(Handmade::new(Kind::Scalar).body("functions", "describe", &endless)),
        OUT_OF_TIME
    );
    assert_eq!(
        called(&Handmade::new(Kind::Scalar).body("functions", "open", &endless)),
        OUT_OF_TIME
    );
    assert_eq!(called(&Handmade::new(Kind::Scalar).body("scalars", "call", &endless)), OUT_OF_TIME);
    // The host calls it for room for the arguments.
    let mut made = Handmade::new(Kind::Scalar);
    made.realloc = Some(endless);
    assert_eq!(called(&made), OUT_OF_TIME);
}

#[test]
fn what_traps_and_recurses_is_told() {
    let recurses = Handmade::new(Kind::Scalar).with_fields(RECURSE);
    let failure =
        described(&recurses.body("functions", "describe", "(call $deep (i32.const 0))").build());
    assert!(matches!(&failure, PluginFailure::Trap(told) if told.contains("stack")), "{failure}");
    let failure = described(&Handmade::new(Kind::Scalar).start("(unreachable)").build());
    assert!(matches!(failure, PluginFailure::Trap(_)), "{failure}");
}

#[test]
fn a_module_has_bounds() {
    let functions = "(func (result i32) (i32.const 1))".repeat(50_001);
    let told = too_large(&Handmade::new(Kind::Scalar).with_fields(&functions).build());
    assert!(told.contains("functions, and the limit is 50000"), "{told}");

    let body = "(local.set 0 (i64.mul (local.get 0) (i64.const 3)))".repeat(100_000);
    let function = format!("(func (param i64) {body})");
    let told = too_large(&Handmade::new(Kind::Scalar).with_fields(&function).build());
    assert!(told.contains("bytes in one function, and the limit is 524288"), "{told}");

    let globals = "(global i32 (i32.const 1))".repeat(50_001);
    let told = too_large(&Handmade::new(Kind::Scalar).with_fields(&globals).build());
    assert!(told.contains("globals, and the limit is 50000"), "{told}");

    let segments = "(data \"\")".repeat(50_001);
    let told = too_large(&Handmade::new(Kind::Scalar).with_fields(&segments).build());
    assert!(told.contains("segments of data and tables, and the limit is 50000"), "{told}");

    let mut module = Handmade::new(Kind::Scalar).build();
    (0..20).for_each(|_| module.extend(component_type()));
    let told = too_large(&module);
    assert!(told.contains("component types, and the limit is 8"), "{told}");

    let mut module = Handmade::new(Kind::Scalar).build();
    module.extend(custom("component-type:x", &vec![0; 2 << 20]));
    let told = too_large(&module);
    assert!(told.contains("bytes in its component type"), "{told}");

    let mut module = Handmade::new(Kind::Scalar).build();
    module.extend(custom("x", &vec![0; 64 << 20]));
    let told = too_large(&module);
    assert!(told.contains("bytes, and the limit is 67108864"), "{told}");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.wasm");
    // A hole: of so many bytes none is on the disk, nor need be in memory.
    std::fs::File::create(&path).unwrap().set_len(1 << 42).unwrap();
    let error = host().load_file("p", &path, tight()).err().unwrap();
    assert!(error.to_string().contains("4398046511104 bytes, and the limit"), "{error}");
    let error = host().load_file("p", directory.path(), tight()).err().unwrap();
    assert!(error.to_string().contains("it is not a regular file"), "{error}");
}

#[test]
fn components_that_double_with_each_level_are_refused() {
    let mut text = "(component $c0)".to_owned();
    for level in 1..40 {
        text = format!(
            "(component $c{level} {text}
               (instance (instantiate $c{0})) (instance (instantiate $c{0})))",
            level - 1
        );
    }
    let told = too_large(&wat::parse_str(text).unwrap());
    assert!(told.contains("instances of components, and the limit is 16"), "{told}");
}

#[test]
fn what_describe_says_is_checked() {
    let list = |function: &dyn Fn(&mut Handmade) -> Vec<Vec<u32>>| {
        let mut made = Handmade::new(Kind::Scalar);
        let functions = function(&mut made);
        made.described = made.list(&functions);
        problem(&made.build()).to_string()
    };
    let rows = |made: &Handmade| Some(made.schema);
    let named = |name: &str| {
        let name = name.to_owned();
        list(&move |made: &mut Handmade| {
            vec![made.function(&name, Kind::Scalar, rows(made), rows(made))]
        })
    };
    assert!(named("a\0b").contains("no control characters"));
    assert!(named(&"x".repeat(300)).contains("at most 256 bytes"));
    let twice = list(&|made| {
        let f = made.function("f", Kind::Scalar, rows(made), rows(made));
        vec![f.clone(), f]
    });
    assert!(twice.contains("two functions with the name \"f\""), "{twice}");
    let many = list(&|made| {
        let f = made.function("f", Kind::Scalar, rows(made), rows(made));
        vec![f; 1_001]
    });
    assert!(many.contains("it lists 1001 functions, and the limit is 1000"), "{many}");
    let schema = |text: &str| {
        let text = text.to_owned();
        list(&move |made: &mut Handmade| {
            let text = made.bytes(text.as_bytes());
            vec![made.function("f", Kind::Scalar, Some(text), Some(text))]
        })
    };
    assert!(schema("n text").contains("the schema of \"f\": \"n text\" is not a schema"));
    let deep = format!("n {}int{}", "array<".repeat(120), ">".repeat(120));
    assert!(schema(&deep).contains("the schema of \"f\""));
    let wide: Vec<String> = (0..10_001).map(|n| format!("c{n} int")).collect();
    assert!(schema(&wide.join(", ")).contains("at most 10000 fields"));
    assert!(schema(&"x".repeat(1 << 21)).contains("the limit is 1048576"));
    assert!(schema("n int, m int").contains("it declares a result of 2 columns"));
    let changed = |word: usize, value: u32| {
        list(&move |made: &mut Handmade| {
            let mut function = made.function("f", Kind::Scalar, rows(made), rows(made));
            function[word] = value;
            vec![function]
        })
    };
    // A kind that no host knows is none of the contract.
    assert!(changed(2, 9).contains("unexpected discriminant: 9"));
    assert!(
        changed(2, 3).contains("the stateful \"f\": it does not declare the columns of its keys")
    );
    assert!(changed(9, 1).contains("the scalar \"f\" cannot let columns through"));
    let property = list(&|made| {
        let name = made.bytes(b"colour");
        let property = made.words(&[name.0, name.1, name.0, name.1]);
        let mut function = made.function("f", Kind::Scalar, rows(made), rows(made));
        function[15..].copy_from_slice(&[property, 1]);
        vec![function]
    });
    assert!(property.contains("the property \"colour\", which this host does not know"));
}

#[test]
fn what_open_says_is_checked() {
    let told = |answer: &dyn Fn(&mut Handmade) -> u32| {
        let mut made = Handmade::new(Kind::Scalar);
        made.opened = answer(&mut made);
        called(&made).to_string()
    };
    let columns = |reads: &'static [u32], origins: &'static [u32]| {
        told(&|made: &mut Handmade| {
            let (place, length) = made.schema;
            let (read, origin) = (made.words(reads), made.words(origins));
            let [reads, origins] = [reads.len(), origins.len() / 2];
            let [reads, origins] = [reads, origins].map(|count| u32::try_from(count).unwrap());
            made.words(&[0, 0, place, length, read, reads, origin, origins])
        })
    };
    assert!(columns(&[1], &[0, 0]).contains("wants column 1 of its input, which has 1"));
    assert!(columns(&[0, 0], &[0, 0]).contains("reads 2 columns of 1"));
    assert!(columns(&[0], &[]).contains("says of 0 columns where they come from, and gives 1"));
    assert!(columns(&[0], &[1, 0]).contains("lets columns through, and does not say so"));
    let other = told(&|made| {
        let other = made.bytes(b"n int");
        made.opened_with(other, 1)
    });
    assert!(other.contains("declares the columns (n BIGINT), and opened with (n INT)"), "{other}");
}

#[test]
fn rows_are_given_during_a_call_that_takes_them_alone() {
    let made = Handmade::new(Kind::Scalar);
    let (at, count) = made.columns;
    let give = format!(
        "(call $give (i32.const 1) (i32.const 0) (i32.const 0) (i32.const {at}) (i32.const {count}))"
    );
    let result = made.described;
    let made = made.body("functions", "describe", &format!("{give} (i32.const {result})"));
    let failure = described(&made.build());
    let told = "it gave rows where none are taken";
    assert_eq!(failure, PluginFailure::BadOutput(told.to_owned()));
}

/// A text of 20 MB of the letter that a fresh memory is filled with, at the second megabyte.
fn long_text(made: &mut Handmade) -> (u32, u32) {
    made.pages = 400;
    made.fields.push_str(
        "(func $x (memory.fill (i32.const 1048576) (i32.const 120) (i32.const 20000000)))
         (start $x)",
    );
    (1 << 20, 20_000_000)
}

#[test]
fn long_texts_of_a_guest_are_cut() {
    let short = |failure: &PluginFailure| {
        let told = failure.to_string();
        assert!(told.len() < 40_000 && told.contains("cut; it has"), "{} bytes", told.len());
    };
    for kind in 0..3 {
        let mut made = Handmade::new(Kind::Scalar);
        let text = long_text(&mut made);
        made.answer = made.failure(kind, text);
        short(&called(&made));
        let mut made = Handmade::new(Kind::Scalar);
        let text = long_text(&mut made);
        made.opened = made.failure(kind, text);
        short(&called(&made));
    }
    // A panic.
    {
        let mut made = Handmade::new(Kind::Scalar);
        let (text, length) = long_text(&mut made);
        let made = made.body(
            "scalars",
            "call",
            &format!(
                "(call $panicked (i32.const {text}) (i32.const {length}) (i32.const {text})
                   (i32.const {length}))
                 (unreachable)"
            ),
        );
        let failure = called(&made);
        assert!(matches!(failure, PluginFailure::Panic { .. }), "{failure}");
        short(&failure);
    }
    // The name of a function, as the file has it.
    let name = "x".repeat(50_000);
    let made = Handmade::new(Kind::Scalar)
        .with_fields(&format!("(func ${name} (unreachable))"))
        .body("scalars", "call", &format!("(call ${name}) (i32.const 0)"));
    let told = called(&made).to_string();
    assert!(told.len() < 40_000, "{} bytes", told.len());
    // A column's name, in the error that says that it is another than declared.
    let mut made = Handmade::new(Kind::Scalar);
    let long = made.bytes(format!("{} bigint", "x".repeat(500_000)).as_bytes());
    made.opened = made.opened_with(long, 1);
    short(&called(&made));
}

#[test]
fn reasons_of_refused_rows_are_cut_and_as_many_as_rows() {
    let mut made = Handmade::new(Kind::Scalar);
    let (text, length) = long_text(&mut made);
    let refused = made.words(&[1, text, length]);
    made.answer = made.words(&[0, refused, 1]);
    let module = host().load("p", &made.build(), tight()).unwrap();
    let given = call(&module, "f", &three_rows()).unwrap();
    assert_eq!(given.refused[0].row, 1);
    assert!(given.refused[0].reason.len() <= 16 << 10);

    let mut made = Handmade::new(Kind::Scalar);
    let refused = made.words(&[0; 12]);
    made.answer = made.words(&[0, refused, 4]);
    let failure = called(&made);
    assert_eq!(failure, PluginFailure::BadOutput("it refused 4 rows of 3".to_owned()));
}

#[test]
fn what_comes_back_is_bounded_whatever_the_guest_repeats() {
    // The same bytes, again and again: 52 MB forty times, and nothing seven million times.
    for (buffers, length) in [(40, 50 << 20), (7_000_000_u32, 0)] {
        let mut made = Handmade::new(Kind::Transform);
        made.pages = 900;
        let spans =
            if length == 0 { 1 << 20 } else { made.words(&[0, length].repeat(buffers as usize)) };
        let (nodes, _) = made.bytes(&[0; 8]);
        let (columns, count) = made.columns(&[vec![nodes, 1, spans, buffers]]);
        made.gives = Some(format!(
            "(call $give (i32.const 0) (i32.const 3) (i32.const 0)
               (i32.const {columns}) (i32.const {count}))"
        ));
        let failure = called(&made);
        assert!(matches!(failure, PluginFailure::BadOutput(_)), "{failure}");
    }
}

#[test]
fn a_transform_gives_blocks_and_not_more_values_than_a_call_may() {
    let made = |times: u32| {
        let mut made = Handmade::new(Kind::Transform);
        let schema = made.bytes(b"n void");
        let function = made.function("f", Kind::Transform, None, Some(schema));
        made.described = made.list(&[function]);
        made.opened = made.opened_with(schema, 1);
        let rows = 1_u32 << 25;
        let column = made.column(&[[rows, rows]], &[]);
        let (columns, count) = made.columns(&[column]);
        let give = format!(
            "(call $give (i32.const 0) (i32.const {rows}) (i32.const 0)
               (i32.const {columns}) (i32.const {count}))"
        );
        made.gives = Some(give.repeat(times as usize));
        made
    };
    let module = host().load("p", &made(1).build(), tight()).unwrap();
    let blocks = call(&module, "f", &three_rows()).unwrap().batches;
    assert!(blocks.iter().all(|block| block.num_rows() <= 8_192));
    assert_eq!(blocks.iter().map(RecordBatch::num_rows).sum::<usize>(), 1 << 25);
    let failure = called(&made(2));
    assert!(
        matches!(&failure, PluginFailure::BadOutput(told) if told.contains("one call may give")),
        "{failure}"
    );
}

/// An aggregate whose result is 1,600 bytes for each group, of which it gives all that it is asked for.
fn wide_results() -> Vec<u8> {
    const GROUPS: u32 = 1 << 16;
    const EACH: u32 = 1_600;
    let (offsets, bytes) = (1_u32 << 20, 2_u32 << 20);
    let mut made = Handmade::new(Kind::Aggregate);
    made.pages = (bytes + GROUPS * EACH) / 65_536 + 1;
    let (name, schema) = (made.bytes(b"held"), made.schema);
    let state = made.words(&[name.0, name.1, 0, schema.0, schema.1, 0, 0, 0, 0, 0]);
    let result = made.bytes(b"s string");
    let mut function = made.function("f", Kind::Aggregate, Some(schema), Some(result));
    function[10..12].copy_from_slice(&[state, 1]);
    made.described = made.list(&[function]);
    made.opened = made.opened_with(result, 1);
    let spans = [(0, 0), (offsets, 4 * (GROUPS + 1)), (bytes, GROUPS * EACH)];
    let column = made.column(&[[GROUPS, 0]], &spans);
    let (columns, count) = made.columns(&[column]);
    let done = made.words(&[0, 0, 0, 0]);
    let gives = format!(
        "(call $give (i32.const 0) (local.get 1) (i32.const 0) (i32.const {columns})
           (i32.const {count})) (i32.const {done})"
    );
    let counts = format!(
        "(local $i i32)
         (loop $l
           (i32.store (i32.add (i32.const {offsets}) (i32.shl (local.get $i) (i32.const 2)))
             (i32.mul (local.get $i) (i32.const {EACH})))
           (br_if $l (i32.le_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
             (i32.const {GROUPS}))))"
    );
    made.body("aggregates", "results", &gives).start(&counts).build()
}

#[test]
fn results_of_all_groups_are_bounded_together() {
    let config = limited(256 << 20, Duration::from_secs(10));
    let module = host().load("p", &wide_results(), config).unwrap();
    let results = |groups: u32| {
        let mut opened = module.open_aggregate("f", &context(1)).unwrap();
        opened.update(&[0, 1, 2], groups, &three_rows()).unwrap();
        opened.results(groups).map(|column| column.len()).map_err(|error| error.failure)
    };
    // A hundred megabytes for each part of the groups.
    assert_eq!(results(2 << 16), Ok(2 << 16));
    let failure = results(3 << 16).unwrap_err();
    assert!(
        matches!(&failure, PluginFailure::BadOutput(told) if told.contains("may give no more")),
        "{failure}"
    );
}

#[test]
fn what_a_guest_gives_is_dropped_where_it_fails() {
    let mut made = Handmade::new(Kind::Transform);
    let text = made.bytes(b"no");
    made.answer = made.failure(2, text);
    assert_eq!(called(&made), PluginFailure::Fatal("no".to_owned()));
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit
    }
}

/// Loads it, and calls what can be called. Whatever happens is a value.
fn try_out(module: &[u8]) -> bool {
    match host().load("p", module, tight()) {
        Ok(module) => {
            drop(call(&module, "f", &three_rows()));
            true
        }
        Err(error) => {
            assert!(error.to_string().len() < 40_000);
            false
        }
    }
}

#[test]
fn a_module_with_flipped_bits_is_refused_or_runs() {
    let sound = Handmade::new(Kind::Scalar).build();
    let types = sound.len() - component_type().len();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut taken = 0;
    for round in 0..600 {
        let mut module = sound.clone();
        let start = if round % 2 == 0 { 0 } else { types };
        for _ in 0..=random.below(3) {
            let at = start + random.below(module.len() - start);
            module[at] ^= 1 << random.below(8);
        }
        taken += u32::from(try_out(&module));
    }
    // Some changes do not matter, such as those of texts.
    assert!(taken > 0);
    for round in 0..100 {
        assert!(!try_out(&sound[..round * sound.len() / 100]));
    }
}

#[test]
fn a_component_with_flipped_bits_is_refused_or_runs() {
    let sound = component(&Handmade::new(Kind::Scalar));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..300 {
        let mut module = sound.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(module.len());
            module[at] ^= 1 << random.below(8);
        }
        try_out(&module);
    }
}

#[test]
fn components_in_components_are_counted() {
    let many = "(component)".repeat(1_001);
    let told = too_large(&wat::parse_str(format!("(component {many})")).unwrap());
    assert!(told.contains("modules and components, and the limit is 1000"), "{told}");
}

/// A component type in text, as a section of a module.
fn typed(world: &str) -> Vec<u8> {
    let text = format!(
        "(component
           (@custom \"wit-component-encoding\" \"\\04\\00\")
           (type $w (component (type (component {world})) (export \"r:r/w\" (component (type 0)))))
           (export \"w\" (type $w)))"
    );
    custom("component-type:w", &wat::parse_str(text).unwrap())
}

#[test]
fn packages_that_use_each_other_are_refused() {
    let interface = |name: &str, uses: Option<&str>, next: &str| {
        let uses = uses.map_or_else(
            || "(type $t (record (field \"x\" u32)))".to_owned(),
            |outer| format!("(alias outer 1 ${outer} (type $t))"),
        );
        format!(
            "(import \"{name}\" (instance ${next} {uses} (export \"t\" (type (eq $t)))))
             (alias export ${next} \"t\" (type ${next}-t))"
        )
    };
    let made = |names: [&str; 4]| {
        let [d, c, b, a] = names;
        let world = [
            interface(d, None, "d"),
            interface(c, Some("d-t"), "c"),
            interface(b, None, "b"),
            interface(a, Some("b-t"), "a"),
        ];
        let mut module = wat::parse_str("(module)").unwrap();
        module.extend(typed(&world.concat()));
        problem(&module).to_string()
    };
    let told = made(["p:p/d", "q:q/c", "q:q/b", "p:p/a"]);
    assert!(told.contains("names `p:p`, then `q:q`, and `p:p` again"), "{told}");
    // In a row they are read; what they say is another matter.
    let told = made(["p:p/d", "p:p/c", "p:p/b", "p:p/a"]);
    assert!(!told.contains("again"), "{told}");
}

#[test]
fn types_that_are_nested_without_end_are_refused() {
    for levels in [1_990, 10_000, 340_000] {
        let mut body = vec![1];
        body.extend([0x41, 1, 1].repeat(levels));
        body.extend([0x41, 0]);
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.extend(section(7, &body));
        let mut module = wat::parse_str("(module)").unwrap();
        module.extend(custom("component-type:w", &component));
        for refused in [problem(&module), problem(&component)] {
            let is_counted =
                matches!(&refused, LoadProblem::TooLarge(told) if told.contains("2000"));
            assert_eq!(is_counted, levels > 2_000, "{refused}");
        }
    }
}
