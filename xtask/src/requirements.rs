//! What the tests need beside cargo: a list to which servers can be added.
//!
//! A requirement is either met (by then it is built, installed, started) or cannot be had on this
//! machine. In the second case the tests that need it are left out, and that is said; where `CI`
//! is set it is a failure, because nobody reads what is said there.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};

use crate::c_plugins;
use crate::plugins::{self, Profile};
use crate::services::kafka;
use crate::setup;
use crate::workspace::Workspace;

/// Something that tests need.
struct Requirement {
    name: &'static str,
    /// Packages of which no test can run without it. Tests of others ask `TIDEMILL_WITHOUT`.
    packages: &'static [&'static str],
    ensure: for<'a> fn(&'a Workspace) -> Result<Availability<'a>>,
}

enum Availability<'a> {
    Ready(Provided<'a>),
    Unavailable(String),
}

/// What a requirement gives the tests.
#[derive(Default)]
struct Provided<'a> {
    /// Environment variables.
    variables: Vec<(&'static str, OsString)>,
    /// Runs as long as the tests do.
    server: Option<kafka::Guard<'a>>,
}

const REQUIREMENTS: [Requirement; 3] = [
    Requirement {
        name: "plugins",
        packages: &["tidemill-plugin-host", "tidemill-tests"],
        ensure: built_plugins,
    },
    Requirement { name: "clang", packages: &[], ensure: built_c_plugins },
    Requirement { name: "kafka", packages: &[], ensure: broker },
];

/// The tests' broker. The port lies below those that the kernel gives to outgoing connections.
const BROKER: (&str, kafka::Wanted) = ("test", kafka::Wanted { port: Some(19192), secure: true });

/// What the tests get. Servers that were started for them end when it is dropped.
#[derive(Default)]
pub(crate) struct Supplies<'a> {
    /// Names of the requirements that cannot be had. Tests read them from `TIDEMILL_WITHOUT`,
    /// separated by commas.
    pub(crate) missing: Vec<&'static str>,
    /// Packages whose tests are left out.
    pub(crate) left_out: Vec<&'static str>,
    /// Environment variables for the tests.
    pub(crate) variables: Vec<(&'static str, OsString)>,
    servers: Vec<kafka::Guard<'a>>,
}

/// Gets all that the tests need, as far as that is possible.
pub(crate) fn ensure_all(workspace: &Workspace) -> Result<Supplies<'_>> {
    let mut supplies = Supplies::default();
    for &Requirement { name, packages, ensure } in &REQUIREMENTS {
        let reason = match ensure(workspace)? {
            Availability::Ready(provided) => {
                supplies.variables.extend(provided.variables);
                supplies.servers.extend(provided.server);
                continue;
            }
            Availability::Unavailable(reason) => reason,
        };
        let whose = match packages {
            [] => "tests that ask for it".to_owned(),
            packages => packages.join(", "),
        };
        if std::env::var_os("CI").is_some() {
            bail!("{name} cannot be had, which the tests need ({whose}): {reason}");
        }
        eprintln!("test: leaving out {whose}, for want of {name}: {reason}");
        supplies.missing.push(name);
        supplies.left_out.extend(packages);
    }
    Ok(supplies)
}

fn built_plugins(workspace: &Workspace) -> Result<Availability<'_>> {
    let guest = match setup::run() {
        Ok(guest) => guest,
        Err(error) => return Ok(Availability::Unavailable(format!("{error:#}"))),
    };
    // A plugin that does not compile is an error of the change under test.
    plugins::build_and_publish(workspace, &guest, Profile::Reload)?;
    Ok(Availability::Ready(Provided { variables: guest.variables(), server: None }))
}

fn built_c_plugins(workspace: &Workspace) -> Result<Availability<'_>> {
    let generator = match c_plugins::ready(workspace) {
        Ok(generator) => generator,
        Err(error) => return Ok(Availability::Unavailable(format!("{error:#}"))),
    };
    c_plugins::build_and_publish(workspace, &generator)?;
    Ok(Availability::Ready(Provided::default()))
}

fn broker(workspace: &Workspace) -> Result<Availability<'_>> {
    let (name, wanted) = BROKER;
    let server = match kafka::Instance::named(workspace, name)?.guard(wanted) {
        Ok(server) => server,
        Err(error) => return Ok(Availability::Unavailable(format!("{error:#}"))),
    };
    let listeners = server.instance.listeners().context("a broker that runs has a port")?;
    let variables = vec![
        ("TIDEMILL_KAFKA", listeners.plaintext().into()),
        ("TIDEMILL_KAFKA_SASL_SSL", listeners.sasl_ssl().into()),
        ("TIDEMILL_KAFKA_SSL", listeners.ssl().into()),
        ("TIDEMILL_KAFKA_TLS", server.instance.certificates().folder.into()),
        // For tests that start, stop and wipe brokers of their own.
        ("TIDEMILL_XTASK", std::env::current_exe()?.into()),
    ];
    Ok(Availability::Ready(Provided { variables, server: Some(server) }))
}
