//! `tidemill build`: a plugin's sources into a module, and what came of it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use parking_lot::Mutex;
use serde_json::Value;
use tidemill_core::Secrets;

use super::arguments::BuildArguments;
use super::check::code_of;
use super::inspect::as_text;
use super::{FAILED, REFUSED, begin, complain, printed};
use crate::query::{Shared, load_plugin};

/// What plugins are compiled for.
const TARGET: &str = "wasm32-unknown-unknown";

/// Of cargo's messages, where they are kept: hundreds of errors.
const HEARD_BYTES: u64 = 1 << 20;

/// How a plugin is built to be deployed: slower to build, and as fast and small as it gets.
const DEPLOYED: [&str; 5] = [
    "profile.release.opt-level=3",
    "profile.release.codegen-units=1",
    "profile.release.lto=true",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=\"debuginfo\"",
];

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(
        "there is no Cargo.toml in {0}; name the directory of the plugin's crate, or make one with `tidemill new plugin NAME`"
    )]
    NoCrate(String),
    #[error(
        "`{program}` cannot be started ({reason}); a plugin is built with Rust, which is at https://rustup.rs"
    )]
    NoCompiler { program: String, reason: std::io::Error },
    #[error("the compiler lacks the target {TARGET}; add it with `rustup target add {TARGET}`")]
    NoTarget,
    #[error("the plugin does not build: cargo ended with {0}")]
    Failed(std::process::ExitStatus),
    #[error("the build was stopped")]
    Stopped,
    #[error("what cargo says cannot be read: {0}")]
    Unread(std::io::Error),
    #[error(
        "the crate makes no .wasm file; its Cargo.toml needs `crate-type = [\"cdylib\", \"rlib\"]` under [lib]"
    )]
    NoModule,
    #[error("{path} cannot be written: {reason}")]
    Unwritten { path: String, reason: std::io::Error },
}

impl BuildError {
    fn status(&self) -> u8 {
        match self {
            BuildError::Failed(_)
            | BuildError::Stopped
            | BuildError::Unread(_)
            | BuildError::Unwritten { .. } => FAILED,
            BuildError::NoCrate(_)
            | BuildError::NoCompiler { .. }
            | BuildError::NoTarget
            | BuildError::NoModule => REFUSED,
        }
    }
}

/// Builds the plugin, checks it, and prints what is in it.
pub(super) fn build(arguments: &BuildArguments) -> u8 {
    let nothing = Secrets::default();
    if let Err(status) = begin() {
        return status;
    }
    let module = match compile(arguments) {
        Ok(module) => module,
        Err(error) => {
            complain(&nothing, &error);
            return error.status();
        }
    };
    let loaded = match load_plugin(&Shared::new(false), &module, String::new()) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&nothing, &error);
            return code_of(error.is_retryable());
        }
    };
    let kind = if arguments.deploy { ", for deployment" } else { "" };
    let built = format!("{TARGET} with simd128{kind}");
    printed(&as_text(&module.display().to_string(), &loaded, Some(&built)))
}

/// Runs cargo, whose messages go to standard error as they come, and gives the module that it made.
pub(super) fn compile(arguments: &BuildArguments) -> Result<PathBuf, BuildError> {
    compile_until(arguments, None, None)
}

/// As [`compile`], but cargo's messages go into `heard` if it is given, and it ends where `stop` says so.
pub(super) fn compile_until(
    arguments: &BuildArguments,
    heard: Option<&mut Vec<u8>>,
    stop: Option<&BuildStop>,
) -> Result<PathBuf, BuildError> {
    let directory = arguments.directory.as_path();
    if !directory.join("Cargo.toml").is_file() {
        return Err(BuildError::NoCrate(directory.display().to_string()));
    }
    check_target(directory)?;
    let mut command = cargo(arguments);
    if heard.is_some() {
        command.stderr(Stdio::piped()).stdin(Stdio::null());
    }
    command.stdout(Stdio::piped());
    let no_compiler = |reason| BuildError::NoCompiler { program: "cargo".to_owned(), reason };
    let mut child = match stop {
        None => command.spawn().map_err(no_compiler)?,
        Some(stop) => stop.spawn(&mut command).map_err(no_compiler)?.ok_or(BuildError::Stopped)?,
    };
    // On a thread of its own: cargo waits where either stream is full.
    let messages = child.stderr.take().map(|stderr| thread::spawn(|| first_bytes(stderr)));
    let mut module = None;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line.map_err(BuildError::Unread)?;
        module = wasm_of(&line).or(module);
    }
    let is_stopped = stop.is_some_and(BuildStop::forget);
    let status = child.wait().map_err(BuildError::Unread)?;
    if let (Some(heard), Some(messages)) = (heard, messages) {
        heard.append(&mut messages.join().unwrap_or_default());
    }
    if is_stopped {
        return Err(BuildError::Stopped);
    }
    if !status.success() {
        return Err(BuildError::Failed(status));
    }
    let module = module.ok_or(BuildError::NoModule)?;
    match &arguments.out {
        None => Ok(module),
        Some(out) if is_same(&module, out) => Ok(module),
        Some(out) => {
            replace(&module, out).map_err(|reason| BuildError::Unwritten {
                path: out.display().to_string(),
                reason,
            })?;
            Ok(out.clone())
        }
    }
}

