//! Modules that are made to do harm: each fails as a value, within its limits, and the host goes
//! on. All of these tests share one host.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, NullArray, RecordBatch};
use arrow::datatypes::{DataType, Field};
use arrow::ipc::writer::StreamWriter;
use tidemill_core::PluginFailure;
use tidemill_plugin_host::{LoadProblem, PluginConfig};
use wit_component::ComponentEncoder;

use crate::handmade::{Handmade, Kind, component_type, custom, leb, schema_message};
use crate::support::{call, host, limited, refused, table};

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
    call(&module, "f", &three_rows()).unwrap_err().failure
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
fn with_instances(module: &str, count: u8) -> Vec<u8> {
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
    assert_eq!(spins(Handmade::new(Kind::Scalar).body("describe", &endless)), OUT_OF_TIME);
    assert_eq!(called(&Handmade::new(Kind::Scalar).body("open", &endless)), OUT_OF_TIME);
    assert_eq!(called(&Handmade::new(Kind::Scalar).body("scalar", &endless)), OUT_OF_TIME);
    // The host calls it for room for the arguments.
    let mut made = Handmade::new(Kind::Scalar);
    made.realloc = Some(endless);
    assert_eq!(called(&made), OUT_OF_TIME);
}

#[test]
fn what_traps_and_recurses_is_told() {
    let recurses = Handmade::new(Kind::Scalar).with_fields(RECURSE);
    let failure = described(&recurses.body("describe", "(call $deep (i32.const 0))").build());
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
    let schema = |message: Vec<u8>| {
        list(&move |made: &mut Handmade| {
            let message = made.bytes(&message);
            vec![made.function("f", Kind::Scalar, Some(message), Some(message))]
        })
    };
    assert!(schema(vec![0xff; 64]).contains("the schema of \"f\""));
    let field = |ty| vec![Field::new("n", ty, true)];
    let key = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let told = schema(schema_message(field(key)));
    assert!(told.contains("only plain columns cross the boundary"), "{told}");
    let deep = (0..120).fold(DataType::Int64, |inner, _| {
        DataType::List(Arc::new(Field::new("item", inner, true)))
    });
    assert!(schema(schema_message(field(deep))).contains("the schema of \"f\""));
    let wide = (0..10_001).map(|n| Field::new(n.to_string(), DataType::Null, true)).collect();
    let told = schema(schema_message(wide));
    assert!(told.contains("limit"), "{told}");
}

#[test]
fn a_schema_of_a_type_that_does_not_cross_is_an_error_and_no_panic() {
    // Any change to any byte of the schema that `f` declares.
    let sound = schema_message(vec![Field::new("n", DataType::Decimal128(10, 2), true)]);
    for at in 8..sound.len() {
        let mut message = sound.clone();
        message[at] ^= 0x15;
        let mut made = Handmade::new(Kind::Transform);
        let message = made.bytes(&message);
        let function = made.function("f", Kind::Transform, Some(message), Some(message));
        made.described = made.list(&[function]);
        drop(host().load("p", &made.build(), tight()));
    }
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
    // A panic: a place without a line break, and a message after one.
    for line_break in [None, Some(1 << 20), Some(20_000_000)] {
        let mut made = Handmade::new(Kind::Scalar);
        let (text, length) = long_text(&mut made);
        let (target, target_length) = made.bytes(b"tidemill::panic");
        let line_break = line_break
            .map_or(String::new(), |at| format!("(i32.store8 (i32.const {at}) (i32.const 10))"));
        let made = made.body(
            "scalar",
            &format!(
                "{line_break}
                 (call $log (i32.const 4) (i32.const {target}) (i32.const {target_length})
                   (i32.const {text}) (i32.const {length}))
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
        .body("scalar", &format!("(call ${name}) (i32.const 0)"));
    let told = called(&made).to_string();
    assert!(told.len() < 40_000, "{} bytes", told.len());
    // A column's name, in the error that says that it is another than declared.
    let mut made = Handmade::new(Kind::Scalar);
    let long = schema_message(vec![Field::new("x".repeat(500_000), DataType::Int64, true)]);
    let long = made.bytes(&long);
    made.opened = made.opened_with(long);
    short(&called(&made));
}

#[test]
fn reasons_of_refused_rows_are_cut_and_as_many_as_rows() {
    let mut made = Handmade::new(Kind::Scalar);
    let (text, length) = long_text(&mut made);
    let refused = made.words(&[1, text, length]);
    let rows = made.rows;
    let batches = made.words(&[rows.0, rows.1]);
    made.answer = made.words(&[0, batches, 1, refused, 1]);
    let module = host().load("p", &made.build(), tight()).unwrap();
    let given = call(&module, "f", &three_rows()).unwrap();
    assert_eq!(given.refused[0].row, 1);
    assert!(given.refused[0].reason.len() <= 16 << 10);

    let mut made = Handmade::new(Kind::Scalar);
    let refused = made.words(&[0; 12]);
    let batches = made.words(&[rows.0, rows.1]);
    made.answer = made.words(&[0, batches, 1, refused, 4]);
    let failure = called(&made);
    assert_eq!(failure, PluginFailure::BadOutput("it refused 4 rows of 3".to_owned()));
}

#[test]
fn what_comes_back_is_bounded_whatever_the_guest_repeats() {
    // The same bytes, again and again: 58 MB forty times, and nothing seven million times.
    for (messages, length) in [(40, 50 << 20), (7_000_000_u32, 0)] {
        let mut made = Handmade::new(Kind::Transform);
        made.pages = 900;
        let spans =
            if length == 0 { 1 << 20 } else { made.words(&[0, length].repeat(messages as usize)) };
        made.answer = made.words(&[0, spans, messages, 0, 0]);
        let failure = called(&made);
        assert!(matches!(failure, PluginFailure::BadOutput(_)), "{failure}");
    }
}

/// A message with so many rows of a column that has no bytes, and its schema.
fn nulls(rows: usize) -> (Vec<u8>, Vec<u8>) {
    let nulls: ArrayRef = Arc::new(NullArray::new(rows));
    let rows = RecordBatch::try_from_iter([("n", nulls)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    let schema = writer.get_ref().clone();
    writer.write(&rows).unwrap();
    let whole = writer.into_inner().unwrap();
    (schema.clone(), whole[schema.len()..whole.len() - 8].to_vec())
}

#[test]
fn a_transform_gives_blocks_and_not_more_values_than_a_call_may() {
    let (schema, message) = nulls(1 << 26);
    let made = |messages: usize| {
        let mut made = Handmade::new(Kind::Transform);
        let schema = made.bytes(&schema);
        let function = made.function("f", Kind::Transform, None, Some(schema));
        made.described = made.list(&[function]);
        made.opened = made.opened_with(schema);
        let message = made.bytes(&message);
        made.answer = made.answer_with(&vec![message; messages]);
        made
    };
    let module = host().load("p", &made(1).build(), tight()).unwrap();
    let blocks = call(&module, "f", &three_rows()).unwrap().batches;
    assert!(blocks.iter().all(|block| block.num_rows() <= 8_192));
    assert_eq!(blocks.iter().map(RecordBatch::num_rows).sum::<usize>(), 1 << 26);
    let failure = called(&made(2));
    assert!(
        matches!(&failure, PluginFailure::BadOutput(told) if told.contains("over all columns")),
        "{failure}"
    );
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
