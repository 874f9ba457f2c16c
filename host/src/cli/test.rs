//! `tidemill test`: the cases of a job.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;

use serde_json::Value;
use tidemill_core::nearest;

use super::arguments::TestArguments;
use super::check::code_of;
use super::differences::only;
use super::{ENDED_WELL, FAILED, complain, job_of, printed};
use crate::job::Job;
use crate::query::{Case, FoundCase, Played, PrepareError, StartError, cases_of};

/// Lines that are shown of each side of a batch that is not as expected.
const SHOWN_LINES: usize = 20;

pub(super) fn test(arguments: &TestArguments) -> u8 {
    let job = match job_of(&arguments.job, &arguments.changes) {
        Ok(job) => job,
        Err(code) => return code,
    };
    match play_all(arguments, &job) {
        Ok(code) => code,
        Err(error) => {
            complain(&job.secrets, &error);
            code_of(error.is_retryable())
        }
    }
}

/// A case that cannot be played hides no other: all are, and then it is said what came of them.
fn play_all(arguments: &TestArguments, job: &Job) -> Result<u8, PrepareError> {
    let cases = wanted(cases_of(job)?, &arguments.cases)?;
    let all = cases.len();
    let (mut failed, mut wrong, mut worst) = (0, 0, ENDED_WELL);
    // What is wrong with the job is so in each case.
    let mut said = None;
    for (name, case) in cases {
        let told =
            case.map_err(StartError::from).and_then(|case| play(&case, job, arguments.bless));
        let text = match told {
            Ok(Told::Well(what)) => format!("{name}: {what}\n"),
            Ok(Told::Failed(why)) => {
                (failed, worst) = (failed + 1, worst.max(FAILED));
                format!("{name}: failed\n{why}")
            }
            Err(error) => {
                (wrong, worst) = (wrong + 1, worst.max(code_of(error.is_retryable())));
                let reason = error.to_string();
                match said.as_ref() == Some(&reason) {
                    true => complain(&job.secrets, &format!("{name}: the same")),
                    false => complain(&job.secrets, &format!("{name}: {reason}")),
                }
                said = Some(reason);
                continue;
            }
        };
        let code = printed(&job.secrets.conceal(&text));
        if code != ENDED_WELL {
            return Ok(code);
        }
    }
    let plural = if all == 1 { "" } else { "s" };
    let not_played = match wrong {
        0 => String::new(),
        wrong => format!(", {wrong} not played"),
    };
    let code = printed(&format!("{all} case{plural}, {failed} failed{not_played}\n"));
    Ok(worst.max(code))
}

fn play(case: &Case, job: &Job, blesses: bool) -> Result<Told, StartError> {
    Ok(match case.play(job)? {
        Played::Gave(given) if blesses => bless(case, &given)?,
        Played::Gave(given) => compare(case, &given)?,
        Played::Failed(error) => Told::Failed(format!("  {error}\n")),
    })
}

fn wanted(mut cases: Vec<FoundCase>, names: &[String]) -> Result<Vec<FoundCase>, PrepareError> {
    let known: Vec<String> = cases.iter().map(|(name, _)| name.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let advice = match nearest(name, known.iter().map(String::as_str)) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("there are {}", known.join(", ")),
        };
        return Err(PrepareError::Invalid(format!("there is no case \"{name}\"; {advice}")));
    }
    cases.retain(|(name, _)| names.is_empty() || names.contains(name));
    Ok(cases)
}

