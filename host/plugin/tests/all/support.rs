//! The only place that knows how plugins are built, loaded and called.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemill_core::{
    Attempt, BatchContext, BatchId, FunctionInstance, PluginError, PluginFailure, PluginModule,
    QueryId, RefusedRow, Shape, Watermark,
};
use tidemill_plugin_host::{
    CacheLocation, HostOptions, Limits, LoadError, Module, PluginConfig, PluginHost,
};

/// The built plugin `name`, as `cargo xtask plugins` lays it down.
pub(crate) fn guest_path(name: &str) -> PathBuf {
    let directory = std::env::var_os("TIDEMILL_PLUGIN_DIR").map_or_else(
        // This test is <target>/debug/deps/all-….
        || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("plugins"),
        PathBuf::from,
    );
    let path = directory.join(format!("{name}.wasm"));
    assert!(path.exists(), "there is no {}; run cargo xtask plugins", path.display());
    path
}

pub(crate) fn guest(name: &str) -> Vec<u8> {
    std::fs::read(guest_path(name)).unwrap()
}

/// The bytes with a note at the end: another digest, the same plugin.
pub(crate) fn noted(mut module: Vec<u8>, note: &str) -> Vec<u8> {
    let length = u8::try_from(note.len() + 1).unwrap();
    assert!(length < 0x80, "one byte of LEB128");
    module.extend([0, length, length - 1]);
    module.extend(note.as_bytes());
    module
}

/// One host for all tests. It keeps what it compiled between runs.
pub(crate) fn host() -> &'static PluginHost {
    static HOST: OnceLock<PluginHost> = OnceLock::new();
    HOST.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins");
        let cache = CacheLocation::Directory(directory);
        PluginHost::new(&HostOptions { dev: true, cache }).unwrap()
    })
}

/// A config that grants the target "place".
pub(crate) fn config() -> PluginConfig {
    PluginConfig { targets: ["place".to_owned()].into(), ..PluginConfig::default() }
}

pub(crate) fn limited(memory: u64, deadline: Duration) -> PluginConfig {
    PluginConfig { limits: Limits { memory, deadline }, ..config() }
}

pub(crate) fn configured(json: &str) -> PluginConfig {
    PluginConfig { config_json: json.to_owned(), ..config() }
}

pub(crate) fn load(name: &str, config: PluginConfig) -> Arc<Module> {
    host().load(name, &guest(name), config).unwrap()
}

pub(crate) fn refused(name: &str, bytes: &[u8], config: PluginConfig) -> LoadError {
    match host().load(name, bytes, config) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

pub(crate) fn context(batch: u64) -> BatchContext {
    BatchContext {
        query: "q".to_owned(),
        query_id: QueryId("0b5e".to_owned()),
        batch: BatchId(batch),
        attempt: Attempt::FIRST,
        partition: 0,
        batch_time_ms: 1_700_000_000_000,
        watermark: Some(Watermark::at_millis(1_600_000_000_000)),
    }
}

/// What a call gave: the rows of its output, and the rows that it refused.
pub(crate) struct Called {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) refused: Vec<RefusedRow>,
}

/// A function that is called as a plan calls it.
pub(crate) struct Opened {
    instance: Box<dyn FunctionInstance>,
    shape: Shape,
}

impl Opened {
    pub(crate) fn new(
        module: &Module,
        function: &str,
        batch: u64,
        input: SchemaRef,
    ) -> Result<Opened, PluginError> {
        let shape = module.shape(function, Arc::clone(&input))?;
        let instance = module.open(function, &context(batch), input, &shape)?;
        Ok(Opened { instance, shape })
    }

    pub(crate) fn call(&mut self, rows: &RecordBatch) -> Result<Called, PluginError> {
        let answer = self.instance.call(&rows.project(&self.shape.reads).unwrap())?;
        let assembly = self.shape.assembly();
        let batches = answer.given.iter().map(|given| assembly.rows(given, rows).unwrap());
        Ok(Called { batches: batches.collect(), refused: answer.refused })
    }
}

/// Calls a function once, in a fresh instance.
pub(crate) fn call(
    module: &Module,
    function: &str,
    rows: &RecordBatch,
) -> Result<Called, PluginError> {
    Opened::new(module, function, 7, rows.schema())?.call(rows)
}

/// The one record batch of a call that gives one.
pub(crate) fn one(module: &Module, function: &str, rows: &RecordBatch) -> RecordBatch {
    let called = call(module, function, rows).unwrap();
    assert_eq!(called.refused, []);
    let [batch] = <[RecordBatch; 1]>::try_from(called.batches).unwrap();
    batch
}

pub(crate) fn failure(module: &Module, function: &str, rows: &RecordBatch) -> PluginFailure {
    let error = call(module, function, rows).err().unwrap();
    assert_eq!((error.plugin.as_str(), error.function.as_str()), ("faulty", function));
    assert_eq!(error.batch, Some(BatchId(7)));
    error.failure
}

/// Rows of nullable columns.
pub(crate) fn table<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}
