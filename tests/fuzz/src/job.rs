//! Jobs, and the SQL in them.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tokio::runtime::{Builder, Runtime};

/// A job around one step. The SQL is put in by a literal text of TOML, which has no escapes.
const AROUND: &str = "
[source.a]
format = \"rate\"
watermark = { column = \"timestamp\", delay = \"1 minute\" }
[source.b]
format = \"json\"
path = \"input\"
schema = \"k BIGINT, s STRING, d DOUBLE, t TIMESTAMP, xs ARRAY<INT>, o STRUCT<p: STRING>, n DECIMAL(10,2)\"
[sink]
format = \"noop\"
[[step]]
name = \"q\"
sql = '''
";

/// The text of a job file.
pub(crate) fn job(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        within(text, |path| drop(Job::read(path, &[])));
    }
}

/// The SQL of a step, as far as the plan that is kept.
pub(crate) fn sql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let text = format!("{AROUND}{}\n'''\n", text.replace("'''", "''"));
    within(&text, |path| {
        if let Ok(job) = Job::read(path, &[]) {
            let _ = runtime().block_on(Prepared::new(job, &Shared::new(false)));
        }
    });
}

fn within(text: &str, read: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("input")).expect("a folder in it");
    let path = folder.path().join("job.toml");
    fs::write(&path, text).expect("a temporary file");
    read(&path);
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().enable_all().build().expect("threads"))
}
