//! Guests that no compiler would write: a core module in text, with the component type of a sound
//! plugin, whose parts can be replaced one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::support::guest;

/// Where the guest's data begin.
const BASE: u32 = 4096;

/// Place and length of bytes in the guest's memory.
pub(crate) type Span = (u32, u32);

/// A module that lists one function `f` and answers each call with the rows 0, 1 and 2.
pub(crate) struct Handmade {
    data: Vec<u8>,
    /// Pages of its memory, if more than its data need.
    pub(crate) pages: u32,
    /// Further fields of the module.
    pub(crate) fields: String,
    /// Bodies of exports, in place of the sound ones.
    pub(crate) bodies: BTreeMap<(&'static str, &'static str), String>,
    /// The body of the allocator, in place of the sound one.
    pub(crate) realloc: Option<String>,
    /// Whether it imports `target`.
    pub(crate) calls_targets: bool,
    /// The text of its column, `n bigint`.
    pub(crate) schema: Span,
    /// A list of one column, of the numbers 0, 1 and 2.
    pub(crate) columns: Span,
    /// What `describe` gives.
    pub(crate) described: u32,
    /// What `open` gives.
    pub(crate) opened: u32,
    /// What a scalar and a transform do before they answer, in place of the sound.
    pub(crate) gives: Option<String>,
    /// What a scalar and a transform answer.
    pub(crate) answer: u32,
    /// 64 bytes for the results of host calls.
    pub(crate) scratch: u32,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Scalar = 0,
    Transform = 1,
    Aggregate = 2,
    ForeachBatch = 4,
}

impl Handmade {
    pub(crate) fn new(kind: Kind) -> Handmade {
        let mut made = Handmade {
            data: Vec::new(),
            pages: 0,
            fields: String::new(),
            bodies: BTreeMap::new(),
            realloc: None,
            calls_targets: false,
            schema: (0, 0),
            columns: (0, 0),
            described: 0,
            opened: 0,
            gives: None,
            answer: 0,
            scratch: 0,
        };
        made.schema = made.bytes(b"n bigint");
        let values: Vec<u8> = (0..3_i64).flat_map(i64::to_le_bytes).collect();
        let values = made.bytes(&values);
        let column = made.column(&[[3, 0]], &[(0, 0), values]);
        made.columns = made.columns(&[column]);
        let rows = (!matches!(kind, Kind::ForeachBatch)).then_some(made.schema);
        let function = made.function("f", kind, rows, rows);
        made.described = made.list(&[function]);
        made.opened = made.opened_with(made.schema, 1);
        made.answer = made.words(&[0, 0, 0]);
        made.scratch = made.put(&[0; 64], 8);
        made
    }

    fn put(&mut self, bytes: &[u8], align: usize) -> u32 {
        while !self.data.len().is_multiple_of(align) {
            self.data.push(0);
        }
        let place = BASE + u32::try_from(self.data.len()).unwrap();
        self.data.extend(bytes);
        place
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Span {
        (self.put(bytes, 8), u32::try_from(bytes.len()).unwrap())
    }

    /// Numbers of four bytes, as the records of the contract are made of.
    pub(crate) fn words(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&bytes, 8)
    }

    /// What `describe` gives of one function, as words.
    pub(crate) fn function(
        &mut self,
        name: &str,
        kind: Kind,
        input: Option<Span>,
        output: Option<Span>,
    ) -> Vec<u32> {
        let (name, length) = self.bytes(name.as_bytes());
        let option = |span: Option<Span>| match span {
            Some((place, length)) => [1, place, length],
            None => [0, 0, 0],
        };
        let mut words = vec![name, length, kind as u32];
        words.extend(option(input));
        words.extend(option(output));
        // Nothing passes, no state, deterministic, no documentation, no properties.
        words.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        words
    }

    /// A column of these nodes and buffers, as words.
    pub(crate) fn column(&mut self, nodes: &[[u32; 2]], buffers: &[Span]) -> Vec<u32> {
        let length = |count: usize| u32::try_from(count).unwrap();
        let spans: Vec<u32> = buffers.iter().flat_map(|(at, length)| [*at, *length]).collect();
        let (at, places) = (self.words(&nodes.concat()), self.words(&spans));
        vec![at, length(nodes.len()), places, length(buffers.len())]
    }

    pub(crate) fn columns(&mut self, columns: &[Vec<u32>]) -> Span {
        (self.words(&columns.concat()), u32::try_from(columns.len()).unwrap())
    }

    pub(crate) fn list(&mut self, records: &[Vec<u32>]) -> u32 {
        let place = self.words(&records.concat());
        self.words(&[place, u32::try_from(records.len()).unwrap()])
    }

    /// Reads the first column, and makes so many.
    pub(crate) fn opened_with(&mut self, (place, length): Span, made: u32) -> u32 {
        let reads = self.words(&[0]);
        let origins = self.words(&vec![0; 2 * made as usize]);
        self.words(&[0, 0, place, length, reads, 1, origins, made])
    }

    /// An error of the kind `kind` (0 bad input, 1 retryable, 2 fatal).
    pub(crate) fn failure(&mut self, kind: u32, (place, length): Span) -> u32 {
        self.words(&[1, kind, place, length])
    }

    pub(crate) fn body(
        mut self,
        interface: &'static str,
        export: &'static str,
        body: &str,
    ) -> Handmade {
        self.bodies.insert((interface, export), body.to_owned());
        self
    }

    pub(crate) fn with_fields(mut self, fields: &str) -> Handmade {
        self.fields.push_str(fields);
        self
    }

    /// Runs this when the module is instantiated.
    pub(crate) fn start(self, body: &str) -> Handmade {
        self.with_fields(&format!("(func $start {body}) (start $start)"))
    }

