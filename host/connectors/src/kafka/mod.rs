//! `kafka`: topics of Kafka as a source and as a sink.
//!
//! ```text
//!  source.rs   which offsets a batch reads          sink.rs      rows become records
//!     |   \                                            |
//!     |    watch.rs  partitions come and go            |
//!     |                                                |
//!  reader.rs   records become columns                  |
//!     |                                                |
//!  fetch.rs    partitions are fetched ahead            |
//!      \________________ native.rs ___________________/    calls of librdkafka
//! ```
//!
//! The source joins no consumer group and commits no offsets to Kafka: the query's checkpoint
//! says what was read.

mod client;
mod columns;
mod fetch;
mod link;
mod native;
mod offsets;
mod outgoing;
mod reader;
mod settings;
mod sink;
mod source;
mod watch;

pub(crate) use settings::SECRETS;
pub use settings::names_file;
pub(crate) use sink::KafkaSinkPlan;
pub(crate) use source::KafkaPlan;
