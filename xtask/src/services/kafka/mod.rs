//! One Apache Kafka node (KRaft: broker and controller in one), run from Maven Central's jars.
//!
//! The plaintext listener has the port, the controller the next one. With `--secure` there are two
//! more: SASL_SSL with a password, and SSL with a client certificate. Topics are made when asked
//! for and never by themselves, and transactions work on the one node.

mod certificates;
mod instance;
mod properties;
mod topics;

use std::path::Path;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use self::instance::{Guard, Instance, Wanted};
use super::jars;
use crate::setup;
use crate::workspace::Workspace;

/// The broker, and what prints its log.
const COORDINATES: [&str; 2] =
    ["org.apache.kafka:kafka_2.13:4.4.0", "org.slf4j:slf4j-simple:1.7.36"];

#[derive(Subcommand)]
pub(crate) enum Chore {
    /// Fetches the broker's jars, and what runs them.
    Install,
    /// Starts a broker, waits until it answers, and prints the options for a job.
    Start(Start),
    /// Stops a broker. Its topics stay.
    Stop(Named),
    /// Says which brokers there are, and where they listen.
    Status {
        /// Only this one.
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
    },
    /// Makes topics on a broker that runs. Those that are there already stay as they are.
    Topic(Topic),
    /// Stops a broker and deletes its topics and certificates.
    Wipe(Named),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The broker's name: lower-case letters, digits and `-`.
    #[arg(long, value_name = "NAME", default_value = "dev")]
    instance: String,
}

#[derive(Args)]
pub(crate) struct Start {
    #[command(flatten)]
    named: Named,
    /// Port on loopback; the next one is the controller's. Default: as the last time, or 9092.
    #[arg(long)]
    port: Option<u16>,
    /// Listens with SASL_SSL (port + 2) and with SSL and client certificates (port + 3), too.
    #[arg(long)]
    secure: bool,
}

#[derive(Args)]
pub(crate) struct Topic {
    /// The topics' names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    #[command(flatten)]
    named: Named,
    /// Partitions of each new topic.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
}

pub(crate) fn run(workspace: &Workspace, chore: &Chore) -> Result<()> {
    match chore {
        Chore::Install => {
            install(workspace)?;
            eprintln!("kafka: everything is in place");
            Ok(())
        }
        Chore::Start(start) => {
            let instance = Instance::named(workspace, &start.named.instance)?;
            instance.start(Wanted { port: start.port, secure: start.secure })?;
            instance.report()
        }
        Chore::Stop(named) => Instance::named(workspace, &named.instance)?.stop(),
        Chore::Topic(topic) => {
            let names: Vec<&str> = topic.names.iter().map(String::as_str).collect();
            let instance = Instance::named(workspace, &topic.named.instance)?;
            instance.create_topics(&names, topic.partitions)
        }
        Chore::Wipe(named) => Instance::named(workspace, &named.instance)?.wipe(),
        Chore::Status { instance: Some(name) } => Instance::named(workspace, name)?.report(),
        Chore::Status { instance: None } => {
            let instances = Instance::all(workspace)?;
            if instances.is_empty() {
                eprintln!("kafka: there is no broker; `cargo xtask kafka start` makes one");
            }
            instances.iter().try_for_each(Instance::report)
        }
    }
}

/// Gets what a broker needs: Java, Maven, OpenSSL and the jars.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    setup::broker()?;
    jars::ensure(&jars_in(&folder(workspace)), &COORDINATES)
}

fn folder(workspace: &Workspace) -> std::path::PathBuf {
    workspace.target.join("services")
}

fn jars_in(folder: &Path) -> std::path::PathBuf {
    folder.join("kafka-jars")
}
