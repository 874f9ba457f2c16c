//! Plugins that attack the host, in one list: how each ends, and that the host is as before. After
//! each a good plugin gives right rows, and all of them together leave no memory behind.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemill_core::PluginFailure;
use tidemill_plugin_host::{LoadProblem, PluginConfig};

use crate::handmade::{Handmade, Kind};
use crate::hostile::with_instances;
use crate::support::{call, guest, host, limited, one, table};

/// How an attack ends.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    TooLarge,
    NotCompiled,
    NoPlugin,
    Deadline,
    Memory,
    Trap,
    BadOutput,
    /// It does no harm: the rows come.
    Rows,
}

struct Attack {
    name: &'static str,
    module: Vec<u8>,
    end: End,
    /// What is told of it.
    told: &'static str,
}

fn tight() -> PluginConfig {
    limited(64 << 20, Duration::from_millis(200))
}

fn scalar() -> Handmade {
    Handmade::new(Kind::Scalar)
}

/// A function with a type of so many parameters and results, which are on the stack at first.
fn wide(count: usize, body: &str) -> Vec<u8> {
    let numbers = "i32 ".repeat(count);
    let given: String = (0..count).map(|n| format!("(local.get {n})")).collect();
    let fields = format!(
        "(type $wide (func (param {numbers}) (result {numbers})))
         (func $f (type $wide) {given} {body})"
    );
    scalar().with_fields(&fields).build()
}

fn with_locals(count: usize, body: &str) -> Vec<u8> {
    let locals = "i32 ".repeat(count);
    scalar().with_fields(&format!("(func (param i32) (local {locals}) {body})")).build()
}

/// Loops in one another around the use of so many locals.
fn nested_loops(loops: usize, locals: usize) -> Vec<u8> {
    let used = (0..locals).map(|n| format!("(local.set {n} (i32.eqz (local.get {n})))"));
    let (begin, end) = ("loop ".repeat(loops), "(br_if 0 (local.get 0)) end ".repeat(loops));
    with_locals(locals, &format!("{begin} {} {end}", used.collect::<String>()))
}

/// Loops one after the other, behind which so many locals are used.
fn loops_in_a_row(loops: usize, locals: usize) -> Vec<u8> {
    let used: String = (0..locals).map(|n| format!("(drop (local.get {n}))")).collect();
    let loops = "loop (br_if 0 (local.get 0)) end ".repeat(loops);
    with_locals(locals, &format!("{loops} {used}"))
}

/// A module whose `describe` lists so many functions with these columns as input.
fn listing(functions: usize, input: &str) -> Vec<u8> {
    let mut made = scalar();
    let (input, output) = (made.bytes(input.as_bytes()), made.schema);
    let functions = (0..functions)
        .map(|n| made.function(&format!("f{n}"), Kind::Scalar, Some(input), Some(output)));
    let functions: Vec<Vec<u32>> = functions.collect::<Vec<_>>();
    made.described = made.list(&functions);
    made.build()
}

fn named_columns(count: usize, of: &str) -> String {
    (0..count).map(|n| format!("c{n} {of}")).collect::<Vec<_>>().join(", ")
}

/// Gives the sound column for all rows.
fn give(made: &Handmade) -> String {
    let (at, count) = made.columns;
    format!(
        "(call $give (i32.const 1) (i32.const 0) (i32.const 0) (i32.const {at}) (i32.const {count}))"
    )
}

/// A scalar that gives a selection and columns by these numbers.
fn giving(selection: [u32; 3], (at, count): (u32, u32)) -> Vec<u8> {
    let mut made = scalar();
    let [kind, a, b] = selection;
    made.gives = Some(format!(
        "(call $give (i32.const {kind}) (i32.const {a}) (i32.const {b}) (i32.const {at})
           (i32.const {count}))"
    ));
    made.build()
}

/// A scalar that gives one column of these nodes and buffers.
fn laid_out(schema: &str, nodes: &[[u32; 2]], buffers: &[&[u8]]) -> Vec<u8> {
    let mut made = scalar();
    let schema = made.bytes(schema.as_bytes());
    let function = made.function("f", Kind::Scalar, Some(made.schema), Some(schema));
    made.described = made.list(&[function]);
    made.opened = made.opened_with(schema, 1);
    let spans: Vec<(u32, u32)> = buffers.iter().map(|bytes| made.bytes(bytes)).collect();
    let column = made.column(nodes, &spans);
    made.columns = made.columns(&[column]);
    made.build()
}

/// What the allocator of a sound plugin does, after something else.
fn realloc_that(does: &str) -> Handmade {
    let mut made = scalar();
    made.realloc = Some(format!(
        "{does} (global.set $heap (i32.and (i32.add (global.get $heap) (i32.add (local.get 3)
           (i32.const 15))) (i32.const -16)))
         (i32.sub (global.get $heap) (i32.and (i32.add (local.get 3) (i32.const 15))
           (i32.const -16)))"
    ));
    made
}

