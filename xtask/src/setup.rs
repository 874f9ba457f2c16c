//! Gets what the build needs and rustup and git do not bring: compilers and libraries for C and
//! C++, and Rust's standard library for `wasm32-unknown-unknown`. And what a broker for the tests and
//! a plugin in C need.
//!
//! What is there is looked at each time (some 0.1 s), so there is no record that could be stale.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::process::{output, run as run_command, which};
use crate::workspace::Workspace;

pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Debian's compiler as a rustup toolchain: the way out where Rust's release server cannot be
/// reached.
const DEBIAN_TOOLCHAIN: &str = "tidemill-wasm";
const DEBIAN_PREFIX: &str = "/usr";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
const DEBIAN_LINKER: &str = "wasm-ld-19";
const LINKER_VARIABLE: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";

/// Something to be installed.
struct Tool {
    /// Of a program, or of a library as pkg-config knows it.
    name: &'static str,
    debian_package: &'static str,
    purpose: &'static str,
    is_there: fn(&str) -> bool,
}

const fn program(name: &'static str, debian_package: &'static str, purpose: &'static str) -> Tool {
    Tool { name, debian_package, purpose, is_there: |name| which(name).is_some() }
}

const fn library(name: &'static str, debian_package: &'static str, purpose: &'static str) -> Tool {
    let is_there = |name: &str| output(Command::new("pkg-config").args(["--exists", name])).is_ok();
    Tool { name, debian_package, purpose, is_there }
}

/// What a build needs.
const BUILD: [Tool; 8] = [
    program("cc", "build-essential", "compiling the C code of SQLite, zstd and librdkafka"),
    program("c++", "build-essential", "compiling the C++ code of librdkafka"),
    program("cmake", "cmake", "building librdkafka"),
    program("pkg-config", "pkg-config", "finding the libraries below"),
    library("openssl", "libssl-dev", "encrypted connections to Kafka"),
    library("libsasl2", "libsasl2-dev", "Kerberos with Kafka"),
    library("zlib", "zlib1g-dev", "compressed messages of Kafka"),
    // It includes curl's header, and is built without what needs curl.
    library("libcurl", "libcurl4-openssl-dev", "compiling librdkafka"),
];

/// What a broker needs. Beside Java 17 newer ones work, too.
const BROKER: [Tool; 3] = [
    program("java", "openjdk-17-jdk-headless", "running Kafka's broker"),
    program("mvn", "maven", "fetching Kafka's broker"),
    program("openssl", "openssl", "making certificates for Kafka's broker"),
];

/// What a plugin in C needs.
const C: [Tool; 2] = [
    program("clang", "clang", "compiling a plugin in C"),
    program("wasm-ld", "lld", "linking a plugin in C"),
];

/// The oldest Java that Kafka's broker runs on.
const JAVA_MIN: u32 = 17;

/// The compiler for plugins.
#[derive(Debug)]
pub(crate) enum Guest {
    /// The one that runs us, with the target added.
    Same,
    Debian,
}

impl Guest {
    /// Cargo for plugins, in this checkout.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        let mut command = match self {
            Guest::Same => workspace.cargo(),
            Guest::Debian => {
                let mut command = Command::new("cargo");
                command.arg(format!("+{DEBIAN_TOOLCHAIN}")).env(LINKER_VARIABLE, DEBIAN_LINKER);
                command
            }
        };
        // Flags for the developer's own processor and linker mean nothing to this target.
        command.current_dir(&workspace.root).env_remove("RUSTFLAGS");
        command.arg("--config").arg(flags());
        command
    }

    /// What tells a test that builds a plugin which compiler to take, and its flags.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("TIDEMILL_PLUGIN_FLAGS", flags().into())];
        if let Guest::Debian = self {
            variables.push(("TIDEMILL_PLUGIN_TOOLCHAIN", DEBIAN_TOOLCHAIN.into()));
            variables.push((LINKER_VARIABLE, DEBIAN_LINKER.into()));
        }
        variables
    }
}

/// How plugins are compiled, as a setting of cargo: for vector instructions, which are part of
/// WebAssembly since its version 2, and so that a module does not say where it was built. Messages of
/// panics name the files that code comes from; those of a workspace are relative to it.
fn flags() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let without_home = home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display()));
    let flags = std::iter::once("-Ctarget-feature=+simd128".to_owned()).chain(without_home);
    // A list of texts is the same in JSON and TOML.
    format!("target.{WASM}.rustflags={}", flags.collect::<serde_json::Value>())
}

/// Makes plugins and host buildable, or says what is missing.
pub(crate) fn run() -> Result<Guest> {
    ensure(&BUILD)?;
    wasm_target()
}

/// Makes plugins in C buildable, or says what is missing.
pub(crate) fn c() -> Result<()> {
    ensure(&C)?;
    let targets = output(Command::new("clang").arg("--print-targets"))?;
    match targets.contains("wasm32") {
        true => Ok(()),
        false => bail!("`clang` is one that makes no WebAssembly: put another one first in PATH"),
    }
}

/// Makes a broker runnable, apart from its jars, or says what is missing.
pub(crate) fn broker() -> Result<()> {
    ensure(&BROKER)?;
    // It says so on standard error: `openjdk version "17.0.15" …`.
    let said = Command::new("java").arg("-version").output().context("could not start java")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    match java_version(&said) {
        Some(version) if version < JAVA_MIN => bail!(
            "`java` is Java {version}, and Kafka's broker needs {JAVA_MIN} or newer: put one first \
             in PATH (Debian, Ubuntu: apt-get install {})",
            BROKER[0].debian_package
        ),
        _ => Ok(()),
    }
}

