//! From bytes to a module, and why not.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_core::{PluginFailure, PluginModule, Shape};
use tidemill_plugin_host::{CacheLocation, HostOptions, LoadProblem, PluginConfig, PluginHost};
use wit_component::ComponentEncoder;

use crate::support::{config, context, guest, host, load, noted, one, refused, table};

#[test]
fn bytes_that_are_not_wasm_are_shown() {
    let error = refused("p", b"#!/bin/sh\n", config());
    assert_eq!(
        error.to_string(),
        "plugin \"p\": the file is not WebAssembly: it begins with \"#!/bin/s\"; name the .wasm \
         file that `cargo build --target wasm32-unknown-unknown` makes"
    );
}

#[test]
fn a_module_that_does_not_end_is_refused() {
    let bytes = guest("orders");
    let error = refused("p", &bytes[..bytes.len() / 3], config());
    assert!(matches!(error.problem, LoadProblem::Compile(_)), "{error}");
}

#[test]
fn wasm_that_is_no_plugin_is_told_apart() {
    let error = refused("p", &wat::parse_str("(module)").unwrap(), config());
    assert!(matches!(error.problem, LoadProblem::NoPlugin { .. }), "{error}");
}

#[test]
fn an_import_that_no_plugin_gets_is_named() {
    let module = r#"(module (import "wasi_snapshot_preview1" "clock_time_get" (func)))"#;
    let error = refused("p", &wat::parse_str(module).unwrap(), config());
    assert!(
        error.to_string().contains("imports `wasi_snapshot_preview1`, which no plugin gets"),
        "{error}"
    );
}

#[test]
fn direct_use_of_targets_has_to_be_granted() {
    let error = refused("p", &guest("faulty"), PluginConfig::default());
    assert_eq!(
        error.to_string(),
        "plugin \"p\": it calls targets directly, and the job grants none; list them in `targets` \
         of [plugin.p]"
    );
    // Those that only write tables do not import it.
    assert!(host().load("p", &guest("orders"), PluginConfig::default()).is_ok());
}

