//! What the tests need beside cargo: a list to which servers can be added.
//!
//! A requirement is either met (by then it is built, installed, started) or cannot be had on this
//! machine. In the second case its packages' tests are left out, and that is said; where `CI` is
//! set it is a failure, because nobody reads what is said there.

use anyhow::{Result, bail};

use crate::plugins::{self, Profile};
use crate::setup;
use crate::workspace::Workspace;

/// Something that tests need.
struct Requirement {
    name: &'static str,
    /// Packages whose tests cannot run without it.
    packages: &'static [&'static str],
    ensure: fn(&Workspace) -> Result<Availability>,
}

enum Availability {
    Ready,
    Unavailable(String),
}

const REQUIREMENTS: [Requirement; 1] = [Requirement {
    name: "plugins",
    packages: &["tidemill-plugin-host", "tidemill-tests"],
    ensure: built_plugins,
}];

/// What cannot be had.
#[derive(Default)]
pub(crate) struct Missing {
    /// Names of the requirements. Tests read them from `TIDEMILL_WITHOUT`, separated by commas.
    pub(crate) names: Vec<&'static str>,
    /// Packages whose tests are left out.
    pub(crate) packages: Vec<&'static str>,
}

/// Gets all that the tests need, as far as that is possible.
pub(crate) fn ensure_all(workspace: &Workspace) -> Result<Missing> {
    let mut missing = Missing::default();
    for requirement in &REQUIREMENTS {
        let Availability::Unavailable(reason) = (requirement.ensure)(workspace)? else {
            continue;
        };
        let (name, packages) = (requirement.name, requirement.packages.join(", "));
        if std::env::var_os("CI").is_some() {
            bail!("{name} cannot be had, which the tests of {packages} need: {reason}");
        }
        eprintln!("test: leaving out {packages}, for want of {name}: {reason}");
        missing.names.push(name);
        missing.packages.extend(requirement.packages);
    }
    Ok(missing)
}

fn built_plugins(workspace: &Workspace) -> Result<Availability> {
    let guest = match setup::run() {
        Ok(guest) => guest,
        Err(error) => return Ok(Availability::Unavailable(format!("{error:#}"))),
    };
    // A plugin that does not compile is an error of the change under test.
    plugins::build_and_publish(workspace, &guest, Profile::Reload)?;
    Ok(Availability::Ready)
}
