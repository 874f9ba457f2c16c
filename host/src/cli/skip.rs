//! `tidemill skip`: a batch that cannot be processed is passed over.

use std::sync::Arc;

use tidemill_core::BatchId;
use tidemill_engine::{QueryEvent, StopSignal, Unfinished};

use super::arguments::{ProgressArgument, SkipArguments};
use super::check::{code_of, prepare};
use super::report::Reporter;
use super::{ENDED_WELL, FAILED, complain, job_of};
use crate::job::Job;
use crate::query::{Shared, StartError};

/// Commits the batch without its rows, and runs no other.
pub(super) fn skip(arguments: &SkipArguments) -> u8 {
    let job = match job_of(&arguments.job, &arguments.changes) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let secrets = job.secrets.clone();
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