#[test]
fn a_ready_component_is_taken_too() {
    let module = guest("flights");
    let component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let module = host().load("flights", &component, config()).unwrap();
    let delays = table([("m", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    assert_eq!(one(&module, "delay_class", &delays).num_rows(), 1);
}

fn misuse(function: &str, columns: &[(&str, DataType)]) -> String {
    let columns = columns.iter().map(|(name, ty)| Field::new(*name, ty.clone(), true));
    let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    let module = load("orders", config());
    let error = module.shape(function, Arc::clone(&schema)).unwrap_err();
    let shape = Shape::of_all(&schema, Arc::clone(&schema));
    let opened = module.open(function, &context(0), schema, &shape).err().unwrap();
    assert_eq!(error.failure, opened.failure);
    match error.failure {
        PluginFailure::Signature(told) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_function_that_is_not_there_is_told_with_those_that_are() {
    let told = "there is no such function; the module has with_tax, normalise, deliver";
    assert_eq!(misuse("with_taxes", &[]), told);
}

#[test]
fn columns_that_do_not_fit_are_told() {
    assert_eq!(
        misuse("with_tax", &[("a", DataType::Utf8)]),
        "argument 1 (\"amount\") is DOUBLE, and got STRING; cast it in SQL"
    );
    assert_eq!(misuse("with_tax", &[]), "takes 1 arguments (amount DOUBLE), and got 0");
    assert_eq!(
        misuse("normalise", &[("amount", DataType::Int64)]),
        "wants column \"amount\" as DOUBLE, and it is BIGINT; cast it in a step before"
    );
    assert_eq!(
        misuse("normalise", &[("amount", DataType::Float64)]),
        "wants a column \"category\", and the rows have (amount DOUBLE)"
    );
}

#[test]
fn a_module_is_compiled_once_for_each_digest() {
    let directory = tempfile::tempdir().unwrap();
    let cache = CacheLocation::Directory(directory.path().join("a").join("b"));
    let options = HostOptions { dev: true, cache };
    let load =
        |bytes: &[u8]| PluginHost::new(&options).unwrap().load("p", bytes, config()).unwrap();
    let files = || {
        let entries = fs::read_dir(directory.path().join("a").join("b")).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.map(|e| (e.path(), e.metadata().unwrap().modified().unwrap())).collect();
        files.sort();
        files
    };
    let bytes = guest("flights");
    load(&bytes);
    let compiled = files();
    assert_eq!(compiled.len(), 1);
    load(&bytes);
    assert_eq!(files(), compiled, "the second load compiled again");

    // A file that was damaged is not used, and not kept.
    let mut damaged = fs::read(&compiled[0].0).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&compiled[0].0, &damaged).unwrap();
    load(&bytes);
    assert_ne!(fs::read(&compiled[0].0).unwrap(), damaged);

    load(&noted(bytes, "another digest"));
    assert_eq!(files().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_cache_that_others_can_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let cache = CacheLocation::Directory(directory.path().to_owned());
    let host = PluginHost::new(&HostOptions { dev: true, cache }).unwrap();
    host.load("p", &guest("flights"), config()).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_cache_in_whose_place_others_can_put_another_is_not_used() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let directory = tempfile::tempdir().unwrap();
    let above = directory.path().join("above");
    let inside = above.join("a").join("b");
    fs::create_dir_all(&inside).unwrap();
    let link = directory.path().join("link");
    symlink(&inside, &link).unwrap();
    let kept = |mode, cache: &std::path::Path| {
        fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
        let cache = CacheLocation::Directory(cache.to_owned());
        let host = PluginHost::new(&HostOptions { dev: true, cache }).unwrap();
        host.load("p", &guest("flights"), config()).unwrap();
        let files: Vec<_> =
            fs::read_dir(&inside).unwrap().map(|file| file.unwrap().path()).collect();
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
        files.len()
    };
    // Others can rename what is in `above`, whichever way leads there.
    assert_eq!(kept(0o777, &inside), 0);
    assert_eq!(kept(0o770, &inside), 0);
    assert_eq!(kept(0o777, &link), 0);
    // With the sticky bit they cannot, as in the system's folder for temporary files.
    assert_eq!(kept(0o1777, &inside), 1);
    assert_eq!(kept(0o755, &inside), 1);
    assert_eq!(kept(0o755, &link), 1);
}

#[cfg(unix)]
#[test]
fn compiled_code_is_believed_only_in_a_file_that_nobody_else_can_have_written() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let load = || {
        let cache = CacheLocation::Directory(directory.path().to_owned());
        let host = PluginHost::new(&HostOptions { dev: true, cache }).unwrap();
        host.load("p", &guest("flights"), config()).unwrap();
    };
    load();
    let file = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let moved = elsewhere.path().join("x");
    let is_plain = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        metadata.is_file() && metadata.permissions().mode() & 0o077 == 0
    };
    // It is written anew, by the user alone.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    load();
    assert!(is_plain(&file));
    fs::rename(&file, &moved).unwrap();
    symlink(&moved, &file).unwrap();
    load();
    assert!(is_plain(&file));
    fs::remove_file(&file).unwrap();
    fs::hard_link(&moved, &file).unwrap();
    load();
    fs::remove_file(&moved).unwrap();
    let kept = fs::metadata(&file).unwrap().modified().unwrap();
    load();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), kept, "compiled without need");
}

#[test]
fn other_files_beside_compiled_code_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..40 {
        fs::write(directory.path().join(format!("{n}.txt")), "of somebody else").unwrap();
        fs::write(directory.path().join(format!("{n}.cwasm")), "old").unwrap();
    }
    let cache = CacheLocation::Directory(directory.path().to_owned());
    let host = PluginHost::new(&HostOptions { dev: true, cache }).unwrap();
    host.load("p", &guest("flights"), config()).unwrap();
    let names = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let (code, others): (Vec<_>, Vec<_>) =
        names.partition(|name| name.to_string_lossy().ends_with(".cwasm"));
    assert_eq!((code.len(), others.len()), (32, 40));
}

#[test]
fn modules_of_one_host_do_not_share_their_counters() {
    let (first, second) = (load("orders", config()), load("orders", config()));
    let amounts = table([("x", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)]);
    one(&first, "with_tax", &amounts);
    assert_eq!((first.usage().calls, second.usage().calls), (1, 0));
    assert_eq!(first.digest(), second.digest());
}

/// Whether bytes are somewhere in others.
fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_module_does_not_say_where_its_libraries_were() {
    let home = std::env::var("CARGO_HOME");
    let home = home.unwrap_or_else(|_| std::env::var("HOME").unwrap() + "/.cargo");
    for name in ["orders", "faulty"] {
        assert!(!holds(&guest(name), format!("{home}/registry").as_bytes()), "{name}");
    }
}

#[test]
fn plugins_are_built_for_vector_instructions() {
    // As the linker writes it into the section `target_features`.
    assert!(holds(&guest("orders"), b"+\x07simd128"));
}
