//! What a checkpoint fixes of the stateful operators.

use serde::{Deserialize, Serialize};
use tidemill_plan::StatefulOperator;
use tidemill_types::format_schema;

use super::pinned::both;

/// A stateful operator, in the order from the sink's side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinnedOperator {
    name: String,
    details: String,
    key: String,
    value: String,
}

impl PinnedOperator {
    pub(super) fn of(operator: &StatefulOperator) -> PinnedOperator {
        PinnedOperator {
            name: operator.name.clone(),
            details: operator.details.clone(),
            key: format_schema(&operator.key),
            value: format_schema(&operator.value),
        }
    }

    fn describe(&self) -> String {
        let details =
            if self.details.is_empty() { String::new() } else { format!(" [{}]", self.details) };
        format!("{}({}) -> ({}){details}", self.name, self.key, self.value)
    }

    /// The first operator, from the sink's side, that is not the one of the checkpoint.
    pub(super) fn difference(
        checkpoint: &[PinnedOperator],
        job: &[PinnedOperator],
    ) -> Option<String> {
        let same = checkpoint.iter().zip(job).take_while(|(kept, asked)| kept == asked).count();
        let (kept, asked) = (checkpoint.get(same), job.get(same));
        let operator = kept.or(asked)?;
        let (what, named) = if checkpoint.len() < job.len() {
            ("was added", asked.unwrap_or(operator))
        } else if checkpoint.len() > job.len() {
            ("was removed", operator)
        } else {
            (operator.change(asked?), operator)
        };
        let describe = |operators: &[PinnedOperator]| {
            let operators = operators.iter().enumerate();
            let lines: Vec<String> =
                operators.map(|(number, it)| format!("{number}: {}", it.describe())).collect();
            if lines.is_empty() { "none".to_owned() } else { lines.join("; ") }
        };
        let (kept, asked) = if checkpoint.len() == job.len() {
            (kept?.describe(), asked?.describe())
        } else {
            (describe(checkpoint), describe(job))
        };
        let what = format!(
            "other stateful operators: operator {same} ({}), counted from the sink, {what}",
            named.name
        );
        Some(both(&what, &kept, &asked))
    }

    fn change(&self, job: &PinnedOperator) -> &'static str {
        if self.name != job.name {
            "was replaced by another"
        } else if self.key != job.key {
            "was changed: its keys differ"
        } else if self.value != job.value {
            "was changed: its values differ"
        } else {
            "was changed: its kind, or when its state is evicted, differs"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str, details: &str, key: &str, value: &str) -> PinnedOperator {
        PinnedOperator {
            name: name.to_owned(),
            details: details.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    fn says(checkpoint: &[PinnedOperator], job: &[PinnedOperator], words: &[&str]) {
        let difference = PinnedOperator::difference(checkpoint, job).expect("they differ");
        for word in words {
            assert!(difference.contains(word), "no \"{word}\" in:\n{difference}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let sums = || operator("sums", "", "k INT", "sum BIGINT");
        let join = || operator("join", "inner", "k INT", "v INT");
        assert_eq!(PinnedOperator::difference(&[sums(), join()], &[sums(), join()]), None);
        assert_eq!(PinnedOperator::difference(&[], &[]), None);
        let outer = operator("join", "left outer", "k INT", "v INT");
        let words = ["operator 1 (join)", "its kind", "[inner]", "[left outer]"];
        says(&[sums(), join()], &[sums(), outer], &words);
        let wide = operator("join", "inner", "k INT, l INT", "v INT");
        says(&[join()], &[wide], &["operator 0 (join)", "keys differ", "(k INT, l INT)"]);
        let more = operator("sums", "", "k INT", "sum BIGINT, n BIGINT");
        says(&[sums()], &[more], &["operator 0 (sums)", "values differ", "n BIGINT"]);
        says(&[sums()], &[join()], &["replaced", "sums(", "join("]);
        says(&[sums()], &[sums(), join()], &["operator 1 (join)", "was added"]);
        says(&[join()], &[sums(), join()], &["operator 0 (sums)", "was added"]);
        says(&[sums(), join()], &[join()], &["operator 0 (sums)", "was removed"]);
        says(&[sums()], &[], &["operator 0 (sums)", "was removed", "none"]);
    }
}