fn compilers() -> Vec<Attack> {
    let attack = |name, module, told| Attack { name, module, end: End::TooLarge, told };
    let carried = "values carried between the blocks of one function";
    vec![
        attack(
            "blocks that carry a thousand values",
            wide(1_000, &("block (type $wide) ".repeat(500) + &"end ".repeat(500))),
            carried,
        ),
        attack("calls with a thousand results", wide(1_000, &"call $f ".repeat(500)), carried),
        attack(
            "jumps with a thousand values",
            wide(1_000, &"(br_if 0 (i32.const 1)) ".repeat(500)),
            carried,
        ),
        attack(
            "tables of jumps with a thousand values",
            wide(1_000, &format!("(br_table {} (i32.const 1))", "0 ".repeat(500))),
            carried,
        ),
        attack(
            "locals through loops in loops",
            nested_loops(1_000, 1_000),
            "locals carried through loops in loops",
        ),
        attack(
            "locals behind many loops",
            loops_in_a_row(2_000, 1_000),
            "blocks between the uses of the locals",
        ),
        attack(
            "many instances of a module with many globals",
            with_instances(
                &format!("(module {})", "(global i32 (i32.const 1))".repeat(49_000)),
                100,
            ),
            "functions, globals and imports over all core instances",
        ),
    ]
}

fn listings() -> Vec<Attack> {
    let attack = |name, module, told| Attack { name, module, end: End::TooLarge, told };
    vec![
        attack(
            "a wide schema twenty times",
            listing(20, &named_columns(9_000, "int")),
            "have more than 100000 columns together",
        ),
        attack(
            "a thousand schemas of long names",
            listing(1_000, &format!("{} int", "x".repeat(9_000))),
            "bytes, and the limit is 8388608",
        ),
    ]
}

fn reentrant() -> Vec<Attack> {
    let attack = |name, made: Handmade, end, told| Attack { name, module: made.build(), end, told };
    let given = "it gave rows where none are taken";
    let gives = give(&scalar());
    let answers = |interface, export, does: &str| {
        let made = scalar();
        let result = match export {
            "open" => made.opened,
            _ => made.described,
        };
        let result =
            if export == "begin" { String::new() } else { format!("(i32.const {result})") };
        let body = format!("{does} {result}");
        made.body(interface, export, &body)
    };
    let state = "(call $read_state (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8))";
    let no_state = "it uses the state of keys outside of a stateful function";
    let leaves = "cannot leave component instance";
    vec![
        // What a module imports is linked to it once all of it has started.
        attack("rows from the start", scalar().start(&gives), End::Trap, "uninitialized"),
        attack(
            "rows from describe",
            answers("functions", "describe", &gives),
            End::BadOutput,
            given,
        ),
        attack("rows from open", answers("functions", "open", &gives), End::BadOutput, given),
        attack("rows from begin", answers("functions", "begin", &gives), End::BadOutput, given),
        attack("rows from the allocator", realloc_that(&gives), End::Trap, leaves),
        attack("state from the start", scalar().start(state), End::Trap, "uninitialized"),
        attack("state from open", answers("functions", "open", state), End::BadOutput, no_state),
        attack("state from a scalar", answers("scalars", "call", state), End::BadOutput, no_state),
        attack(
            "timers from a scalar",
            answers(
                "scalars",
                "call",
                "(call $set_timers (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
            ),
            End::BadOutput,
            no_state,
        ),
        attack(
            "a log line from the allocator",
            realloc_that(
                "(call $log (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                   (i32.const 0) (i32.const 0))",
            ),
            End::Trap,
            leaves,
        ),
    ]
}

fn edges() -> Vec<Attack> {
    let attack = |name, module, told| Attack { name, module, end: End::BadOutput, told };
    let sound = scalar().columns;
    let ends = u32::MAX;
    let mut described = scalar();
    described.described = ends - 7;
    let mut answered = scalar();
    answered.answer = ends - 3;
    vec![
        attack("a selection of no kind", giving([9, 0, 0], sound), "discriminant"),
        attack("all rows that there can be", giving([0, ends, 0], sound), "one call may give"),
        attack("marks of all rows that there can be", giving([2, 0, ends], sound), "out of bounds"),
        attack("as many numbers as there are", giving([3, 0, ends], sound), ""),
        attack("numbers at an odd place", giving([3, 1, 1], sound), "not aligned"),
        attack("as many columns as there are numbers", giving([1, 0, 0], (0, ends)), ""),
        attack(
            "columns at the end of the memory",
            giving([1, 0, 0], (ends - 3, 1)),
            "out of bounds",
        ),
        attack("functions at the end of the memory", described.build(), "out of bounds"),
        attack("an answer at the end of the memory", answered.build(), "out of bounds"),
        attack(
            "a column that says it has all rows that there can be",
            laid_out("n bigint", &[[ends, ends]], &[&[0], &[0; 8]]),
            "more values than one call may give",
        ),
        attack(
            "more nulls than values",
            laid_out("n bigint", &[[3, 4]], &[&[0], &[0; 24]]),
            "4 nulls of BIGINT",
        ),
    ]
}

