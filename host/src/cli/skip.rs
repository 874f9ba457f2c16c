//! `tidemill skip`: a batch that cannot be processed is passed over.

use std::sync::Arc;

use tidemill_core::{BatchId, Secrets};
use tidemill_engine::{QueryEvent, StopSignal, Unfinished};

use super::arguments::{ProgressArgument, SkipArguments};
use super::check::{code_of, prepare};
use super::report::Reporter;
use super::{ENDED_WELL, FAILED, REFUSED, complain, logging};
use crate::job::Job;
use crate::query::{Shared, StartError};

/// Commits the batch without its rows, and runs no other.
pub(super) fn skip(arguments: &SkipArguments) -> u8 {
    let nothing = Secrets::default();
    let asked = logging::filter().and_then(|filter| Ok((filter, arguments.changes.parsed()?)));
    let (filter, overrides) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            complain(&nothing, &error);
            return REFUSED;
        }
    };
    let job = match Job::read(&arguments.job, &overrides) {
        Ok(job) => job,
        Err(error) => {
            complain(&nothing, &error);
            return code_of(error.is_retryable());
        }
    };
    let secrets = job.secrets.clone();
    logging::start(filter, None, &secrets);
    match skipped(job, BatchId(arguments.batch)) {
        Ok(code) => code,
        Err(error) => {
            complain(&secrets, &error);
            code_of(error.is_retryable())
        }
    }
}

fn skipped(job: Job, batch: BatchId) -> Result<u8, StartError> {
    let secrets = job.secrets.clone();
    let reporter = Arc::new(Reporter::new(&job, true, ProgressArgument::None));
    let mut prepared = prepare(job, &Shared::new(false))?;
    prepared.settle(Unfinished::Skip(batch))?;
    let on_event = Box::new(move |event: QueryEvent<'_>| reporter.tell(&event));
    let mut query = prepared.start(StopSignal::new(), on_event)?;
    Ok(match query.settle() {
        Ok(()) => ENDED_WELL,
        Err(error) => {
            complain(&secrets, &error);
            FAILED
        }
    })
}
