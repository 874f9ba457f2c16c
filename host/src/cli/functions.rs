//! `tidemill functions`: what SQL can call.

use std::fmt::Write as _;

use tidemill_functions::{Determinism, Function, Shape, find, groups, left_out, suggestion};

use super::arguments::FunctionsArguments;
use super::{REFUSED, printed};
use crate::print::say;

/// Columns of a terminal that nobody asked for the width of.
const WIDTH: usize = 96;

/// Prints all functions, or what one is.
pub(super) fn functions(arguments: &FunctionsArguments) -> u8 {
    let text = match &arguments.name {
        Some(name) => match find(name) {
            Some(function) => described(function),
            None => {
                let advice = match suggestion(name) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "`tidemill functions` lists those there are".to_owned(),
                };
                say(&format!("error: there is no function {name}; {advice}"));
                return REFUSED;
            }
        },
        None if arguments.markdown => page(),
        None => listed(),
    };
    printed(&text)
}

/// All names, a paragraph a group.
fn listed() -> String {
    let mut text = String::new();
    for group in groups() {
        let _ = writeln!(text, "{}", group.name);
        wrapped(&mut text, group.functions.iter().flat_map(names));
        text.push('\n');
    }
    let _ = writeln!(text, "not supported");
    for group in left_out() {
        wrapped(&mut text, group.names.iter().copied());
        let _ = writeln!(text, "    {}: {}\n", group.title, group.reason);
    }
    text + "tidemill functions NAME says what one takes and gives.\n"
}

/// Names in lines of a terminal's width.
fn wrapped(text: &mut String, names: impl Iterator<Item = &'static str>) {
    let mut line = String::from(" ");
    for name in names {
        if line.len() + name.len() >= WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from(" ");
        }
        let _ = write!(line, " {name}");
    }
    let _ = writeln!(text, "{line}");
}

fn names(function: &'static Function) -> impl Iterator<Item = &'static str> {
    std::iter::once(function.name).chain(function.aliases.iter().copied())
}

fn described(function: &Function) -> String {
    if let Shape::LeftOut(reason) = function.shape {
        return format!("{}() is not supported: {reason}.\n", function.name);
    }
    let mut text = format!("{}\n\n  {}\n", function.synopsis(), function.usage);
    if !function.aliases.is_empty() {
        let _ = writeln!(text, "\nAlso called: {}", function.aliases.join(", "));
    }
    let note = match (function.shape, function.determinism) {
        (Shape::Aggregate(_) | Shape::Rewritten(_), _) => {
            "It is an aggregate: it gives a value for each group."
        }
        (Shape::Window(..), _) => "It needs OVER, which batch SQL knows and a stream does not.",
        (Shape::Numbers, _) => "It stands in FROM.",
        (_, Determinism::OfBatch) => {
            "It is the same for all rows of a batch, and when it is run again."
        }
        (_, Determinism::Volatile) => {
            "It gives another value each time, and when a batch is run again."
        }
        _ => "",
    };
    if !note.is_empty() {
        let _ = writeln!(text, "\n{note}");
    }
    if let Some((query, cell)) = function.example {
        let _ = writeln!(text, "\nExample:\n\n  {query}\n  {cell}");
    }
    text
}

/// The page of the documentation.
fn page() -> String {
    let mut text = String::from(
        "# Functions\n\nWhat SQL can call, as `tidemill functions --markdown` prints it. A job that calls another one is refused; what Spark has beyond these is [at the end](#not-supported).\n\nNames are matched without regard to case. Arguments in brackets may be left out.\n",
    );
    for group in groups() {
        let mut title = group.name.to_owned();
        title[..1].make_ascii_uppercase();
        let _ = writeln!(text, "\n## {title}\n\n| | | |\n|---|---|---|");
        for function in group.functions {
            let also = match function.aliases {
                [] => String::new(),
                aliases => format!(" Also called `{}`.", aliases.join("`, `")),
            };
            let example = function.example.map_or_else(String::new, |(query, cell)| {
                format!("{} → {}", code(query), code(cell))
            });
            let _ = writeln!(
                text,
                "| {} | {}{also} | {example} |",
                code(&function.synopsis()),
                function.usage.replace('|', "\\|")
            );
        }
    }
    text.push_str(
        "\n## Not supported\n\nFunctions of Spark that a job cannot call, and what to do instead.\n\n| | | |\n|---|---|---|\n",
    );
    for group in left_out() {
        let _ = writeln!(
            text,
            "| {} | `{}` | {} |",
            group.title,
            group.names.join("`, `"),
            group.reason.replace('|', "\\|")
        );
    }
    text
}

/// A text as code in a cell.
fn code(text: &str) -> String {
    let quote = if text.contains('`') { "``" } else { "`" };
    format!("{quote}{}{quote}", text.replace('|', "\\|"))
}