/// Columns as Arrow has them elsewhere: none of these cross.
fn layouts() -> Vec<Attack> {
    let attack = |name, module, told| Attack { name, module, end: End::BadOutput, told };
    let offsets = |all: &[i32]| all.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let long: Vec<u8> = [0_i64, 1, 2, 3].iter().flat_map(|n| n.to_le_bytes()).collect();
    let sound = offsets(&[0, 1, 2, 3]);
    let compressed = [&24_i64.to_le_bytes()[..], &[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0]].concat();
    let negative = offsets(&[0, -1, 2, 3]);
    let falling = offsets(&[0, 2, 1, 3]);
    let ahead = offsets(&[1, 1, 2, 3]);
    vec![
        attack("keys of a dictionary", laid_out("s string", &[[3, 0]], &[&[], &[0; 12]]), "bytes"),
        attack(
            "a dictionary beside its keys",
            laid_out("s string", &[[3, 0], [1, 0]], &[&[], &[0; 12], &[], &sound, b"abc"]),
            "",
        ),
        attack(
            "views",
            laid_out("s string", &[[3, 0]], &[&[], &[0; 48], b""]),
            "a buffer of 48 bytes",
        ),
        attack("long offsets", laid_out("s string", &[[3, 0]], &[&[], &long, b"abc"]), "bytes"),
        attack(
            "ends of runs",
            laid_out("n bigint", &[[3, 0], [1, 0], [1, 0]], &[&[], &[0; 4], &[0; 8]]),
            "",
        ),
        attack(
            "compressed",
            laid_out("n bigint", &[[3, 0]], &[&[], &compressed]),
            "a buffer of 17 bytes",
        ),
        attack("padded", laid_out("n bigint", &[[3, 0]], &[&[], &[0; 64]]), "a buffer of 64 bytes"),
        attack(
            "marks where nothing is null",
            laid_out("n bigint", &[[3, 0]], &[&[7], &[0; 24]]),
            "1 bytes",
        ),
        attack("negative offsets", laid_out("s string", &[[3, 0]], &[&[], &negative, b"abc"]), ""),
        attack("falling offsets", laid_out("s string", &[[3, 0]], &[&[], &falling, b"abc"]), ""),
        attack(
            "offsets beyond the bytes",
            laid_out("s string", &[[3, 0]], &[&[], &sound, b"a"]),
            "",
        ),
        Attack {
            name: "offsets that do not begin at 0",
            module: laid_out("s string", &[[3, 0]], &[&[], &ahead, b"abc"]),
            end: End::Rows,
            told: "",
        },
        attack(
            "half a letter",
            laid_out("s string", &[[3, 0]], &[&[], &sound, &[0xc3, 0xa4, b'x']]),
            "",
        ),
        attack(
            "a map whose keys are null",
            laid_out(
                "m map<string,int>",
                &[[3, 0], [3, 0], [3, 3], [3, 0]],
                &[&[], &sound, &[], &[0], &offsets(&[0; 4]), &[], &[], &[0; 12]],
            ),
            "",
        ),
        attack(
            "digits that a decimal has not",
            laid_out("d decimal(4,2)", &[[3, 0]], &[&[], &[0x7f; 48]]),
            "",
        ),
    ]
}

fn floods() -> Vec<Attack> {
    let long = "(memory.fill (i32.const 1048576) (i32.const 120) (i32.const 20000000))";
    let mut flood = scalar();
    flood.pages = 400;
    let gives = give(&flood);
    let answer = flood.answer;
    let flood = flood.start(long).body(
        "scalars",
        "call",
        &format!(
            "(local $i i32)
             (loop $l
               (call $log (i32.const 2) (i32.const 1048576) (i32.const 20000000)
                 (i32.const 1048576) (i32.const 20000000) (i32.const 0) (i32.const 0))
               (call $panicked (i32.const 1048576) (i32.const 20000000) (i32.const 1048576)
                 (i32.const 0))
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                 (i32.const 2))))
             {gives} (i32.const {answer})"
        ),
    );
    let mut endless = scalar();
    endless.pages = 400;
    let endless = endless.body(
        "scalars",
        "call",
        "(loop $l
           (call $log (i32.const 2) (i32.const 1048576) (i32.const 1000000)
             (i32.const 1048576) (i32.const 1000000) (i32.const 0) (i32.const 0))
           (br $l))
         (unreachable)",
    );
    let attack = |name, made: Handmade, end| Attack { name, module: made.build(), end, told: "" };
    vec![
        attack("lines of twenty megabytes", flood, End::Rows),
        attack("lines without end", endless, End::Deadline),
        attack(
            "memory without end",
            scalar().start("(loop $l (drop (memory.grow (i32.const 16))) (br $l))"),
            End::Memory,
        ),
    ]
}

