//! Guests that no compiler would write: a core module in text, with the component type of a sound
//! plugin, whose parts can be replaced one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;

use crate::support::{guest, table};

const FUNCTIONS: &str = "tidemill:plugin/functions@0.1.0";

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
    pub(crate) bodies: BTreeMap<&'static str, String>,
    /// The body of the allocator, in place of the sound one.
    pub(crate) realloc: Option<String>,
    /// Whether it imports `target`.
    pub(crate) calls_targets: bool,
    /// The schema message of its column `n BIGINT`.
    pub(crate) schema: Span,
    /// A message with the rows 0, 1 and 2.
    pub(crate) rows: Span,
    /// What `describe` gives.
    pub(crate) described: u32,
    /// What `open` gives.
    pub(crate) opened: u32,
    /// What a scalar and a transform give.
    pub(crate) answer: u32,
    /// 64 bytes for the results of host calls.
    pub(crate) scratch: u32,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Scalar = 0,
    Transform = 1,
    ForeachBatch = 4,
}

fn stream(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

/// An IPC stream of one column of numbers.
pub(crate) fn numbers(numbers: impl IntoIterator<Item = i64>) -> Vec<u8> {
    stream(&table([("n", std::sync::Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef)]))
}

pub(crate) fn schema_message(columns: Vec<Field>) -> Vec<u8> {
    let writer = StreamWriter::try_new(Vec::new(), &Schema::new(columns)).unwrap();
    writer.get_ref().clone()
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
            rows: (0, 0),
            described: 0,
            opened: 0,
            answer: 0,
            scratch: 0,
        };
        let schema = schema_message(vec![Field::new("n", DataType::Int64, true)]);
        let whole = numbers(0..3);
        made.rows = made.bytes(&whole[schema.len()..whole.len() - 8]);
        made.schema = made.bytes(&schema);
        let rows = matches!(kind, Kind::Scalar | Kind::Transform).then_some(made.schema);
        let function = made.function("f", kind, rows, rows);
        made.described = made.list(&[function]);
        made.opened = made.opened_with(made.schema);
        made.answer = made.answer_with(&[made.rows]);
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
        words.extend(option(None));
        // Deterministic, and no documentation.
        words.extend([1, 0, 0]);
        words
    }

    pub(crate) fn list(&mut self, records: &[Vec<u32>]) -> u32 {
        let place = self.words(&records.concat());
        self.words(&[place, u32::try_from(records.len()).unwrap()])
    }

    pub(crate) fn opened_with(&mut self, (place, length): Span) -> u32 {
        self.words(&[0, 0, place, length])
    }

    pub(crate) fn answer_with(&mut self, messages: &[Span]) -> u32 {
        let spans: Vec<u32> = messages.iter().flat_map(|(at, length)| [*at, *length]).collect();
        let place = self.words(&spans);
        self.words(&[0, place, u32::try_from(messages.len()).unwrap(), 0, 0])
    }

    /// An error of the kind `kind` (0 bad input, 1 retryable, 2 fatal).
    pub(crate) fn failure(&mut self, kind: u32, (place, length): Span) -> u32 {
        self.words(&[1, kind, place, length])
    }

    pub(crate) fn body(mut self, export: &'static str, body: &str) -> Handmade {
        self.bodies.insert(export, body.to_owned());
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
        let row = "(param i32 i32 i32 i32 i32 i64 i32 i32 i64 i32 i64 i32 i32) (result i32)";
        let keeps = "(param i32 i32 i32 i32 i32 i32 i32) (result i32)";
        let done = self.scratch;
        let exports = [
            ("describe", "(result i32)", self.described),
            ("open", "(param i32 i32 i32 i32 i32 i32) (result i32)", self.opened),
            ("scalar", row, self.answer),
            ("transform", row, self.answer),
            ("aggregate-update", keeps, done),
            ("aggregate-merge", keeps, done),
            ("aggregate-finish", "(param i32 i32 i32) (result i32)", done),
            ("stateful", "(param i32) (result i32)", done),
            (
                "foreach-batch",
                "(param i32 i32 i32 i32 i32 i64 i32 i32 i64 i32 i64 i64) (result i32)",
                done,
            ),
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
        for (name, kind, result) in exports {
            let sound = format!("(i32.const {result})");
            let body = self.bodies.get(name).unwrap_or(&sound);
            write!(text, "(func (export \"{FUNCTIONS}#{name}\") {kind} {body})").unwrap();
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
    let frame = "tidemill:plugin/dataframe@0.1.0";
    let ledger = "tidemill:plugin/ledger@0.1.0";
    let mut text = format!(
        "(import \"tidemill:plugin/log@0.1.0\" \"write\" (func $log (param i32 i32 i32 i32 i32)))
         (import \"{frame}\" \"sql\" (func $sql (param i32 i32 i32 i32 i32)))
         (import \"{frame}\" \"from-rows\" (func $from_rows (param i32 i32 i32 i32 i32)))
         (import \"{ledger}\" \"mark-processed\" (func $mark (param i32 i32 i32)))"
    );
    if targets {
        text.push_str(
            "(import \"tidemill:plugin/target@0.1.0\" \"execute\"
               (func $execute (param i32 i32 i32 i32 i32 i32 i32 i32)))",
        );
    }
    text
}
