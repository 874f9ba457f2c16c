//! The checkpoint, through its public door.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod disk;
mod fixture;
mod fold;
mod head;
mod log;
mod past;
mod replan;
mod snapshot;
mod state;
mod support;