enum Told {
    Well(&'static str),
    Failed(String),
}

fn bless(case: &Case, given: &[String]) -> Result<Told, PrepareError> {
    let text: String = given.iter().map(|line| format!("{line}\n")).collect();
    if fs::read_to_string(&case.expected).is_ok_and(|expected| expected == text) {
        return Ok(Told::Well("as it was"));
    }
    fs::write(&case.expected, text).map_err(|error| {
        PrepareError::Invalid(format!("{} cannot be written: {error}", case.expected.display()))
    })?;
    Ok(Told::Well("written; look at what changed"))
}

/// The lines of a batch, as they are written and as they are compared.
type Lines = BTreeMap<u64, Batch>;

#[derive(Default)]
struct Batch {
    written: Vec<String>,
    compared: Vec<String>,
}

fn compare(case: &Case, given: &[String]) -> Result<Told, PrepareError> {
    let path = case.expected.display();
    let expected = match fs::read_to_string(&case.expected) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Told::Failed(format!(
                "  there is no {path}; `--bless` writes down what the job gives\n"
            )));
        }
        expected => expected
            .map_err(|error| PrepareError::Invalid(format!("{path} cannot be read: {error}")))?,
    };
    let wrong = |number: usize, reason: &str| {
        PrepareError::Invalid(format!(
            "{path}:{}: {reason}; a line is like {{\"batch_id\":0,\"row\":{{…}}}}",
            number + 1
        ))
    };
    let mut lines = Lines::new();
    for (number, line) in expected.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        add(&mut lines, line).map_err(|reason| wrong(number, &reason))?;
    }
    let mut found = Lines::new();
    for line in given {
        add(&mut found, line).map_err(PrepareError::Invalid)?;
    }
    let differences = differences(&lines, &found, case.is_ordered);
    Ok(if differences.is_empty() { Told::Well("ok") } else { Told::Failed(differences) })
}

fn add(lines: &mut Lines, line: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let shape = r#"a line is {"batch_id": 0, "row": {…}}, or "refused" in place of "row""#;
    let members = value.as_object().ok_or(shape)?;
    let batch = members.get("batch_id").and_then(Value::as_u64).ok_or(shape)?;
    let is_known = |name: &&String| ["batch_id", "row", "refused"].contains(&name.as_str());
    if members.len() != 2 || !members.keys().all(|name| is_known(&name)) {
        return Err(shape.to_owned());
    }
    let batch = lines.entry(batch).or_default();
    batch.written.push(line.to_owned());
    batch.compared.push(canonical(&value));
    Ok(())
}

/// The value as a text in which the order of an object's members does not count.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let member = |(name, value)| format!("{name:?}:{}", canonical(value));
            format!("{{{}}}", sorted.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// What is not as expected, batch by batch; empty: nothing.
fn differences(expected: &Lines, given: &Lines, is_ordered: bool) -> String {
    let mut text = String::new();
    let none = Batch::default();
    let mut batches: Vec<u64> = expected.keys().chain(given.keys()).copied().collect();
    batches.sort_unstable();
    batches.dedup();
    for batch in batches {
        let expected = expected.get(&batch).unwrap_or(&none);
        let given = given.get(&batch).unwrap_or(&none);
        let lines = |of: &'_ Batch, others: &Batch| -> Vec<String> {
            let places = only(&of.compared, &others.compared).into_iter();
            places.map(|place| of.written[place].clone()).collect()
        };
        let (missing, extra) = (lines(expected, given), lines(given, expected));
        let differs = !missing.is_empty() || !extra.is_empty();
        if !differs && (!is_ordered || expected.compared == given.compared) {
            continue;
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "  batch {batch}");
        if !differs {
            text.push_str("    the rows are right, and their order is not\n");
        }
        shown(&mut text, "- ", &missing);
        shown(&mut text, "+ ", &extra);
    }
    if !text.is_empty() {
        text.push_str("  - expected, and not given; + given, and not expected\n");
    }
    text
}

fn shown(text: &mut String, sign: &str, lines: &[String]) {
    for line in lines.iter().take(SHOWN_LINES) {
        let _ = writeln!(text, "    {sign}{line}");
    }
    if let Some(more) = lines.len().checked_sub(SHOWN_LINES).filter(|more| *more > 0) {
        let _ = writeln!(text, "    {sign}and {more} more");
    }
}
