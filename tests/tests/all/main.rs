//! Tests of the whole, in one binary (each one links the world).

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod crash;
mod crash_points;
mod faults;
mod orders;
mod refused;
mod reload;
mod repeat;
mod spark;
mod tidy;
