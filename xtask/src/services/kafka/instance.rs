//! A broker with its folder, and its life: started, found again, stopped, wiped.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::daemon::Daemon;
use super::super::{TICK, lock, ports};
use super::certificates::Certificates;
use super::properties::{self, Configuration, Listeners, PASSWORD, USER};
use super::{folder, install, jars_in, topics};
use crate::process;
use crate::workspace::Workspace;

const DEFAULT_PORT: u16 = 9092;

/// The last port whose three successors are ports, too.
const PORT_MAX: u16 = u16::MAX - 3;

/// How long a broker may take to answer: seven seconds on two idle cores, more beside a compiler.
const START: Duration = Duration::from_secs(180);

/// How long it may take to end by itself. It takes two.
const STOP: Duration = Duration::from_secs(30);

/// The broker's last word before it answers.
const STARTED: &str = "Kafka Server started";

/// Lines of the log that an error repeats.
const TAIL_LINES: usize = 20;

/// The folders' names begin with this.
const PREFIX: &str = "kafka-";

/// Small and quick to start.
const JVM: [&str; 8] = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Djava.net.preferIPv4Stack=true",
    "-Dfile.encoding=UTF-8",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
];

/// Enough for the tests' topics, and three can run beside a compiler.
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx512m"];

/// Where a broker shall listen.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Without one: as the last time, or the default.
    pub(crate) port: Option<u16>,
    pub(crate) secure: bool,
}

/// A broker by its name. It may run or not.
pub(crate) struct Instance<'a> {
    workspace: &'a Workspace,
    name: String,
    folder: PathBuf,
}

impl<'a> Instance<'a> {
    pub(crate) fn named(workspace: &'a Workspace, name: &str) -> Result<Instance<'a>> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // The jars' folder is named as a broker's would be.
        if name.is_empty() || !name.chars().all(good) || name == "jars" {
            bail!(
                "{name:?} cannot be a broker's name: lower-case letters, digits and - make one, \
                 and `jars` is taken"
            );
        }
        let folder = folder(workspace).join(format!("{PREFIX}{name}"));
        Ok(Instance { workspace, name: name.to_owned(), folder })
    }

    /// All brokers that were started and not wiped.
    pub(crate) fn all(workspace: &'a Workspace) -> Result<Vec<Instance<'a>>> {
        let mut instances = Vec::new();
        for entry in fs::read_dir(folder(workspace)).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let instance = name.strip_prefix(PREFIX).map(|name| Instance::named(workspace, name));
            if let Some(Ok(instance)) = instance
                && instance.listeners().is_some()
            {
                instances.push(instance);
            }
        }
        instances.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(instances)
    }

    /// Starts it and waits until it answers. Gives false if it ran already.
    pub(crate) fn start(&self, wanted: Wanted) -> Result<bool> {
        let _held = self.lock()?;
        if let (Some(daemon), Some(present)) = (self.daemon(), self.listeners()) {
            self.suits(present, wanted)?;
            // The chore that started it may have been ended before it answered.
            self.wait(&daemon, present)?;
            return Ok(false);
        }
        install(self.workspace)?;
        let last = self.listeners().map(|listeners| listeners.port);
        let port = wanted.port.or(last).unwrap_or(DEFAULT_PORT);
        if port == 0 || port > PORT_MAX {
            bail!("a broker cannot have the port {port}: 1 to {PORT_MAX} are possible");
        }
        let listeners = Listeners { port, secure: wanted.secure };
        ports::ensure_free(&listeners.ports(), ports::RELEASE)
            .with_context(|| format!("starting the broker {}", self.name))?;
        self.configure(listeners)?;
        if !self.data().join("meta.properties").exists() {
            self.format().with_context(|| format!("preparing {}", self.data().display()))?;
        }
        eprintln!("kafka: starting {} on {} (some 7 s)", self.name, listeners.plaintext());
        let daemon = Daemon::spawn(
            self.java().args(HEAP).arg("kafka.Kafka").arg(self.properties()),
            &self.record(),
            &self.log(),
        )?;
        self.wait(&daemon, listeners)?;
        Ok(true)
    }