    fn text(&self) -> String {
        let done = self.scratch;
        let (at, count) = self.columns;
        // A scalar gives its column for all rows, a transform three new ones.
        let give = |selection: &str| match &self.gives {
            Some(gives) => gives.clone(),
            None => format!("(call $give {selection} (i32.const {at}) (i32.const {count}))"),
        };
        let all = give("(i32.const 1) (i32.const 0) (i32.const 0)");
        let fresh = give("(i32.const 0) (i32.const 3) (i32.const 0)");
        let answer = self.answer;
        let sound = |result: u32| format!("(i32.const {result})");
        let call = "(param i32 i32 i32 i32) (result i32)";
        let keeps = "(param i32 i32 i32 i32 i32 i32 i32) (result i32)";
        let context = "(param i32 i32 i32 i32 i64 i32 i32 i64 i32 i64)";
        let counts = "(param i32 i32) (result i32)";
        let by_key = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
        let timers = "(param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
        let exports = [
            ("functions", "describe", "(result i32)", sound(self.described)),
            (
                "functions",
                "open",
                "(param i32 i32 i32 i32 i32 i32) (result i32)",
                sound(self.opened),
            ),
            ("functions", "begin", context, String::new()),
            ("scalars", "call", call, format!("{all} (i32.const {answer})")),
            ("transforms", "call", call, format!("{fresh} (i32.const {answer})")),
            ("aggregates", "update", keeps, sound(done)),
            ("aggregates", "merge", keeps, sound(done)),
            ("aggregates", "states", counts, sound(done)),
            ("aggregates", "results", counts, sound(done)),
            ("aggregates", "migrate", "(param i32 i32 i32 i32 i32) (result i32)", sound(done)),
            ("stateful", "rows", by_key, sound(done)),
            ("stateful", "timers", timers, sound(done)),
            ("stateful", "initial", keeps, sound(done)),
            ("stateful", "migrate", timers, sound(done)),
            ("handlers", "call", "(param i32 i64) (result i32)", sound(done)),
        ];
        let mut text = format!("(module {}", imports(self.calls_targets));
        let end = BASE + u32::try_from(self.data.len()).unwrap();
        let pages = self.pages.max(end / 65_536 + 2);
        write!(
            text,
            "(memory (export \"memory\") {pages}) (global $heap (mut i32) (i32.const {end}))"
        )
        .unwrap();
        let realloc = self.realloc.as_deref().unwrap_or(REALLOC);
        write!(
            text,
            "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})"
        )
        .unwrap();
        for (interface, name, kind, sound) in exports {
            let body = self.bodies.get(&(interface, name)).unwrap_or(&sound);
            let export = format!("tidemill:plugin/{interface}@0.2.0#{name}");
            write!(text, "(func (export \"{export}\") {kind} {body})").unwrap();
        }
        write!(text, "(data (i32.const {BASE}) \"").unwrap();
        self.data.iter().for_each(|byte| write!(text, "\\{byte:02x}").unwrap());
        write!(text, "\") {})", self.fields).unwrap();
        text
    }

    /// The module, which says what it is by the section of a sound one.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).unwrap();
        module.extend(component_type());
        module
    }
}

/// A custom section.
pub(crate) fn custom(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut body = leb(name.len());
    body.extend(name.as_bytes());
    body.extend(bytes);
    let mut section = vec![0];
    section.extend(leb(body.len()));
    section.extend(body);
    section
}

/// A length as the binary format writes it.
pub(crate) fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The section of a sound plugin that says what its functions are in terms of the contract.
pub(crate) fn component_type() -> &'static [u8] {
    static SECTION: OnceLock<Vec<u8>> = OnceLock::new();
    SECTION.get_or_init(|| {
        let module = guest("orders");
        let sections = wasmparser::Parser::new(0).parse_all(&module);
        let section = sections.filter_map(|payload| match payload.unwrap() {
            wasmparser::Payload::CustomSection(section) => Some(section),
            _ => None,
        });
        let mut section = section.filter(|section| section.name().starts_with("component-type"));
        let section = section.next().unwrap();
        custom(section.name(), section.data())
    })
}

/// A bump allocator.
const REALLOC: &str = "
  (local $at i32) (local $end i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
  (local.set $end (i32.add (local.get $at) (local.get 3)))
  (global.set $heap (local.get $end))
  (if (i32.gt_u (local.get $end) (i32.shl (memory.size) (i32.const 16)))
    (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u
      (i32.sub (local.get $end) (i32.shl (memory.size) (i32.const 16))) (i32.const 16)))))))
  (local.get $at)";

fn imports(targets: bool) -> String {
    let import = |interface: &str, name: &str, own: &str, parameters: usize| {
        let parameters = "i32 ".repeat(parameters);
        format!(
            "(import \"tidemill:plugin/{interface}@0.2.0\" \"{name}\"
               (func ${own} (param {parameters})))"
        )
    };
    let wide = "(import \"tidemill:plugin/dataframe@0.2.0\" \"count\"
          (func $count (param i64 i32)))
        (import \"tidemill:plugin/dataframe@0.2.0\" \"collect\"
          (func $collect (param i64 i32 i64 i32)))
        (import \"tidemill:plugin/dataframe@0.2.0\" \"release\" (func $release (param i64)))";
    let mut all = vec![
        wide.to_owned(),
        import("log", "write", "log", 7),
        import("log", "panicked", "panicked", 4),
        import("rows", "give", "give", 5),
        import("dataframe", "sql", "sql", 5),
        import("dataframe", "from-rows", "from_rows", 5),
        import("ledger", "mark-processed", "mark", 3),
        import("state", "read", "read_state", 4),
        import("state", "set-timers", "set_timers", 4),
    ];
    if targets {
        all.push(import("target", "execute", "execute", 11));
    }
    all.concat()
}