/// Ends a build from another thread: cargo, and all that it has started.
#[derive(Default)]
pub(super) struct BuildStop {
    building: Mutex<Building>,
}

#[derive(Default)]
struct Building {
    is_stopped: bool,
    /// Cargo, which leads a process group, until it is waited for: its number is nobody else's so long.
    cargo: Option<u32>,
}

impl BuildStop {
    /// Ends the build that runs, or the one that is about to.
    pub(super) fn stop(&self) {
        let mut building = self.building.lock();
        building.is_stopped = true;
        if let Some(cargo) = building.cargo.take() {
            // Compilers and build scripts are cargo's children, and would go on without it.
            let group = format!("-{cargo}");
            let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
            if !killed.is_ok_and(|status| status.success()) {
                tracing::warn!("the processes of the build {cargo} cannot be ended");
            }
        }
    }

    /// Starts cargo in a process group of its own, unless the build is stopped already.
    fn spawn(&self, command: &mut Command) -> std::io::Result<Option<Child>> {
        // A group that is not the terminal's must not read of it.
        command.process_group(0).stdin(Stdio::null());
        let mut building = self.building.lock();
        if building.is_stopped {
            return Ok(None);
        }
        let child = command.spawn()?;
        building.cargo = Some(child.id());
        Ok(Some(child))
    }

    /// Cargo is about to be waited for. Whether it was stopped.
    fn forget(&self) -> bool {
        let mut building = self.building.lock();
        building.cargo = None;
        building.is_stopped
    }
}

/// Reads a stream to its end, and keeps its first [`HEARD_BYTES`].
fn first_bytes(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is worth showing, too.
    let _ = stream.by_ref().take(HEARD_BYTES).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    bytes
}

fn cargo(arguments: &BuildArguments) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&arguments.directory);
    // Flags for the developer's own processor mean nothing to this target.
    command.env_remove("RUSTFLAGS");
    command.args(["build", "--lib", "--target", TARGET]);
    command.arg("--message-format=json-render-diagnostics");
    command.arg("--config").arg(flags());
    if !arguments.cargo.iter().any(|argument| argument.starts_with("--profile")) {
        command.arg("--release");
    }
    if arguments.deploy {
        command.args(DEPLOYED.iter().flat_map(|setting| ["--config", setting]));
    }
    command.args(&arguments.cargo);
    command
}

/// How plugins are compiled: for vector instructions, and so that a module does not say where it was
/// built. The same sources make the same bytes in every folder.
fn flags() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let without_home = home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display()));
    let flags = std::iter::once("-Ctarget-feature=+simd128".to_owned()).chain(without_home);
    // A list of texts is the same in JSON and TOML.
    format!("target.{TARGET}.rustflags={}", flags.collect::<Value>())
}

/// Refuses a compiler without the target's library, which it would say in a hundred errors.
fn check_target(directory: &Path) -> Result<(), BuildError> {
    let mut command = Command::new("rustc");
    command.current_dir(directory).args(["--print", "target-libdir", "--target", TARGET]);
    let answer = command
        .output()
        .map_err(|reason| BuildError::NoCompiler { program: "rustc".to_owned(), reason })?;
    let place = String::from_utf8_lossy(&answer.stdout);
    match Path::new(place.trim()).is_dir() {
        true => Ok(()),
        false => Err(BuildError::NoTarget),
    }
}

/// The module that a message of cargo tells of, if it tells of one.
fn wasm_of(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_library = message["target"]["crate_types"].as_array()?.iter().any(|t| t == "cdylib");
    let files = message["filenames"].as_array().filter(|_| is_library)?;
    let mut files = files.iter().filter_map(Value::as_str).map(PathBuf::from);
    files.find(|file| file.extension().is_some_and(|kind| kind == "wasm"))
}

/// Whether cargo makes the file where it is wanted.
fn is_same(module: &Path, out: &Path) -> bool {
    let absolute = |path: &Path| path.canonicalize().ok();
    absolute(module).is_some_and(|module| absolute(out) == Some(module))
}

/// Copies by a rename: a query that watches the file never sees half of it.
fn replace(module: &Path, out: &Path) -> std::io::Result<()> {
    let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut unfinished = tempfile::Builder::new().prefix(".").tempfile_in(directory)?;
    std::io::copy(&mut std::fs::File::open(module)?, &mut unfinished)?;
    unfinished.persist(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_among_cargos_messages() {
        let made = r#"{"reason":"compiler-artifact","target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/libp.rlib","/t/p.wasm"]}"#;
        assert_eq!(wasm_of(made), Some(PathBuf::from("/t/p.wasm")));
        let other = r#"{"reason":"compiler-artifact","target":{"crate_types":["lib"]},"filenames":["/t/libq.rlib"]}"#;
        assert_eq!(wasm_of(other), None);
        assert_eq!(wasm_of("no message"), None);
        assert_eq!(wasm_of(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