    /// Starts it, and stops it again when the guard is dropped, unless it ran before.
    pub(crate) fn guard(self, wanted: Wanted) -> Result<Guard<'a>> {
        let ours = self.start(wanted)?;
        Ok(Guard { instance: self, ours })
    }

    pub(crate) fn stop(&self) -> Result<()> {
        let _held = self.lock()?;
        self.end()
    }

    /// Stops it, if it runs, and deletes all that it has.
    pub(crate) fn wipe(&self) -> Result<()> {
        let _held = self.lock()?;
        if self.daemon().is_some() {
            self.end()?;
        }
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
            eprintln!("kafka: {} is wiped", self.name);
        }
        Ok(())
    }

    /// Makes those of the topics that are not there, and says which.
    pub(crate) fn create_topics(&self, names: &[&str], partitions: i32) -> Result<()> {
        let name = &self.name;
        let Some(listeners) = self.daemon().and_then(|_| self.listeners()) else {
            bail!(
                "the broker {name} does not run. First start it: cargo xtask kafka start \
                 --instance {name}"
            );
        };
        let topics = topics::create(&listeners.plaintext(), names, partitions)?;
        if !topics.made.is_empty() {
            let made = topics.made.join(", ");
            eprintln!("kafka: {name} has the new topics {made} (partitions of each: {partitions})");
        }
        if !topics.present.is_empty() {
            eprintln!("kafka: {name} had the topics {} already", topics.present.join(", "));
        }
        Ok(())
    }

    /// Says whether it runs, and on standard output how a job reaches it.
    pub(crate) fn report(&self) -> Result<()> {
        let Some(listeners) = self.listeners() else {
            eprintln!("kafka: {} does not exist", self.name);
            return Ok(());
        };
        let (name, folder) = (&self.name, self.folder.display());
        let Some(daemon) = self.daemon() else {
            eprintln!("kafka: {name} is stopped; its data is in {folder}");
            return Ok(());
        };
        let place = listeners.plaintext();
        eprintln!("kafka: {name} runs on {place} (process {}), in {folder}", daemon.id());
        print!("{}", properties::options(listeners, &self.certificates()));
        Ok(())
    }

    /// Where it listens, or did the last time.
    pub(crate) fn listeners(&self) -> Option<Listeners> {
        Listeners::read(&fs::read_to_string(self.properties()).ok()?)
    }

    pub(crate) fn certificates(&self) -> Certificates {
        Certificates { folder: self.folder.join("tls") }
    }

    /// Java with Kafka's classes: a class and its arguments are to follow.
    pub(crate) fn java(&self) -> Command {
        let mut java = Command::new("java");
        let temporary = self.folder.join("tmp");
        java.args(JVM)
            .arg(format!("-Djava.io.tmpdir={}", temporary.display()))
            .arg("-cp")
            .arg(jars_in(&folder(self.workspace)).join("*"));
        java
    }

    /// What runs must do for what is wanted.
    fn suits(&self, present: Listeners, wanted: Wanted) -> Result<()> {
        let elsewhere = wanted.port.is_some_and(|port| port != present.port);
        let lacking = wanted.secure && !present.secure;
        if !elsewhere && !lacking {
            return Ok(());
        }
        let what = if lacking { ", without --secure" } else { "" };
        let (name, port) = (&self.name, present.port);
        bail!(
            "the broker {name} runs already, on port {port}{what}. First stop it: \
             cargo xtask kafka stop --instance {name}"
        )
    }

    fn configure(&self, listeners: Listeners) -> Result<()> {
        fs::create_dir_all(self.folder.join("tmp"))?;
        let certificates = self.certificates();
        if listeners.secure {
            certificates.ensure().context("making certificates")?;
        }
        let data = self.data();
        let configuration = Configuration { listeners, data, certificates: &certificates };
        Ok(fs::write(self.properties(), configuration.text())?)
    }

    /// Writes the cluster's id and the user, which SCRAM wants to be there from the beginning.
    fn format(&self) -> Result<()> {
        let user = |mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]");
        let mut tool = self.java();
        tool.args(["kafka.tools.StorageTool", "format", "--cluster-id", &cluster_id(), "--config"])
            .arg(self.properties())
            .args(["--add-scram", &user("SCRAM-SHA-256"), "--add-scram", &user("SCRAM-SHA-512")]);
        let done = process::output(&mut tool);
        if done.is_err() && self.data().exists() {
            // Half of it would be taken for all of it.
            fs::remove_dir_all(self.data())?;
        }
        done.map(drop)
    }

    fn wait(&self, daemon: &Daemon, listeners: Listeners) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            if log.contains(STARTED) && ports::answers(listeners.port) {
                return Ok(());
            }
            let what = if !daemon.lives() {
                "ended while it started".to_owned()
            } else if Instant::now() >= deadline {
                daemon.stop(STOP)?;
                format!("did not answer within {} s", START.as_secs())
            } else {
                std::thread::sleep(TICK);
                continue;
            };
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            bail!("the broker {} {what}. {} ends with:\n{tail}", self.name, self.log().display());
        }
    }

    fn end(&self) -> Result<()> {
        match self.daemon() {
            None => eprintln!("kafka: {} does not run", self.name),
            Some(daemon) => {
                daemon.stop(STOP)?;
                eprintln!("kafka: {} is stopped", self.name);
            }
        }
        Ok(())
    }

    fn daemon(&self) -> Option<Daemon> {
        Daemon::find(&self.record())
    }

    fn lock(&self) -> Result<File> {
        lock(&self.folder.with_extension("lock"))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("kafka.log")
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn record(&self) -> PathBuf {
        self.folder.join("pid")
    }
}

/// A broker that runs. One that was started for this ends with it.
pub(crate) struct Guard<'a> {
    pub(crate) instance: Instance<'a>,
    ours: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = self.instance.stop()
        {
            eprintln!("kafka: {} could not be stopped: {error:#}", self.instance.name);
        }
    }
}

/// 16 random bytes in the Base64 of URLs: 22 characters, of which the last holds two bits.
fn cluster_id() -> String {
    let id: String = (0..21).map(|_| fastrand::alphanumeric()).collect();
    id + "A"
}
