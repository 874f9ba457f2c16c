//! One Apache Kafka node (KRaft: broker and controller in one), run from Maven Central's jars.
//!
//! The plaintext listener has the port, the controller the next one. With `--secure` there are two
//! more: SASL_SSL with a password, and SSL with a client certificate. Topics are never made by
//! themselves, and transactions work on the one node.

mod certificates;
mod instance;
mod properties;

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
