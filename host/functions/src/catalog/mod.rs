//! All functions, by Spark's groups.

mod aggregates;
mod arrays;
mod bits;
mod ciphers;
mod conditions;
mod conversions;
mod csv;
mod encodings;
mod formats;
mod generators;
mod hashes;
mod json;
mod lambdas;
mod left_out;
mod maps;
mod math;
mod misc;
mod operators;
mod predicates;
mod regexes;
mod strings;
mod structs;
mod times;
mod urls;
mod vectors;
mod windows;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use self::aggregates::first_value;
pub use self::arrays::SEQUENCE;
pub use self::conditions::COALESCE;
pub use self::generators::STACK;
pub use self::left_out::{LeftOut, left_out};
pub use self::maps::MAP;
pub use self::math::{NEGATIVE, POSITIVE};
pub use self::strings::CONCAT;
pub use self::windows::{SESSION_WINDOW, WINDOW, WINDOW_TIME};
use crate::function::Function;
use crate::parameters::{Parameter, Takes};

/// Functions that Spark's reference has on one page.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they have in common: `strings`.
    pub name: &'static str,
    /// The functions, by name.
    pub functions: &'static [Function],
}

const GROUPS: &[Group] = &[
    Group { name: "aggregates", functions: aggregates::FUNCTIONS },
    Group { name: "arrays", functions: arrays::FUNCTIONS },
    Group { name: "bits", functions: bits::FUNCTIONS },
    Group { name: "ciphers", functions: ciphers::FUNCTIONS },
    Group { name: "conditions", functions: conditions::FUNCTIONS },
    Group { name: "conversions", functions: conversions::FUNCTIONS },
    Group { name: "generators", functions: generators::FUNCTIONS },
    Group { name: "csv", functions: csv::FUNCTIONS },
    Group { name: "encodings", functions: encodings::FUNCTIONS },
    Group { name: "formats", functions: formats::FUNCTIONS },
    Group { name: "hashes", functions: hashes::FUNCTIONS },
    Group { name: "json", functions: json::FUNCTIONS },
    Group { name: "lambdas", functions: lambdas::FUNCTIONS },
    Group { name: "maps", functions: maps::FUNCTIONS },
    Group { name: "math", functions: math::FUNCTIONS },
    Group { name: "misc", functions: misc::FUNCTIONS },
    Group { name: "operators", functions: operators::FUNCTIONS },
    Group { name: "predicates", functions: predicates::FUNCTIONS },
    Group { name: "regexes", functions: regexes::FUNCTIONS },
    Group { name: "strings", functions: strings::FUNCTIONS },
    Group { name: "structs", functions: structs::FUNCTIONS },
    Group { name: "times", functions: times::FUNCTIONS },
    Group { name: "urls", functions: urls::FUNCTIONS },
    Group { name: "vectors", functions: vectors::FUNCTIONS },
    Group { name: "windows", functions: windows::FUNCTIONS },
];

/// All groups.
#[must_use]
pub fn groups() -> &'static [Group] {
    GROUPS
}

pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.iter().flat_map(|group| group.functions)
}

static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let names = |function: &'static Function| {
        let names = std::iter::once(&function.name).chain(function.aliases);
        names.map(move |name| (*name, function))
    };
    all().chain(left_out::functions()).flat_map(names).collect()
});

/// The function of a name, whatever its case; one that is left out, too.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    match BY_NAME.get(name) {
        Some(function) => Some(function),
        None => BY_NAME.get(name.to_ascii_lowercase().as_str()).copied(),
    }
}

/// The name that is most like one that is none, if one is like it at all: of a few letters others.
#[must_use]
pub fn suggestion(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let may_differ = name.chars().count() / 3;
    let distance =
        |known: &str| datafusion::common::utils::datafusion_strsim::levenshtein(&name, known);
    let there_are = BY_NAME.iter().filter(|(_, function)| !function.is_left_out());
    let nearest = there_are.map(|(known, _)| (distance(known), *known)).min()?;
    (nearest.0 <= may_differ.max(1)).then_some(nearest.1)
}

/// Builds a call of one of DataFusion's kernels, or of ours, with the arguments as they are.
macro_rules! of {
    ($kernel:expr) => {
        |call| Ok(call.of(&$kernel()))
    };
}
use of;

const fn required(name: &'static str, takes: Takes) -> Parameter {
    Parameter::required(name, takes)
}

const fn optional(name: &'static str, takes: Takes) -> Parameter {
    Parameter::optional(name, takes)
}

const fn repeated(name: &'static str, takes: Takes) -> Parameter {
    Parameter::repeated(name, takes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::function::Shape;

    #[test]
    fn each_name_is_that_of_one_function() {
        let mut seen = BTreeSet::new();
        for function in all().chain(left_out::functions()) {
            for name in std::iter::once(&function.name).chain(function.aliases) {
                assert!(seen.insert(*name), "{name} is there twice");
                assert_eq!(name.to_ascii_lowercase(), *name, "names are in lower case");
            }
        }
    }

    #[test]
    fn functions_of_a_group_are_in_order() {
        for group in groups() {
            let names: Vec<&str> = group.functions.iter().map(|function| function.name).collect();
            assert!(names.is_sorted(), "{}: {names:?}", group.name);
        }
    }

    #[test]
    fn what_is_left_out_is_found_with_its_reason() {
        let shape = find("Parse_JSON").map(|function| function.shape);
        assert!(matches!(shape, Some(Shape::LeftOut(reason)) if reason.contains("from_json()")));
        for group in left_out() {
            assert!(group.names.is_sorted(), "{}", group.title);
            assert!(group.reason.contains("; "), "{} does not say what to do", group.title);
        }
    }

    #[test]
    fn a_name_that_is_nearly_one_has_a_suggestion() {
        assert_eq!(suggestion("uper"), Some("upper"));
        assert_eq!(suggestion("regexp_replac"), Some("regexp_replace"));
        assert_eq!(suggestion("frobnicate"), None);
        assert_eq!(suggestion("parse_jsn"), Some("parse_url"));
        assert_eq!(suggestion("kll_sketch_agg_bigin"), None);
    }
}
