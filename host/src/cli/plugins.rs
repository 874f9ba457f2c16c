//! `tidemill plugins`: the generations of a job's plugins, and the choice among them.

use serde_json::{Value, json};
use tidemill_core::bytes_text;

use super::arguments::{PluginsArguments, PluginsVerb};
use super::check::code_of;
use super::table::table;
use super::{ENDED_WELL, complain, job_of, printed};
use crate::print::say;
use crate::query::{KeptPlugin, KeptPlugins, UsedNext};

pub(super) fn plugins(arguments: &PluginsArguments) -> u8 {
    let job = match job_of(&arguments.job, &arguments.changes) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let secrets = job.secrets.clone();
    let done = KeptPlugins::of(job).and_then(|kept| match &arguments.verb {
        PluginsVerb::List(list) => Ok(list_all(&kept, list.json)),
        PluginsVerb::Rollback(asked) => {
            kept.roll_back(&asked.plugin, asked.digest.as_deref()).map(|used| told(&kept, &used))
        }
        PluginsVerb::Pin(asked) => {
            let used = match &asked.digest {
                Some(digest) if !asked.off => kept.pin(&asked.plugin, digest),
                _ => kept.unpin(&asked.plugin),
            };
            used.map(|used| told(&kept, &used))
        }
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&secrets, &error);
            code_of(error.is_retryable())
        }
    }
}

fn list_all(kept: &KeptPlugins, is_json: bool) -> u8 {
    let listed = kept.list();
    if is_json {
        let lines = listed.iter().map(|listed| format!("{}\n", as_json(listed)));
        return printed(&lines.collect::<String>());
    }
    let lines = listed.iter().map(|listed| {
        [
            listed.plugin.clone(),
            listed.digest.short(),
            batches(listed),
            listed.bytes.map_or_else(String::new, bytes_text),
            notes(listed).join(", "),
        ]
    });
    let text = table(["plugin", "digest", "batches", "size", ""], lines);
    printed(&kept.job().secrets.conceal(&text))
}

fn batches(listed: &KeptPlugin) -> String {
    match listed.batches {
        None => "none yet".to_owned(),
        Some((first, true, last)) => format!("{first} or before, to {last}"),
        Some((first, false, last)) if first == last => first.to_string(),
        Some((first, false, last)) => format!("{first} to {last}"),
    }
}

fn notes(listed: &KeptPlugin) -> Vec<&'static str> {
    let notes = [
        (listed.is_in_use, "in use"),
        (listed.is_pinned, "pinned"),
        (listed.is_rolled_back_to, "rolled back to"),
        (listed.is_file, "the file"),
    ];
    notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note).collect()
}

fn as_json(listed: &KeptPlugin) -> Value {
    let (first, may_be_older, last) = match listed.batches {
        Some((first, may_be_older, last)) => (Some(first.0), may_be_older, Some(last.0)),
        None => (None, false, None),
    };
    json!({
        "plugin": listed.plugin,
        "digest": listed.digest.to_string(),
        "first_batch": first,
        "may_be_older": may_be_older,
        "last_batch": last,
        "bytes": listed.bytes,
        "in_use": listed.is_in_use,
        "pinned": listed.is_pinned,
        "rolled_back_to": listed.is_rolled_back_to,
        "file": listed.is_file,
    })
}

/// Says what counts from the next start on.
fn told(kept: &KeptPlugins, used: &UsedNext) -> u8 {
    let name = &used.plugin;
    let plugin = kept.job().plugins.iter().find(|plugin| plugin.name == *name);
    let file = plugin.map_or_else(String::new, |plugin| plugin.path.display().to_string());
    say(&match used.choice {
        None => format!("{name}: the next start uses {file}"),
        Some(choice) => {
            let digest = choice.digest.short();
            match choice.instead_of {
                Some(instead_of) => format!(
                    "{name}: the next start uses {digest} in place of {} in {file}, until that file changes",
                    instead_of.short()
                ),
                None => format!(
                    "{name}: pinned to {digest}; {file} is ignored until `tidemill plugins JOB pin {name} --off`"
                ),
            }
        }
    });
    if let Some(pid) = used.running {
        let process = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
        say(&format!(
            "{process} runs the query: it takes this between two batches where it watches the plugin, and otherwise with its next start"
        ));
    }
    ENDED_WELL
}
