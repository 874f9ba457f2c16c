//! `tidemill check`.

use super::arguments::JobArguments;
use super::{ENDED_WELL, FAILED, REFUSED, complain};
use crate::job::Job;
use crate::query::{PrepareError, Prepared, Shared};

pub(super) fn check(arguments: &JobArguments) -> u8 {
    let shared = Shared::new(false);
    let mut code = ENDED_WELL;
    for path in &arguments.jobs {
        let checked = Job::read(path, &arguments.overrides)
            .map_err(PrepareError::from)
            .and_then(|job| prepare(job, &shared));
        match checked {
            Ok(prepared) => {
                let schema = tidemill_codec::format_schema(&prepared.plan().schema());
                println!("{}: ok", path.display());
                println!("  query   {} ({})", prepared.job().name, prepared.job().output_mode);
                println!("  result  {schema}");
                for operator in prepared.plan().operators() {
                    let key = tidemill_codec::format_schema(&operator.key);
                    println!(
                        "  state   {} by {}",
                        operator.name,
                        key.replace("__window_start", "window.start")
                    );
                }
            }
            Err(error) => {
                complain(&error);
                code = code.max(if error.is_retryable() { FAILED } else { REFUSED });
            }
        }
    }
    code
}

/// Plans a job. Planning is brief and asks no one else, so a runtime of its own will do.
pub(super) fn prepare(job: Job, shared: &Shared) -> Result<Prepared, PrepareError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| PrepareError::Invalid(format!("no runtime to plan on: {error}")))?;
    runtime.block_on(Prepared::new(job, shared))
}
