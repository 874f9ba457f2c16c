//! The one place that runs code which this process did not compile itself.

#![allow(unsafe_code, reason = "wasmtime takes compiled code on trust; see the argument below")]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Takes compiled code from the cache.
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code was written by `Component::serialize` of an engine with the same
    // compatibility hash (it is in the file's name, and wasmtime compares version and settings
    // again), into a directory that only this user can write to or put another in the place of
    // (`cache.rs` checks the whole path up to the root), and its checksum is right.
    unsafe { Component::deserialize(engine, code) }
}
