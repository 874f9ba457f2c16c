//! Builds the plugins in C: bindings of wit-bindgen, clang, and wasm-ld, which clang calls.
//!
//! The bindings are made with each build, and not kept in the checkout: they are ten times as long as
//! the plugin, and would be another copy of the contract that can fall behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::plugins::publish;
use crate::process;
use crate::setup;
use crate::tools::WIT_BINDGEN;
use crate::workspace::Workspace;

/// Folders below `plugins/`, and the name of the world in the `.wit` file of each. A folder has that
/// file, `plugin.c`, and in `libc/` what stands for a C library.
const PLUGINS: [(&str, &str); 1] = [("bare-c", "bare")];

/// For a bare machine: without a C library, and without what would call one in our place.
const FLAGS: [&str; 14] = [
    "--target=wasm32-unknown-unknown",
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-fno-builtin",
    "-nostdlib",
    "-mbulk-memory",
    // What is exported is said in the bindings; there is no `main`.
    "-Wl,--no-entry",
    "-Wl,--strip-debug",
    "-Wl,-z,stack-size=65536",
    // A stack that ends does so in a trap, and not in the data.
    "-Wl,--stack-first",
];

/// The generator of bindings, with a compiler for what it writes; or what is missing.
pub(crate) fn ready(workspace: &Workspace) -> Result<PathBuf> {
    setup::c()?;
    WIT_BINDGEN.ensure(workspace)
}

pub(crate) fn build_and_publish(workspace: &Workspace, generator: &Path) -> Result<()> {
    for (name, world) in PLUGINS {
        let module = build(workspace, generator, name, world)?;
        let place = workspace.plugin_directory().join(format!("{name}.wasm"));
        if publish(&module, &place)? {
            eprintln!("plugins: wrote {}", place.display());
        }
    }
    Ok(())
}

fn build(workspace: &Workspace, generator: &Path, name: &str, world: &str) -> Result<PathBuf> {
    let own = workspace.root.join("plugins").join(name);
    let made = workspace.target.join("c-plugins").join(name);
    // Its own interface, and the contract as a package that it depends on.
    let wit = made.join("wit");
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).with_context(|| format!("could not copy {}", from.display()))
    };
    fs::create_dir_all(wit.join("deps"))?;
    copy(&own.join(format!("{world}.wit")), &wit.join(format!("{world}.wit")))?;
    copy(&workspace.root.join("schemas/wit/plugin.wit"), &wit.join("deps/plugin.wit"))?;
    let mut bind = Command::new(generator);
    bind.args(["c", "--out-dir"]).arg(&made).args(["--world", world]).arg(&wit);
    // It lists what it writes.
    process::output(&mut bind)?;
    let module = made.join(format!("{name}.wasm"));
    let mut clang = Command::new("clang");
    clang.args(FLAGS).arg("-I").arg(own.join("libc")).arg("-I").arg(&made).arg("-o").arg(&module);
    clang.arg(own.join("plugin.c")).arg(own.join("libc/memory.c"));
    clang.arg(made.join(format!("{world}.c"))).arg(made.join(format!("{world}_component_type.o")));
    process::run(&mut clang)?;
    Ok(module)
}
