//! The engine that compiles and runs plugins, one for a process.

use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;

use parking_lot::Mutex;
use tidemill_core::Digest;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, OptLevel, RegallocAlgorithm, WasmBacktraceDetails};

use crate::cache::CodeCache;
use crate::error::{LoadError, LoadProblem};
use crate::imports;
use crate::incremental::CompiledFunctions;
use crate::limits::EPOCH_TICK;
use crate::state::CallState;

/// How a [`PluginHost`] compiles.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostOptions {
    /// Compiles fast instead of compiling fast code: for a reload while someone waits.
    pub dev: bool,
    /// Where compiled plugins are kept between runs.
    pub cache: CacheLocation,
}

/// Where compiled plugins are kept between runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum CacheLocation {
    /// `tidemill/plugins` in `$XDG_CACHE_HOME`, which is `~/.cache` where it is not set.
    #[default]
    User,
    /// This directory, which is made if need be.
    Directory(PathBuf),
    /// Nowhere.
    None,
}

/// Loads plugins. Cloning is cheap and gives the same host.
#[derive(Clone)]
pub struct PluginHost {
    pub(crate) engine: Engine,
    pub(crate) for_rows: Arc<Linker<CallState>>,
    pub(crate) for_handlers: Arc<Linker<CallState>>,
    pub(crate) cache: CodeCache,
    /// Whose functions are known, or about to be.
    pub(crate) learnt: Arc<Mutex<HashSet<Digest>>>,
}

impl PluginHost {
    /// Sets up the engine, and the clock behind the deadlines: a thread that ends with the engine.
    pub fn new(options: &HostOptions) -> Result<PluginHost, LoadError> {
        let failed = |reason: &dyn std::fmt::Display| LoadError {
            plugin: "(all)".to_owned(),
            problem: LoadProblem::Host(reason.to_string()),
        };
        let engine = engine(options.dev).map_err(|error| failed(&error))?;
        start_clock(&engine).map_err(|error| failed(&error))?;
        start_compilers().map_err(|error| failed(&error))?;
        let for_rows = imports::for_rows(&engine).map_err(|error| failed(&error))?;
        let for_handlers = imports::for_handlers(&engine).map_err(|error| failed(&error))?;
        let directory = match &options.cache {
            CacheLocation::User => CodeCache::default_directory(),
            CacheLocation::Directory(directory) => Some(directory.clone()),
            CacheLocation::None => None,
        };
        Ok(PluginHost {
            engine,
            for_rows: Arc::new(for_rows),
            for_handlers: Arc::new(for_handlers),
            cache: CodeCache::open(directory),
            learnt: Arc::default(),
        })
    }
}

fn engine(dev: bool) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // One memory a module, as every toolchain writes it.
    config.wasm_multi_memory(false);
    config.epoch_interruption(true);
    // The same rows give the same bytes on every machine.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    if dev {
        config.cranelift_opt_level(OptLevel::None);
        config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    config.enable_incremental_compilation(Arc::new(CompiledFunctions::default()))?;
    // A panic tells its place itself; traps are told by the function's name. Without the maps the
    // compiled code is smaller and loads faster.
    config.generate_address_map(false);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    Engine::new(&config)
}

fn start_clock(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(EPOCH_TICK);
        }
    };
    thread::Builder::new().name("tidemill-epoch".to_owned()).spawn(tick).map(drop)
}

/// Starts the threads that wasmtime compiles on. Where the system gives none, it would panic at the
/// first module instead.
fn start_compilers() -> Result<(), &'static String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || match rayon::ThreadPoolBuilder::new().build_global() {
        // Without a cause the error is that they run already.
        Err(error) if error.source().is_some() => Err(format!("no threads to compile on: {error}")),
        _ => Ok(()),
    };
    STARTED.get_or_init(start).as_ref().copied()
}
