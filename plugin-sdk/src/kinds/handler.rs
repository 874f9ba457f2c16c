//! Handlers: a function gets a batch and delivers it.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::bindings::exports::tidemill::plugin::handlers::{Guest, Handle};
use crate::bindings::tidemill::plugin::types::{Failure, FunctionKind};
use crate::exports::{Exports, Functions, with};
use crate::kinds::{Body, Called, Declared, Opened};
use crate::{BatchContext, DataFrame, Result};

/// A function with `#[foreach_batch]`.
#[derive(Clone, Copy)]
pub struct Handler(pub fn(DataFrame, &BatchContext) -> Result<()>);

impl Body for Handler {
    fn declared(&self) -> Declared {
        Declared::of(FunctionKind::ForeachBatch)
    }

    fn open(self: Box<Handler>, _input: &SchemaRef) -> Result<Opened> {
        Ok(Opened::making(Arc::new(Schema::empty()), Vec::new(), *self))
    }
}

impl Called for Handler {
    const KIND: &'static str = "a foreach_batch handler";
}

impl<P: Functions> Guest for Exports<P> {
    fn call(opened: u32, batch: Handle) -> Result<(), Failure> {
        with(opened, |handler: &mut Handler, context| {
            (handler.0)(DataFrame::of_batch(batch), context)
        })
    }
}
