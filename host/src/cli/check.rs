//! `tidemill check`.

use std::fmt::Write;

use tidemill_core::Secrets;

use super::arguments::JobArguments;
use super::{ENDED_WELL, FAILED, REFUSED, complain, logging};
use crate::job::Job;
use crate::print::print;
use crate::query::{PrepareError, Prepared, Shared, plan_now};

pub(super) fn check(arguments: &JobArguments) -> u8 {
    let (filter, overrides) = match logging::filter().and_then(|f| Ok((f, arguments.overrides()?)))
    {
        Ok(asked) => asked,
        Err(error) => {
            complain(&Secrets::default(), &error);
            return REFUSED;
        }
    };
    let jobs: Vec<_> = arguments.jobs.iter().map(|path| Job::read(path, &overrides)).collect();
    let mut secrets = Secrets::default();
    jobs.iter().flatten().for_each(|job| secrets.extend(&job.secrets));
    logging::start(filter, None, &secrets);
    let shared = Shared::new(false);
    let mut code = ENDED_WELL;
    for job in jobs {
        let checked = job
            .map_err(PrepareError::from)
            .and_then(|job| prepare(job, &shared))
            .and_then(|prepared| prepared.compare_places().map(|()| prepared));
        let outcome = match checked {
            Ok(prepared) => match print(&secrets.conceal(&findings(&prepared))) {
                Ok(()) => ENDED_WELL,
                Err(error) => {
                    complain(&secrets, &format!("standard output cannot be written: {error}"));
                    FAILED
                }
            },
            Err(error) => {
                complain(&secrets, &error);
                code_of(error.is_retryable())
            }
        };
        code = code.max(outcome);
    }
    code
}

/// Who starts us again need not wait for anybody to mend the job.
pub(super) fn code_of(is_retryable: bool) -> u8 {
    if is_retryable { FAILED } else { REFUSED }
}

fn findings(prepared: &Prepared) -> String {
    let (job, plan) = (prepared.job(), prepared.plan());
    let schema = tidemill_types::format_schema(&plan.schema());
    let mut text = format!(
        "{}: ok\n  query   {} ({})\n  result  {schema}\n",
        job.path.display(),
        job.name,
        job.output_mode
    );
    for (table, found) in prepared.found() {
        if found.columns.fields().is_empty() {
            continue;
        }
        let columns = tidemill_types::format_schema(&found.columns);
        // Writing to a string does not fail.
        let _ = writeln!(text, "  found   in the files of {table}: {columns}");
    }
    for operator in plan.operators() {
        let key = tidemill_types::format_schema(&operator.key);
        let key = key.replace("__window_start", "window.start");
        let _ = writeln!(text, "  state   {} by {key}", operator.name);
    }
    text
}

/// Plans a job.
pub(super) fn prepare(job: Job, shared: &Shared) -> Result<Prepared, PrepareError> {
    plan_now(Prepared::new(job, shared))?
}
