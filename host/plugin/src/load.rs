//! From a plugin's bytes to a module that can be called.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::Digest;
use wasmtime::component::Component;
use wit_component::ComponentEncoder;

use crate::abi::{DATAFRAME, LEDGER, LOG, ROWS, STATE, TARGET, TYPES, VERSION};
use crate::describe::describe;
use crate::error::{LoadError, LoadProblem};
use crate::guarded::{Ended, guarded, guarded_until};
use crate::guest::{Exports, Prepared};
use crate::host::PluginHost;
use crate::inspect::{check_parts, check_size};
use crate::limits::{COMPILE_TIME_MAX, Limits, MODULE_BYTES_MAX};
use crate::module::{Inner, Module, UsageCounters};
use crate::text::shortened_problem;

/// What a job says of a plugin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginConfig {
    /// The plugin's own settings, as a JSON object; may be empty.
    pub config_json: String,
    /// What it may use.
    pub limits: Limits,
    /// The targets that its foreach_batch handlers may reach.
    pub targets: BTreeSet<String>,
    /// Whether instances of scalars and transforms are kept from batch to batch, with what they remember.
    pub reuse: bool,
}

/// Something of the host that a plugin can call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The interface, with its version.
    pub interface: String,
    /// What it is for.
    pub purpose: &'static str,
    /// The key of `[plugin.NAME]` that grants it; none: every plugin has it.
    pub grant: Option<&'static str>,
}

