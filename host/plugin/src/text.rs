//! Texts of guests, cut and without control characters where they enter the host.
//!
//! They go to logs, to errors, to the terminal and to the checkpoint. What is cut says so, and how
//! long it was.

use tidemill_core::{PluginFailure, RefusedRow, printable};

use crate::error::LoadProblem;
use crate::limits::TEXT_BYTES_MAX;

/// The text, or its beginning with a note. No more than the bound is copied.
pub(crate) fn shortened(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    // No more than the bound is looked at; what is written out may make it longer.
    let note = format!("… (cut; it has {} bytes)", text.len());
    let begun = printable(&text[..text.floor_char_boundary(TEXT_BYTES_MAX)]);
    if text.len() <= TEXT_BYTES_MAX && begun.len() <= TEXT_BYTES_MAX {
        return begun.into_owned();
    }
    format!("{}{note}", &begun[..begun.floor_char_boundary(TEXT_BYTES_MAX - note.len())])
}

/// A failure whose texts are no longer than a guest's may be. The match is exhaustive on purpose.
pub(crate) fn shortened_failure(failure: PluginFailure) -> PluginFailure {
    match failure {
        PluginFailure::Panic { message, place } => {
            PluginFailure::Panic { message: shortened(message), place: shortened(place) }
        }
        PluginFailure::Refused { row, reason } => {
            PluginFailure::Refused { row, reason: shortened(reason) }
        }
        PluginFailure::Trap(text) => PluginFailure::Trap(shortened(text)),
        PluginFailure::BadOutput(text) => PluginFailure::BadOutput(shortened(text)),
        PluginFailure::BadInput(text) => PluginFailure::BadInput(shortened(text)),
        PluginFailure::Retryable(text) => PluginFailure::Retryable(shortened(text)),
        PluginFailure::Fatal(text) => PluginFailure::Fatal(shortened(text)),
        PluginFailure::Signature(text) => PluginFailure::Signature(shortened(text)),
        PluginFailure::Host(text) => PluginFailure::Host(shortened(text)),
        PluginFailure::Deadline { .. } | PluginFailure::Memory { .. } => failure,
    }
}

pub(crate) fn shortened_row(refused: RefusedRow) -> RefusedRow {
    RefusedRow { row: refused.row, reason: shortened(refused.reason) }
}

/// The same for what is wrong with a module: names in it are its author's.
pub(crate) fn shortened_problem(problem: LoadProblem) -> LoadProblem {
    match problem {
        LoadProblem::NoPlugin { reason } => LoadProblem::NoPlugin { reason: shortened(reason) },
        LoadProblem::Import(text) => LoadProblem::Import(shortened(text)),
        LoadProblem::Compile(text) => LoadProblem::Compile(shortened(text)),
        LoadProblem::TooLarge(text) => LoadProblem::TooLarge(shortened(text)),
        LoadProblem::Describe(failure) => LoadProblem::Describe(shortened_failure(failure)),
        LoadProblem::Unfit(text) => LoadProblem::Unfit(shortened(text)),
        LoadProblem::Unchosen(text) => LoadProblem::Unchosen(shortened(text)),
        LoadProblem::Host(text) => LoadProblem::Host(shortened(text)),
        LoadProblem::Read { .. }
        | LoadProblem::Unwatched { .. }
        | LoadProblem::NoThread(_)
        | LoadProblem::NotWasm { .. } => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters_and_says_so() {
        let long = "ü".repeat(TEXT_BYTES_MAX);
        let cut = shortened(long);
        assert!(cut.len() <= TEXT_BYTES_MAX);
        assert!(cut.starts_with("üü") && cut.ends_with("ü… (cut; it has 32768 bytes)"), "{cut}");
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn a_text_is_no_command_to_a_terminal() {
        assert_eq!(shortened("\u{1b}[2J"), "\\u{1b}[2J");
        let long = shortened("\u{1b}".repeat(TEXT_BYTES_MAX - 1));
        assert!(
            long.len() <= TEXT_BYTES_MAX && long.ends_with("(cut; it has 16383 bytes)"),
            "{long}"
        );
    }
}
