//! Rows as they cross the boundary: Arrow IPC, the schema once, then bare record-batch messages.
//!
//! What comes from a guest is read as if it came from an enemy, and all of it by one decoder:
//! [`message`] checks the framing, [`schema`] and [`rows`] make types and arrays of what the
//! metadata says. Every length is held against the bytes that are there before anything is
//! allocated, every type is one that crosses the boundary, and the arrays pass Arrow's own full
//! validation. Arrow's readers are for files that a writer made: given others, they panic, or
//! allocate what a length says. Rows come uncompressed, so a message bounds what is made of it.

mod encode;
mod message;
mod rows;
mod schema;

pub(crate) use encode::Encoder;
pub(crate) use rows::{Decoder, decode_stream};
pub(crate) use schema::{decode_schema, is_encoded};
