//! Kafka, on a real broker that `cargo xtask test` starts.

mod broker;
mod crash;
mod example;
mod jobs;
mod places;
mod security;
mod sink;
mod source;
