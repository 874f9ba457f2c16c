//! What takes bytes from outside, each as a function over any bytes that must not panic, hang or
//! take more memory than it may.
//!
//! A target is run in two ways: over the files in `corpus/<name>/` with every `cargo xtask test`,
//! and by a fuzzer that makes up more of them (`cargo xtask fuzz`). What a fuzzer found goes into
//! the corpus, so that it stays mended.

mod checkpoint;
mod files;
mod guest;
mod job;
mod mutate;
mod owner;
mod plugin;
mod text;

pub use mutate::mutated;

/// Something that takes bytes from outside.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Takes them. A panic is a find; so is a run that does not end.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target { name: "answers", run: plugin::answers },
    Target { name: "csv", run: files::csv },
    Target { name: "ddl", run: text::ddl },
    Target { name: "guest", run: guest::rows },
    Target { name: "head", run: checkpoint::head },
    Target { name: "job", run: job::job },
    Target { name: "json", run: text::json },
    Target { name: "json_file", run: files::json },
    Target { name: "module", run: plugin::module },
    Target { name: "owner", run: owner::owner },
    Target { name: "parquet", run: files::parquet },
    Target { name: "segment", run: checkpoint::segment },
    Target { name: "snapshot", run: checkpoint::snapshot },
    Target { name: "sql", run: job::sql },
    Target { name: "state", run: plugin::state },
    Target { name: "tail", run: checkpoint::tail },
];

/// Runs one by its name.
///
/// # Panics
/// There is none of that name; or the target found something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target is named {name}")).run)(bytes);
}