fn refused_features() -> Vec<Attack> {
    let module = |fields: &str| with_instances(&format!("(module {fields})"), 1);
    let attack = |name, module, end, told| Attack { name, module, end, told };
    vec![
        attack(
            "a shared memory to wait on",
            module("(memory 1 1 shared)"),
            End::NotCompiled,
            "shared memor",
        ),
        attack("a huge memory of 64 bits", module("(memory i64 0x100000)"), End::Memory, ""),
        attack("a huge table", module("(table 100000000 funcref)"), End::Memory, ""),
        attack(
            "no WebAssembly behind its head",
            b"\0asm\x01\0\0\0\xff".to_vec(),
            End::NotCompiled,
            "",
        ),
        attack("an empty module", b"\0asm\x01\0\0\0".to_vec(), End::NoPlugin, ""),
    ]
}

fn attacks() -> impl Iterator<Item = Attack> {
    let all: [fn() -> Vec<Attack>; 7] =
        [compilers, listings, reentrant, edges, layouts, floods, refused_features];
    all.into_iter().flat_map(|some| some())
}

fn rows() -> RecordBatch {
    table([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)])
}

/// Loads it and calls it. Gives how it ended, and what is told.
fn outcome(module: &[u8]) -> (End, String) {
    let failed = |failure: PluginFailure| {
        let end = match &failure {
            PluginFailure::Deadline { .. } => End::Deadline,
            PluginFailure::Memory { .. } => End::Memory,
            PluginFailure::Trap(_) => End::Trap,
            PluginFailure::BadOutput(_) => End::BadOutput,
            other => panic!("{other:?}"),
        };
        (end, failure.to_string())
    };
    let module = match host().load("p", module, tight()) {
        Ok(module) => module,
        Err(error) => match error.problem {
            LoadProblem::Describe(failure) => return failed(failure),
            LoadProblem::TooLarge(told) => return (End::TooLarge, told),
            LoadProblem::Compile(told) => return (End::NotCompiled, told),
            LoadProblem::NoPlugin { reason } => return (End::NoPlugin, reason),
            other => panic!("{other:?}"),
        },
    };
    match call(&module, "f", &rows()) {
        Ok(called) => (End::Rows, format!("{} blocks", called.batches.len())),
        Err(error) => failed(error.failure),
    }
}

/// Plays all of them, and a good plugin after each.
fn play() {
    let good = host().load("good", &guest("bare"), tight()).unwrap();
    let mut other = Vec::new();
    for Attack { name, module, end, told } in attacks() {
        let (found, reason) = outcome(&module);
        if found != end || !reason.contains(told) || reason.len() > 40_000 {
            let reason: String = reason.chars().take(300).collect();
            other.push(format!("{name}: {found:?} in place of {end:?}: {reason}"));
        }
        let twice = one(&good, "twice", &rows());
        let twice = twice.column(0).as_primitive::<Int64Type>();
        assert_eq!(twice.values(), &[2, 4, 6], "after {name}");
    }
    assert!(other.is_empty(), "{}", other.join("\n"));
}

#[test]
fn each_attack_ends_with_its_error_and_a_good_plugin_runs_after_it() {
    play();
}

/// Set where the test below runs in a process of its own.
const ALONE: &str = "TIDEMILL_ATTACKS_ALONE";

/// Beyond what the process has after the first round: what the allocator keeps for later.
const KEPT_BYTES: u64 = 48 << 20;

/// What a process may have had at most: the attacks' own memory, a compiler's, and twice the 64 MiB that
/// each may have.
const PEAK_BYTES: u64 = 700 << 20;

#[cfg(target_os = "linux")]
#[test]
fn the_attacks_leave_no_memory_behind() {
    if std::env::var_os(ALONE).is_some() {
        play();
        let before = memory("VmRSS");
        (0..3).for_each(|_| play());
        let (after, peak) = (memory("VmRSS"), memory("VmHWM"));
        assert!(after < before + KEPT_BYTES, "{before} bytes, and {after} after all of them again");
        assert!(peak < PEAK_BYTES, "{peak} bytes at most");
        return;
    }
    let name = "attacks::the_attacks_leave_no_memory_behind";
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let alone = alone.args([name, "--exact"]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && told.contains("1 passed"), "{told}");
}

/// Bytes of this process.
#[cfg(target_os = "linux")]
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
