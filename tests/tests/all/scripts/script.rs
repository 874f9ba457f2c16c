//! The text of a script: a job, and below `---` the steps.

use std::ops::Range;

use super::expectation::Outcome;

/// A script that was read. What its runs are expected to do can be written anew.
pub(super) struct Script {
    /// The job's words.
    pub(super) job: toml::Table,
    pub(super) steps: Vec<Step>,
    lines: Vec<String>,
}

/// A command, and the indented lines below it.
pub(super) struct Step {
    pub(super) command: Command,
    /// Where it stands, counted from 1.
    pub(super) line: usize,
    /// Indices of the lines below it.
    body: Range<usize>,
}

pub(super) enum Command {
    /// Puts rows where a table reads.
    Add(String),
    /// Processes all that is there.
    Run { in_order: bool, expected: Outcome },
    /// Ends the query; the next run starts it again, with these changes of its job.
    Restart(toml::Table),
    /// Another query, whose job is the script's with these changes.
    Job(toml::Table),
    /// The job cannot be started, and is told why: fragments of the message.
    Refused(Vec<String>),
    /// The job can be started.
    Accepted,
}

impl Script {
    pub(super) fn parse(text: &str) -> Result<Script, String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let end = lines.iter().position(|line| line == "---");
        let end = end.ok_or("no line `---` ends the job")?;
        let job = table(&lines[..end]).map_err(|reason| format!("the job: {reason}"))?;
        let mut steps = Vec::new();
        let mut at = end + 1;
        while at < lines.len() {
            let command = lines[at].as_str();
            if command.is_empty() || command.starts_with('#') {
                at += 1;
                continue;
            }
            let body = at + 1..body_end(&lines, at + 1);
            let line = at + 1;
            let command = Command::parse(command, &lines[body.clone()])
                .map_err(|(below, reason)| format!("line {}: {reason}", line + below))?;
            at = body.end;
            steps.push(Step { command, line, body });
        }
        Ok(Script { job, steps, lines })
    }

    /// The lines below a step.
    pub(super) fn body(&self, step: &Step) -> &[String] {
        &self.lines[step.body.clone()]
    }

    /// The script with other lines below some of its steps.
    pub(super) fn with(&self, changes: &[(&Step, Vec<String>)]) -> String {
        let mut lines = self.lines.clone();
        for (step, body) in changes.iter().rev() {
            lines.splice(step.body.clone(), body.iter().cloned());
        }
        lines.join("\n") + "\n"
    }
}

impl Command {
    /// An error names the line, counted from the command's.
    fn parse(text: &str, body: &[String]) -> Result<Command, (usize, String)> {
        let changes = || table(body).map_err(|reason| (1, reason));
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (word, rest) {
            ("add", source) if !source.is_empty() => Ok(Command::Add(source.to_owned())),
            ("run", "") | ("run,", "rows in order") => {
                let expected = Outcome::parse(body).map_err(|(at, reason)| (at + 1, reason))?;
                Ok(Command::Run { in_order: !rest.is_empty(), expected })
            }
            ("restart", "") => changes().map(Command::Restart),
            ("job", "") => changes().map(Command::Job),
            ("refused", "") => {
                let fragments = body.iter().map(|line| line.trim().to_owned());
                Ok(Command::Refused(fragments.filter(|line| !line.is_empty()).collect()))
            }
            ("accepted", "") => Ok(Command::Accepted),
            _ => Err((0, format!("there is no command `{text}`"))),
        }
    }
}

/// Indented lines belong to the command above them, and so do empty lines between them.
fn body_end(lines: &[String], start: usize) -> usize {
    let mut end = start;
    for (at, line) in lines.iter().enumerate().skip(start) {
        if line.starts_with(' ') {
            end = at + 1;
        } else if !line.is_empty() {
            break;
        }
    }
    end
}

fn table(lines: &[String]) -> Result<toml::Table, String> {
    lines.join("\n").parse().map_err(|error: toml::de::Error| error.to_string())
}

#[test]
fn a_script_is_a_job_and_steps() {
    let text = "\
output_mode = \"append\"
---
# A comment.
add input
  1; 2

run
  batch 0
    1

restart
  trigger = { once = true }

run, rows in order
";
    let script = Script::parse(text).unwrap();
    assert_eq!(script.job["output_mode"].as_str(), Some("append"));
    assert_eq!(script.steps.len(), 4);
    assert_eq!(script.body(&script.steps[0]), ["  1; 2"]);
    let Command::Restart(changes) = &script.steps[2].command else { panic!("a restart") };
    assert!(changes.contains_key("trigger"));
    let last = &script.steps[3];
    let changed = script.with(&[(&script.steps[1], vec![]), (last, vec!["  batch 1".to_owned()])]);
    assert!(changed.contains("\nrun\n\nrestart\n"), "{changed}");
    assert!(changed.ends_with("\nrun, rows in order\n  batch 1\n"), "{changed}");
}

#[test]
fn what_is_wrong_in_a_script_is_named_with_its_line() {
    let error = |text: &str| Script::parse(text).err().unwrap();
    assert_eq!(error("---\nrunn\n"), "line 2: there is no command `runn`");
    assert!(error("---\nrun\n  batch x\n").starts_with("line 3: `x`"));
    assert!(error("output_mode = \n---\n").starts_with("the job: "));
}
