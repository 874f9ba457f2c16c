//! The generations of a job's plugins that its checkpoint keeps, and the choice among them.

use tidemill_checkpoint::{Checkpoint, CheckpointError, Choice, Generation, Run};
use tidemill_core::{Digest, nearest};
use tidemill_plugin_host::PluginHost;

use super::error::{PrepareError, invalid};
use super::origins::{chosen, origin};
use super::planning::plan_now;
use super::prepare::{Prepared, With};
use super::shared::Shared;
use crate::job::{Job, JobPlugin};

/// The plugins of a job with a checkpoint. Takes no lock: the query may run.
pub struct KeptPlugins {
    job: Job,
    shared: Shared,
    /// In the order in which they were used last.
    generations: Vec<Generation>,
    choices: Vec<(String, Choice)>,
}

/// A generation of a plugin, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptPlugin {
    /// The job's name for the plugin.
    pub plugin: String,
    /// Of its bytes.
    pub digest: Digest,
    /// The batches that ran it; `None`: none did.
    pub batches: Option<RanBatches>,
    /// How many bytes it has; `None`: they are not kept.
    pub bytes: Option<u64>,
    /// Whether the last batch ran it.
    pub is_in_use: bool,
    /// Whether it is used whatever the file holds.
    pub is_pinned: bool,
    /// Whether it is used in place of what the file holds, which was rolled back.
    pub is_rolled_back_to: bool,
    /// Whether the file holds it.
    pub is_file: bool,
}

/// The batches that ran a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RanBatches {
    /// In their order; at least one.
    pub runs: Vec<Run>,
    /// How many came after the first one and are not listed.
    pub left_out: u64,
    /// Whether batches before the first one may have, too.
    pub may_be_older: bool,
}

/// What the next start uses of a plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedNext {
    /// The job's name for the plugin.
    pub plugin: String,
    /// `None`: what its file holds.
    pub choice: Option<Choice>,
    /// The process that runs the query with what it has, if one does; and its id, if it said so.
    pub running: Option<Option<u32>>,
}