/// The major version that `java -version` printed.
fn java_version(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    // Until 8 it was written 1.8.
    let version = version.strip_prefix("1.").unwrap_or(version);
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<_> = tools.iter().filter(|tool| !(tool.is_there)(tool.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if can_install() {
        let mut packages: Vec<&str> = missing.iter().map(|tool| tool.debian_package).collect();
        packages.dedup();
        return install(&packages);
    }
    let list = missing.iter().map(|Tool { name, debian_package, purpose, .. }| {
        format!("\n  {name}, for {purpose} (Debian, Ubuntu: apt-get install {debian_package})")
    });
    bail!("please install what is missing, and start again:{}", list.collect::<String>())
}

fn wasm_target() -> Result<Guest> {
    if has_wasm(Command::new("rustc").args(["--print", "sysroot"]))? {
        return Ok(Guest::Same);
    }
    if holds_core(&debian_library()) && has_debian_toolchain() {
        return Ok(Guest::Debian);
    }
    eprintln!("setup: adding the target {WASM} (about 20 MB from Rust's release server)");
    let Err(refused) = output(Command::new("rustup").args(["target", "add", WASM])) else {
        return Ok(Guest::Same);
    };
    if !can_install() || which("rustup").is_none() {
        bail!(
            "there is no standard library for {WASM}: {refused:#}\n\
             Plugins are built for this target. Where rustup works: rustup target add {WASM}. \
             Where it cannot reach its server, on Debian and as root, `cargo xtask setup` builds \
             the library from Debian's packages {}.",
            DEBIAN_PACKAGES.join(" ")
        );
    }
    eprintln!("setup: rustup could not add the target; Debian's compiler is taken for the plugins");
    debian_toolchain()?;
    Ok(Guest::Debian)
}

/// Installs Debian's compiler, and builds the standard library for the target from its sources.
fn debian_toolchain() -> Result<()> {
    if !holds_core(&debian_library()) {
        install(&DEBIAN_PACKAGES)?;
        link_debian_toolchain()?;
        eprintln!("setup: building Rust's standard library for {WASM} (about 70 s, once)");
        build_standard_library().with_context(|| format!("the standard library for {WASM}"))?;
    }
    if has_debian_toolchain() { Ok(()) } else { link_debian_toolchain() }
}

fn link_debian_toolchain() -> Result<()> {
    let link = ["toolchain", "link", DEBIAN_TOOLCHAIN, DEBIAN_PREFIX];
    run_command(Command::new("rustup").args(link))
}

fn build_standard_library() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let work = std::env::temp_dir().join(format!("tidemill-std-{now}"));
    let built = build_probe(&work).and_then(|libraries| {
        let to = debian_library();
        std::fs::create_dir_all(&to)?;
        for library in libraries {
            let name = library.file_name().context("a library has a name")?;
            std::fs::copy(&library, to.join(name))?;
        }
        Ok(())
    });
    // Nothing depends on it any more.
    let _ = std::fs::remove_dir_all(&work);
    built
}

/// Builds an empty package together with the standard library, and gives the library's files.
fn build_probe(work: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(work.join("src"))?;
    let manifest = "[package]\nname = \"probe\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    std::fs::write(work.join("Cargo.toml"), manifest)?;
    std::fs::write(work.join("src/lib.rs"), "")?;
    let toolchain = format!("+{DEBIAN_TOOLCHAIN}");
    run_command(
        Command::new("cargo")
            .args([&toolchain, "build", "--release", "--target", WASM])
            .arg("-Zbuild-std=std,panic_abort")
            .current_dir(work)
            .env("CARGO_TARGET_DIR", work.join("target"))
            .env(LINKER_VARIABLE, DEBIAN_LINKER)
            .env("RUSTC_BOOTSTRAP", "1")
            // Without bitcode a plugin cannot be built with LTO.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes"),
    )?;
    let mut libraries = Vec::new();
    for entry in std::fs::read_dir(work.join("target").join(WASM).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libprobe-") {
            libraries.push(path);
        }
    }
    Ok(libraries)
}

fn has_wasm(sysroot: &mut Command) -> Result<bool> {
    let sysroot = output(sysroot)?;
    Ok(holds_core(&library_in(Path::new(sysroot.trim()))))
}

fn debian_library() -> PathBuf {
    library_in(Path::new(DEBIAN_PREFIX))
}

fn library_in(prefix: &Path) -> PathBuf {
    prefix.join("lib/rustlib").join(WASM).join("lib")
}

fn holds_core(library: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(library) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

fn has_debian_toolchain() -> bool {
    let list = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().next() == Some(DEBIAN_TOOLCHAIN))
}

/// Whether we may install packages: on Debian and its relatives, as root.
fn can_install() -> bool {
    let user = Command::new("id").arg("-u").output();
    which("apt-get").is_some() && user.is_ok_and(|user| user.stdout.trim_ascii() == b"0")
}

fn install(packages: &[&str]) -> Result<()> {
    eprintln!("setup: installing {} (a minute or two)", packages.join(" "));
    let apt = || {
        let mut command = Command::new("apt-get");
        // Somebody else's apt is waited for.
        command.args(["-o", "DPkg::Lock::Timeout=600"]).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run_command(apt().args(["-qq", "update"]))?;
    run_command(apt().args(["-qq", "install", "-y", "--no-install-recommends"]).args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_javas_tell_their_version() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(java_version("openjdk version \"25\" 2025-09-16\n"), Some(25));
        assert_eq!(java_version("java version \"1.8.0_401\"\n"), Some(8));
        assert_eq!(java_version("something else"), None);
    }
}
