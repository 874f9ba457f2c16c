//! The other side of the Kafka benchmark: fills topics, measures a job's latency from outside, and
//! reads a topic with the bare client, for comparison. `cargo xtask bench --kafka` drives it.
//!
//! ```sh
//! cargo run --release -p tidemill-connectors --example kafka_load -- load \
//!     --bootstrap localhost:9092 --topic orders --partitions 4 --rows 5000000 --orders target/bench/orders
//! ```
//!
//! Each command prints one JSON object.

#![allow(clippy::disallowed_methods, reason = "it measures by the clock, and nothing is replayed")]

mod consume;
mod load;
mod orders;
mod probe;
mod topics;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What can go wrong here ends the command.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a topic.
    Create {
        #[command(flatten)]
        topic: Topic,
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// The broker stamps records with the time at which it has them.
        #[arg(long)]
        append_time: bool,
    },
    /// Deletes a topic.
    Delete {
        #[command(flatten)]
        topic: Topic,
    },
    /// Makes a topic and writes orders to it, as fast as it can.
    Load {
        #[command(flatten)]
        topic: Topic,
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        #[arg(long)]
        rows: u64,
        #[command(flatten)]
        orders: Orders,
    },
    /// Writes orders at a rate and takes the time until the job's rows for them are in the output.
    Probe {
        #[arg(long)]
        bootstrap: String,
        #[arg(long)]
        input: String,
        /// A topic made with `--append-time`.
        #[arg(long)]
        output: String,
        /// Rows a second.
        #[arg(long)]
        rate: u64,
        #[arg(long)]
        seconds: u64,
        /// Seconds of the same load before that, which do not count.
        #[arg(long, default_value_t = 0)]
        warm_up: u64,
        #[command(flatten)]
        orders: Orders,
    },
    /// Reads a topic once to its end with the plain client.
    Consume {
        #[command(flatten)]
        topic: Topic,
    },
}

#[derive(Args)]
struct Topic {
    #[arg(long)]
    bootstrap: String,
    #[arg(long = "topic")]
    name: String,
}

#[derive(Args)]
struct Orders {
    /// A directory with files of orders, one JSON object a line, as the benchmark makes them.
    #[arg(long = "orders")]
    directory: PathBuf,
}

fn main() -> Result<()> {
    let report = match Arguments::parse().command {
        Command::Create { topic, partitions, append_time } => {
            topics::create(&topic, partitions, append_time)?;
            serde_json::json!({ "topic": topic.name })
        }
        Command::Delete { topic } => {
            topics::delete(&topic)?;
            serde_json::json!({ "topic": topic.name })
        }
        Command::Load { topic, partitions, rows, orders } => {
            load::load(&topic, partitions, rows, &orders.directory)?
        }
        Command::Probe { bootstrap, input, output, rate, seconds, warm_up, orders } => {
            let probe = probe::Probe { bootstrap, input, output, rate, seconds, warm_up };
            probe.run(&orders.directory)?
        }
        Command::Consume { topic } => consume::consume(&topic)?,
    };
    println!("{report}");
    Ok(())
}
