//! `tidemill plugins`: the generations of a job's plugins, and the choice among them.

use serde_json::{Value, json};
use tidemill_checkpoint::Run;
use tidemill_core::bytes_text;

use super::arguments::{PluginsArguments, PluginsVerb};
use super::check::code_of;
use super::table::table;
use super::{ENDED_WELL, complain, job_of, printed};
use crate::print::say;
use crate::query::{KeptPlugin, KeptPlugins, RanBatches, UsedNext};

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
    let Some(RanBatches { runs, left_out, may_be_older }) = &listed.batches else {
        return "none yet".to_owned();
    };
    let mut texts = Vec::new();
    for (number, Run { first, last }) in runs.iter().enumerate() {
        texts.push(match first == last {
            _ if number == 0 && *may_be_older => format!("{first} or before, to {last}"),
            true => first.to_string(),
            false => format!("{first} to {last}"),
        });
        if number == 0 && *left_out > 0 {
            texts.push(format!("{left_out} more times"));
        }
    }
    texts.join(", ")
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
    let ran = listed.batches.as_ref();
    let runs = ran.map_or(&[][..], |ran| &ran.runs);
    json!({
        "plugin": listed.plugin,
        "digest": listed.digest.to_string(),
        "first_batch": runs.first().map(|run| run.first.0),
        "may_be_older": ran.is_some_and(|ran| ran.may_be_older),
        "last_batch": runs.last().map(|run| run.last.0),
        "runs": runs.iter().map(|run| [run.first.0, run.last.0]).collect::<Vec<_>>(),
        "runs_left_out": ran.map_or(0, |ran| ran.left_out),
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
