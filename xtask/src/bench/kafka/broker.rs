//! The broker of a benchmark to which none was named.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::peers;
use crate::services::kafka::{Instance, Wanted};
use crate::workspace::Workspace;

const NAME: &str = "bench";
const WANTED: Wanted = Wanted { port: Some(19392), secure: false };

/// Of a process that a signal ended, by the shells' custom.
const INTERRUPTED: i32 = 130;

/// A broker that is wiped when it is dropped, or when a signal ends us: its topics are gigabytes.
pub(in crate::bench) struct Broker<'a> {
    instance: Instance<'a>,
}

impl<'a> Broker<'a> {
    pub(in crate::bench) fn start(workspace: &'a Workspace) -> Result<Broker<'a>> {
        let broker = Broker { instance: Instance::named(workspace, NAME)? };
        // One that was killed could not.
        broker.instance.wipe()?;
        end_on_signals(Some(workspace.clone()))?;
        broker.instance.start(WANTED)?;
        Ok(broker)
    }

    pub(in crate::bench) fn bootstrap(&self) -> Result<String> {
        let listeners = self.instance.listeners().context("a broker that runs has a port")?;
        Ok(listeners.plaintext())
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        wipe(&self.instance);
    }
}

/// A signal ends the peer that runs, and wipes the broker, before it ends us.
pub(in crate::bench) fn end_on_signals(broker_of: Option<Workspace>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            peers::end_running();
            if let Some(workspace) = &broker_of
                && let Ok(instance) = Instance::named(workspace, NAME)
            {
                wipe(&instance);
            }
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}

fn wipe(instance: &Instance<'_>) {
    if let Err(error) = instance.wipe() {
        eprintln!("bench: the broker {NAME} could not be wiped: {error:#}");
    }
}