impl PluginHost {
    /// Checks, compiles and links the file at `path`.
    pub fn load_file(
        &self,
        name: &str,
        path: &Path,
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadError> {
        let bytes =
            bytes_of(path).map_err(|problem| LoadError { plugin: name.to_owned(), problem })?;
        self.load(name, &bytes, config)
    }

    /// The digest of the file at `path`, which is not looked into.
    pub fn digest_of_file(name: &str, path: &Path) -> Result<Digest, LoadError> {
        let bytes = bytes_of(path);
        let bytes = bytes.map_err(|problem| LoadError { plugin: name.to_owned(), problem })?;
        Ok(Digest::of(&bytes))
    }

    /// Checks, compiles and links `bytes`: a core module with the component type embedded, or a
    /// component.
    pub fn load(
        &self,
        name: &str,
        bytes: &[u8],
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadError> {
        let module = self.load_unkept(name, bytes, config)?;
        self.keep(&module);
        Ok(module)
    }

    /// The same without a copy of the compiled code for the next start: see [`keep`](Self::keep).
    pub(crate) fn load_unkept(
        &self,
        name: &str,
        bytes: &[u8],
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadError> {
        let name = Arc::from(name);
        let module = self.module(&name, bytes, config);
        module.map_err(|problem| LoadError {
            plugin: name.to_string(),
            problem: shortened_problem(problem),
        })
    }

    /// Keeps the compiled code for the next start, if it was compiled now. Takes as long as to write some
    /// megabytes.
    pub(crate) fn keep(&self, module: &Module) {
        if module.inner.was_compiled {
            let component = module.inner.prepared.for_rows.component();
            self.cache.put(&self.engine, module.inner.digest, component);
        }
    }

    fn module(
        &self,
        name: &Arc<str>,
        bytes: &[u8],
        config: PluginConfig,
    ) -> Result<Arc<Module>, LoadProblem> {
        check_size(bytes.len())?;
        let digest = Digest::of(bytes);
        let kept = self.cache.get(&self.engine, digest);
        let was_compiled = kept.is_none();
        let component = match kept {
            Some(component) => component,
            None => self.compile_within(COMPILE_TIME_MAX, bytes)?,
        };
        let prepared = guarded(|| {
            let imports = check_imports(name, &component, &config)?;
            Ok((imports, self.link(&component)?))
        });
        let (imports, prepared) =
            prepared.unwrap_or_else(|ended| Err(unreadable(ended, COMPILE_TIME_MAX)))?;
        let functions = describe(name, &prepared, config.limits)?;
        Ok(Arc::new(Module {
            pool: config.reuse.then(Arc::default),
            inner: Arc::new(Inner {
                name: Arc::clone(name),
                digest,
                bytes: Arc::from(bytes),
                usage: functions.iter().map(|_| UsageCounters::default()).collect(),
                functions,
                imports,
                config_json: config.config_json,
                limits: config.limits,
                targets: Arc::new(config.targets),
                prepared,
                was_compiled,
            }),
        }))
    }

    /// Compiles what runs already, so that a later version compiles only what it has changed: code that was
    /// kept from an earlier start has no functions that could be taken over.
    pub(crate) fn learn(&self, digest: Digest, bytes: &[u8]) {
        if !self.learnt.lock().insert(digest) {
            return;
        }
        if let Err(problem) = self.compile_within(COMPILE_TIME_MAX, bytes) {
            tracing::debug!("a plugin that runs does not compile: {problem}");
        }
    }

    /// Makes a component of what may have been written to do harm.
    fn compile_within(&self, limit: Duration, bytes: &[u8]) -> Result<Component, LoadProblem> {
        let compiled = |bytes: &[u8]| {
            let component = Component::from_binary(&self.engine, bytes);
            component.map_err(|error| LoadProblem::Compile(format!("{error:#}")))
        };
        let kind = kind(bytes)?;
        let made = guarded_until(Instant::now() + limit, || {
            check_parts(bytes)?;
            match kind {
                Kind::Component => compiled(bytes),
                Kind::CoreModule => compiled(&self.componentize(bytes)?),
            }
        });
        made.unwrap_or_else(|ended| Err(unreadable(ended, limit)))
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
        let damaged = |_: Ended| Err("its component type is damaged".to_owned());
        guarded(encode).unwrap_or_else(damaged).map_err(|reason| {
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

fn bytes_of(path: &Path) -> Result<Vec<u8>, LoadProblem> {
    read(path).unwrap_or_else(|error| {
        let reason = error.to_string();
        Err(LoadProblem::Read { path: path.to_owned(), reason })
    })
}

/// The bytes of a plugin's file, or that it has too many. An error says that it cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Result<Vec<u8>, LoadProblem>> {
    // Before it is opened, which would wait for the other end of a pipe.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let told = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if let Err(problem) = check_size(told) {
        return Ok(Err(problem));
    }
    let mut bytes = Vec::with_capacity(told);
    // One more than may be: it can have grown since.
    File::open(path)?.take(MODULE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(check_size(bytes.len()).map(|()| bytes))
}

fn unreadable(ended: Ended, limit: Duration) -> LoadProblem {
    match ended {
        Ended::NoThread(reason) => LoadProblem::NoThread(reason),
        Ended::Panicked(reason) => LoadProblem::Compile(format!(
            "the module is damaged, or was not made by a compiler ({reason})"
        )),
        Ended::OutOfTime => LoadProblem::Compile(format!(
            "it takes longer than {} seconds to compile, which is the limit; build it with \
             `opt-level = \"s\"` and without what it does not need",
            limit.as_secs()
        )),
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
) -> Result<Vec<Import>, LoadProblem> {
    let engine = component.engine();
    let mut imports = Vec::new();
    for (interface, _) in component.component_type().imports(engine) {
        let (purpose, grant) = match as_ours(interface).as_ref() {
            // Types alone, nothing to call.
            TYPES => continue,
            LOG => ("lines in the log", None),
            ROWS => ("the rows that it gives", None),
            STATE => ("the state of keys", None),
            DATAFRAME => ("the tables of a handler", None),
            LEDGER => ("the marks of a handler", None),
            TARGET if config.targets.is_empty() => {
                return Err(LoadProblem::Import(format!(
                    "it calls targets directly, and the job grants none; list them in `targets` of \
                     [plugin.{name}]"
                )));
            }
            TARGET => ("statements on a target", Some("targets")),
            other => return Err(not_granted(other)),
        };
        imports.push(Import { interface: interface.to_owned(), purpose, grant });
    }
    Ok(imports)
}

/// An interface of a compatible version of the contract under the name that it has here: within 0.2
/// nothing that exists changes.
fn as_ours(interface: &str) -> Cow<'_, str> {
    let (ours, _) = VERSION.rsplit_once('.').unwrap_or((VERSION, ""));
    match interface.rsplit_once('@') {
        Some((name, version))
            if version.rsplit_once('.').is_some_and(|(compatible, _)| compatible == ours) =>
        {
            Cow::Owned(format!("{name}@{VERSION}"))
        }
        _ => Cow::Borrowed(interface),
    }
}

fn not_granted(import: &str) -> LoadProblem {
    if let Some(own) = import.strip_prefix("tidemill:plugin/") {
        return LoadProblem::Import(format!(
            "it is made for another version of the contract (it imports `{own}`, and this host has \
             {VERSION}); build it with the tidemill-plugin crate of this version"
        ));
    }
    LoadProblem::Import(format!(
        "it imports `{import}`, which no plugin gets: there are no files, no clock, no network and \
         no JavaScript; find the dependency that wants it with `cargo tree`, or turn off the feature"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::{CacheLocation, HostOptions};

    #[test]
    fn a_later_version_within_the_same_minor_one_is_ours() {
        assert_eq!(as_ours("tidemill:plugin/log@0.2.7"), LOG);
        assert_eq!(as_ours(LOG), LOG);
        for other in ["tidemill:plugin/log@0.3.0", "tidemill:plugin/log@1.2.0", "other:x/y"] {
            assert_eq!(as_ours(other), other);
        }
    }

    #[test]
    fn a_module_that_takes_too_long_to_compile_is_refused() {
        let host = PluginHost::new(&HostOptions { dev: true, cache: CacheLocation::None }).unwrap();
        let module = wat::parse_str("(component (core module (func)))").unwrap();
        host.compile_within(Duration::from_secs(60), &module).unwrap();
        let other = wat::parse_str("(component (core module (func nop)))").unwrap();
        let problem = host.compile_within(Duration::ZERO, &other).err().unwrap();
        assert!(problem.to_string().contains("longer than 0 seconds"), "{problem}");
    }
}