impl KeptPlugins {
    /// Those of a job.
    ///
    /// # Errors
    /// It has no plugins, or no checkpoint, or that cannot be read.
    pub fn of(job: Job) -> Result<KeptPlugins, PrepareError> {
        if job.plugins.is_empty() {
            return Err(invalid(format!("{}: the job has no plugins", job.path.display())));
        }
        let shared = Shared::new(false);
        let generations = Checkpoint::generations(shared.disk.as_ref(), &job.checkpoint)?;
        let Some(generations) = generations else {
            return Err(invalid(format!(
                "there is no checkpoint {}: generations of plugins are kept from the first start on",
                job.checkpoint.display()
            )));
        };
        let choices = Checkpoint::choices(shared.disk.as_ref(), &job.checkpoint)?;
        let choices = choices.into_iter().collect();
        Ok(KeptPlugins { job, shared, generations, choices })
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// All generations of each plugin, from old to new. What a file holds and no batch ran yet comes
    /// last; a file that cannot be read holds nothing.
    #[must_use]
    pub fn list(&self) -> Vec<KeptPlugin> {
        self.job.plugins.iter().flat_map(|plugin| self.list_one(plugin)).collect()
    }

    fn list_one(&self, plugin: &JobPlugin) -> Vec<KeptPlugin> {
        let file = PluginHost::digest_of_file(&plugin.name, &plugin.path).ok();
        let choice = self.choice(plugin);
        let listed = |digest, ran: Option<&Generation>| {
            let is_chosen = choice.filter(|choice| choice.digest == digest);
            let instead_of = is_chosen.and_then(|choice| choice.instead_of);
            KeptPlugin {
                plugin: plugin.name.clone(),
                digest,
                batches: ran.map(|ran| RanBatches {
                    runs: ran.runs.clone(),
                    left_out: ran.runs_left_out,
                    may_be_older: ran.may_be_older,
                }),
                bytes: ran.and_then(|ran| ran.bytes),
                is_in_use: self.of_plugin(plugin).next_back() == ran && ran.is_some(),
                is_pinned: is_chosen.is_some_and(|choice| choice.instead_of.is_none()),
                is_rolled_back_to: instead_of.is_some() && instead_of == file,
                is_file: file == Some(digest),
            }
        };
        let ran = self.of_plugin(plugin).map(|ran| listed(ran.digest, Some(ran)));
        let mut all: Vec<KeptPlugin> = ran.collect();
        all.extend(file.filter(|file| self.find(plugin, *file).is_none()).map(|f| listed(f, None)));
        all
    }

    /// Uses the generation that begins with `digest` in place of what the file holds, or the one
    /// before that which the next start would use.
    ///
    /// # Errors
    /// There is none, or the query cannot run with it.
    pub fn roll_back(&self, name: &str, digest: Option<&str>) -> Result<UsedNext, PrepareError> {
        let plugin = self.plugin(name)?;
        let file = PluginHost::digest_of_file(name, &plugin.path)?;
        let digest = match digest {
            Some(digest) => self.named(plugin, digest)?,
            None => self.before(plugin, file)?,
        };
        if digest == file {
            return Err(invalid(format!(
                "{} holds {} already; `tidemill plugins JOB pin {name} --off` ends what was chosen in its place",
                plugin.path.display(),
                digest.short()
            )));
        }
        self.choose(plugin, Choice { digest, instead_of: Some(file) })
    }

    /// Uses the generation that begins with `digest`, whatever the file holds.
    ///
    /// # Errors
    /// There is none, or the query cannot run with it.
    pub fn pin(&self, name: &str, digest: &str) -> Result<UsedNext, PrepareError> {
        let plugin = self.plugin(name)?;
        let digest = self.named(plugin, digest)?;
        self.choose(plugin, Choice { digest, instead_of: None })
    }

    /// Uses what the file holds.
    ///
    /// # Errors
    /// There is no such plugin, or nothing was chosen.
    pub fn unpin(&self, name: &str) -> Result<UsedNext, PrepareError> {
        let plugin = self.plugin(name)?;
        if self.choice(plugin).is_none() {
            return Err(invalid(format!(
                "\"{name}\" is neither pinned nor rolled back: the next start uses {}",
                plugin.path.display()
            )));
        }
        self.write(plugin, None)
    }

    fn plugin(&self, name: &str) -> Result<&JobPlugin, PrepareError> {
        let plugins = &self.job.plugins;
        let names = || plugins.iter().map(|plugin| plugin.name.as_str());
        plugins.iter().find(|plugin| plugin.name == name).ok_or_else(|| {
            let advice = match nearest(name, names()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
            };
            invalid(format!("the job has no plugin \"{name}\"; {advice}"))
        })
    }

    fn of_plugin(&self, plugin: &JobPlugin) -> impl DoubleEndedIterator<Item = &Generation> {
        self.generations.iter().filter(|generation| generation.plugin == plugin.name)
    }

    fn kept(&self, plugin: &JobPlugin) -> impl DoubleEndedIterator<Item = &Generation> {
        self.of_plugin(plugin).filter(|generation| generation.bytes.is_some())
    }

    fn find(&self, plugin: &JobPlugin, digest: Digest) -> Option<&Generation> {
        self.of_plugin(plugin).find(|generation| generation.digest == digest)
    }

    fn choice(&self, plugin: &JobPlugin) -> Option<Choice> {
        let mut choices = self.choices.iter();
        choices.find(|(name, _)| *name == plugin.name).map(|(_, choice)| *choice)
    }

    /// The generation whose digest begins so.
    fn named(&self, plugin: &JobPlugin, digest: &str) -> Result<Digest, PrepareError> {
        let wanted = digest.to_lowercase();
        let kept: Vec<String> = self.kept(plugin).map(|kept| kept.digest.to_string()).collect();
        let found: Vec<&String> = kept.iter().filter(|kept| kept.starts_with(&wanted)).collect();
        let name = &plugin.name;
        match found[..] {
            [digest] => digest.parse().map_err(|error| invalid(format!("{error}"))),
            [] => Err(invalid(format!(
                "the checkpoint keeps no generation of \"{name}\" whose digest begins with \"{digest}\"; it keeps {}",
                shortened(&kept)
            ))),
            [..] => Err(invalid(format!(
                "several generations of \"{name}\" have digests that begin with \"{digest}\": {}; write more of it",
                found.iter().map(|found| found.as_str()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// The generation that came before the one that the next start uses.
    fn before(&self, plugin: &JobPlugin, file: Digest) -> Result<Digest, PrepareError> {
        let choice = self.choice(plugin);
        let used = choice.filter(|choice| choice.holds(Some(file)));
        let present = used.map_or(file, |choice| choice.digest);
        // By their first batch, as one that was rolled back to has run again since; one that never ran
        // comes after all that did.
        let mut kept: Vec<_> = self.kept(plugin).map(|kept| (kept.first, kept.digest)).collect();
        kept.sort_unstable_by_key(|(first, _)| *first);
        let kept: Vec<Digest> = kept.into_iter().map(|(_, digest)| digest).collect();
        let end = kept.iter().position(|kept| *kept == present).unwrap_or(kept.len());
        let mut earlier = kept[..end].iter().rev().filter(|kept| **kept != file);
        earlier.next().copied().ok_or_else(|| {
            invalid(format!(
                "the checkpoint keeps no generation of \"{}\" before {}, which the next start uses; put the wanted file at {}",
                plugin.name,
                present.short(),
                plugin.path.display()
            ))
        })
    }

    /// Chooses what the query can run with: as with a new file, the plan has to be right, and the
    /// state what it was.
    fn choose(&self, plugin: &JobPlugin, choice: Choice) -> Result<UsedNext, PrepareError> {
        let mut origins = chosen(&self.job, &self.shared)?;
        if let Some(origin) = origin(&self.job, &self.shared, plugin, choice)? {
            origins.insert(plugin.name.clone(), origin);
        }
        let with = With { origins, pinned: None };
        let planned = Prepared::planned(self.job.clone(), &self.shared, Some(with));
        plan_now(planned)?.map_err(|error| {
            invalid(format!(
                "the query cannot run with {} of \"{}\": {error}",
                choice.digest.short(),
                plugin.name
            ))
        })?;
        self.write(plugin, Some(choice))
    }

    fn write(&self, plugin: &JobPlugin, choice: Option<Choice>) -> Result<UsedNext, PrepareError> {
        let (disk, path) = (self.shared.disk.as_ref(), &self.job.checkpoint);
        Checkpoint::choose(disk, path, &plugin.name, choice)?;
        let running = match Checkpoint::lock(disk, path) {
            Ok(_) => None,
            Err(CheckpointError::Locked { pid, .. }) => Some(pid),
            Err(error) => return Err(error.into()),
        };
        Ok(UsedNext { plugin: plugin.name.clone(), choice, running })
    }
}

fn shortened(digests: &[String]) -> String {
    match digests {
        [] => "none".to_owned(),
        _ => digests.iter().map(|digest| &digest[..12]).collect::<Vec<_>>().join(", "),
    }
}
