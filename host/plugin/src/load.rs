//! From a plugin's bytes to a module that can be called.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tidemill_core::{Digest, FunctionSignature};
use wasmtime::component::Component;
use wit_component::ComponentEncoder;

use crate::abi::{DATAFRAME, Function, LEDGER, LOG, TARGET, TYPES};
use crate::error::{LoadError, LoadProblem};
use crate::guest::{Exports, Guest, Prepared};
use crate::host::PluginHost;
use crate::ipc;
use crate::limits::Limits;
use crate::module::{Inner, Module, UsageCounters};
use crate::state::GuestLog;

/// What a job says of a plugin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginConfig {
    /// The plugin's own settings, as a JSON object; may be empty.
    pub config_json: String,
    /// What it may use.
    pub limits: Limits,
    /// The targets that its foreach_batch handlers may reach.
    pub targets: BTreeSet<String>,
}

impl PluginHost {
    /// Checks, compiles and links the file at `path`.
    pub fn load_file(
        &self,
        name: &str,
        path: &Path,
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadError> {
        let bytes = std::fs::read(path).map_err(|error| LoadError {
            plugin: name.to_owned(),
            problem: LoadProblem::Read { path: path.to_owned(), reason: error.to_string() },
        })?;
        self.load(name, &bytes, config)
    }

    /// Checks, compiles and links `bytes`: a core module with the component type embedded, or a
    /// component.
    pub fn load(
        &self,
        name: &str,
        bytes: &[u8],
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadError> {
        let name = Arc::from(name);
        let module = self.module(&name, bytes, config);
        module.map_err(|problem| LoadError { plugin: name.to_string(), problem })
    }

    fn module(
        &self,
        name: &Arc<str>,
        bytes: &[u8],
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadProblem> {
        let digest = Digest::of(bytes);
        let component = match self.cache.get(&self.engine, digest) {
            Some(component) => component,
            None => self.compile(bytes, digest)?,
        };
        check_imports(name, &component, &config)?;
        let prepared = self.link(&component)?;
        let functions = describe(name, &prepared, config.limits)?;
        Ok(Arc::new(Module {
            inner: Arc::new(Inner {
                name: Arc::clone(name),
                digest,
                bytes: Arc::from(bytes),
                usage: functions.iter().map(|_| UsageCounters::default()).collect(),
                functions,
                config_json: config.config_json,
                limits: config.limits,
                targets: Arc::new(config.targets),
                prepared,
            }),
        }))
    }

    fn compile(&self, bytes: &[u8], digest: Digest) -> Result<Component, LoadProblem> {
        let compiled = |bytes: &[u8]| {
            let component = Component::from_binary(&self.engine, bytes);
            component.map_err(|error| LoadProblem::Compile(format!("{error:#}")))
        };
        let component = match kind(bytes)? {
            Kind::Component => compiled(bytes)?,
            Kind::CoreModule => compiled(&self.componentize(bytes)?)?,
        };
        self.cache.put(&self.engine, digest, &component);
        Ok(component)
    }

    fn componentize(&self, module: &[u8]) -> Result<Vec<u8>, LoadProblem> {
        let valid = wasmtime::Module::validate(&self.engine, module);
        valid.map_err(|error| LoadProblem::Compile(format!("{error:#}")))?;
        let encode = || {
            let encoder = ComponentEncoder::default().validate(false).module(module);
            encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| format!("{error:#}"))
        };
        // The encoder is made for what a compiler has just written; what it makes of a section
        // that was written by hand is not for the host to end with.
        let component = catch_unwind(AssertUnwindSafe(encode));
        let damaged = || Err("its component type is damaged".to_owned());
        component.unwrap_or_else(|_| damaged()).map_err(|reason| {
            match reason.split_once("import interface named `") {
                Some((_, rest)) => not_granted(rest.split('`').next().unwrap_or(rest)),
                None => LoadProblem::NoPlugin { reason },
            }
        })
    }

    fn link(&self, component: &Component) -> Result<Prepared, LoadProblem> {
        let other_version = |error: wasmtime::Error| {
            LoadProblem::Import(format!(
                "what it imports is not what this host has ({error:#}); build it with the \
             tidemill-plugin crate of this version"
            ))
        };
        let exports = Exports::of(component).map_err(|reason| LoadProblem::NoPlugin { reason })?;
        Ok(Prepared {
            engine: self.engine.clone(),
            for_rows: self.for_rows.instantiate_pre(component).map_err(other_version)?,
            for_handlers: self.for_handlers.instantiate_pre(component).map_err(other_version)?,
            exports,
        })
    }
}

enum Kind {
    CoreModule,
    Component,
}

/// Reads the first eight bytes: magic number, version, layer.
fn kind(bytes: &[u8]) -> Result<Kind, LoadProblem> {
    match bytes.first_chunk::<8>() {
        Some(b"\0asm\x01\0\0\0") => Ok(Kind::CoreModule),
        Some(b"\0asm\x0d\0\x01\0") => Ok(Kind::Component),
        _ => {
            let first = &bytes[..bytes.len().min(8)];
            Err(LoadProblem::NotWasm { found: format!("\"{}\"", first.escape_ascii()) })
        }
    }
}

/// Compares what a plugin imports with what its job grants.
fn check_imports(
    name: &str,
    component: &Component,
    config: &PluginConfig,
) -> Result<(), LoadProblem> {
    let engine = component.engine();
    for (import, _) in component.component_type().imports(engine) {
        match import {
            LOG | TYPES | DATAFRAME | LEDGER => {}
            TARGET if config.targets.is_empty() => {
                return Err(LoadProblem::Import(format!(
                    "it calls targets directly, and the job grants none; list them in `targets` of \
                     [plugin.{name}]"
                )));
            }
            TARGET => {}
            other => return Err(not_granted(other)),
        }
    }
    Ok(())
}

fn not_granted(import: &str) -> LoadProblem {
    LoadProblem::Import(format!(
        "it imports `{import}`, which no plugin gets: there are no files, no clock, no network and \
         no JavaScript; find the dependency that wants it with `cargo tree`, or turn off the feature"
    ))
}

fn describe(
    name: &Arc<str>,
    prepared: &Prepared,
    limits: Limits,
) -> Result<Vec<FunctionSignature>, LoadProblem> {
    let log = GuestLog::new(name, "describe", None);
    let functions = Guest::start(prepared, limits, log)
        .and_then(|mut guest| guest.describe(&prepared.exports))
        .map_err(LoadProblem::Describe)?;
    let mut names = BTreeSet::new();
    if let Some(twice) = functions.iter().find(|function| !names.insert(function.name.as_str())) {
        let reason = format!("it has two functions with the name \"{}\"", twice.name);
        return Err(LoadProblem::NoPlugin { reason });
    }
    functions.into_iter().map(signature).collect()
}

fn signature(function: Function) -> Result<FunctionSignature, LoadProblem> {
    let schema = |message: Option<Vec<u8>>| {
        let schema = message.map(|message| ipc::decode_schema(&message)).transpose();
        schema.map_err(|reason| LoadProblem::NoPlugin {
            reason: format!("the schema of \"{}\": {reason}", function.name),
        })
    };
    Ok(FunctionSignature {
        input: schema(function.input)?,
        output: schema(function.output)?,
        name: function.name.clone(),
        kind: function.kind.into(),
        deterministic: function.deterministic,
        documentation: function.documentation,
    })
}
