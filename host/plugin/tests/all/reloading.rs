//! The file changes while the query runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use tempfile::TempDir;
use tidemill_core::{Digest, FunctionKind, PluginModule};
use tidemill_plugin_host::{Chooser, LoadProblem, Module, Reloader, UsedFunction};

use crate::support::{Opened, config, guest, host, noted, table};

/// Long enough to compile a module on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    directory: TempDir,
    bytes: Vec<u8>,
    module: Arc<Module>,
    reloader: Reloader,
}

/// A query that uses `with_tax` of the plugin "orders".
fn running() -> Running {
    running_with(DataType::Float64)
}

fn running_with(output: DataType) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders.wasm");
    let bytes = guest("orders");
    fs::write(&path, &bytes).unwrap();
    let module = host().load_file("orders", &path, config()).unwrap();
    let schema = |name, ty| Arc::new(Schema::new(vec![Field::new(name, ty, true)]));
    let uses = vec![UsedFunction {
        name: "with_tax".to_owned(),
        kind: FunctionKind::Scalar,
        input: schema("x", DataType::Float64),
        output: Some(schema("with_tax", output)),
    }];
    let seen = module.digest();
    let reloader = Reloader::new(host(), ("orders", &path), config(), seen, uses, None).unwrap();
    Running { directory, bytes, module, reloader }
}

impl Running {
    fn path(&self) -> PathBuf {
        self.directory.path().join("orders.wasm")
    }

    fn next(&self) -> Result<Arc<Module>, LoadProblem> {
        let next = self.reloader.wait_ready(PATIENCE).expect("the change was not seen");
        next.map_err(|error| error.problem)
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, path).unwrap();
}

fn amounts() -> RecordBatch {
    table([("x", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)])
}

#[test]
fn a_file_that_is_written_or_replaced_is_loaded() {
    let running = running();
    assert!(running.reloader.take_ready().is_none());
    let mut digests = vec![running.module.digest()];
    // An instance of the old module lives through all of it.
    let mut old = Opened::new(&running.module, "with_tax", 0, amounts().schema()).unwrap();

    fs::write(running.path(), noted(running.bytes.clone(), "written")).unwrap();
    digests.push(running.next().unwrap().digest());
    replace(&running.path(), &noted(running.bytes.clone(), "replaced"));
    let newest = running.next().unwrap();
    digests.push(newest.digest());

    digests.dedup();
    assert_eq!(digests.len(), 3);
    assert_eq!(old.call(&amounts()).unwrap().batches[0].num_rows(), 1);
    let mut new = Opened::new(&newest, "with_tax", 1, amounts().schema()).unwrap();
    assert_eq!(new.call(&amounts()).unwrap().batches[0].num_rows(), 1);
    assert!(running.reloader.take_ready().is_none(), "it was taken");
}

#[test]
fn a_bad_file_is_refused_and_the_next_good_one_taken() {
    let running = running();
    fs::write(running.path(), "half a fi").unwrap();
    assert!(matches!(running.next(), Err(LoadProblem::NotWasm { .. })));
    replace(&running.path(), &noted(running.bytes.clone(), "mended"));
    assert!(running.next().is_ok());
}

#[test]
fn a_module_without_a_function_that_is_used_is_refused() {
    let running = running();
    replace(&running.path(), &guest("flights"));
    let told = match running.next() {
        Err(LoadProblem::Unfit(told)) => told,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    };
    assert_eq!(
        told,
        "the new version does not fit the query's use of \"with_tax\": there is no such function; \
         the module has delay_class"
    );
}

#[test]
fn a_module_whose_function_gives_other_columns_is_refused() {
    let running = running_with(DataType::Float32);
    replace(&running.path(), &noted(running.bytes.clone(), "other"));
    let told = match running.next() {
        Err(LoadProblem::Unfit(told)) => told,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    };
    assert!(told.contains("gives the columns (with_tax DOUBLE)"), "{told}");
    assert!(told.contains("planned for (with_tax FLOAT)"), "{told}");
}

#[test]
fn a_file_that_did_not_change_is_not_loaded() {
    let running = running();
    replace(&running.path(), &running.bytes);
    fs::write(running.directory.path().join("other.wasm"), "another file").unwrap();
    // Loading it from the cache would take a tenth of this.
    let moment = Duration::from_secs(1);
    assert!(running.reloader.wait_ready(moment).is_none());
}

#[test]
fn somebody_may_want_other_bytes_than_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("orders.wasm"), directory.path().join("choices"));
    let (first, kept) = (guest("orders"), noted(guest("orders"), "kept"));
    fs::write(&path, &first).unwrap();
    // The file `choices` says which bytes of the plugin's file are not wanted.
    let (choices, wanted) = (file.clone(), kept.clone());
    let choose = move |found: Option<Digest>| {
        let Ok(unwanted) = fs::read_to_string(&choices) else { return Ok(None) };
        if unwanted == "?" {
            return Err("it cannot be read".to_owned());
        }
        Ok(found.filter(|found| found.to_string() == unwanted).map(|_| wanted.clone()))
    };
    let chooser = Chooser { file: file.clone(), choose: Box::new(choose) };
    let seen = Digest::of(&first);
    let reloader =
        Reloader::new(host(), ("orders", &path), config(), seen, Vec::new(), Some(chooser));
    let reloader = reloader.unwrap();
    let next = || reloader.wait_ready(PATIENCE).expect("the change was not seen").unwrap().digest();
    replace(&file, seen.to_string().as_bytes());
    assert_eq!(next(), Digest::of(&kept));
    let second = noted(first.clone(), "second");
    replace(&path, &second);
    assert_eq!(next(), Digest::of(&second));
    replace(&path, &first);
    assert_eq!(next(), Digest::of(&kept));
    // Where nobody knows, what runs goes on.
    replace(&file, b"?");
    let refused = reloader.wait_ready(PATIENCE).expect("the change was not seen").err().unwrap();
    assert!(refused.to_string().contains("cannot be used: it cannot be read"), "{refused}");
    fs::remove_file(&file).unwrap();
    assert_eq!(next(), seen);
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let path = Path::new("/no/such/directory/orders.wasm");
    let seen = Digest::of(b"");
    let reloader = Reloader::new(host(), ("orders", path), config(), seen, Vec::new(), None);
    let error = reloader.err().unwrap();
    let told = error.to_string();
    assert!(told.starts_with("plugin \"orders\": could not read /no/such/directory"), "{told}");
}
