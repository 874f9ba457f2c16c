//! Aggregates.

use crate::Result;
use crate::bindings::exports::tidemill::plugin::aggregates::{BlockResult, Guest};
use crate::bindings::tidemill::plugin::types::{Failure, RowError};
use crate::exports::{Exports, Functions};

impl<P: Functions> Guest for Exports<P> {
    fn update(_: u32, _: Vec<u32>, _: u32, _: BlockResult) -> Result<Vec<RowError>, Failure> {
        Err(there_is_none())
    }

    fn merge(_: u32, _: Vec<u32>, _: u32, _: BlockResult) -> Result<(), Failure> {
        Err(there_is_none())
    }

    fn states(_: u32, _: u32) -> Result<(), Failure> {
        Err(there_is_none())
    }

    fn results(_: u32, _: u32) -> Result<(), Failure> {
        Err(there_is_none())
    }
}

fn there_is_none() -> Failure {
    Failure::BadInput("this plugin has no aggregate function".to_owned())
}
